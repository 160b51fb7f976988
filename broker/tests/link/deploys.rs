//! From a deploy to its verdict, and what an undeploy leaves behind: nothing.

use std::time::Duration;

use protocol::link::{Failure, Header, Outcome, ServiceState};
use serde_json::json;
use tokio::time::Instant;

use super::{call, deploy, deploy_with, listed, listed_as, undeploy, up, world};
use crate::harness::{Client, Hello, Load, MEMBER, OWNER, report, tool};

#[tokio::test]
async fn h15_a_deploy_ends_with_running_and_its_tools() {
    let (_broker, _runner, link, mut client) = world().await;
    let config = json!({ "env": { "KEY": "v" }, "policy": { "retry": "never" } });
    let request = client.request(deploy_with("one", json!({ "args": ["--x"], "config": config }))).await;
    assert_eq!(client.answer(&request).await["status"], "building");
    let Load { cmd, fence, spec } = link.load().await;
    assert_eq!((&*spec.service, &*spec.mesh, &*spec.args), ("one", "default", &["--x".to_owned()][..]));
    assert_eq!((fence.epoch, &fence.deployment), (link.broker.epoch, &spec.deployment));
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![progress(&spec.deployment, "fetching")]);
    listed_as(&mut client, "one", "building").await;
    let mut running = report("one", &spec.deployment, ServiceState::Running);
    running.tools = Some(vec![tool("t", json!({ "readOnlyHint": true }))]);
    running.version = Some("1.2.3".to_owned());
    link.report(false, vec![running]);
    let outcome = client.answer(&request).await;
    assert_eq!(outcome["status"], "running", "an old client is not told what it does not know: {outcome}");
    assert_eq!(outcome["tools"][0]["name"], "t");
    let entry = listed(&mut client, "one").await;
    assert_eq!((&entry["version"], &entry["tool_count"]), (&json!("1.2.3"), &json!(1)));
}

fn progress(deployment: &str, line: &str) -> protocol::link::ServiceReport {
    let mut building = report("one", deployment, ServiceState::Building);
    building.progress = Some(line.to_owned());
    building
}

#[tokio::test]
async fn h15_who_wants_to_know_is_told_each_line_of_an_installation_once() {
    let (broker, _runner, link, _client) = world().await;
    let curious = Hello::of(&broker, OWNER).with("capabilities", vec![json!("deploy_progress")]);
    let (mut client, _) = Client::join_with(&broker, curious).await;
    let request = client.request(deploy("one")).await;
    assert!(client.answer(&request).await["progress"].is_null());
    let Load { cmd, spec, .. } = link.load().await;
    link.done(cmd, Outcome::Ok);
    for line in ["fetching", "unpacking"] {
        for _ in 0..3 {
            link.report(false, vec![progress(&spec.deployment, line)]);
        }
        assert_eq!(client.answer(&request).await["progress"], line);
    }
    link.report(false, vec![report("one", &spec.deployment, ServiceState::Running)]);
    assert_eq!(client.answer(&request).await["status"], "running");
}

#[tokio::test]
async fn h15_a_failed_deploy_says_why_and_is_not_tried_again() {
    let (broker, runner, link, mut client) = world().await;
    let request = client.request(deploy("one")).await;
    let Load { cmd, spec, .. } = link.load().await;
    link.done(cmd, Outcome::Ok);
    let mut failed = report("one", &spec.deployment, ServiceState::Failed);
    failed.failure = Some(Failure { reason: "npm ERR! 404".into(), log: vec!["line 1".into(), "line 2".into()] });
    link.report(false, vec![failed]);
    let outcome = client.outcome(&request).await;
    assert_eq!((&outcome["status"], &outcome["error"]), (&json!("failed"), &json!("npm ERR! 404")));
    assert_eq!(outcome["log"], json!(["line 1", "line 2"]));
    let refused = client.ask(call("one", "t")).await;
    assert_eq!(refused["errorCode"], "not_running");
    assert!(refused["error"].as_str().unwrap().contains("npm ERR! 404"), "{refused}");

    // Both forget: the store does not.
    drop(link);
    let broker = broker.killed_and_started().await;
    let link = runner.accept_with(Vec::new()).await;
    let mut client = Client::join(&broker, OWNER).await;
    let entry = listed_as(&mut client, "one", "failed").await;
    assert_eq!(entry["cause"], "as the test says");
    client.request(json!({ "type": "mcp_logs", "server_name": "one" })).await;
    assert!(matches!(link.next().await.header, Header::Logs { .. }), "nothing was loaded before that");

    // A person may ask again.
    up(&mut client, &link, deploy("one"), Vec::new()).await;
}

