//! Vaults through sockets: what is taken, for whom, and what is given back.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use broker::store::DATABASE_FILE;
use diesel::prelude::*;
use protocol::trust::Removal;
use protocol::vault::{Drawn, Expected, MAX_VALUE_BYTES, Value as Plain, open};
use protocol::wire::{EntryType, VaultEntry};
use serde_json::{Value, json};

use crate::harness::{Broker, Client, MEMBER, OTHER, OWNER, Who};

const KEY: &str = "aws/prod key";

fn drawn(byte: u8) -> Drawn {
    Drawn { file_key: [byte; 32].into(), nonce: [byte; 24], one_time_seed: [byte; 32].into() }
}

fn value<'a>(mesh_id: &'a str, plain: &'a [u8], version: u64) -> Plain<'a> {
    let mount_path = Some("/etc/robot/key.pem");
    Plain { mesh_id, key: KEY, entry_type: EntryType::File, mount_path, description: Some("d"), version, plain }
}

fn sealed(broker: &Broker, who: Who, plain: &[u8], version: u64) -> VaultEntry {
    value(broker.mesh(), plain, version).seal(&who.key(), &drawn(9)).unwrap()
}

fn set(entry: &VaultEntry) -> Value {
    let mut message = serde_json::to_value(entry).unwrap();
    message["type"] = json!("vault_set");
    message
}

async fn got(client: &mut Client, keys: &[&str]) -> Vec<VaultEntry> {
    let answer = client.ask(json!({ "type": "vault_get", "keys": keys })).await;
    assert_eq!(answer["type"], "vault_get_result", "{answer}");
    serde_json::from_value(answer["entries"].clone()).unwrap()
}

async fn listed(client: &mut Client) -> Value {
    client.ask(json!({ "type": "vault_list" })).await["entries"].clone()
}

/// Entries of all vaults.
fn rows(broker: &Broker) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        number: i64,
    }
    let file = broker.setup.data_dir.join(DATABASE_FILE);
    let mut beside = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    diesel::sql_query("SELECT count(*) AS number FROM vault_entry").get_result::<Number>(&mut beside).unwrap().number
}

#[tokio::test]
async fn an_entry_comes_back_as_it_was_sealed_also_after_a_kill() {
    let mut broker = Broker::alone().await;
    let mut ada = Client::join(&broker, OWNER).await;
    assert_eq!(listed(&mut ada).await, json!([]));
    let entry = sealed(&broker, OWNER, b"s3cret", 7);
    let answer = ada.ask(set(&entry)).await;
    assert_eq!(
        (&answer["type"], &answer["key"], &answer["action"]),
        (&json!("vault_ack"), &json!(KEY), &json!("stored"))
    );
    for killed in [false, true] {
        if killed {
            broker = broker.killed_and_started().await;
            ada = Client::join(&broker, OWNER).await;
        }
        let back = got(&mut ada, &["none", KEY, KEY]).await;
        assert_eq!(back.as_slice(), std::slice::from_ref(&entry));
        let opened = open(&back[0], &Expected { mesh_id: broker.mesh(), key: KEY, known: 7 }, &OWNER.key()).unwrap();
        assert_eq!(opened.plain.as_slice(), b"s3cret");
        let list = listed(&mut ada).await;
        assert_eq!(list[0]["version"], 7);
        assert!(list[0]["updated_at"].as_str().unwrap().starts_with("20"));
        let fields: Vec<&str> = list[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["description", "entry_type", "key", "mount_path", "updated_at", "version"]);
    }
    let delete = json!({ "type": "vault_delete", "key": KEY });
    assert_eq!(ada.ask(delete.clone()).await["action"], "deleted");
    assert_eq!(ada.ask(delete).await["action"], "not_found");
    assert_eq!(got(&mut ada, &[KEY]).await, []);
}

/// At rest the member's boxes are sealed once more: what leaves with the database alone says nothing of them.
#[tokio::test]
async fn v10_what_is_stored_is_sealed_at_rest() {
    let broker = Broker::alone().await;
    let mut ada = Client::join(&broker, OWNER).await;
    let entry = sealed(&broker, OWNER, b"s3cret", 1);
    ada.ask(set(&entry)).await;
    let mut found_the_row = false;
    for file in std::fs::read_dir(&broker.setup.data_dir).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_str().unwrap().starts_with(DATABASE_FILE) {
            continue;
        }
        let bytes = std::fs::read(file.path()).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        found_the_row |= has(KEY.as_bytes());
        for text in [&entry.ciphertext, &entry.nonce, &entry.sealed_key] {
            assert!(!has(text.as_bytes()) && !has(&BASE64.decode(text).unwrap()), "{text} is in {:?}", file.path());
        }
    }
    assert!(found_the_row, "the database was looked at");
}

