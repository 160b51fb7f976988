//! What is not shared with somebody does not exist for them: in no list, by no verb, in no event.

use protocol::link::{Header, Outcome};
use serde_json::{Value, json};

use super::{call, deploy, deploy_with, listed, undeploy, up, world};
use crate::harness::{ADMIN, Broker, Client, FakeRunner, Hello, MEMBER, OTHER, OWNER};

/// Every verb that names a service, asked by somebody; what each came to.
async fn verbs(who: &mut Client, name: &str) -> Vec<Value> {
    vec![
        who.ask(json!({ "type": "mcp_schema", "server_name": name })).await["code"].take(),
        who.ask(json!({ "type": "mcp_logs", "server_name": name })).await["code"].take(),
        who.ask(call(name, "t")).await["errorCode"].take(),
        who.ask(undeploy(name)).await["code"].take(),
        who.ask(deploy(name)).await["code"].take(),
    ]
}

#[tokio::test]
async fn h21_what_is_the_deployers_alone_is_not_there_for_others() {
    let (broker, _runner, link, _owner) = world().await;
    let mut other = Client::join(&broker, OTHER).await;
    // A name, a key or a group of one's own choosing opens nothing.
    let disguised = Hello::of(&broker, OTHER)
        .with("displayName", MEMBER.name)
        .with("groups", json!([{ "name": "peer" }, { "name": broker.member_id(MEMBER) }]));
    let (mut disguised, _) = Client::join_with(&broker, disguised).await;
    let mut deployer = Client::join(&broker, MEMBER).await;
    up(&mut deployer, &link, deploy("mine"), Vec::new()).await;
    assert_eq!(deployer.event("mcp_deployed").await["name"], "mine");
    for stranger in [&mut other, &mut disguised] {
        assert!(listed(stranger, "mine").await.is_null());
        assert_eq!(verbs(stranger, "mine").await, vec![json!("not_found"); 5]);
        let events = stranger.events_so_far().await;
        assert!(events.iter().all(|event| event.starts_with("peer_")), "{events:?}");
    }
    let (_late, ack) = Client::join_with(&broker, Hello::of(&broker, OTHER)).await;
    assert_eq!(ack["services"], json!([]));

    let removing = deployer.request(undeploy("mine")).await;
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    assert_eq!(deployer.outcome(&removing).await["status"], "stopped");
    assert_eq!(deployer.event("mcp_undeployed").await["by"], MEMBER.name);
    let events = other.events_so_far().await;
    assert!(events.iter().all(|event| event.starts_with("peer_")), "{events:?}");
}

#[tokio::test]
async fn h21_what_is_shared_is_used_by_all_and_managed_by_few() {
    let (broker, _runner, link, _owner) = world().await;
    let mut other = Client::join(&broker, OTHER).await;
    let mut deployer = Client::join(&broker, MEMBER).await;
    let shared = deploy_with("ours", json!({ "scope": "mesh" }));
    up(&mut deployer, &link, shared, vec![crate::harness::tool("t", json!({}))]).await;
    assert_eq!(other.event("mcp_deployed").await["deployed_by"], MEMBER.name);
    assert_eq!(listed(&mut other, "ours").await["scope"], "mesh");
    let (_late, ack) = Client::join_with(&broker, Hello::of(&broker, OTHER)).await;
    assert_eq!(ack["services"][0]["name"], "ours");
    let asked = other.request(call("ours", "t")).await;
    let (header, _) = link.call().await;
    link.reply(header.id, "for everybody");
    assert!(other.answer(&asked).await["result"].is_object());
    let asked = other.request(json!({ "type": "mcp_logs", "server_name": "ours" })).await;
    let Header::Logs { cmd, .. } = link.next().await.header else { panic!("logs were due") };
    link.send(Header::LogsResult { cmd, lines: Vec::new() }, "");
    assert_eq!(other.answer(&asked).await["lines"], json!([]));

    assert_eq!(other.ask(undeploy("ours")).await["code"], "forbidden");
    assert_eq!(other.ask(deploy("ours")).await["code"], "forbidden");
    let mut admin = Client::join(&broker, ADMIN).await;
    let removing = admin.request(undeploy("ours")).await;
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    assert_eq!(admin.outcome(&removing).await["status"], "stopped");
    assert_eq!(other.event("mcp_undeployed").await["by"], ADMIN.name);
}

#[tokio::test]
async fn a_service_is_shared_with_members_and_groups_by_name() {
    let (broker, _runner, link, mut owner) = world().await;
    let mut other = Client::join(&broker, OTHER).await;
    let (mut in_group, _) =
        Client::join_with(&broker, Hello::of(&broker, MEMBER).with("groups", json!([{ "name": "@eng" }]))).await;
    up(&mut owner, &link, deploy_with("named", json!({ "scope": { "peers": [OTHER.name] } })), Vec::new()).await;
    up(&mut owner, &link, deploy_with("grouped", json!({ "scope": { "group": "@eng" } })), Vec::new()).await;
    assert!(!listed(&mut other, "named").await.is_null());
    assert!(listed(&mut other, "grouped").await.is_null());
    assert!(listed(&mut in_group, "named").await.is_null());
    assert!(!listed(&mut in_group, "grouped").await.is_null());
    let stored = listed(&mut owner, "named").await;
    assert_eq!(stored["scope"], json!({ "peers": [broker.member_id(OTHER)] }), "h22: by id, not by name");
    for scope in [json!({ "peers": ["Nobody"] }), json!({ "peers": [] }), json!({ "group": "" }), json!("all")] {
        let refused = owner.ask(deploy_with("bad", json!({ "scope": scope }))).await;
        assert_eq!(refused["code"], "bad_request", "{scope}");
        assert!(refused["message"].as_str().unwrap().contains("scope"), "{refused}");
    }
}

#[tokio::test]
async fn h50_a_mesh_has_so_many_services_and_says_which_limit_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let runner = FakeRunner::listen(dir.path(), "local");
    let socket = runner.socket();
    let broker = Broker::start_in(dir, |setup| {
        setup.max_services = 2;
        setup.runners.insert("local".to_owned(), socket);
    })
    .await;
    let link = runner.accept_with(Vec::new()).await;
    let mut client = Client::join(&broker, OWNER).await;
    for name in ["one", "two"] {
        up(&mut client, &link, deploy(name), Vec::new()).await;
    }
    let refused = client.ask(deploy("three")).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("limit")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("MAX_SERVICES_PER_MESH"), "{refused}");
    assert!(listed(&mut client, "three").await.is_null());
    // What is replaced is counted once, and what is gone not at all.
    let request = client.request(deploy("two")).await;
    link.bring_up(Vec::new()).await;
    assert_eq!(client.outcome(&request).await["status"], "running");
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    let removing = client.request(undeploy("one")).await;
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    assert_eq!(client.outcome(&removing).await["status"], "stopped");
    up(&mut client, &link, deploy("three"), Vec::new()).await;
}