#[tokio::test]
async fn a_refused_load_is_a_verdict() {
    let (_broker, _runner, link, mut client) = world().await;
    let request = client.request(deploy("one")).await;
    let Load { cmd, .. } = link.load().await;
    link.done(cmd, Outcome::Error { code: "disk".into(), message: "no disk is left".into() });
    let outcome = client.outcome(&request).await;
    assert_eq!((&outcome["status"], &outcome["error"]), (&json!("failed"), &json!("no disk is left")));
}

#[tokio::test]
async fn an_update_comes_up_beside_switches_and_drains_the_old() {
    let (_broker, _runner, link, mut client) = world().await;
    let old = up(&mut client, &link, deploy("one"), vec![tool("t", json!({}))]).await;
    let request = client.request(deploy("one")).await;
    let Load { cmd, spec, .. } = link.load().await;
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &spec.deployment, ServiceState::Starting)]);
    // Until the switch calls go to the old one.
    let asked = client.request(call("one", "t")).await;
    let (header, _) = link.call().await;
    assert_eq!(header.deployment, old);
    link.reply(header.id, "from the old");
    client.answer(&asked).await;

    link.report(false, vec![report("one", &spec.deployment, ServiceState::Running)]);
    assert_eq!(client.outcome(&request).await["status"], "running");
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, old);
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &old, ServiceState::Stopped)]);
    client.request(call("one", "t")).await;
    assert_eq!(link.call().await.0.deployment, spec.deployment);
}

#[tokio::test]
async fn an_update_that_fails_leaves_the_old_in_place() {
    let (_broker, _runner, link, mut client) = world().await;
    let old = up(&mut client, &link, deploy("one"), Vec::new()).await;
    let request = client.request(deploy("one")).await;
    let Load { cmd, spec, .. } = link.load().await;
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &spec.deployment, ServiceState::Failed)]);
    assert_eq!(client.outcome(&request).await["status"], "failed");
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, spec.deployment);
    link.done(cmd, Outcome::Ok);
    assert_eq!(listed(&mut client, "one").await["status"], "running");
    client.request(call("one", "t")).await;
    assert_eq!(link.call().await.0.deployment, old);
}

#[tokio::test]
async fn h14_an_undeploy_during_a_deploy_wins() {
    let (_broker, _runner, link, mut client) = world().await;
    let deploying = client.request(deploy("one")).await;
    let Load { cmd, spec, .. } = link.load().await;
    let removing = client.request(undeploy("one")).await;
    assert_eq!(client.outcome(&deploying).await["status"], "failed");
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &spec.deployment, ServiceState::Building)]);
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, spec.deployment);
    link.done(cmd, Outcome::Ok);
    assert_eq!(client.outcome(&removing).await["status"], "stopped");
    assert!(listed(&mut client, "one").await.is_null());
    // The name is free at once.
    up(&mut client, &link, deploy("one"), Vec::new()).await;
}

#[tokio::test]
async fn h15_an_undeploy_that_a_deploy_follows_is_answered_too() {
    let (_broker, _runner, link, mut client) = world().await;
    let old = up(&mut client, &link, deploy("one"), Vec::new()).await;
    let removing = client.request(undeploy("one")).await;
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, old);
    let deploying = client.request(deploy("one")).await;
    assert_eq!(client.answer(&deploying).await["status"], "building");
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &old, ServiceState::Stopped)]);
    let new = link.bring_up(Vec::new()).await;
    assert_ne!(new, old);
    assert_eq!(client.outcome(&deploying).await["status"], "running");
    let removed = client.outcome(&removing).await;
    assert_eq!(removed["type"], "mcp_deploy_status", "{removed}");
}

#[tokio::test]
async fn an_undeploy_without_its_runner_is_answered_once() {
    let (_broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), Vec::new()).await;
    link.cut();
    listed_as(&mut client, "one", "unreachable").await;
    let removing = client.request(undeploy("one")).await;
    let answer = client.answer(&removing).await;
    assert_eq!((&answer["type"], &answer["status"]), (&json!("mcp_deploy_status"), &json!("failed")));
    assert!(answer["error"].as_str().unwrap().contains("not connected"), "{answer}");
    // Nothing more comes, and what still runs there is stopped when it is back.
    let next = client.request(json!({ "type": "mcp_catalog" })).await;
    assert_eq!(client.until(|frame| !frame["_reqId"].is_null()).await["_reqId"], next);
    let link = runner.accept_with(vec![report("one", &id, ServiceState::Running)]).await;
    assert_eq!(link.unload().await.1, id);
}

