//! Boxes and signatures against libsodium itself, through PyNaCl: what we make it reads, what it makes we read, and
//! where nothing is random both make the same bytes.
//!
//! `uv` puts the package into its own cache at the first run; `scripts/setup.sh test` sees to `uv`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use protocol::identity::{
    Signature, SigningKey, open_direct, open_sealed, open_secretbox, seal, seal_direct, seal_secretbox,
};
use protocol::vault::{Authenticity, Drawn, Expected, MAX_VALUE_BYTES, Value as Plain, open};
use protocol::wire::{EntryType, VaultEntry};
use rand::RngCore as _;
use serde_json::{Value, json};

/// Rounds of random keys, nonces and texts.
const ROUNDS: usize = 50;
/// Longest text of a round.
const MAX_TEXT_BYTES: usize = 300;
/// The package that holds libsodium.
const PACKAGE: &str = "pynacl==1.6.2";

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}
fn random_array<const N: usize>() -> [u8; N] {
    random(N).try_into().unwrap()
}

struct Round {
    a: [u8; 32],
    b: [u8; 32],
    key: [u8; 32],
    nonce: [u8; 24],
    text: Vec<u8>,
}

impl Round {
    fn random(length: usize) -> Self {
        Self { a: random_array(), b: random_array(), key: random_array(), nonce: random_array(), text: random(length) }
    }

    fn asked(&self) -> Value {
        let (a, b) = (SigningKey::from_seed(&self.a), SigningKey::from_seed(&self.b));
        let direct = seal_direct(&self.text, &self.nonce, &b.public(), &a).unwrap();
        let secretbox = seal_secretbox(&self.text, &self.nonce, &self.key).unwrap();
        let sealed = seal(&self.text, &b.public(), random_array()).unwrap();
        json!({
            "a": hex::encode(self.a), "b": hex::encode(self.b), "key": hex::encode(self.key),
            "nonce": hex::encode(self.nonce), "text": hex::encode(&self.text),
            "ours": {
                "direct": hex::encode(direct), "secretbox": hex::encode(secretbox), "sealed": hex::encode(sealed),
                "signature": a.sign(&self.text).to_string(),
            },
        })
    }

    fn compare(&self, asked: &Value, answer: &Value) {
        let (a, b) = (SigningKey::from_seed(&self.a), SigningKey::from_seed(&self.b));
        for (what, read) in answer["read"].as_object().unwrap() {
            assert_eq!(read, &json!(hex::encode(&self.text)), "libsodium reads our {what}");
        }
        for what in ["direct", "secretbox", "signature"] {
            assert_eq!(answer["made"][what], asked["ours"][what], "both make the same {what}");
        }
        let made = |what: &str| hex::decode(answer["made"][what].as_str().unwrap()).unwrap();
        assert_eq!(open_direct(&made("direct"), &self.nonce, &a.public(), &b).unwrap(), self.text);
        assert_eq!(open_secretbox(&made("secretbox"), &self.nonce, &self.key).unwrap(), self.text);
        assert_eq!(open_sealed(&made("sealed"), &b).unwrap(), self.text);
        let signature: Signature = answer["made"]["signature"].as_str().unwrap().parse().unwrap();
        a.public().verify(&self.text, &signature).unwrap();
    }
}

/// `uv` of the system, or the one in the project's own folder.
fn uv() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/uv");
    if own.exists() { own } else { PathBuf::from("uv") }
}

fn libsodium(asked: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libsodium.py");
    let mut child = Command::new(uv())
        .args(["run", "--quiet", "--no-project", "--with", PACKAGE, "python"])
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("uv does not start ({error}): scripts/setup.sh test"));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(asked.to_string().as_bytes()).unwrap();
    drop(stdin);
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "libsodium.py failed: its words are above");
    serde_json::from_slice(&ended.stdout).unwrap()
}

#[test]
fn both_directions_agree_with_libsodium() {
    let rounds: Vec<Round> = (0..ROUNDS).map(|round| Round::random(round * MAX_TEXT_BYTES / ROUNDS)).collect();
    let asked: Vec<Value> = rounds.iter().map(Round::asked).collect();
    let answers = libsodium(&json!(asked));
    assert_eq!(answers.as_array().unwrap().len(), ROUNDS);
    for ((round, asked), answer) in rounds.iter().zip(&asked).zip(answers.as_array().unwrap()) {
        round.compare(asked, answer);
    }
}

const MESH: &str = "0198c0de-0000-7000-8000-00000000000a";
const KEY: &str = "aws/prod key";

/// An entry goes through libsodium and back: it opens ours and believes its signature, we open one that it made.
fn round_trip(entry_type: EntryType, mount_path: Option<&str>, plains: &[Vec<u8>]) {
    let asked: Vec<(SigningKey, Value)> = plains
        .iter()
        .map(|plain| {
            let seed = random_array();
            let drawn =
                Drawn { file_key: random_array().into(), nonce: random_array(), one_time_seed: random_array().into() };
            let value = Plain { mesh_id: MESH, key: KEY, entry_type, mount_path, description: None, version: 3, plain };
            let ours = value.seal(&SigningKey::from_seed(&seed), &drawn).unwrap();
            let asked = json!({ "member": hex::encode(seed), "mesh": MESH, "text": hex::encode(plain), "ours": ours });
            (SigningKey::from_seed(&seed), asked)
        })
        .collect();
    let answers = libsodium(&asked.iter().map(|(_, asked)| asked.clone()).collect());
    for (((member, asked), answer), plain) in asked.iter().zip(answers.as_array().unwrap()).zip(plains) {
        assert_eq!(answer["read"], json!(hex::encode(plain)), "libsodium reads our entry");
        let mut theirs = asked["ours"].clone();
        for (name, made) in answer["made"].as_object().unwrap() {
            theirs[name] = made.clone();
        }
        let theirs: VaultEntry = serde_json::from_value(theirs).unwrap();
        let theirs = VaultEntry { version: None, sig: None, ..theirs };
        let opened = open(&theirs, &Expected { mesh_id: MESH, key: KEY, known: 0 }, member).unwrap();
        assert_eq!(opened.plain.as_slice(), plain, "we read libsodium's entry");
        assert_eq!(opened.authenticity, Authenticity::Unsigned);
    }
    assert_eq!(answers.as_array().unwrap().len(), plains.len());
}

#[test]
fn v06_an_env_entry_agrees_with_libsodium_in_both_directions() {
    let plains: Vec<Vec<u8>> = (0..10).map(|round| "Ä secret ".repeat(round).into_bytes()).collect();
    round_trip(EntryType::Env, None, &plains);
}

#[test]
fn v07_a_file_entry_agrees_with_libsodium_in_both_directions() {
    let plains: Vec<Vec<u8>> = [0, 1, 300, 65_537, MAX_VALUE_BYTES].into_iter().map(random).collect();
    round_trip(EntryType::File, Some("/etc/robot/key.pem"), &plains);
}
