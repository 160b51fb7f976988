//! The operator's view: tree and health.

use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{FakeHttp, Home, dead_address};

const TOKEN: &str = "op-t0ken";

fn tree() -> Value {
    json!({"seq": 4, "at_ms": 1_700_000_060_000u64, "roots": [{
        "id": "broker", "kind": "supervisor", "state": "running", "since_ms": 1_700_000_000_000u64,
        "restarts": {"window": 0, "total": 0}, "last_exit": null, "queue": 0, "facts": {"build": "x"}, "children": [{
            "id": "broker/evil\u{1b}[2J\u{202e}", "kind": "service", "state": "crashed", "since_ms": 1_700_000_055_000u64,
            "restarts": {"window": 5, "total": 7}, "last_exit": {"reason": "panic", "at_ms": 1_700_000_055_000u64},
            "queue": 2, "facts": {}, "children": []
        }]
    }]})
}

fn home(url: &str) -> Home {
    let home = Home::of(url);
    home.write_token(&format!("{TOKEN}\n"));
    home
}

#[test]
fn the_tree_is_drawn_and_its_document_is_passed_on() {
    let http = FakeHttp::start(|_| (200, tree().to_string()));
    let home = home(&http.url);
    let ended = home.run(&["tree"]).exits(0);
    assert_eq!(
        ended.stdout,
        "NODE     KIND        STATE    SINCE  RESTARTS  QUEUE  LAST EXIT\n\
         broker   supervisor  running  1m\n\
         └─ evil  service     crashed  5s     5/7       2      panic (5s ago)\n"
    );
    let asked = http.next();
    assert_eq!(asked.target, "/tree");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer op-t0ken"));

    let json = home.run(&["tree", "--json", "--path", "broker/a b", "--depth", "1"]).exits(0);
    assert_eq!(json.json(), tree());
    assert!(!json.stdout.contains(['\u{1b}', '\u{202e}']), "{json:?}");
    assert_eq!(http.next().target, "/tree?path=broker%2Fa+b&depth=1");
}

/// The tree at this number, with the node's state.
fn at(seq: u64, state: &str) -> (u16, String) {
    let mut tree = tree();
    tree["seq"] = seq.into();
    tree["at_ms"] = (1_700_000_060_000 + seq).into();
    tree["roots"][0]["children"][0]["state"] = state.into();
    (200, tree.to_string())
}

/// One answer after the other, then none any more.
fn script(answers: Vec<(u16, String)>) -> FakeHttp {
    let step = AtomicUsize::new(0);
    FakeHttp::start(move |_| match answers.get(step.fetch_add(1, Ordering::Relaxed)) {
        Some(answer) => answer.clone(),
        None => loop {
            std::thread::park();
        },
    })
}

const AWAY: &str = r#"{"error":"draining","message":"the broker is stopping"}"#;

