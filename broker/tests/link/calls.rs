//! A call's one answer, whatever happens to the runner meanwhile.

use std::time::{Duration, Instant};

use protocol::link::{FailCode, Header, ServiceState};
use serde_json::json;

use super::{call, deploy, listed_as, undeploy, up, world};
use crate::harness::{Client, MEMBER, OWNER, report, tool};

fn two_tools() -> Vec<protocol::link::Tool> {
    vec![tool("read", json!({ "readOnlyHint": true })), tool("write", json!({ "destructiveHint": true }))]
}

#[tokio::test]
async fn h19_a_call_goes_through_untouched_and_comes_back_as_the_server_gave_it() {
    let (_broker, _runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), two_tools()).await;
    client.send_text(r#"{"type":"mcp_call","serverName":"one","toolName":"read","args":{"n":1.10,"k":[]},"timeoutMs":5000,"_reqId":"c"}"#).await;
    let delivered = link.next().await;
    assert_eq!(&delivered.body[..], br#"{"name":"read","arguments":{"n":1.10,"k":[]}}"#);
    let Header::Call(header) = delivered.header else { panic!("a call was due") };
    assert_eq!((&*header.service, &*header.deployment, &*header.method), ("one", &*id, "tools/call"));
    assert!((1..=5_000).contains(&header.timeout_ms));
    link.reply(header.id, "done");
    let answer = client.answer("c").await;
    assert_eq!(answer["result"]["content"][0]["text"], "done");
    assert_eq!(answer["attempts"], 1);
}

#[tokio::test]
async fn h19_a_large_result_passes_and_the_small_ones_do_not_wait_for_it() {
    const LARGE: usize = 10 * 1024 * 1024;
    let (broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), two_tools()).await;
    let mut other = Client::join(&broker, OWNER).await;
    let asked = client.request(call("one", "read")).await;
    let (header, _) = link.call().await;
    link.reply(header.id, &"x".repeat(LARGE));
    let small = other.request(call("one", "read")).await;
    let (header, _) = link.call().await;
    link.reply(header.id, "small");
    assert_eq!(other.answer(&small).await["result"]["content"][0]["text"], "small");
    let answer = client.answer(&asked).await;
    assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), LARGE);
}

#[tokio::test]
async fn h09_a_lost_link_is_answered_at_once_or_sent_again_once() {
    let (_broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), two_tools()).await;
    let running = || vec![report("one", &id, ServiceState::Running)];
    let write = client.request(call("one", "write")).await;
    let read = client.request(call("one", "read")).await;
    link.call().await;
    link.call().await;
    link.cut();
    let lost = client.answer(&write).await;
    assert_eq!((&lost["errorCode"], &lost["attempts"]), (&json!("outcome_unknown"), &json!(1)), "{lost}");

    let link = runner.accept_with(running()).await;
    let (header, params) = link.call().await;
    assert_eq!((&params["name"], header.attempts_before), (&json!("read"), 1));
    link.reply(header.id, "again");
    assert_eq!(client.answer(&read).await["result"]["content"][0]["text"], "again");

    // Twice lost is one time too many.
    let read = client.request(call("one", "read")).await;
    link.call().await;
    link.cut();
    let link = runner.accept_with(running()).await;
    link.call().await;
    link.cut();
    let poison = client.answer(&read).await;
    assert_eq!((&poison["errorCode"], &poison["attempts"]), (&json!("poison"), &json!(2)), "{poison}");
    let link = runner.accept_with(running()).await;
    client.request(json!({ "type": "mcp_logs", "server_name": "one" })).await;
    assert!(matches!(link.next().await.header, Header::Logs { .. }), "it is not sent a third time");
}

