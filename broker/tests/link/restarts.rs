//! Runner and broker come and go; what was deployed stays deployed.

use broker::store::DATABASE_FILE;
use diesel::prelude::*;
use protocol::link::{Header, Outcome, ServiceState};
use serde_json::json;

use super::{call, deploy, deploy_with, listed, listed_as, undeploy, up, world};
use crate::harness::{ADMIN, Broker, Client, FakeRunner, OWNER, get, report, tool};
use crate::http::eventually;

#[tokio::test]
async fn h06_nothing_is_shown_as_running_that_cannot_be_seen() {
    let (broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), Vec::new()).await;
    let node = "/tree?path=meshes/default/services/one";
    eventually(&broker, node, |body| body["roots"][0]["state"] == "running").await;
    link.cut();
    listed_as(&mut client, "one", "unreachable").await;
    assert_eq!(get(&broker, node, &[]).await.body["roots"][0]["state"], "unreachable");
    assert_eq!(get(&broker, "/health/meshes/default/services/one", &[]).await.status, 503);
    assert_eq!(get(&broker, "/health/ready", &[]).await.status, 503);

    // Connected and not reported yet is still out of sight.
    let link = runner.accept().await;
    assert_eq!(listed(&mut client, "one").await["status"], "unreachable");
    link.report(false, vec![report("one", &id, ServiceState::Running)]);
    // An answer that was sent behind the report says that it was read.
    let asked = client.request(json!({ "type": "mcp_logs", "server_name": "one" })).await;
    let Header::Logs { cmd, .. } = link.next().await.header else { panic!("logs were due") };
    link.send(Header::LogsResult { cmd, lines: Vec::new(), lost: false }, "");
    client.answer(&asked).await;
    assert_eq!(listed(&mut client, "one").await["status"], "unreachable", "a part is not the whole");
    for state in [ServiceState::Restarting, ServiceState::Running, ServiceState::Crashed] {
        link.report(true, vec![report("one", &id, state)]);
        let entry = listed_as(&mut client, "one", state.as_str()).await;
        assert_eq!(entry["cause"], "as the test says");
        eventually(&broker, node, |body| body["roots"][0]["state"] == state.as_str()).await;
    }
    assert_eq!(client.event("mcp_crashed").await["name"], "one");
}

#[tokio::test]
async fn h17_a_runner_that_forgot_everything_is_given_it_again() {
    let (_broker, runner, link, mut client) = world().await;
    let id = up(&mut client, &link, deploy("one"), Vec::new()).await;
    link.cut();
    let link = runner.accept_with(Vec::new()).await;
    let asked = client.request(call("one", "t")).await;
    assert_eq!(link.bring_up(Vec::new()).await, id);
    let (header, _) = link.call().await;
    link.reply(header.id, "back again");
    assert!(client.answer(&asked).await["result"].is_object());
}

#[tokio::test]
async fn what_nobody_owns_is_stopped() {
    let (broker, runner) = Broker::with_runner().await;
    let strays = vec![report("ghost", "d-ghost", ServiceState::Running)];
    let link = runner.accept_with(strays).await;
    assert_eq!(link.unload().await.1, "d-ghost");
    let mut client = Client::join(&broker, OWNER).await;
    assert!(listed(&mut client, "ghost").await.is_null());
}

/// A broker comes back to a runner that holds many services: each is adopted, none is touched, and a call
/// that is made the moment the broker is up succeeds.
#[tokio::test]
async fn h17_a_restarted_broker_adopts_what_runs() {
    const SERVICES: usize = 20;
    const RESTARTS: u64 = 5;
    let (mut broker, runner, mut link, mut client) = world().await;
    let mut running = Vec::new();
    // More than one member may deploy in a minute.
    let mut admin = Client::join(&broker, ADMIN).await;
    for n in 0..SERVICES {
        let name = format!("s{n:02}");
        let deployer = if n % 2 == 0 { &mut client } else { &mut admin };
        let id = up(deployer, &link, deploy(&name), vec![tool("t", json!({}))]).await;
        running.push(report(&name, &id, ServiceState::Running));
    }
    let first = link.broker.clone();
    for restart in 1..=RESTARTS {
        drop(link);
        let report_at_once = async {
            let link = runner.accept_with(running.clone()).await;
            let called = link.next().await.header;
            (link, called)
        };
        let come_back = async {
            let broker = broker.killed_and_started().await;
            let mut client = Client::join(&broker, OWNER).await;
            let asked = client.request(call("s19", "t")).await;
            (broker, client, asked)
        };
        let called;
        let asked;
        ((link, called), (broker, client, asked)) = tokio::join!(report_at_once, come_back);
        let Header::Call(header) = called else { panic!("what ran was touched: {called:?}") };
        link.reply(header.id, "adopted");
        let answer = client.answer(&asked).await;
        assert!(answer["result"].is_object(), "{answer}");
        assert_eq!(link.broker.store_id, first.store_id);
        assert_eq!(link.broker.epoch, first.epoch + restart);
        for n in 0..SERVICES {
            listed_as(&mut client, &format!("s{n:02}"), "running").await;
        }
        // All commands would have come before this one.
        client.request(json!({ "type": "mcp_logs", "server_name": "s00" })).await;
        assert!(matches!(link.next().await.header, Header::Logs { .. }));
    }
}