#[test]
fn a_watched_tree_is_told_at_each_change_and_only_then() {
    let http = script(vec![
        at(4, "crashed"),
        (204, String::new()),
        at(5, "crashed"),
        at(6, "running"),
        (503, AWAY.to_owned()),
        at(1, "running"),
    ]);
    let home = home(&http.url);
    let mut child = home.start(&["tree", "--watch", "--json"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let state = |tree: &Value| tree["roots"][0]["children"][0]["state"].as_str().unwrap().to_owned();
    for (seq, expected) in [(4, "crashed"), (6, "running"), (1, "running")] {
        let tree = next();
        assert_eq!((tree["seq"].as_u64(), state(&tree).as_str()), (Some(seq), expected));
    }
    for target in [
        "/tree",
        "/tree?after=4&wait=25",
        "/tree?after=4&wait=25",
        "/tree?after=5&wait=25",
        "/tree?after=6&wait=25",
        "/tree",
    ] {
        assert_eq!(http.next().target, target);
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("warning: the broker is stopping; the tree was last seen at "), "{said}");
}

#[test]
fn a_watched_tree_in_a_pipe_is_a_block_for_each_change() {
    let http = script(vec![at(4, "crashed"), at(5, "running"), (503, AWAY.to_owned()), at(1, "running")]);
    let home = home(&http.url);
    let mut child = home.start(&["tree", "--watch"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut block = || -> Vec<String> { lines.by_ref().take(3).map(Result::unwrap).collect() };
    assert!(block()[2].starts_with("└─ evil  service     crashed"));
    let second = [block(), block()].concat();
    assert!(second[0].is_empty() && second[3].starts_with("└─ evil  service     running"), "{second:?}");
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_watched_tree_is_painted_over_on_a_terminal() {
    let (mut answers, lost) = (vec![at(4, "crashed"), at(5, "running")], (503, AWAY.to_owned()));
    answers.extend(std::iter::repeat_n(lost, 100));
    let http = script(answers);
    let (shown, code) = home(&http.url).interrupt_on_terminal(&["tree", "--watch"], "last seen");
    assert_eq!(code, Some(0), "{shown:?}");
    assert_eq!(shown.matches("NODE").count(), 1, "what did not change is not written again: {shown:?}");
    assert!(shown.contains("\u{1b}[31mcrashed\u{1b}[0m") && shown.contains("\u{1b}[32mrunning\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("the broker is stopping; last seen 0s ago"), "{shown:?}");
    assert!(!shown.contains("\u{1b}[?"), "no other screen, and the cursor stays: {shown:?}");
    assert!(shown.ends_with("\r\n") || shown.ends_with("^C"), "the last picture stays: {shown:?}");
}

#[test]
fn what_is_wrong_at_the_beginning_of_a_watch_is_a_failure() {
    home(&format!("ws://{}/ws", dead_address())).run(&["tree", "--watch"]).exits(3);
    let http = FakeHttp::start(|_| (401, String::new()));
    home(&http.url).run(&["tree", "--watch"]).exits(4).says("does not accept this operator token");
    let http = FakeHttp::start(|_| (404, json!({"error": "not_found", "seq": 3}).to_string()));
    home(&http.url).run(&["tree", "--watch", "--path", "nope"]).exits(1).says("there is no node nope");
}

#[test]
fn a_watched_node_may_go_and_come_back() {
    let gone = (404, json!({"error": "not_found", "seq": 5}).to_string());
    let http = script(vec![at(4, "running"), gone, at(6, "running")]);
    let home = home(&http.url);
    let mut child = home.start(&["tree", "--watch", "--path", "broker", "--json"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen: Vec<u64> = lines
        .take(2)
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seen, [4, 6]);
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "warning: there is no node broker\n");
}

#[test]
fn the_environments_token_comes_first() {
    let http = FakeHttp::start(|_| (200, tree().to_string()));
    home(&http.url).run_with(&["tree"], &[("CLAUDEMESH_OPERATOR_TOKEN", "from-env")], "").exits(0);
    assert_eq!(http.next().authorization.as_deref(), Some("Bearer from-env"));
}

#[test]
fn a_missing_or_wrong_token_exits_4_and_says_where_it_was_looked_for() {
    let http = FakeHttp::start(|_| (401, String::new()));
    let ended = home(&http.url).run(&["tree"]).exits(4).says("does not accept this operator token");
    assert!(!ended.stderr.contains(TOKEN), "{ended:?}");
    Home::of(&http.url)
        .run(&["tree"])
        .exits(4)
        .says("asks for the operator token")
        .says("CLAUDEMESH_OPERATOR_TOKEN")
        .says("data/operator.token");
}

#[test]
fn a_node_that_is_not_there_is_a_failure() {
    let http = FakeHttp::start(|target| match target.starts_with("/tree") {
        true => (200, json!({"seq": 1, "at_ms": 1, "roots": []}).to_string()),
        false => (404, String::new()),
    });
    let home = home(&http.url);
    home.run(&["tree", "--path", "nope"]).exits(1).says("there is no node nope");
    home.run(&["health", "nope"]).exits(1).says("there is no node nope");
}

#[test]
fn a_tree_that_is_none_is_a_failure() {
    for (status, body, what) in
        [(200, "<html>", "cannot be understood"), (500, "", "HTTP status 500"), (302, "", "HTTP status 302")]
    {
        let http = FakeHttp::start(move |_| (status, body.to_owned()));
        home(&http.url).run(&["tree"]).exits(1).says(what);
    }
}

#[test]
fn health_is_its_exit_code() {
    let http = FakeHttp::start(|target| match target {
        "/health/ready" => (200, json!({"status": "ok"}).to_string()),
        "/health/meshes/default/services/time" => {
            (503, json!({"state": "crashed", "reason": "above the\u{1b}[31m intensity"}).to_string())
        }
        other => panic!("{other} was asked for"),
    });
    let home = home(&http.url);
    let ended = home.run(&["health"]).exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("the broker is well\n", ""));
    assert_eq!(home.run(&["health", "--quiet"]).exits(0).stdout, "");
    assert_eq!(
        home.run(&["health", "--json"]).exits(0).json(),
        json!({"path": null, "healthy": true, "detail": {"status": "ok"}})
    );
    let node = "meshes/default/services/time";
    home.run(&["health", node]).exits(1).says("error: meshes/default/services/time is not well: above the intensity\n");
    let json = home.run(&["health", node, "--json"]).exits(1).json();
    assert_eq!((&json["path"], &json["healthy"]), (&json!(node), &json!(false)));
    assert_eq!(json["detail"]["state"], "crashed");
}

#[test]
fn health_without_a_token_asks_what_anybody_may() {
    let http = FakeHttp::start(|_| (200, String::new()));
    let ended = Home::of(&http.url).run(&["health"]).exits(0);
    assert_eq!(ended.stdout, "the broker is well\n");
    let asked = http.next();
    assert_eq!((asked.target.as_str(), asked.authorization), ("/health/ready", None));
}

#[test]
fn health_of_nobody_exits_3() {
    let home = home(&format!("ws://{}/ws", dead_address()));
    home.run(&["health"]).exits(3);
    let json = home.run(&["health", "--json"]).exits(3).json();
    assert_eq!(json["error"]["kind"], "unreachable");
}
