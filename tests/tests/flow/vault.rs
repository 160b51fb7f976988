//! A vault in daily use, over the built program: every row in two meshes that use the same keys for other values, and with
//! a second member who sees nothing of it.

use std::fs;

use serde_json::{Value, json};
use tests::harness::{Mesh, Outcome};

use super::services::{BESIDE, Other, two_meshes};

const KEY: &str = "aws/prod key";
const SECRET: &str = "planted-5f1c0e-first";
const ELSEWHERE: &str = "planted-93ab77-beside";
/// What a command ends with when there is no such entry.
const FAILED: i32 = 1;
/// What it ends with when its words make no sense.
const USAGE: i32 = 2;

struct World {
    mesh: Mesh,
    outsider: Other,
}

impl World {
    fn new() -> Self {
        let (mesh, outsider) = two_meshes();
        Self { mesh, outsider }
    }

    fn vault(&self, slug: &str, words: &[&str]) -> Outcome {
        self.mesh.cli(&[&["--mesh", slug, "vault"], words].concat())
    }

    fn entries(&self, slug: &str) -> Value {
        self.vault(slug, &["list", "--json"]).ok().json()["entries"].clone()
    }

    /// The second member has an empty vault, and no way to the first one's.
    #[track_caller]
    fn outsider_sees_nothing(&self) {
        let listed = self.outsider.cli(&["vault", "list", "--json"]).ok().json();
        assert_eq!(listed, json!({ "entries": [] }));
        for verb in ["get", "delete"] {
            let asked = self.outsider.cli(&["vault", verb, KEY]).code_is(FAILED);
            let never = self.outsider.cli(&["vault", verb, "never-was"]).code_is(FAILED);
            assert_eq!(asked.said().replace(KEY, "never-was"), never.said(), "its existence shows");
            assert!(!asked.said().contains(SECRET));
        }
    }
}

#[test]
fn v01_an_env_value_is_set_and_comes_back() {
    let world = World::new();
    for (slug, secret) in [("default", SECRET), (BESIDE, ELSEWHERE)] {
        let set = world.vault(slug, &["set", KEY, secret]).ok();
        assert!(set.stderr.contains("warning"), "a value on the command line is warned of: {set}");
        assert!(!set.said().contains(secret), "{set}");
    }
    // The same key is another entry in each mesh; what is written is the value and nothing else.
    assert_eq!(world.vault("default", &["get", KEY]).ok().stdout, SECRET);
    assert_eq!(world.vault(BESIDE, &["get", KEY]).ok().stdout, ELSEWHERE);
    let document = world.vault("default", &["get", KEY, "--json"]).ok().json();
    assert_eq!((&document["value"], &document["signed"]), (&json!(SECRET), &json!(true)));
    let _ = world.vault("default", &["set", KEY, "another"]).ok();
    assert_eq!(world.vault("default", &["get", KEY]).ok().stdout, "another");
    assert_eq!(world.vault(BESIDE, &["get", KEY]).ok().stdout, ELSEWHERE);
    // Nothing is asked where nobody can answer, and what makes no sense is not sent.
    let _ = world.vault("default", &["set", "other"]).code_is(USAGE);
    let _ = world.vault("default", &["set", "a|b", "x"]).code_is(USAGE);
    let _ = world.vault("default", &["set", KEY, "x", "--mount-path", "/x"]).code_is(USAGE);
    world.outsider_sees_nothing();
    // The second member's entry of the same key is its own.
    let _ = world.outsider.cli(&["vault", "set", KEY, "ottos"]).ok();
    assert_eq!(world.vault("default", &["get", KEY]).ok().stdout, "another");
    assert_eq!(world.outsider.cli(&["vault", "get", KEY]).ok().stdout, "ottos");
}

#[test]
fn v02_a_file_is_set_with_its_mount_path_and_comes_back() {
    let world = World::new();
    let path = world.mesh.root().join("robot.pem");
    let bytes = format!("-----BEGIN-----\n{SECRET}\n-----END-----\n\n");
    fs::write(&path, &bytes).unwrap();
    let file = path.to_str().unwrap();
    let mounted = ["--type", "file", "--mount-path", "/etc/robot/key.pem", "--description", "of the robot"];
    let _ = world.vault("default", &[&["set", KEY, file], mounted.as_slice()].concat()).ok();
    assert_eq!(world.vault("default", &["get", KEY]).ok().stdout, bytes, "to the last line break");
    let entries = world.entries("default");
    let shown = [&entries[0]["type"], &entries[0]["mountPath"], &entries[0]["description"]];
    assert_eq!(shown, [&json!("file"), &json!("/etc/robot/key.pem"), &json!("of the robot")]);
    let refused = ["set", KEY, file, "--type", "file", "--mount-path", "/etc/../passwd"];
    let _ = world.vault("default", &refused).code_is(USAGE);
    let _ = world.vault("default", &["set", KEY, "/nothing/there", "--type", "file"]).code_is(FAILED);
    assert_eq!(world.entries(BESIDE), json!([]));
    let _ = world.vault(BESIDE, &["get", KEY]).code_is(FAILED);
    world.outsider_sees_nothing();
}

#[test]
fn v03_a_list_shows_what_there_is_and_no_value() {
    let world = World::new();
    let _ = world.vault("default", &["set", KEY, SECRET, "--description", "of the robot"]).ok();
    let _ = world.vault("default", &["set", "b", SECRET]).ok();
    let _ = world.vault(BESIDE, &["set", "c", ELSEWHERE]).ok();
    for listed in [world.vault("default", &["list"]).ok(), world.vault("default", &["list", "--json"]).ok()] {
        let said = listed.said();
        assert!(said.contains(KEY) && said.contains("of the robot") && !said.contains(SECRET), "{listed}");
    }
    let entries = world.entries("default");
    let keys: Vec<&str> = entries.as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap()).collect();
    assert_eq!(keys, [KEY, "b"]);
    let fields: Vec<&str> = entries[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["description", "key", "type", "updatedAt", "version"]);
    assert_eq!(world.entries(BESIDE)[0]["key"], "c");
    world.outsider_sees_nothing();
}

#[test]
fn v04_what_is_deleted_is_gone() {
    let world = World::new();
    let _ = world.vault("default", &["set", KEY, SECRET]).ok();
    let _ = world.vault(BESIDE, &["set", KEY, ELSEWHERE]).ok();
    world.outsider_sees_nothing();
    let _ = world.vault("default", &["delete", KEY]).ok();
    let _ = world.vault("default", &["get", KEY]).code_is(FAILED);
    let _ = world.vault("default", &["delete", KEY]).code_is(FAILED);
    assert_eq!(world.entries("default"), json!([]));
    assert_eq!(world.vault(BESIDE, &["get", KEY]).ok().stdout, ELSEWHERE);
    // It can be set again.
    let _ = world.vault("default", &["set", KEY, "anew"]).ok();
    assert_eq!(world.vault("default", &["get", KEY]).ok().stdout, "anew");
    world.outsider_sees_nothing();
}

#[test]
fn v05_an_empty_vault_says_so() {
    let world = World::new();
    for slug in ["default", BESIDE] {
        assert_eq!(world.vault(slug, &["list"]).ok().stdout, "Your vault is empty.\n");
        assert_eq!(world.vault(slug, &["list", "--json"]).ok().json(), json!({ "entries": [] }));
        let _ = world.vault(slug, &["get", KEY]).code_is(FAILED);
    }
    world.outsider_sees_nothing();
}
