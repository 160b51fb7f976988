#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::super::json::within;
use super::*;

fn put(path: &Path, name: &str) -> Result<bool, CliError> {
    change(path, |text| {
        within(text, "mcpServers", |servers, form| {
            servers.set(name, form.write(&json!({"command": "c"}), 2)?);
            Ok(())
        })
    })
}

fn take(path: &Path, name: &str) -> Result<bool, CliError> {
    change(path, |text| {
        within(text, "mcpServers", |servers, _| {
            servers.remove(name);
            Ok(())
        })
    })
}

fn parsed(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_file_that_is_not_there_is_made_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/.claude.json");
    assert!(put(&path, "a").unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(parsed(&path), json!({"mcpServers": {"a": {"command": "c"}}}));
    assert!(!take(&path, "b").unwrap(), "nothing to change");
    let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(names, 2, "the file and its lock, and nothing left over");
}

#[test]
fn h40_mode_and_link_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("dotfiles.json"), directory.path().join(".claude.json"));
    fs::write(&real, "{\"theme\":\"dark\"}").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("dotfiles.json", &link).unwrap();
    assert!(put(&link, "a").unwrap());
    assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(parsed(&real)["theme"], "dark");
}

#[test]
fn h40_a_file_that_cannot_be_understood_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".claude.json");
    for text in ["{\"key\": \"5ecret\"", "[]", "{\"mcpServers\": 3}", "\u{feff}{}", "{} 5ecret"] {
        fs::write(&path, text).unwrap();
        let error = put(&path, "a").unwrap_err();
        assert!(error.message.contains("left as it is") && !error.message.contains("5ecret"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn h40_a_writer_without_the_lock_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".claude.json");
    fs::write(&path, "{\"n\":0}").unwrap();
    // It writes between our reading and our writing, the first few times.
    let writes = std::cell::Cell::new(0);
    let changed = change(&path, |text| {
        if writes.get() < 3 {
            writes.set(writes.get() + 1);
            let mut file: Value = serde_json::from_str(text).unwrap();
            file["n"] = json!(writes.get());
            fs::write(&path, file.to_string()).unwrap();
        }
        within(text, "mcpServers", |servers, form| {
            servers.set("a", form.write(&1, 2)?);
            Ok(())
        })
    });
    assert!(changed.unwrap());
    assert_eq!(parsed(&path), json!({"n": 3, "mcpServers": {"a": 1}}));
}

#[test]
fn h40_what_came_out_of_the_exchange_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".claude.json");
    fs::write(&path, "{\"theirs\":1}").unwrap();
    let text = |text: &str| Some(text.to_owned());
    // As if they wrote after the last look: what the exchange brings out is not what was read.
    let mut change = Change { target: &path, base: text("{}"), expected: text("{}") };
    let new = temporary(&path, "{\"ours\":1}").unwrap();
    fs::rename(&path, directory.path().join("theirs")).unwrap();
    fs::rename(&new, &path).unwrap();
    fs::rename(directory.path().join("theirs"), &new).unwrap();
    assert!(!change.give_back(&new, "{\"ours\":1}", text("{\"theirs\":1}")).unwrap());
    assert_eq!((change.base.as_deref(), change.expected.as_deref()), (Some("{\"theirs\":1}"), Some("{\"theirs\":1}")));
    assert_eq!(parsed(&path), json!({"theirs": 1}), "they find what they wrote");
    assert!(change.put("{\"theirs\":1,\"ours\":1}").unwrap());
    assert_eq!(parsed(&path), json!({"theirs": 1, "ours": 1}));
}

#[test]
fn h40_twenty_sessions_come_and_go_beside_a_writer() {
    const SESSIONS: u32 = 20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".claude.json");
    fs::write(&path, "{\"mcpServers\":{\"mine\":{\"command\":\"m\"}},\"count\":0,\"history\":[1,2]}").unwrap();
    let (ask, asked) = std::sync::mpsc::channel();
    let written = std::thread::scope(|scope| {
        // A client that replaces the file in one step whenever a session comes or goes, and takes no lock.
        let writer = scope.spawn(|| {
            let mut count = 0_u64;
            for () in asked {
                let mut file = parsed(&path);
                assert_eq!(file["mcpServers"]["mine"], json!({"command": "m"}));
                assert_eq!(file["history"], json!([1, 2]));
                count += 1;
                file["count"] = json!(count);
                let new = directory.path().join("writer.tmp");
                fs::write(&new, file.to_string()).unwrap();
                fs::rename(&new, &path).unwrap();
            }
            count
        });
        for n in 0..SESSIONS {
            let (path, ask) = (&path, ask.clone());
            scope.spawn(move || {
                let name = format!("mesh:s{n}:{n}");
                ask.send(()).unwrap();
                put(path, &name).unwrap();
                ask.send(()).unwrap();
                take(path, &name).unwrap();
            });
        }
        drop(ask);
        writer.join().unwrap()
    });
    let file = parsed(&path);
    assert_eq!(file["mcpServers"]["mine"], json!({"command": "m"}), "{file}");
    assert_eq!(file["history"], json!([1, 2]));
    assert_eq!((written, &file["count"]), (u64::from(2 * SESSIONS), &json!(2 * SESSIONS)), "{file}");
}