#[tokio::test]
async fn an_undeploy_whose_runner_is_lost_meanwhile_is_answered() {
    let (_broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), Vec::new()).await;
    let removing = client.request(undeploy("one")).await;
    link.unload().await;
    link.cut();
    let answer = client.answer(&removing).await;
    assert_eq!(answer["type"], "mcp_deploy_status", "{answer}");
    let link = runner.accept_with(vec![report("one", &id, ServiceState::Running)]).await;
    assert_eq!(link.unload().await.1, id);
}

#[tokio::test]
async fn a_command_that_is_refused_or_fenced_is_not_repeated_at_once() {
    const TIMES: u32 = 3;
    const AT_LEAST: Duration = Duration::from_millis(400);
    let (_broker, _runner, link, mut client) = world().await;
    let request = client.request(deploy("one")).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        let Load { cmd, .. } = link.load().await;
        link.done(cmd, Outcome::Fenced { epoch: 99 });
    }
    let id = link.bring_up(Vec::new()).await;
    assert!(began.elapsed() >= AT_LEAST * TIMES, "{:?}", began.elapsed());
    assert_eq!(client.outcome(&request).await["status"], "running", "a fence is no verdict");

    let removing = client.request(undeploy("one")).await;
    let began = Instant::now();
    for _ in 0..TIMES {
        let (cmd, _) = link.unload().await;
        link.done(cmd, Outcome::Error { code: "busy".into(), message: "not now".into() });
    }
    let (cmd, unloaded) = link.unload().await;
    assert!(began.elapsed() >= AT_LEAST * TIMES, "{:?}", began.elapsed());
    assert_eq!(unloaded, id);
    link.done(cmd, Outcome::Ok);
    assert_eq!(client.outcome(&removing).await["status"], "stopped");
}

#[tokio::test]
async fn logs_and_schema_are_what_the_runner_and_the_server_say() {
    use protocol::link::{LogLine, LogStream};
    let (_broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), vec![tool("a", json!({})), tool("b", json!({}))]).await;
    let asked = client.request(json!({ "type": "mcp_logs", "server_name": "one", "lines": 9_999 })).await;
    let Header::Logs { cmd, lines, .. } = link.next().await.header else { panic!("logs were due") };
    assert_eq!(lines, 1_000, "cut to what is allowed");
    // The last is of a service that had the name before.
    let line =
        |at_ms, text: &str| LogLine { at_ms, stream: LogStream::Stderr, text: text.to_owned(), seq: Some(at_ms) };
    let lines = vec![line(4_102_444_800_000, "ready"), line(0, "another's secret")];
    link.send(Header::LogsResult { cmd, lines, lost: false }, "");
    let answer = client.answer(&asked).await;
    assert_eq!(answer["lines"], json!(["2100-01-01T00:00:00.000Z stderr ready"]));
    assert_eq!(answer["next"], 4_102_444_800_000_u64);

    let more = json!({ "type": "mcp_logs", "server_name": "one", "after": answer["next"] });
    let asked = client.request(more).await;
    let Header::Logs { cmd, after, .. } = link.next().await.header else { panic!("logs were due") };
    assert_eq!(after, Some(4_102_444_800_000));
    link.send(Header::LogsResult { cmd, lines: Vec::new(), lost: true }, "");
    let answer = client.answer(&asked).await;
    assert_eq!((&answer["next"], &answer["lost"]), (&json!(4_102_444_800_000_u64), &json!(true)));

    let all = client.ask(json!({ "type": "mcp_schema", "server_name": "one" })).await;
    assert_eq!(all["tools"].as_array().unwrap().len(), 2);
    let one = client.ask(json!({ "type": "mcp_schema", "server_name": "one", "tool_name": "b" })).await;
    assert_eq!(one["tools"][0]["name"], "b");
    let none = client.ask(json!({ "type": "mcp_schema", "server_name": "one", "tool_name": "c" })).await;
    assert_eq!(none["code"], "not_found");
}

