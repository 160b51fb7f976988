//! Everything that is sent gets exactly one answer, which names the request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Broker, Client, OWNER};

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_what_is_wrong() {
    let broker = Broker::alone().await;
    let mut client = Client::join(&broker, OWNER).await;
    let deep = format!(r#"{{"type":"mcp_catalog","_reqId":"q","a":{}1{}}}"#, "[".repeat(80), "]".repeat(80));
    let cases = [
        (r#"{"type":"no_such_thing","_reqId":"q"}"#, "unknown_type", "no_such_thing"),
        (r#"{"type":"mcp_catalog","_reqId":"q""#, "bad_json", ""),
        (r#"{"type":"mcp_catalog","_reqId":"q",}"#, "bad_json", ""),
        (r#"{"_reqId":"q"}"#, "bad_request", "type"),
        (r#"{"type":"mcp_logs","_reqId":"q"}"#, "bad_request", "server_name"),
        (r#"{"type":"mcp_logs","server_name":"x","lines":-1,"_reqId":"q"}"#, "bad_request", "lines"),
        (r#"{"type":"mcp_call","serverName":"x","args":{},"_reqId":"q"}"#, "bad_request", "toolName"),
        (r#"{"type":"mcp_deploy","server_name":"x","source":{"type":"npx"},"_reqId":"q"}"#, "bad_request", "package"),
        (deep.as_str(), "bad_json", "64"),
    ];
    for (text, code, named) in cases {
        client.send_text(text).await;
        let error = client.next().await;
        assert_eq!((&error["type"], &error["code"], &error["_reqId"]), (&json!("error"), &json!(code), &json!("q")));
        assert!(error["message"].as_str().unwrap().contains(named), "{error}");
    }
    for text in ["", "null", "[]", "7", "\"hello\""] {
        client.send_text(text).await;
        assert_eq!(client.next().await["code"], "bad_json", "{text:?}");
    }
    let long = "i".repeat(300);
    client.send(&json!({ "type": "mcp_catalog", "_reqId": long })).await;
    assert_eq!(client.next().await["code"], "bad_request");
}

#[tokio::test]
async fn a_refused_request_names_the_request() {
    let broker = Broker::alone().await;
    let mut client = Client::join(&broker, OWNER).await;
    let npx = json!({ "type": "npx", "package": "p" });
    let deploy = |name: &str, source: &Value| json!({ "type": "mcp_deploy", "server_name": name, "source": source });
    let named = |mut message: Value, config: Value| {
        message["config"] = config;
        message
    };
    let cases = [
        (json!({ "type": "mcp_logs", "server_name": "x" }), "not_found", "MCP server \"x\" not found in mesh"),
        (json!({ "type": "mcp_schema", "server_name": "x" }), "not_found", "not found in mesh"),
        (json!({ "type": "mcp_undeploy", "server_name": "x" }), "not_found", "not found in mesh"),
        (
            deploy("-x", &npx),
            "invalid_name",
            "service name must be 1-64 chars, alphanumeric/hyphens/underscores, starting with alphanumeric",
        ),
        (deploy("x", &json!({ "type": "npx", "package": "--help" })), "deploy_error", "source.package"),
        (deploy("x", &json!({ "type": "zip", "file_id": "f" })), "deploy_error", "source.file_id"),
        (deploy("x", &json!({ "type": "git", "url": "ext::sh -c x" })), "deploy_error", "source.url"),
        (named(deploy("x", &npx), json!({ "runtime": "python" })), "deploy_error", "config.runtime"),
        (named(deploy("x", &npx), json!({ "cpus": 0.5 })), "deploy_error", "config.cpus"),
        (named(deploy("x", &npx), json!({ "network_allow": [] })), "deploy_error", "config.network_allow"),
        (named(deploy("x", &npx), json!({ "env": { "A=B": "v" } })), "deploy_error", "env.A"),
        (deploy("x", &npx), "deploy_error", "no runner"),
    ];
    for (message, code, words) in cases {
        let error = client.ask(message).await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let call = json!({ "type": "mcp_call", "serverName": "x", "toolName": "t", "args": {} });
    let answer = client.ask(call).await;
    assert_eq!((&answer["type"], &answer["errorCode"]), (&json!("mcp_call_result"), &json!("not_found")));
    assert_eq!(answer["error"], "MCP server \"x\" not found in mesh");
}

#[tokio::test]
async fn five_hundred_requests_at_once_get_five_hundred_answers() {
    const REQUESTS: usize = 500;
    let broker = Broker::alone().await;
    let mut client = Client::join(&broker, OWNER).await;
    let kinds = [
        json!({ "type": "mcp_catalog" }),
        json!({ "type": "list_peers" }),
        json!({ "type": "mcp_logs", "server_name": "x" }),
        json!({ "type": "mcp_call", "serverName": "x", "toolName": "t", "args": {} }),
        json!({ "type": "nothing_like_it" }),
    ];
    let mut asked = Vec::new();
    for kind in kinds.iter().cycle().take(REQUESTS) {
        asked.push(client.request(kind.clone()).await);
    }
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        let frame = client.next().await;
        *answers.entry(frame["_reqId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(answers.len(), REQUESTS);
    assert!(asked.iter().all(|id| answers[id] == 1));
    // And nothing more comes: the next frame is the answer to the next request.
    let last = client.request(json!({ "type": "mcp_catalog" })).await;
    assert_eq!(client.next().await["_reqId"], last);
}

#[tokio::test]
async fn what_a_refused_deploy_was_named_leaves_nothing_behind() {
    let broker = Broker::alone().await;
    let mut client = Client::join(&broker, OWNER).await;
    for n in 0..20 {
        let source = json!({ "type": "npx", "package": "p" });
        let name = format!("s{n}");
        let refused = client.ask(json!({ "type": "mcp_deploy", "server_name": name, "source": source })).await;
        assert_eq!(refused["code"], "deploy_error");
    }
    let path = format!("/tree?path=meshes/{}/services&depth=1", crate::harness::MESH);
    crate::http::eventually(&broker, &path, |body| body["roots"][0].get("children").is_none()).await;
}