#[tokio::test]
async fn h14_a_service_that_moved_to_another_runner_is_stopped_on_its_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (FakeRunner::listen(dir.path(), "a"), FakeRunner::listen(dir.path(), "b"));
    let sockets = [("a".to_owned(), a.socket()), ("b".to_owned(), b.socket())];
    let broker = Broker::start_in(dir, |setup| setup.runners.extend(sockets)).await;
    let link_a = a.accept_with(Vec::new()).await;
    let mut client = Client::join(&broker, OWNER).await;
    eventually(&broker, "/health/runners/link:a", |body| body["healthy"] == true).await;
    let old = up(&mut client, &link_a, deploy("one"), Vec::new()).await;
    // Its runner goes away, it is forgotten, and deployed again where there is a runner.
    link_a.cut();
    listed_as(&mut client, "one", "unreachable").await;
    client.ask(undeploy("one")).await;
    let link_b = b.accept_with(Vec::new()).await;
    eventually(&broker, "/health/runners/link:b", |body| body["healthy"] == true).await;
    up(&mut client, &link_b, deploy("one"), Vec::new()).await;
    // The old runner returns with what it still holds.
    let link_a = a.accept_with(vec![report("one", &old, ServiceState::Running)]).await;
    assert_eq!(link_a.unload().await.1, old);
    assert_eq!(listed(&mut client, "one").await["status"], "running");
}

/// While the old one is still being stopped, its runner keeps the service: two must never run it.
#[tokio::test]
async fn h14_a_name_that_is_deployed_again_at_once_stays_with_its_runner() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (FakeRunner::listen(dir.path(), "a"), FakeRunner::listen(dir.path(), "b"));
    let sockets = [("a".to_owned(), a.socket()), ("b".to_owned(), b.socket())];
    let broker = Broker::start_in(dir, |setup| setup.runners.extend(sockets)).await;
    let link_a = a.accept_with(Vec::new()).await;
    let _link_b = b.accept_with(Vec::new()).await;
    eventually(&broker, "/health/ready", |body| body["ready"] == true).await;
    let mut client = Client::join(&broker, OWNER).await;
    up(&mut client, &link_a, deploy("one"), Vec::new()).await;
    client.request(undeploy("one")).await;
    let (cmd, _) = link_a.unload().await;
    let deploying = client.request(deploy_with("one", json!({ "args": ["new"] }))).await;
    client.answer(&deploying).await;
    link_a.done(cmd, protocol::link::Outcome::Ok);
    link_a.bring_up(Vec::new()).await;
    assert_eq!(client.outcome(&deploying).await["status"], "running");
}

/// A row that cannot be read any more takes down neither its mesh nor the way to get rid of it.
#[tokio::test]
async fn a_service_that_cannot_be_read_is_shown_as_failed_and_can_be_removed() {
    let (broker, runner, link, mut client) = world().await;
    let broken = up(&mut client, &link, deploy("broken"), Vec::new()).await;
    let whole = up(&mut client, &link, deploy("whole"), Vec::new()).await;
    {
        let path = broker.setup.data_dir.join(DATABASE_FILE);
        let mut file = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        // The broker may be writing.
        diesel::sql_query("PRAGMA busy_timeout = 10000").execute(&mut file).unwrap();
        let damage = "UPDATE deployment SET config = '[1]' WHERE service = 'broken'";
        assert_eq!(diesel::sql_query(damage).execute(&mut file).unwrap(), 1);
    }
    drop(link);
    let held = vec![report("broken", &broken, ServiceState::Running), report("whole", &whole, ServiceState::Running)];
    let (link, broker) = tokio::join!(runner.accept_with(held), broker.killed_and_started());
    let mut client = Client::join(&broker, OWNER).await;
    listed_as(&mut client, "whole", "running").await;
    let node = "/tree?path=meshes/default/services/broken";
    eventually(&broker, node, |body| body["roots"][0]["state"] == "failed").await;

    let asked = client.request(undeploy("broken")).await;
    let (cmd, deployment) = link.unload().await;
    assert_eq!(deployment, broken, "what its runner still holds is stopped");
    link.done(cmd, Outcome::Ok);
    assert_eq!(client.answer(&asked).await["status"], "stopped");
    assert_eq!(get(&broker, node, &[]).await.status, 404);
    listed_as(&mut client, "whole", "running").await;
}