#[tokio::test]
async fn h50_a_session_has_so_many_requests_under_way_and_the_others_do_not_notice() {
    const REQUESTS: usize = 64;
    let (broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy_with("one", json!({ "scope": "mesh" })), Vec::new()).await;
    let mut greedy = Client::join(&broker, MEMBER).await;
    let logs = json!({ "type": "mcp_logs", "server_name": "one" });
    for _ in 0..REQUESTS {
        greedy.request(logs.clone()).await;
    }
    let refused = greedy.ask(logs.clone()).await;
    assert_eq!(refused["code"], "limit", "{refused}");
    for _ in 0..REQUESTS {
        assert!(matches!(link.next().await.header, Header::Logs { .. }));
    }
    // Those of one who is gone are forgotten, and others are served meanwhile.
    drop(greedy);
    let asked = client.request(logs).await;
    let Header::Logs { cmd, .. } = link.next().await.header else { panic!("logs were due") };
    link.send(Header::LogsResult { cmd, lines: Vec::new(), lost: false }, "");
    assert_eq!(client.answer(&asked).await["type"], "mcp_logs_result");
}

#[tokio::test]
async fn h18_another_source_forgets_the_one_before_completely() {
    let (_broker, _runner, link, mut client) = world().await;
    let config = json!({
        "env": { "OLD": "secret" }, "memory_mb": 64,
        "policy": { "retry": "never", "instances": 3, "exclusive": false, "concurrency": 7 },
    });
    let old = deploy_with("one", json!({ "args": ["--old"], "config": config }));
    up(&mut client, &link, old, vec![tool("old", json!({}))]).await;
    let new = json!({ "type": "mcp_deploy", "server_name": "one", "source": { "type": "uvx", "package": "q" } });
    let request = client.request(new).await;
    let Load { cmd, spec, .. } = link.load().await;
    assert_eq!(spec.source.kind(), "uvx");
    assert_eq!((spec.args.len(), spec.env.len(), spec.version), (0, 0, None));
    assert_eq!((spec.policy, spec.limits), (Default::default(), Default::default()));
    link.done(cmd, Outcome::Ok);
    let mut running = report("one", &spec.deployment, ServiceState::Running);
    running.tools = Some(vec![tool("new", json!({}))]);
    link.report(false, vec![running]);
    assert_eq!(client.outcome(&request).await["tools"][0]["name"], "new");
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    let schema = client.ask(json!({ "type": "mcp_schema", "server_name": "one" })).await;
    assert_eq!((&schema["tools"][0]["name"], schema["tools"].as_array().unwrap().len()), (&json!("new"), 1));
}

#[tokio::test]
async fn h14_an_exclusive_update_stops_the_old_one_first_and_a_failure_brings_it_back() {
    let (_broker, _runner, link, mut client) = world().await;
    let exclusive = || deploy_with("one", json!({ "config": { "policy": { "exclusive": true } } }));
    let first = up(&mut client, &link, exclusive(), vec![tool("t", json!({}))]).await;
    let request = client.request(exclusive()).await;
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, first, "it makes way before anything else is asked of the runner");
    // What a runner says while it does: the end of the old one is not an end for good.
    link.report(false, vec![report("one", &first, ServiceState::Stopped)]);
    link.done(cmd, Outcome::Ok);
    let Load { cmd, spec, .. } = link.load().await;
    assert_ne!(spec.deployment, first);
    listed_as(&mut client, "one", "queued").await;
    // Calls wait for whichever comes up.
    let asked = client.request(call("one", "t")).await;
    link.done(cmd, Outcome::Ok);
    let mut failed = report("one", &spec.deployment, ServiceState::Failed);
    failed.failure = Some(Failure { reason: "exit code 3".to_owned(), log: Vec::new() });
    link.report(false, vec![failed]);
    assert_eq!(client.outcome(&request).await["status"], "failed");
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, spec.deployment);
    link.done(cmd, Outcome::Ok);
    assert_eq!(link.bring_up(vec![tool("t", json!({}))]).await, first);
    let (header, _) = link.call().await;
    assert_eq!(header.deployment, first);
    link.reply(header.id, "as before");
    assert!(client.answer(&asked).await["result"].is_object());
    let entry = listed_as(&mut client, "one", "running").await;
    assert!(entry["cause"].as_str().unwrap().contains("its update failed: exit code 3"), "{entry}");
}