#[tokio::test]
async fn h09_calls_wait_for_their_runner_but_not_for_ever() {
    let (_broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), two_tools()).await;
    link.cut();
    listed_as(&mut client, "one", "unreachable").await;
    let patient = client.request(call("one", "write")).await;
    let mut hurried = call("one", "write");
    hurried["timeoutMs"] = 300.into();
    let began = Instant::now();
    let late = client.ask(hurried).await;
    assert_eq!((&late["errorCode"], &late["attempts"]), (&json!("unreachable"), &json!(0)), "{late}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let link = runner.accept_with(vec![report("one", &id, ServiceState::Running)]).await;
    let (header, _) = link.call().await;
    assert_eq!(header.attempts_before, 0);
    link.reply(header.id, "worth the wait");
    assert_eq!(client.answer(&patient).await["result"]["content"][0]["text"], "worth the wait");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_given_up_on_the_runner() {
    let (broker, _runner, link, mut client) = world().await;
    let message = |id: &str| {
        let mut message = call("one", "read");
        message["callId"] = id.into();
        message
    };
    let mut scope = deploy("one");
    scope["scope"] = "mesh".into();
    up(&mut client, &link, scope, two_tools()).await;
    let asked = client.request(message("c1")).await;
    let (header, _) = link.call().await;
    let twice = client.ask(message("c1")).await;
    assert_eq!(twice["errorCode"], "bad_request", "{twice}");
    // An id is the session's own: another's cancel does nothing.
    let mut other = Client::join(&broker, MEMBER).await;
    other.send(&json!({ "type": "mcp_cancel", "callId": "c1" })).await;
    other.ask(json!({ "type": "mcp_catalog" })).await;
    client.send(&json!({ "type": "mcp_cancel", "callId": "c1" })).await;
    let Header::Cancel { id, .. } = link.next().await.header else { panic!("a cancel was due") };
    assert_eq!(id, header.id);
    link.fail(id, FailCode::Cancelled);
    assert_eq!(client.answer(&asked).await["errorCode"], "cancelled");

    // Whoever goes away gives all of its calls up, named or not.
    client.request(message("c2")).await;
    client.request(call("one", "read")).await;
    let mut open = vec![link.call().await.0.id, link.call().await.0.id];
    drop(client);
    for _ in 0..2 {
        let Header::Cancel { id, .. } = link.next().await.header else { panic!("a cancel was due") };
        open.retain(|open| *open != id);
    }
    assert_eq!(open, Vec::<u64>::new());
}

#[tokio::test]
async fn h20_a_call_that_still_waits_can_be_given_up() {
    let (_broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), two_tools()).await;
    link.cut();
    listed_as(&mut client, "one", "unreachable").await;
    let mut waiting = call("one", "read");
    waiting["callId"] = "c1".into();
    let asked = client.request(waiting.clone()).await;
    client.send(&json!({ "type": "mcp_cancel", "callId": "c1" })).await;
    assert_eq!(client.answer(&asked).await["errorCode"], "cancelled");

    // One that waited and was sent then can be given up as well.
    let asked = client.request(waiting).await;
    let link = runner.accept_with(vec![report("one", &id, ServiceState::Running)]).await;
    let (header, _) = link.call().await;
    client.send(&json!({ "type": "mcp_cancel", "callId": "c1" })).await;
    let Header::Cancel { id, .. } = link.next().await.header else { panic!("a cancel was due") };
    assert_eq!(id, header.id);
    link.fail(id, FailCode::Cancelled);
    assert_eq!(client.answer(&asked).await["errorCode"], "cancelled");
}

#[tokio::test]
async fn what_waits_for_a_service_that_is_removed_is_answered() {
    let (_broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), two_tools()).await;
    link.cut();
    listed_as(&mut client, "one", "unreachable").await;
    let asked = client.request(call("one", "read")).await;
    client.ask(undeploy("one")).await;
    let gone = client.answer(&asked).await;
    assert_eq!(gone["errorCode"], "not_found", "{gone}");
}

#[tokio::test]
async fn h50_a_session_has_so_many_calls_and_is_told() {
    const CALLS: usize = 320;
    let (_broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), two_tools()).await;
    for _ in 0..CALLS {
        client.request(call("one", "read")).await;
    }
    let refused = client.ask(call("one", "read")).await;
    assert_eq!(refused["errorCode"], "limit", "{refused}");
    let (header, _) = link.call().await;
    link.reply(header.id, "room again");
    client.until(|frame| frame["result"].is_object()).await;
    let asked = client.request(call("one", "read")).await;
    for _ in 0..CALLS {
        let (header, _) = link.call().await;
        link.reply(header.id, "answered");
    }
    assert!(client.answer(&asked).await["result"].is_object());
}

/// A client that does not read is cut off before it costs others anything.
#[tokio::test]
async fn h34_who_does_not_read_its_results_is_cut_off() {
    const RESULT: usize = 40 * 1024 * 1024;
    // One on its way into the socket, three that may wait, and one too many.
    const RESULTS: usize = 5;
    let (broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), two_tools()).await;
    let mut idle = Client::join(&broker, OWNER).await;
    for _ in 0..RESULTS {
        idle.request(call("one", "read")).await;
    }
    let text = "x".repeat(RESULT);
    for _ in 0..RESULTS {
        let (header, _) = link.call().await;
        link.reply(header.id, &text);
    }
    let asked = client.request(call("one", "read")).await;
    let (header, _) = link.call().await;
    link.reply(header.id, "small");
    assert!(client.answer(&asked).await["result"].is_object());
    let sessions = "/tree?path=meshes/default/peers&depth=1";
    crate::http::eventually(&broker, sessions, |peers| {
        peers["roots"][0]["children"].as_array().is_some_and(|peers| peers.len() == 1)
    })
    .await;
    assert_eq!(idle.closed().await, None, "cut, without a word that it would not have read");
}

