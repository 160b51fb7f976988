#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::*;

fn mesh(slug: &str) -> MeshEntry {
    serde_json::from_value(json!({
        "meshId": format!("mesh-{slug}"), "memberId": "m1", "slug": slug, "name": slug, "pubkey": "ab",
        "secretKey": "topsecret", "brokerUrl": "ws://127.0.0.1:7900/ws", "joinedAt": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

fn profile() -> (tempfile::TempDir, Profile) {
    let directory = tempfile::tempdir().unwrap();
    let profile = Profile { directory: directory.path().join("config") };
    (directory, profile)
}

fn stored(profile: &Profile) -> Value {
    serde_json::from_slice(&fs::read(profile.path()).unwrap()).unwrap()
}

#[test]
fn the_mesh_is_the_named_one_the_only_one_or_the_default_one() {
    let (a, b, default) = (mesh("a"), mesh("b"), mesh("default"));
    let chosen = |meshes: &[MeshEntry], slug: Option<&str>| {
        choose(meshes, slug)
            .map(|mesh| mesh.slug.clone())
            .map_err(|error| (error.kind.exit_code(), error.hint.unwrap_or_default()))
    };
    let (only, two, three) = ([a.clone()], [a.clone(), b.clone()], [a.clone(), default, b.clone()]);
    assert_eq!(chosen(&only, None), Ok("a".into()));
    assert_eq!(chosen(&two, Some("b")), Ok("b".into()));
    assert_eq!(chosen(&three, None), Ok("default".into()));
    assert_eq!(chosen(&two, None), Err((2, "say which: --mesh SLUG; known: a, b".into())));
    assert_eq!(chosen(&two, Some("x")), Err((2, "known: a, b".into())));
    assert_eq!(chosen(&[], None), Err((1, "claudemesh up starts one on this machine".into())));
}

#[test]
fn a_first_mesh_makes_a_private_file() {
    let (_guard, profile) = profile();
    profile.remember(&mesh("a")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&profile.path()), 0o600);
    assert_eq!(mode(&profile.directory), 0o700);
    assert!(!profile.is_open_to_others());
    fs::set_permissions(profile.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(profile.is_open_to_others());
    assert_eq!(profile.membership(None).unwrap().mesh.slug, "a");
    assert_eq!(stored(&profile)["version"], 1);
    assert_eq!(stored(&profile)["meshes"][0]["secretKey"], "topsecret");
}

#[test]
fn what_other_clients_keep_in_the_file_survives() {
    let (_guard, profile) = profile();
    fs::create_dir_all(&profile.directory).unwrap();
    let before = json!({
        "version": 1, "messageMode": "inbox", "future": {"x": [1]},
        "meshes": [
            {"meshId": "mesh-a", "memberId": "m1", "slug": "a", "name": "a", "pubkey": "ab", "secretKey": "s", "brokerUrl": "ws://old/ws", "joinedAt": "", "theirs": true},
            {"meshId": "mesh-b", "memberId": "m1", "slug": "b", "name": "b", "pubkey": "ab", "secretKey": "s", "brokerUrl": "ws://b/ws", "joinedAt": ""},
        ],
    });
    fs::write(profile.path(), before.to_string()).unwrap();
    profile.remember(&mesh("a")).unwrap();
    profile.remember(&mesh("c")).unwrap();
    let after = stored(&profile);
    assert_eq!(after["future"], json!({"x": [1]}));
    assert_eq!(after["messageMode"], "inbox");
    assert_eq!(after["meshes"].as_array().unwrap().len(), 3);
    assert_eq!(after["meshes"][0]["theirs"], true);
    assert_eq!(after["meshes"][0]["brokerUrl"], "ws://127.0.0.1:7900/ws");
    assert_eq!(after["meshes"][1], before["meshes"][1]);
    assert_eq!(after["meshes"][2]["slug"], "c");
}

#[test]
fn a_file_that_is_not_understood_is_left_alone_and_never_quoted() {
    for (content, what) in [
        ("{\"version\":1,", "ends too early"),
        ("not json SECRET", "not JSON"),
        ("{\"version\":1,\"meshes\":\"SECRET\"}", "wrong kind"),
        ("{\"version\":2,\"meshes\":[]}", "version 2"),
        ("{\"meshes\":[]}", "missing"),
        ("[]", "wrong kind"),
    ] {
        let (_guard, profile) = profile();
        fs::create_dir_all(&profile.directory).unwrap();
        fs::write(profile.path(), content).unwrap();
        for error in [profile.membership(None).unwrap_err(), profile.remember(&mesh("a")).unwrap_err()] {
            assert!(error.message.contains(what), "{content}: {error}");
            assert!(error.message.contains("left as it is"), "{content}: {error}");
            assert!(!error.message.contains("SECRET"), "{content}: {error}");
            assert!(error.hint.is_some(), "{content}");
        }
        assert_eq!(fs::read_to_string(profile.path()).unwrap(), content);
    }
}

#[test]
fn a_huge_file_is_refused() {
    let (_guard, profile) = profile();
    fs::create_dir_all(&profile.directory).unwrap();
    fs::write(profile.path(), vec![b' '; 1024 * 1024 + 1]).unwrap();
    assert!(profile.membership(None).unwrap_err().message.contains("larger than"));
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let (_guard, profile) = profile();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let profile = &profile;
            scope.spawn(move || profile.remember(&mesh(&format!("m{writer}"))).unwrap());
        }
    });
    assert_eq!(stored(&profile)["meshes"].as_array().unwrap().len(), 8);
}

#[test]
fn a_leftover_of_a_crash_does_not_stop_the_next_write() {
    let (_guard, profile) = profile();
    fs::create_dir_all(&profile.directory).unwrap();
    fs::write(profile.directory.join("config.json.new"), "half").unwrap();
    profile.remember(&mesh("a")).unwrap();
    assert_eq!(stored(&profile)["meshes"][0]["slug"], "a");
    assert!(!profile.directory.join("config.json.new").exists());
}

#[test]
fn a_mesh_never_shows_its_key() {
    assert!(!format!("{:?}", mesh("a")).contains("topsecret"));
}
