//! What a person does with a service that is there: update, rollback, restart, stop, start.

use protocol::link::{Failure, Outcome, ServiceState};
use serde_json::{Value, json};

use super::{call, deploy, deploy_with, listed, listed_as, up, world};
use crate::harness::{ADMIN, Client, Conn, Load, MEMBER, OWNER, report, tool};

fn verb(verb: &str, name: &str) -> Value {
    json!({ "type": format!("mcp_{verb}"), "server_name": name })
}

/// The next load comes up at once, in this exact version; its deployment's id.
async fn come_up(link: &Conn, version: &str) -> String {
    let Load { cmd, spec, .. } = link.load().await;
    link.done(cmd, Outcome::Ok);
    let mut up = report(&spec.service, &spec.deployment, ServiceState::Running);
    (up.version, up.tools) = (Some(version.to_owned()), Some(vec![tool("t", json!({}))]));
    link.report(false, vec![up]);
    spec.deployment
}

async fn unloaded(link: &Conn, expected: &str) {
    let (cmd, id) = link.unload().await;
    assert_eq!(id, expected);
    link.done(cmd, Outcome::Ok);
}

/// Asks for a verb that brings a service up in this version, and waits for the end of it.
async fn done(client: &mut Client, link: &Conn, message: Value, version: &str) -> String {
    let request = client.request(message).await;
    let id = come_up(link, version).await;
    assert_eq!(client.outcome(&request).await["status"], "running");
    id
}

#[tokio::test]
async fn an_update_resolves_the_source_anew_and_tells_both_versions() {
    let (broker, _runner, link, mut owner) = world().await;
    let mut member = Client::join(&broker, MEMBER).await;
    let config = json!({ "scope": "mesh", "args": ["--x"], "config": { "env": { "KEY": "v" } } });
    let old = done(&mut member, &link, deploy_with("one", config), "1.0.0").await;
    let event = owner.event("mcp_deployed").await;
    assert_eq!(event["name"], "one");
    let mut admin = Client::join(&broker, ADMIN).await;
    let request = admin.request(verb("update", "one")).await;
    assert_eq!(admin.answer(&request).await["status"], "building");
    let Load { cmd, spec, .. } = link.load().await;
    assert_ne!(spec.deployment, old);
    assert_eq!((spec.version, spec.args), (None, vec!["--x".to_owned()]), "the version is found out again");
    assert_eq!(spec.env["KEY"].expose(), "v");
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &spec.deployment, ServiceState::Starting)]);
    // Until the switch calls go to the old one.
    let asked = admin.request(call("one", "t")).await;
    let (header, _) = link.call().await;
    assert_eq!(header.deployment, old);
    link.reply(header.id, "from the old");
    admin.answer(&asked).await;
    let mut running = report("one", &spec.deployment, ServiceState::Running);
    (running.version, running.tools) = (Some("1.1.0".to_owned()), Some(vec![tool("u", json!({}))]));
    link.report(false, vec![running]);
    let outcome = admin.outcome(&request).await;
    assert_eq!((&outcome["status"], &outcome["tools"][0]["name"]), (&json!("running"), &json!("u")));
    let event = owner.event("mcp_updated").await;
    assert_eq!((&event["prev_sha"], &event["new_sha"]), (&json!("1.0.0"), &json!("1.1.0")));
    assert_eq!(event["tools"][0]["name"], "u");
    let entry = listed(&mut owner, "one").await;
    assert_eq!(
        (&entry["deployed_by"], &entry["scope"]),
        (&json!(MEMBER.name), &json!("mesh")),
        "it stays its deployer's"
    );
    assert!(!owner.events_so_far().await.contains(&"mcp_deployed".to_owned()));
}

#[tokio::test]
async fn a_rollback_brings_the_earlier_deployment_itself_back_and_the_next_one_goes_further() {
    let (_broker, _runner, link, mut client) = world().await;
    let mut ids = Vec::new();
    for version in ["1.0.0", "2.0.0", "3.0.0"] {
        ids.push(done(&mut client, &link, deploy("one"), version).await);
        if let [.., before, _] = &ids[..] {
            unloaded(&link, before).await;
        }
    }
    for (to, from, version) in [(1, 2, "2.0.0"), (0, 1, "1.0.0")] {
        let request = client.request(verb("rollback", "one")).await;
        let Load { cmd, spec, .. } = link.load().await;
        assert_eq!((&spec.deployment, spec.version.as_deref()), (&ids[to], Some(version)), "its exact version");
        link.done(cmd, Outcome::Ok);
        let mut back = report("one", &spec.deployment, ServiceState::Running);
        back.version = Some(version.to_owned());
        link.report(false, vec![back]);
        assert_eq!(client.outcome(&request).await["status"], "running");
        unloaded(&link, &ids[from]).await;
        assert_eq!(client.event("mcp_updated").await["name"], "one");
    }
    let refused = client.ask(verb("rollback", "one")).await;
    assert_eq!(refused["code"], "deploy_error", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("no earlier deployment"), "{refused}");
    let mut to = verb("rollback", "one");
    to["deployment"] = json!("nonsense");
    assert_eq!(client.ask(to.clone()).await["code"], "deploy_error");
    to["deployment"] = json!(ids[2]);
    assert_eq!(done(&mut client, &link, to, "3.0.0").await, ids[2], "forward again, by its name");
}

