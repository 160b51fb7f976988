//! What passes between a caller and a server besides the answer, and updates of what must be alone.

use serde_json::{Value, json};
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{Mesh, SETTLE};
use tokio::time::timeout;

/// A call with a name.
fn named(service: &str, tool: &str, arguments: &Value, id: &str) -> Value {
    let mut message = call(service, tool, arguments);
    message["callId"] = id.into();
    message
}

#[test]
fn h20_progress_and_cancellation_pass_between_the_caller_and_the_server() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("talker", &[], &[]).ok();
    let membership = mesh.membership();
    let seen = converse(async {
        let mut caller = Peer::connect(&membership).await?;
        let mut other = Peer::connect(&membership).await?;
        let id = caller.send(named("talker", "steps", &json!({ "steps": 40, "ms": 250 }), "mine")).await?;
        let mut words = Vec::new();
        let answer = loop {
            let message = caller.next().await?;
            if message["type"] == "mcp_progress" {
                words.push(message);
            } else if message["_reqId"] == id.as_str() {
                break message;
            }
        };
        // Nobody else hears of it.
        let next = other.ask(json!({ "type": "mcp_catalog" })).await?;
        if verdict(&answer) != "ok" || next["type"] != "mcp_catalog_result" {
            return Err(format!("{answer} {next}"));
        }
        let given_up = caller.send(named("talker", "slow", &json!({ "ms": 3_600_000 }), "long")).await?;
        caller.send(json!({ "type": "mcp_cancel", "callId": "long" })).await?;
        let cancelled = caller.reply_to(&given_up).await?;
        if verdict(&cancelled) != "cancelled" {
            return Err(cancelled.to_string());
        }
        let told = caller.ask(call("talker", "cancelled", &json!({}))).await?;
        Ok((words, told))
    });
    let (words, told) = seen.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
    assert!(words.iter().all(|word| word["callId"] == "mine" && word["total"] == 40), "{words:?}");
    assert_eq!(words.last().map(|word| &word["progress"]), Some(&json!(40)), "the last word: {words:?}");
    assert_eq!(words.last().map(|word| &word["message"]), Some(&json!("step 40")));
    assert!(words.len() <= 10, "{} words", words.len());
    let told = told["result"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(told.contains("the caller gave it up"), "the server heard of it: {told}");
}

#[test]
fn h42_a_server_that_changes_its_tools_is_told_to_those_connected() {
    let mesh = Mesh::start();
    let membership = mesh.membership();
    let told = converse(async {
        let mut watcher = Peer::connect(&membership).await?;
        let program = tests::harness::programs::fixture();
        let argv = json!([program.to_str(), "--change-tools-after-ms", "300"]);
        let source = json!({ "type": "command", "argv": argv });
        watcher.send(json!({ "type": "mcp_deploy", "server_name": "grows", "source": source })).await?;
        let told = async {
            // The first that it lists are news, too. Nothing is asked unless something was told.
            loop {
                let said = watcher.next().await?;
                let tools = said["tools"].as_array().into_iter().flatten();
                match said["type"].as_str() {
                    Some("mcp_tools_changed") => {
                        watcher.send(json!({ "type": "mcp_schema", "server_name": "grows" })).await?;
                    }
                    Some("mcp_schema_result") if tools.clone().any(|tool| tool["name"] == "later") => return Ok(()),
                    _ => {}
                }
            }
        };
        timeout(SETTLE, told).await.map_err(|_| "nobody was told of the other tools".to_owned())?
    });
    told.unwrap_or_else(|error: String| panic!("{error}\n{}", mesh.logs()));
}

#[test]
fn h14_an_exclusive_service_is_never_there_twice_and_comes_back_when_its_update_fails() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("alone", &["--exclusive"], &[]).ok();
    let first = mesh.pid("alone");
    // The next one cannot come up, so the one before is started again.
    let failed = mesh.deploy_fixture("alone", &["--exclusive"], &["--exit-at-start", "9"]);
    assert_eq!(failed.code, Some(1), "{failed}");
    mesh.wait_for_status("alone", "running", SETTLE);
    let second = mesh.pid("alone");
    assert_ne!(first, second, "the old one made way");
    let row = mesh.service("alone").unwrap_or_default();
    let cause = row["cause"].as_str().unwrap_or_default().to_owned();
    assert!(cause.contains("its update failed: exit code 9"), "{row}");
    assert_eq!(mesh.cli(&["call", "alone", "echo", "text=back"]).ok().stdout.trim(), "back");
    let _ = mesh.deploy_fixture("alone", &["--exclusive"], &["--pages", "2"]).ok();
    let third = mesh.pid("alone");
    assert_ne!(second, third);
}
