#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

fn session(flags: &str) -> Session {
    Session::new(Options::parse(flags.split_whitespace().map(str::to_owned)).unwrap())
}

fn ready(flags: &str) -> Session {
    let mut session = session(flags);
    session.on(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    session
}

fn request(session: &mut Session, method: &str, params: &Value) -> Vec<Effect> {
    session.on(&json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string())
}

fn call(session: &mut Session, tool: &str, arguments: &Value) -> Vec<Effect> {
    request(session, "tools/call", &json!({ "name": tool, "arguments": arguments }))
}

fn sent(effect: &Effect) -> Value {
    match effect {
        Effect::Send(line) | Effect::SendLater { line, .. } => serde_json::from_str(line).unwrap(),
        other => panic!("{other:?} sends nothing"),
    }
}

#[test]
fn the_clients_revision_is_echoed_if_it_is_spoken() {
    for (asked, spoken) in [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("2026-07-28", "2025-11-25")] {
        let effects = request(&mut session(""), "initialize", &json!({ "protocolVersion": asked }));
        assert_eq!(sent(&effects[0])["result"]["protocolVersion"], spoken);
    }
    assert!(request(&mut session("--hang-handshake"), "initialize", &json!({})).is_empty());
}

#[test]
fn ids_go_back_as_they_came() {
    for id in ["1", "\"a\\u0062\"", "12345678901234567890", "1.50"] {
        let effects = session("").on(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
        assert_eq!(effects, [Effect::Send(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))]);
    }
    assert_eq!(sent(&session("").on("nonsense")[0])["error"]["code"], PARSE_ERROR);
    assert_eq!(sent(&request(&mut session(""), "server/discover", &json!({}))[0])["error"]["code"], METHOD_NOT_FOUND);
}

#[test]
fn pages_hold_every_tool_once() {
    for pages in [1, 2, 3, 4, 11, 50] {
        let mut session = ready(&format!("--pages {pages}"));
        let (mut names, mut cursor, mut seen) = (Vec::new(), Value::Null, 0);
        loop {
            let page = sent(&request(&mut session, "tools/list", &json!({ "cursor": cursor }))[0]);
            names.extend(page["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()));
            cursor = page["result"]["nextCursor"].clone();
            seen += 1;
            if cursor.is_null() {
                break;
            }
        }
        let all: Vec<Value> = tools::list(false).iter().map(|tool| tool["name"].clone()).collect();
        assert_eq!(names, all, "{pages} pages");
        assert_eq!(seen, pages.min(all.len()));
    }
    let refused = request(&mut ready(""), "tools/list", &json!({ "cursor": "page-1" }));
    assert_eq!(sent(&refused[0])["error"]["code"], INVALID_PARAMS);
}

#[test]
fn calls_come_to_results_errors_and_delays() {
    let mut session = ready("");
    let echoed = sent(&call(&mut session, "echo", &json!({ "text": "hi" }))[0]);
    assert_eq!(echoed["result"], json!({ "content": [{ "type": "text", "text": "hi" }], "isError": false }));
    assert_eq!(sent(&call(&mut session, "fail", &json!({}))[0])["result"]["isError"], true);
    let refused = sent(&call(&mut session, "rpcerror", &json!({}))[0]);
    assert_eq!((&refused["error"]["code"], &refused["error"]["data"]["reason"]), (&json!(-32602), &json!("rpcerror")));
    assert!(matches!(call(&mut session, "slow", &json!({ "ms": 9 }))[0], Effect::SendLater { after_ms: 9, .. }));
    assert_eq!(call(&mut session, "crash", &json!({})), [Effect::DieAfter { after_ms: 0, code: 1 }]);
}

#[test]
fn faults_of_calls() {
    let mut counted = ready("--crash-after 1");
    assert_eq!(call(&mut counted, "pid", &json!({})).len(), 1);
    assert_eq!(call(&mut counted, "pid", &json!({})), [Effect::DieAfter { after_ms: 0, code: 1 }]);

    let mut mute = ready("--hang-calls");
    assert!(call(&mut mute, "pid", &json!({})).is_empty());
    assert_eq!(request(&mut mute, "ping", &json!({})).len(), 1);

    let doubled = call(&mut ready("--double-answer"), "pid", &json!({}));
    assert_eq!(doubled.len(), 2);
    assert_eq!(doubled[0], doubled[1]);

    let foreign = call(&mut ready("--foreign-id"), "pid", &json!({}));
    let ids: Vec<Value> = foreign.iter().map(|effect| sent(effect)["id"].clone()).collect();
    assert_eq!(ids, [json!(FOREIGN_ID), json!("foreign"), json!(7)]);
}

#[test]
fn the_handshake_can_be_enforced() {
    let mut strict = session("--enforce-handshake");
    for method in ["tools/call", "tools/list"] {
        assert_eq!(sent(&request(&mut strict, method, &json!({}))[0])["error"]["code"], NOT_INITIALIZED);
    }
    strict.on(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert!(sent(&request(&mut strict, "tools/list", &json!({}))[0])["result"].is_object());
}

#[test]
fn faults_of_the_handshake() {
    let mut noisy = session("--not-utf8 --long-line 10 --die-after-ms 3 --change-tools-after-ms 4 --requests");
    let effects = request(&mut noisy, "initialize", &json!({}));
    assert!(matches!(&effects[1], Effect::Noise(bytes) if std::str::from_utf8(bytes).is_err()));
    assert_eq!(effects[2], Effect::LongLine(10));
    let effects = noisy.on(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let asked: Vec<Value> = effects[..4].iter().map(|effect| sent(effect)["method"].clone()).collect();
    assert_eq!(asked, ["ping", "sampling/createMessage", "roots/list", "elicitation/create"]);
    assert_eq!(effects[4..], [Effect::ChangeToolsAfter(4), Effect::DieAfter { after_ms: 3, code: 1 }]);

    noisy.on(r#"{"jsonrpc":"2.0","id":"own-ping","result":{}}"#);
    let shown = sent(&call(&mut noisy, "answers", &json!({}))[0]);
    let text = shown["result"]["content"][0]["text"].as_str().unwrap();
    let expected = json!([{ "id": "own-ping", "result": {}, "error": null }]);
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected);

    assert_eq!(sent(&noisy.change_tools()[0])["method"], "notifications/tools/list_changed");
    let listed = sent(&request(&mut noisy, "tools/list", &json!({}))[0]).to_string();
    assert!(listed.contains("\"later\""));
}