#[tokio::test]
async fn h20_progress_comes_under_the_callers_own_name_and_ends_with_the_answer() {
    let (_broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), two_tools()).await;
    let mut named = call("one", "read");
    named["callId"] = "c1".into();
    let asked = client.request(named).await;
    let (header, _) = link.call().await;
    assert!(header.progress, "it has a name, so its caller wants to know");
    let says = |word: &'static str| link.send(Header::Progress { id: header.id }, word);
    says(r#"{"progress":1,"total":2.5,"message":"reading"}"#);
    let news = client.until(|frame| frame["type"] == "mcp_progress").await;
    assert_eq!(
        news,
        json!({ "type": "mcp_progress", "callId": "c1", "progress": 1, "total": 2.5, "message": "reading" })
    );
    says("not what a runner says");
    link.reply(header.id, "done");
    says(r#"{"progress":2}"#);
    assert!(client.answer(&asked).await["result"].is_object());
    // One without a name is not asked about, and a word about it goes nowhere.
    let asked = client.request(call("one", "read")).await;
    let (header, _) = link.call().await;
    assert!(!header.progress);
    link.send(Header::Progress { id: header.id }, r#"{"progress":1}"#);
    link.reply(header.id, "done");
    let next = client.until(|frame| frame["type"] == "mcp_progress" || frame["_reqId"] == asked.as_str()).await;
    assert_eq!(next["_reqId"], asked.as_str(), "nothing came before the answer: {next}");
}

#[tokio::test]
async fn h50_calls_of_one_member_have_one_key_and_it_names_nobody() {
    let (broker, _runner, link, mut client) = world().await;
    let mut shared = deploy("one");
    shared["scope"] = "mesh".into();
    up(&mut client, &link, shared, two_tools()).await;
    let mut again = Client::join(&broker, OWNER).await;
    let mut other = Client::join(&broker, MEMBER).await;
    let mut keys = Vec::new();
    for caller in [&mut client, &mut again, &mut other] {
        caller.request(call("one", "read")).await;
        keys.push(link.call().await.0.affinity.unwrap());
    }
    assert_eq!(keys[0], keys[1], "of the same member");
    assert_ne!(keys[0], keys[2], "of another");
    let id = broker.member_id(OWNER);
    assert!(keys.iter().all(|key| key.len() == 32 && !key.contains(id)), "{keys:?}");
}

#[tokio::test]
async fn h50_a_member_whose_calls_are_poison_is_cut_off_and_others_are_not() {
    let (broker, _runner, link, mut client) = world().await;
    let mut shared = deploy("one");
    shared["scope"] = "mesh".into();
    up(&mut client, &link, shared, two_tools()).await;
    let mut other = Client::join(&broker, MEMBER).await;
    for _ in 0..3 {
        let asked = other.request(call("one", "read")).await;
        let (header, _) = link.call().await;
        link.fail(header.id, FailCode::Poison);
        assert_eq!(other.answer(&asked).await["errorCode"], "poison");
    }
    let refused = other.ask(call("one", "read")).await;
    assert_eq!((&refused["errorCode"], &refused["attempts"]), (&json!("poisoned"), &json!(0)), "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("limit: 3 of this member's calls"), "{refused}");
    let asked = client.request(call("one", "read")).await;
    let (header, _) = link.call().await;
    link.reply(header.id, "for others");
    assert!(client.answer(&asked).await["result"].is_object());
}

#[tokio::test]
async fn h42_other_tools_are_told_to_those_who_may_see_the_service() {
    let (broker, _runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), two_tools()).await;
    client.until(|frame| frame["type"] == "mcp_tools_changed").await;
    let mut stranger = Client::join(&broker, MEMBER).await;
    let lists = |tools: Vec<protocol::link::Tool>| {
        let mut report = report("one", &id, ServiceState::Running);
        report.tools = Some(tools);
        link.report(false, vec![report]);
    };
    // The same list is no news, the same number of others is.
    lists(two_tools());
    lists(vec![tool("read", json!({ "readOnlyHint": true })), tool("write", json!({ "idempotentHint": true }))]);
    let told = client.until(|frame| frame["type"] == "mcp_tools_changed").await;
    assert_eq!(told, json!({ "type": "mcp_tools_changed", "server_name": "one" }));
    let schema = client.ask(json!({ "type": "mcp_schema", "server_name": "one" })).await;
    assert_eq!(schema["tools"][1]["annotations"]["idempotentHint"], true, "the catalog has it first: {schema}");
    lists(vec![tool("read", json!({}))]);
    client.until(|frame| frame["type"] == "mcp_tools_changed").await;
    stranger.request(json!({ "type": "mcp_catalog" })).await;
    let next = stranger.until(|frame| frame["type"] != "push").await;
    assert_eq!(next["type"], "mcp_catalog_result", "it does not exist for others: {next}");
}