#[tokio::test]
async fn what_dies_within_its_trial_is_rolled_back_once_and_it_is_said() {
    let (_broker, _runner, link, mut client) = world().await;
    let good = done(&mut client, &link, deploy("one"), "1.0.0").await;
    let bad = done(&mut client, &link, verb("update", "one"), "2.0.0").await;
    unloaded(&link, &good).await;
    client.event("mcp_updated").await;
    let mut died = report("one", &bad, ServiceState::Restarting);
    died.failure = Some(Failure { reason: "exited with status 7".into(), log: Vec::new() });
    link.report(false, vec![died]);
    assert_eq!(come_up(&link, "1.0.0").await, good);
    let event = client.event("mcp_updated").await;
    assert_eq!((&event["prev_sha"], &event["new_sha"]), (&json!("2.0.0"), &json!("1.0.0")));
    assert_eq!(event["rolled_back"], "exited with status 7");
    unloaded(&link, &bad).await;
    // What came back is not on trial itself.
    link.report(false, vec![report("one", &good, ServiceState::Crashed)]);
    listed_as(&mut client, "one", "crashed").await;
    client.request(json!({ "type": "mcp_logs", "server_name": "one" })).await;
    let next = link.next().await.header;
    assert!(matches!(next, protocol::link::Header::Logs { .. }), "nothing was loaded: {next:?}");
}

#[tokio::test]
async fn h15_a_trial_outlives_the_broker() {
    let (broker, runner, link, mut client) = world().await;
    let good = done(&mut client, &link, deploy("one"), "1.0.0").await;
    let bad = done(&mut client, &link, verb("update", "one"), "2.0.0").await;
    unloaded(&link, &good).await;
    drop(link);
    // It dies while nobody looks.
    let broker = broker.killed_and_started().await;
    let link = runner.accept_with(vec![report("one", &bad, ServiceState::Crashed)]).await;
    let mut client = Client::join(&broker, OWNER).await;
    assert_eq!(come_up(&link, "1.0.0").await, good);
    unloaded(&link, &bad).await;
    listed_as(&mut client, "one", "running").await;
    // Once: what came back is on no trial, in this life and in the next.
    drop(link);
    let broker = broker.killed_and_started().await;
    let link = runner.accept_with(vec![report("one", &good, ServiceState::Crashed)]).await;
    let mut client = Client::join(&broker, OWNER).await;
    listed_as(&mut client, "one", "crashed").await;
    client.request(json!({ "type": "mcp_logs", "server_name": "one" })).await;
    let next = link.next().await.header;
    assert!(matches!(next, protocol::link::Header::Logs { .. }), "nothing was loaded: {next:?}");
}

#[tokio::test]
async fn h15_a_stopped_service_whose_rollback_failed_stays_stopped_across_a_restart_of_the_broker() {
    let (broker, runner, link, mut client) = world().await;
    let first = done(&mut client, &link, deploy("one"), "1.0.0").await;
    let second = done(&mut client, &link, verb("update", "one"), "2.0.0").await;
    unloaded(&link, &first).await;
    let request = client.request(verb("stop", "one")).await;
    unloaded(&link, &second).await;
    assert_eq!(client.outcome(&request).await["status"], "stopped");
    let request = client.request(verb("rollback", "one")).await;
    let Load { cmd, spec, .. } = link.load().await;
    assert_eq!(spec.deployment, first);
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &first, ServiceState::Failed)]);
    assert_eq!(client.outcome(&request).await["status"], "failed");
    unloaded(&link, &first).await;
    listed_as(&mut client, "one", "stopped").await;
    drop(link);
    let broker = broker.killed_and_started().await;
    let link = runner.accept_with(Vec::new()).await;
    let mut client = Client::join(&broker, OWNER).await;
    listed_as(&mut client, "one", "stopped").await;
    client.request(json!({ "type": "mcp_logs", "server_name": "one" })).await;
    let next = link.next().await.header;
    assert!(matches!(next, protocol::link::Header::Logs { .. }), "what was stopped was loaded: {next:?}");
}

