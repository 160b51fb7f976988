#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::identity::SigningKey;
use crate::link::{Limits, Policy, Runtime, ServiceSpec, Source};
use crate::secret::SecretString;

const PLANTED: &str = "planted-s3cret-value";

fn runner(n: u8) -> X25519Secret {
    X25519Secret::from_bytes(&[n; 32])
}

fn member(n: u8) -> MemberKey {
    SigningKey::from_seed(&[n; 32])
}

/// Bytes that differ from draw to draw.
fn draws() -> impl FnMut() -> [u8; 32] {
    let mut count = 0_u8;
    move || {
        count += 1;
        [count; 32]
    }
}

fn contents() -> Contents {
    Contents {
        env: BTreeMap::from([("API_KEY".to_owned(), SecretString::from(PLANTED))]),
        files: vec![SecretFile::new("TLS_KEY", "/run/keys/tls", b"-----BEGIN")],
        git_token: Some("git-t0ken".into()),
        refs: BTreeMap::from([("API_KEY".to_owned(), "openai".to_owned())]),
    }
}

fn load() -> ServiceSpec {
    ServiceSpec {
        mesh: "default".into(),
        mesh_id: Some("mesh-1".into()),
        service: "time".into(),
        deployment: "d-1".into(),
        source: Source::Git {
            url: "https://example.com/a/b.git".into(),
            branch: Some("main".into()),
            subdirectory: Some("sub".into()),
            build_command: vec!["npm".into(), "run".into()],
            auth: None,
        },
        version: None,
        runtime: Some(Runtime::Node),
        args: vec!["--utc".into()],
        env: BTreeMap::from([("TZ".to_owned(), SecretString::from("UTC"))]),
        sealed: None,
        limits: Limits { memory_mb: Some(64), pids: None, fds: Some(10) },
        policy: Policy::default(),
    }
}

fn sealed(contents: &Contents) -> SealedConfig {
    let load = load();
    let binding = Binding::of(&Asked::of_load(&load, Some("guard")), contents);
    let runners = [runner(1).public(), runner(2).public()];
    SealedConfig::seal(&binding, contents, &runners, &member(9), &mut draws()).unwrap()
}

fn for_load(opened: &Opened, load: &ServiceSpec) -> Result<(), SealedError> {
    opened.is_for(&Asked::of_load(load, opened.binding.isolation.as_deref()))
}

#[test]
fn each_runner_and_the_deployer_open_it_and_nobody_else() {
    let sealed = sealed(&contents());
    for secret in [runner(1), runner(2), X25519Secret::of(&member(9))] {
        let opened = sealed.open(&secret).unwrap();
        assert_eq!(opened.contents, contents());
        for_load(&opened, &load()).unwrap();
        opened.is_by(&member(9).public()).unwrap();
        assert!(opened.is_by(&member(8).public()).is_err());
    }
    for secret in [runner(3), X25519Secret::of(&member(8))] {
        assert_eq!(sealed.open(&secret).unwrap_err(), SealedError::OtherKey);
    }
    let text = format!("{sealed:?}{}", serde_json::to_string(&sealed).unwrap());
    for planted in [PLANTED, &STANDARD.encode(PLANTED), "openai", "example.com"] {
        assert!(!text.contains(planted), "{planted}");
    }
    assert!(!format!("{:?}", sealed.open(&runner(1)).unwrap()).contains(PLANTED));
}

#[test]
fn who_takes_the_place_of_another_key_opens_nothing() {
    let mut sealed = sealed(&contents());
    sealed.to[0].kid = kid(&runner(3).public());
    assert_eq!(sealed.open(&runner(3)).unwrap_err(), SealedError::NotOpened);
}

