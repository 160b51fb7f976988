//! A service and two runners: how it goes from one to the other, and that it is never on both.

use std::time::Duration;

use protocol::link::{Failure, Outcome, ServiceState};
use serde_json::{Value, json};

use super::{call, deploy, deploy_with, listed, listed_as, up};
use crate::harness::{ADMIN, Broker, Client, Conn, FakeRunner, Load, MEMBER, OWNER, report};
use crate::http::eventually;

/// How long nothing may come where something would come at once.
const QUIET: Duration = Duration::from_millis(300);

/// A broker with two runners that are up.
struct World {
    broker: Broker,
    a: FakeRunner,
    b: FakeRunner,
    link_a: Conn,
    link_b: Conn,
    client: Client,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (FakeRunner::listen(dir.path(), "a"), FakeRunner::listen(dir.path(), "b"));
    let sockets = [("a".to_owned(), a.socket()), ("b".to_owned(), b.socket())];
    let broker = Broker::start_in(dir, |setup| setup.runners.extend(sockets)).await;
    let (link_a, link_b) = (a.accept_with(Vec::new()).await, b.accept_with(Vec::new()).await);
    connected(&broker, "a").await;
    connected(&broker, "b").await;
    let client = Client::join(&broker, OWNER).await;
    World { broker, a, b, link_a, link_b, client }
}

async fn connected(broker: &Broker, runner: &str) {
    eventually(broker, &format!("/health/runners/link:{runner}"), |body| body["healthy"] == true).await;
}

fn on(name: &str, runner: &str) -> Value {
    deploy_with(name, json!({ "runner": runner }))
}

fn exclusive(name: &str, runner: &str) -> Value {
    deploy_with(name, json!({ "runner": runner, "config": { "policy": { "exclusive": true } } }))
}

fn forget(runner: &str) -> Value {
    json!({ "type": "runner_forget", "name": runner })
}

/// The next load of this runner comes up; its deployment's id.
async fn comes_up(link: &Conn) -> String {
    link.bring_up(Vec::new()).await
}

async fn is_unloaded(link: &Conn, expected: &str) {
    let (cmd, id) = link.unload().await;
    assert_eq!(id, expected);
    link.done(cmd, Outcome::Ok);
}