#[tokio::test]
async fn h22_a_vault_is_its_members_alone() {
    let broker = Broker::alone().await;
    let mut ada = Client::join(&broker, OWNER).await;
    let mut ben = Client::join(&broker, MEMBER).await;
    ben.ask(set(&sealed(&broker, MEMBER, b"bens", 1))).await;
    // Not even the owner of the mesh.
    assert_eq!(listed(&mut ada).await, json!([]));
    assert_eq!(got(&mut ada, &[KEY]).await, []);
    assert_eq!(ada.ask(json!({ "type": "vault_delete", "key": KEY })).await["action"], "not_found");
    // What Ben signed is not Ada's, under no name.
    let stolen = got(&mut ben, &[KEY]).await.remove(0);
    assert_eq!(ada.ask(set(&stolen)).await["code"], "bad_signature");
    ada.ask(set(&sealed(&broker, OWNER, b"adas", 1))).await;
    assert_eq!(got(&mut ben, &[KEY]).await, [stolen]);
}

#[tokio::test]
async fn what_is_no_entry_is_refused_by_its_reason() {
    let broker = Broker::start(|setup| setup.max_message_bytes = 4 * 1024 * 1024).await;
    let mut ada = Client::join(&broker, OWNER).await;
    let entry = sealed(&broker, OWNER, b"s3cret", 5);
    ada.ask(set(&entry)).await;
    let mut refused = async |entry: VaultEntry| ada.ask(set(&entry)).await["code"].clone();
    assert_eq!(refused(entry.clone()).await, "superseded");
    assert_eq!(refused(sealed(&broker, OWNER, b"older", 4)).await, "superseded");
    assert_eq!(refused(VaultEntry { version: Some(6), ..entry.clone() }).await, "bad_signature");
    assert_eq!(refused(VaultEntry { sig: None, ..entry.clone() }).await, "bad_request");
    assert_eq!(refused(VaultEntry { key: "a|b".to_owned(), ..entry.clone() }).await, "bad_request");
    assert_eq!(refused(VaultEntry { nonce: "AAAA".to_owned(), ..entry.clone() }).await, "bad_request");
    let long = BASE64.encode(vec![0; MAX_VALUE_BYTES + 17]);
    let long = VaultEntry { ciphertext: long, version: None, sig: None, ..entry.clone() };
    assert_eq!(refused(long).await, "too_large");
    let elsewhere = value("0198c0de-0000-7000-8000-000000000001", b"x", 6).seal(&OWNER.key(), &drawn(1)).unwrap();
    assert_eq!(refused(elsewhere).await, "bad_signature");
    assert_eq!(got(&mut ada, &[KEY]).await, [entry]);
    // The longest there can be, from an old client.
    let longest = vec![b'x'; MAX_VALUE_BYTES];
    let longest = VaultEntry { version: None, sig: None, ..sealed(&broker, OWNER, &longest, 6) };
    assert_eq!(ada.ask(set(&longest)).await["action"], "stored");
    assert_eq!(got(&mut ada, &[KEY]).await, [longest]);
}

/// Eight entries of 1 MiB are one answer, nine are too much.
#[tokio::test]
async fn h46_an_answer_brings_so_many_bytes_and_no_more() {
    let broker = Broker::start(|setup| setup.max_message_bytes = 4 * 1024 * 1024).await;
    let mut ada = Client::join(&broker, OWNER).await;
    let longest = vec![b'x'; MAX_VALUE_BYTES];
    let entry = VaultEntry { version: None, sig: None, ..sealed(&broker, OWNER, &longest, 1) };
    let keys: Vec<String> = (0..9).map(|at| format!("k{at}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for key in &keys {
        ada.ask(set(&VaultEntry { key: (*key).to_owned(), ..entry.clone() })).await;
    }
    assert_eq!(got(&mut ada, &keys[..8]).await.len(), 8);
    assert_eq!(ada.ask(json!({ "type": "vault_get", "keys": keys })).await["code"], "too_large");
    let many: Vec<String> = (0..501).map(|at| format!("k{at}")).collect();
    assert_eq!(ada.ask(json!({ "type": "vault_get", "keys": many })).await["code"], "bad_request");
}

#[tokio::test]
async fn h29_a_removed_members_vault_is_gone() {
    let broker = Broker::alone().await;
    let mut ada = Client::join(&broker, OWNER).await;
    let mut cleo = Client::join(&broker, OTHER).await;
    cleo.ask(set(&sealed(&broker, OTHER, b"cleos", 1))).await;
    assert_eq!(rows(&broker), 1);
    let removal = Removal::sign(broker.mesh(), OTHER.key().public(), 1, &OWNER.key()).unwrap();
    let removed = json!({ "type": "member_remove", "memberId": broker.member_id(OTHER), "removal": removal });
    assert_eq!(ada.ask(removed).await["type"], "member_result");
    assert_eq!(rows(&broker), 0);
    assert_eq!(cleo.closed().await.map(|(code, _)| code), Some(1008));
}
