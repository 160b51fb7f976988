//! Calls against a broker that follows a script.

use serde_json::{Value, json};

use crate::harness::{FakeBroker, Home};

fn broker(answers: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> FakeBroker {
    FakeBroker::start(move |request| match request["type"].as_str() {
        Some("mcp_call") => answers(request),
        _ => vec![],
    })
}

fn result(result: Value) -> Value {
    json!({"type": "mcp_call_result", "result": result})
}

#[test]
fn text_is_printed_and_the_rest_is_remarked_on() {
    let content = json!({"content": [
        {"type": "text", "text": "12:00\u{1b}[2J"},
        {"type": "image", "mimeType": "image/png", "data": "AAAA"}
    ], "structuredContent": {"t": "12:00"}});
    let broker = broker(move |_| vec![result(content.clone())]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["call", "time", "now", "zone=Europe/Berlin", "n=3", "raw:=[1]"]).exits(0);
    assert_eq!(ended.stdout, "12:00\n");
    assert_eq!(ended.stderr, "[image image/png, 3 bytes]\n");
    let call = broker.next("mcp_call");
    assert_eq!(call["args"], json!({"zone": "Europe/Berlin", "n": 3, "raw": [1]}));
    assert_eq!((&call["serverName"], &call["toolName"]), (&json!("time"), &json!("now")));
    assert_eq!(call["timeoutMs"], 60_000);
    assert!(call["callId"].as_str().is_some_and(|id| id.len() == 36), "{call}");
    broker.next("!closed");
}

#[test]
fn json_has_the_result_as_the_server_gave_it() {
    // A number that no float holds, and a field that nobody knows.
    let text = r#"{"type":"mcp_call_result","_reqId":"r1","attempts":2,"result":{"content":[],"big":12345678901234567890123,"structuredContent":{"x":1}}}"#;
    let broker = broker(move |_| vec![json!({"type": "!raw", "text": text})]);
    let ended = Home::of(&broker.url).run(&["call", "time", "now", "--json"]).exits(0);
    assert_eq!(
        ended.stdout,
        "{\"result\":{\"content\":[],\"big\":12345678901234567890123,\"structuredContent\":{\"x\":1}},\"attempts\":2}\n"
    );
}

#[test]
fn arguments_come_from_stdin_with_all_their_digits() {
    let broker = broker(|_| vec![result(json!({"content": []}))]);
    let home = Home::of(&broker.url);
    home.run_with(&["call", "time", "now", "-"], &[], "{\"a\": 1}\n").exits(0);
    assert_eq!(broker.next("mcp_call")["args"], json!({"a": 1}));
    home.run_with(&["call", "time", "now", "-"], &[], "[1]").exits(2).says("must be a JSON object");
    home.run_with(&["call", "time", "now", "-"], &[], "").exits(2);
}

#[test]
fn a_structured_result_is_pointed_out() {
    let broker = broker(|_| vec![result(json!({"content": [], "structuredContent": {"x": 1}}))]);
    let ended = Home::of(&broker.url).run(&["call", "time", "now"]).exits(0).says("--json shows it");
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_tool_that_reports_an_error_exits_1_with_one_document() {
    let answer = json!({"content": [{"type": "text", "text": "no such zone"}], "isError": true});
    let broker = broker(move |_| vec![result(answer.clone())]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["call", "time", "now"]).exits(1);
    assert_eq!(ended.stdout, "no such zone\n");
    assert_eq!(ended.stderr, "error: the tool reports an error\n");
    let json = home.run(&["call", "time", "now", "--json"]).exits(1).json();
    assert_eq!(json, json!({"result": {"content": [{"type": "text", "text": "no such zone"}], "isError": true}}));
}

#[test]
fn a_call_that_did_not_come_about_says_what_that_means() {
    for (code, exit, hint) in [
        ("outcome_unknown", 1, "may or may not have taken effect"),
        ("poison", 1, "do not repeat it"),
        ("not_running", 1, "claudemesh logs"),
        ("timeout", 5, "longer --timeout"),
        ("overloaded", 4, "try again"),
        ("unreachable", 3, "claudemesh tree"),
    ] {
        let broker = broker(move |_| {
            vec![json!({"type": "mcp_call_result", "error": "it went wrong", "errorCode": code, "attempts": 1})]
        });
        let home = Home::of(&broker.url);
        home.run(&["call", "time", "now"]).exits(exit).says("error: it went wrong\n").says(hint);
        let json = home.run(&["call", "time", "now", "--json"]).exits(exit).json();
        assert_eq!(json["error"]["code"], code);
        assert_eq!(json["error"]["attempts"], 1);
    }
}

#[test]
fn an_mcp_error_keeps_the_servers_words_and_data() {
    let broker = broker(|_| {
        vec![json!({"type": "mcp_call_result", "error": "MCP error -32602: Tool nope not found", "errorCode": -32602,
            "errorData": {"k": [1]}})]
    });
    let ended = Home::of(&broker.url).run(&["call", "time", "nope", "--json"]).exits(1);
    let json = ended.json();
    assert_eq!(json["error"]["message"], "MCP error -32602: Tool nope not found");
    assert_eq!(json["error"]["code"], "-32602");
    assert_eq!(json["error"]["data"], json!({"k": [1]}));
}

#[test]
fn a_call_without_answer_exits_5_and_is_taken_back() {
    let broker = broker(|_| vec![]);
    Home::of(&broker.url)
        .run(&["call", "time", "now", "--timeout", "100ms"])
        .exits(5)
        .says("error: no result within 0.1 s")
        .says("look before you repeat it");
    let call = broker.next("mcp_call");
    assert_eq!(call["timeoutMs"], 100);
    assert_eq!(broker.next("mcp_cancel"), json!({"type": "mcp_cancel", "callId": call["callId"]}));
}

#[test]
fn a_connection_lost_during_a_call_leaves_its_outcome_open() {
    let broker = broker(|_| vec![json!({"type": "!drop"})]);
    Home::of(&broker.url)
        .run(&["call", "time", "now"])
        .exits(3)
        .says("the connection to the broker was lost")
        .says("may or may not have taken effect");
}

#[test]
fn progress_of_this_call_is_shown_and_of_no_other() {
    let broker = broker(|request| {
        let progress = |id: &Value, message: &str| json!({"type": "mcp_progress", "callId": id, "progress": 1, "total": 3, "message": message, "_reqId": null});
        vec![
            progress(&json!("another"), "not mine"),
            progress(&request["callId"], "step\u{1b}[2J one"),
            json!({"type": "mcp_progress", "callId": 7, "_reqId": null}),
        ]
    });
    let home = Home::of(&broker.url);
    let ended = home.run(&["call", "time", "now", "--timeout", "100ms"]).exits(5);
    assert!(ended.stderr.starts_with("working: 1 of 3 step one\nerror: "), "{ended:?}");
    let quiet = home.run(&["call", "time", "now", "--timeout", "100ms", "--json"]).exits(5);
    assert!(quiet.stderr.starts_with("error: "), "{quiet:?}");
}