/// Asks until the catalog has the service there.
async fn listed_on(client: &mut Client, name: &str, runner: &str) {
    let deadline = tokio::time::Instant::now() + crate::harness::SOON;
    loop {
        let entry = listed(client, name).await;
        if entry["runner"] == runner {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "never on {runner}: {entry}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn h14_a_deploy_names_another_runner_and_the_old_one_serves_until_the_new_is_ready() {
    let World { link_a, link_b, mut client, broker: _broker, a: _a, b: _b } = world().await;
    let old = up(&mut client, &link_a, on("one", "a"), Vec::new()).await;
    let request = client.request(on("one", "b")).await;
    let Load { cmd, spec, .. } = link_b.load().await;
    link_b.done(cmd, Outcome::Ok);
    link_b.report(false, vec![report("one", &spec.deployment, ServiceState::Starting)]);
    let asked = client.request(call("one", "t")).await;
    let (header, _) = link_a.call().await;
    assert_eq!(header.deployment, old);
    link_a.reply(header.id, "from the old");
    assert!(client.answer(&asked).await["result"].is_object());
    assert_eq!(listed(&mut client, "one").await["runner"], "a");
    link_b.report(false, vec![report("one", &spec.deployment, ServiceState::Running)]);
    assert_eq!(client.outcome(&request).await["status"], "running");
    is_unloaded(&link_a, &old).await;
    assert_eq!(listed(&mut client, "one").await["runner"], "b");
    let asked = client.request(call("one", "t")).await;
    let (header, _) = link_b.call().await;
    link_b.reply(header.id, "from the new");
    assert!(client.answer(&asked).await["result"].is_object());
    // From now on it is at home there.
    up(&mut client, &link_b, deploy("one"), Vec::new()).await;
    is_unloaded(&link_b, &spec.deployment).await;
}

#[tokio::test]
async fn h14_an_exclusive_service_is_on_the_other_runner_only_after_the_old_one_confirmed_the_stop() {
    let World { broker, a, link_a, link_b, mut client, b: _b } = world().await;
    let old = up(&mut client, &link_a, exclusive("one", "a"), Vec::new()).await;
    let request = client.request(exclusive("one", "b")).await;
    assert_eq!(link_a.unload().await.1, old);
    // Its runner is lost before it said that it did: it may still run.
    link_a.cut();
    listed_as(&mut client, "one", "unreachable").await;
    assert!(link_b.next_within(QUIET).await.is_none(), "it was given to a second runner");
    let link_a = a.accept_with(vec![report("one", &old, ServiceState::Running)]).await;
    connected(&broker, "a").await;
    is_unloaded(&link_a, &old).await;
    comes_up(&link_b).await;
    assert_eq!(client.outcome(&request).await["status"], "running");
    assert_eq!(listed(&mut client, "one").await["runner"], "b");
}

#[tokio::test]
async fn h14_an_exclusive_service_that_does_not_come_up_elsewhere_is_back_where_it_was() {
    let World { link_a, link_b, mut client, broker: _broker, a: _a, b: _b } = world().await;
    let old = up(&mut client, &link_a, exclusive("one", "a"), Vec::new()).await;
    let request = client.request(exclusive("one", "b")).await;
    is_unloaded(&link_a, &old).await;
    let Load { cmd, spec, .. } = link_b.load().await;
    link_b.done(cmd, Outcome::Ok);
    link_b.report(false, vec![report("one", &spec.deployment, ServiceState::Failed)]);
    assert_eq!(client.outcome(&request).await["status"], "failed");
    is_unloaded(&link_b, &spec.deployment).await;
    assert_eq!(comes_up(&link_a).await, old);
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "a");
}

#[tokio::test]
async fn h14_a_service_whose_runner_is_away_does_not_move_unless_that_is_forgotten() {
    let World { broker, a, link_a, link_b, mut client, b: _b } = world().await;
    let one = up(&mut client, &link_a, on("one", "a"), Vec::new()).await;
    let two = up(&mut client, &link_a, on("two", "a"), Vec::new()).await;
    let three = up(&mut client, &link_b, on("three", "b"), Vec::new()).await;
    link_a.cut();
    listed_as(&mut client, "one", "unreachable").await;
    let refused = client.ask(on("one", "b")).await;
    assert_eq!(refused["code"], "deploy_error", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("runner forget a"), "{refused}");

    let mut member = Client::join(&broker, MEMBER).await;
    assert_eq!(member.ask(forget("a")).await["code"], "forbidden");
    assert_eq!(client.ask(forget("c")).await["code"], "not_found");
    assert_eq!(client.ask(forget("b")).await["code"], "deploy_error", "it is connected");
    let mut admin = Client::join(&broker, ADMIN).await;
    let forgotten = admin.ask(forget("a")).await;
    let went = json!([{ "service": "one", "runner": "b" }, { "service": "two", "runner": "b" }]);
    assert_eq!((&forgotten["name"], &forgotten["services"]), (&json!("a"), &went), "{forgotten}");
    let mut came = vec![comes_up(&link_b).await, comes_up(&link_b).await];
    came.sort();
    assert_eq!(came, [one.clone(), two.clone()], "the same deployments");
    listed_as(&mut client, "one", "running").await;
    listed_as(&mut client, "two", "running").await;

    // It returns, and still runs one of them.
    let link_a = a.accept_with(vec![report("one", &one, ServiceState::Running)]).await;
    is_unloaded(&link_a, &one).await;
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "b");
    // What is told later of it does not count either.
    link_a.report(false, vec![report("one", &one, ServiceState::Crashed)]);
    is_unloaded(&link_a, &one).await;
    assert_eq!(listed(&mut client, "one").await["status"], "running");
    assert_ne!(three, one);
}

#[tokio::test]
async fn h14_a_runner_that_is_lost_while_a_service_comes_up_there_has_not_got_it() {
    let World { b, link_a, link_b, mut client, broker: _broker, a: _a } = world().await;
    let old = up(&mut client, &link_a, on("one", "a"), Vec::new()).await;
    let request = client.request(on("one", "b")).await;
    let Load { cmd, spec, .. } = link_b.load().await;
    link_b.done(cmd, Outcome::Ok);
    link_b.cut();
    let outcome = client.outcome(&request).await;
    assert_eq!(outcome["status"], "failed", "{outcome}");
    assert!(outcome["error"].as_str().unwrap().contains("was lost"), "{outcome}");
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "a");
    let link_b = b.accept_with(vec![report("one", &spec.deployment, ServiceState::Running)]).await;
    is_unloaded(&link_b, &spec.deployment).await;
    let asked = client.request(call("one", "t")).await;
    let (header, _) = link_a.call().await;
    assert_eq!(header.deployment, old);
    link_a.reply(header.id, "as before");
    client.answer(&asked).await;
}

