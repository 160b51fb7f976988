//! The operator's view: tree and health.

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