#[test]
fn h24_every_field_that_shapes_a_process_is_compared_and_named() {
    let opened = sealed(&contents()).open(&runner(1)).unwrap();
    type Case = (&'static str, fn(&mut ServiceSpec));
    fn git(spec: &mut ServiceSpec) -> (&mut String, &mut Option<String>, &mut Option<String>, &mut Vec<String>) {
        match &mut spec.source {
            Source::Git { url, branch, subdirectory, build_command, .. } => (url, branch, subdirectory, build_command),
            _ => unreachable!(),
        }
    }
    let cases: [Case; 18] = [
        ("mesh", |s| s.mesh_id = Some("mesh-2".into())),
        ("mesh", |s| s.mesh_id = None),
        ("service", |s| s.service = "other".into()),
        ("source", |s| s.source = Source::Npx { package: "time".into() }),
        ("source", |s| *git(s).0 = "https://example.com/a/c.git".into()),
        ("source", |s| *git(s).1 = None),
        ("source", |s| *git(s).2 = Some("other".into())),
        ("source", |s| git(s).3.push("evil".into())),
        ("runtime", |s| s.runtime = Some(Runtime::Bun)),
        ("args", |s| s.args.push("--print-env".into())),
        ("args", |s| s.args.clear()),
        ("env", |s| drop(s.env.insert("NODE_OPTIONS".into(), "--require=/evil".into()))),
        ("env", |s| drop(s.env.insert("TZ".into(), "CET".into()))),
        ("env", |s| drop(s.env.insert("API_KEY".into(), "mine".into()))),
        ("env", |s| s.env.clear()),
        ("memory_mb", |s| s.limits.memory_mb = None),
        ("pids", |s| s.limits.pids = Some(1)),
        ("fds", |s| s.limits.fds = None),
    ];
    for (field, change) in cases {
        let mut load = load();
        change(&mut load);
        assert_eq!(for_load(&opened, &load), Err(SealedError::ForOther(field)));
    }
}

#[test]
fn h24_an_uploaded_file_is_bound_by_what_is_in_it() {
    let mut load = load();
    load.source = Source::Zip { file_id: "f-1".into(), subdirectory: None, build_command: Vec::new() };
    load.version = Some("ab".repeat(32));
    let contents = contents();
    let binding = Binding::of(&Asked::of_load(&load, None), &contents);
    let sealed = SealedConfig::seal(&binding, &contents, &[runner(1).public()], &member(9), &mut draws()).unwrap();
    let opened = sealed.open(&runner(1)).unwrap();
    for_load(&opened, &load).unwrap();
    load.version = Some("cd".repeat(32));
    assert_eq!(for_load(&opened, &load), Err(SealedError::ForOther("sha256")));
}

#[test]
fn what_one_side_does_not_know_makes_them_differ() {
    let load = load();
    let mut binding = serde_json::to_value(Binding::of(&Asked::of_load(&load, None), &contents())).unwrap();
    binding["source"]["later"] = "x".into();
    let later: Binding = serde_json::from_value(binding.clone()).unwrap();
    assert_eq!(later.differs(&Binding::of(&Asked::of_load(&load, None), &contents())), Some("source"));
    binding["later"] = "x".into();
    assert!(serde_json::from_value::<Binding>(binding).is_err());
}

#[test]
fn a_path_that_a_vault_takes_a_box_takes_too() {
    let mut contents = contents();
    contents.files[0].path = format!("/{}", "a".repeat(crate::validate::MAX_MOUNT_PATH_BYTES - 1));
    assert_eq!(contents.validate(), Ok(()));
    contents.files[0].path.push('a');
    assert!(contents.validate().is_err());
}

#[test]
fn what_does_not_fit_or_is_ambiguous_is_not_sealed() {
    type Case = (&'static str, fn(&mut Contents));
    let cases: [Case; 9] = [
        ("1A", |c| drop(c.env.insert("1A".into(), PLANTED.into()))),
        ("NUL", |c| drop(c.env.insert("A".into(), format!("{PLANTED}\0").into()))),
        ("given twice", |c| c.files[0].var = "API_KEY".into()),
        ("no name", |c| c.files[0].var = "A B".into()),
        ("`..`", |c| c.files[0].path = "/run/../etc/passwd".into()),
        ("absolute", |c| c.files[0].path = "run/key".into()),
        ("over the limit", |c| c.files[0] = SecretFile::new("F", "/f", &vec![0; MAX_FILE_BYTES + 1])),
        ("another file", |c| c.files.push(SecretFile::new("F", "/run/keys/tls", b"x"))),
        ("over the limit", |c| {
            for n in 0..8 {
                c.env.insert(format!("A{n}"), "x".repeat(100_000).into());
            }
        }),
    ];
    for (words, spoil) in cases {
        let mut contents = contents();
        spoil(&mut contents);
        let binding = Binding::of(&Asked::of_load(&load(), None), &contents);
        let error = SealedConfig::seal(&binding, &contents, &[], &member(9), &mut draws()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!error.contains(PLANTED), "{error}");
    }
    let keys: Vec<_> = (0..MAX_RECIPIENTS).map(|_| runner(1).public()).collect();
    let binding = Binding::of(&Asked::of_load(&load(), None), &contents());
    assert!(SealedConfig::seal(&binding, &contents(), &keys, &member(9), &mut draws()).is_err());
}

#[test]
fn a_key_of_small_order_is_none() {
    for bytes in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        assert!(X25519Public::from_bytes(bytes).is_err());
    }
    assert!(X25519Public::from_bytes(*runner(1).public().as_bytes()).is_ok());
}

/// One bit of the text of a base64 member, or of a kid.
fn flipped(text: &str, bit: usize) -> String {
    let mut bytes = STANDARD.decode(text).unwrap();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    STANDARD.encode(bytes)
}

proptest! {
    #[test]
    fn h24_no_flipped_bit_is_borne(which in 0..4_usize, bit: usize) {
        let mut altered = sealed(&contents());
        match which {
            0 => altered.nonce = flipped(&altered.nonce, bit),
            1 => altered.ciphertext = flipped(&altered.ciphertext, bit),
            2 => altered.to[0].key = flipped(&altered.to[0].key, bit),
            _ => altered.v ^= 1 << (bit % 32),
        }
        prop_assert!(altered.open(&runner(1)).is_err());
    }

    #[test]
    fn h24_a_box_of_one_mesh_or_service_is_none_of_another(mesh in "[a-z]{1,8}", service in "[a-z]{1,8}") {
        let opened = sealed(&contents()).open(&runner(2)).unwrap();
        let mut other = load();
        other.mesh_id = Some(mesh.clone());
        prop_assert_eq!(for_load(&opened, &other), Err(SealedError::ForOther("mesh")));
        let mut other = load();
        other.service.clone_from(&service);
        let is_same = service == "time";
        prop_assert_eq!(for_load(&opened, &other).is_ok(), is_same);
    }

    #[test]
    fn parts_of_two_boxes_make_none(which in 0..3_usize) {
        let (mut one, mut other) = (contents(), contents());
        one.env.insert("A".into(), "1".into());
        other.env.insert("A".into(), "2".into());
        let binding = Binding::of(&Asked::of_load(&load(), None), &one);
        let mut draw = draws();
        let keys = [runner(1).public()];
        let mut a = SealedConfig::seal(&binding, &one, &keys, &member(9), &mut draw).unwrap();
        let b = SealedConfig::seal(&binding, &other, &keys, &member(9), &mut draw).unwrap();
        match which {
            0 => a.nonce = b.nonce,
            1 => a.ciphertext = b.ciphertext,
            _ => a.to = b.to,
        }
        prop_assert!(a.open(&runner(1)).is_err());
    }
}