#[tokio::test]
async fn a_stopped_service_rests_across_a_restart_of_the_broker_until_it_is_started() {
    let (broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), Vec::new()).await;
    let request = client.request(verb("stop", "one")).await;
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, id);
    assert_eq!(client.ask(call("one", "t")).await["errorCode"], "not_running");
    link.done(cmd, Outcome::Ok);
    assert_eq!(client.outcome(&request).await["status"], "stopped");
    listed_as(&mut client, "one", "stopped").await;

    drop(link);
    let broker = broker.killed_and_started().await;
    let link = runner.accept_with(Vec::new()).await;
    let mut client = Client::join(&broker, OWNER).await;
    listed_as(&mut client, "one", "stopped").await;
    assert_eq!(client.ask(call("one", "t")).await["errorCode"], "not_running");
    let request = client.request(verb("start", "one")).await;
    assert_eq!(come_up(&link, "1.0.0").await, id, "the same deployment");
    assert_eq!(client.outcome(&request).await["status"], "running");
    // What runs is left alone.
    let request = client.request(verb("start", "one")).await;
    assert_eq!(client.outcome(&request).await["status"], "running");
}

#[tokio::test]
async fn a_restart_lets_calls_wait_and_ends_with_the_new_life() {
    let (_broker, _runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), Vec::new()).await;
    let request = client.request(verb("restart", "one")).await;
    let (cmd, unloaded) = link.unload().await;
    assert_eq!(unloaded, id);
    let asked = client.request(call("one", "t")).await;
    link.report(false, vec![report("one", &id, ServiceState::Draining)]);
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &id, ServiceState::Stopped)]);
    assert_eq!(come_up(&link, "1.0.0").await, id);
    assert_eq!(client.outcome(&request).await["status"], "running");
    let (header, _) = link.call().await;
    link.reply(header.id, "after it");
    assert!(client.answer(&asked).await["result"].is_object());
}

#[tokio::test]
async fn a_start_tries_a_failed_one_again_and_tells_how_that_ended() {
    let (_broker, _runner, link, mut client) = world().await;
    let request = client.request(deploy("one")).await;
    let Load { cmd, spec, .. } = link.load().await;
    link.done(cmd, Outcome::Ok);
    link.report(false, vec![report("one", &spec.deployment, ServiceState::Failed)]);
    assert_eq!(client.outcome(&request).await["status"], "failed");
    let request = client.request(verb("start", "one")).await;
    unloaded(&link, &spec.deployment).await;
    assert_eq!(come_up(&link, "1.0.0").await, spec.deployment);
    assert_eq!(client.outcome(&request).await["status"], "running");
    listed_as(&mut client, "one", "running").await;
}

#[tokio::test]
async fn h50_a_member_deploys_so_often_a_minute_and_is_told_the_limit() {
    let (broker, _runner, _link, mut client) = world().await;
    for n in 0..10 {
        let request = client.request(deploy(&format!("s{}", n % 3))).await;
        assert_eq!(client.answer(&request).await["status"], "building");
    }
    for message in [deploy("s0"), verb("update", "s0"), verb("rollback", "s0")] {
        let refused = client.ask(message).await;
        assert_eq!(refused["code"], "limit", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("10 deploys a minute"), "{refused}");
    }
    let mut other = Client::join(&broker, MEMBER).await;
    let request = other.request(deploy("theirs")).await;
    assert_eq!(other.answer(&request).await["status"], "building", "nobody else pays for it");
}

#[tokio::test]
async fn a_deploy_names_its_runner() {
    use crate::harness::{Broker, FakeRunner};
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (FakeRunner::listen(dir.path(), "a"), FakeRunner::listen(dir.path(), "b"));
    let sockets = [("a".to_owned(), a.socket()), ("b".to_owned(), b.socket())];
    let broker = Broker::start_in(dir, |setup| setup.runners.extend(sockets)).await;
    let (link_a, link_b) = (a.accept_with(Vec::new()).await, b.accept_with(Vec::new()).await);
    let mut client = Client::join(&broker, OWNER).await;
    for name in ["a", "b"] {
        crate::http::eventually(&broker, &format!("/health/runners/link:{name}"), |body| body["healthy"] == true).await;
    }
    let on = |name: &str, runner: &str| deploy_with(name, json!({ "runner": runner }));
    up(&mut client, &link_b, on("one", "b"), Vec::new()).await;
    assert_eq!(listed(&mut client, "one").await["runner"], "b");
    // Of the others it has the fewest.
    up(&mut client, &link_a, deploy("two"), Vec::new()).await;
    for (refused, words) in [(on("one", "c"), "it has a, b"), (on("three", "c"), "it has a, b")] {
        let refused = client.ask(refused).await;
        assert_eq!(refused["code"], "deploy_error", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains(words), "{refused}");
    }
    assert!(listed(&mut client, "three").await.is_null());
    let listed = client.ask(json!({ "type": "runner_list" })).await;
    let names: Vec<_> = listed["runners"].as_array().unwrap().iter().map(|runner| runner["name"].clone()).collect();
    assert_eq!((names, &listed["runners"][0]["up"]), (vec![json!("a"), json!("b")], &json!(true)));
    let mut member = Client::join(&broker, MEMBER).await;
    assert_eq!(member.ask(json!({ "type": "runner_list" })).await["code"], "forbidden");
}