#[tokio::test]
async fn h14_a_broker_that_restarts_in_the_middle_of_a_move_goes_on_with_it() {
    let World { broker, a, b, link_a, link_b, mut client } = world().await;
    let old = up(&mut client, &link_a, on("one", "a"), Vec::new()).await;
    client.request(on("one", "b")).await;
    let Load { cmd, spec, .. } = link_b.load().await;
    link_b.done(cmd, Outcome::Ok);
    // The links end with the broker and not before: one that outlived them would have given up the move.
    let broker = broker.killed_and_started().await;
    drop((link_a, link_b));
    let link_a = a.accept_with(vec![report("one", &old, ServiceState::Running)]).await;
    let link_b = b.accept_with(vec![report("one", &spec.deployment, ServiceState::Starting)]).await;
    let mut client = Client::join(&broker, OWNER).await;
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "a");
    link_b.report(false, vec![report("one", &spec.deployment, ServiceState::Running)]);
    is_unloaded(&link_a, &old).await;
    listed_on(&mut client, "one", "b").await;
    // And the next life knows where it is.
    drop((link_a, link_b));
    let broker = broker.killed_and_started().await;
    let _link_a = a.accept_with(Vec::new()).await;
    let _link_b = b.accept_with(vec![report("one", &spec.deployment, ServiceState::Running)]).await;
    let mut client = Client::join(&broker, OWNER).await;
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "b");
}

#[tokio::test]
async fn h14_what_was_on_its_way_to_a_runner_that_is_configured_no_more_stays_where_it_is() {
    let World { mut broker, a, b, link_a, link_b, mut client } = world().await;
    let old = up(&mut client, &link_a, on("one", "a"), Vec::new()).await;
    client.request(on("one", "b")).await;
    let Load { cmd, .. } = link_b.load().await;
    link_b.done(cmd, Outcome::Ok);
    broker.setup.runners.remove("b");
    let broker = broker.killed_and_started().await;
    drop((link_a, link_b, b));
    let link_a = a.accept_with(vec![report("one", &old, ServiceState::Running)]).await;
    let mut client = Client::join(&broker, OWNER).await;
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "a");
    // Nothing is under way: the next deploy comes up at once, where the service is.
    let asked = client.request(call("one", "t")).await;
    let (header, _) = link_a.call().await;
    assert_eq!(header.deployment, old, "nothing was sent before it");
    link_a.reply(header.id, "as before");
    client.answer(&asked).await;
    let new = up(&mut client, &link_a, deploy("one"), Vec::new()).await;
    is_unloaded(&link_a, &old).await;
    assert_ne!(new, old);
}

#[tokio::test]
async fn what_dies_on_trial_on_another_runner_comes_back_where_it_ran() {
    let World { link_a, link_b, mut client, broker: _broker, a: _a, b: _b } = world().await;
    let good = up(&mut client, &link_a, on("one", "a"), Vec::new()).await;
    let bad = up(&mut client, &link_b, on("one", "b"), Vec::new()).await;
    is_unloaded(&link_a, &good).await;
    let mut died = report("one", &bad, ServiceState::Restarting);
    died.failure = Some(Failure { reason: "exited with status 7".into(), log: Vec::new() });
    link_b.report(false, vec![died]);
    assert_eq!(comes_up(&link_a).await, good);
    is_unloaded(&link_b, &bad).await;
    assert_eq!(listed_as(&mut client, "one", "running").await["runner"], "a");
}

#[tokio::test]
async fn new_services_go_where_the_fewest_are_meant_to_be() {
    let World { link_a, link_b, mut client, broker: _broker, a: _a, b: _b } = world().await;
    // Asked for at once: neither runner has reported anything meanwhile.
    for n in 0..6 {
        client.request(deploy(&format!("s{n}"))).await;
    }
    for _ in 0..3 {
        comes_up(&link_a).await;
        comes_up(&link_b).await;
    }
    for n in 0..6 {
        listed_as(&mut client, &format!("s{n}"), "running").await;
    }
}
