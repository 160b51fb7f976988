//! The files of a mesh: list, get and delete against a broker that follows a script.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{FakeBroker, Home};

const ID: &str = "0198c0de-0000-7000-8000-0000000000f1";

fn broker(answer: Value) -> FakeBroker {
    FakeBroker::start(move |request| match request["type"].as_str() {
        Some("hello") => vec![],
        _ => vec![answer.clone()],
    })
}

#[test]
fn files_are_listed_and_their_names_cannot_steer_the_terminal() {
    let entry = |name: &str, persistent: bool| {
        json!({"id": ID, "name": name, "size": 12, "tags": [], "persistent": persistent, "uploadedBy": "Ben",
            "uploadedAt": "2026-04-08T18:00:00Z"})
    };
    let files = json!([entry("a\u{1b}[2Jb.zip", true), entry("c.zip", false)]);
    let broker = broker(json!({"type": "file_list", "files": files}));
    let home = Home::of(&broker.url);
    let shown = home.run(&["file", "list"]).exits(0).stdout;
    assert_eq!(broker.next("list_files"), json!({"type": "list_files"}));
    assert!(!shown.contains('\u{1b}') && shown.contains("b.zip") && shown.contains("until deleted"), "{shown}");
    assert_eq!(home.run(&["file", "list", "--json"]).exits(0).json()["files"][1]["name"], "c.zip");
}

fn told(url: &str) -> Value {
    json!({"type": "file_url", "fileId": ID, "url": url, "name": "n\u{202e}.zip", "encrypted": false})
}

#[test]
fn a_file_is_not_fetched_from_anywhere_but_the_broker() {
    for url in [format!("http://elsewhere/files/{ID}?t=1.a"), "/files/other?t=1.a".to_owned(), format!("/files/{ID}")] {
        let broker = broker(told(&url));
        let _ = Home::of(&broker.url).run(&["file", "get", ID]).exits(1).says("not its own");
        assert_eq!(broker.next("get_file"), json!({"type": "get_file", "fileId": ID}));
    }
}

#[test]
fn what_is_there_is_not_written_over_and_nobody_is_asked() {
    let home = Home::of("ws://127.0.0.1:1/ws");
    let path = home.config_path().with_file_name("there");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "mine").unwrap();
    let _ = home.run(&["file", "get", ID, "--output", path.to_str().unwrap()]).exits(1).says("is there already");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let _ = home.run(&["file", "get", ID, "--json"]).exits(2).says("--output");
}

#[test]
fn a_file_is_deleted_and_one_that_is_not_there_is_a_failure() {
    let gone = broker(json!({"type": "ack", "id": "", "messageId": "", "queued": true}));
    let ended = Home::of(&gone.url).run(&["file", "delete", ID, "--json"]).exits(0);
    assert_eq!(gone.next("delete_file"), json!({"type": "delete_file", "fileId": ID}));
    assert_eq!(ended.json(), json!({"id": ID}));
    for words in [&["file", "delete", ID][..], &["file", "get", ID]] {
        let none =
            broker(json!({"type": "error", "code": "not_found", "message": "`fileId` names no file of this mesh"}));
        let _ = Home::of(&none.url).run(words).exits(1).says("claudemesh file list");
    }
}
