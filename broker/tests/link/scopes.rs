//! What is not shared with somebody does not exist for them: in no list, by no verb, in no event.

use protocol::link::{Header, Outcome};
use serde_json::{Value, json};

use super::{call, deploy, deploy_with, listed, undeploy, up, world};
use crate::harness::{ADMIN, Broker, Client, FakeRunner, Hello, MEMBER, OTHER, OWNER};

/// The services of which a client was told so far that their tools are others.
async fn tools_changed(client: &mut Client) -> Vec<Value> {
    client.ask(json!({ "type": "list_peers" })).await;
    let mut told = Vec::new();
    while let Some(frame) = client.set_aside("mcp_tools_changed") {
        told.push(frame["server_name"].clone());
    }
    told
}

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
    link.send(Header::LogsResult { cmd, lines: Vec::new(), lost: false }, "");
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

#[tokio::test]
async fn who_loses_a_service_learns_that_it_is_gone_and_not_with_whom_it_is_shared_now() {
    let (broker, _runner, link, mut owner) = world().await;
    let mut other = Client::join(&broker, OTHER).await;
    let mut member = Client::join(&broker, MEMBER).await;
    up(&mut owner, &link, deploy_with("one", json!({ "scope": "mesh" })), Vec::new()).await;
    let share = |scope: Value| json!({ "type": "mcp_scope", "server_name": "one", "scope": scope });
    let read = json!({ "type": "mcp_scope", "server_name": "one" });
    assert_eq!(other.ask(share(json!("mesh"))).await["code"], "forbidden");
    let answer = owner.ask(share(json!({ "peers": [MEMBER.name] }))).await;
    assert_eq!(answer["scope"], json!({ "peers": [broker.member_id(MEMBER)] }));
    assert_eq!((&answer["guards"], &answer["deployed_by"]), (&json!(true), &json!(OWNER.name)));
    let told = other.told_of("one").await;
    let (event, data) = told.last().unwrap();
    assert_eq!((event.as_str(), data), ("mcp_undeployed", &json!({ "name": "one", "by": OWNER.name })));
    assert!(told.iter().all(|(event, _)| event != "mcp_scope_changed"), "{told:?}");
    assert_eq!(other.ask(read.clone()).await["code"], "not_found");
    for keeps in [&mut member, &mut owner] {
        let told = keeps.told_of("one").await;
        let (event, data) = told.last().unwrap();
        assert_eq!((event.as_str(), &data["by"]), ("mcp_scope_changed", &json!(OWNER.name)));
        assert_eq!(data["scope"], answer["scope"]);
    }
    // Whoever gets it back is told with whom it is shared.
    owner.ask(share(json!("mesh"))).await;
    assert_eq!(other.told_of("one").await.last().unwrap().0, "mcp_scope_changed");
    assert_eq!(other.ask(read.clone()).await["scope"], "mesh");
    // It outlives the broker.
    let mut broker = broker;
    for scope in [json!({ "role": "member" }), json!({ "groups": ["a", "b"] }), json!("peer")] {
        assert_eq!(owner.ask(share(scope.clone())).await["scope"], scope);
        broker = broker.killed_and_started().await;
        owner = Client::join(&broker, OWNER).await;
        assert_eq!(owner.ask(read.clone()).await["scope"], scope);
    }
}

#[tokio::test]
async fn a_scope_that_rests_on_an_open_group_says_that_it_guards_nobody_out_and_a_restricted_group_does() {
    use protocol::trust::GroupList;
    let (broker, _runner, link, mut owner) = world().await;
    let (mut says_so, _) =
        Client::join_with(&broker, Hello::of(&broker, OTHER).with("groups", json!([{ "name": "eng" }]))).await;
    let mut member = Client::join(&broker, MEMBER).await;
    let strict = deploy_with("one", json!({ "scope": { "group": "eng" }, "strict": true }));
    let refused = owner.ask(strict).await;
    assert_eq!(refused["code"], "forbidden", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("@eng"), "{refused}");
    up(&mut owner, &link, deploy_with("one", json!({ "scope": { "group": "eng" } })), Vec::new()).await;
    assert_eq!(says_so.event("mcp_deployed").await["guards"], false);
    assert_eq!(listed(&mut owner, "one").await["guards"], false);
    let mut share = json!({ "type": "mcp_scope", "server_name": "one", "scope": { "groups": ["eng"] } });
    assert_eq!(owner.ask(share.clone()).await["guards"], false);
    share["strict"] = json!(true);
    assert_eq!(owner.ask(share.clone()).await["code"], "forbidden");

    let keys = [MEMBER.key().public()];
    let list = GroupList::sign(broker.mesh(), "eng", 1, Some(&keys), &OWNER.key()).unwrap();
    owner.ask(json!({ "type": "group_set", "list": list })).await;
    assert_eq!(owner.ask(share).await["guards"], true);
    assert_eq!(listed(&mut owner, "one").await["guards"], true);
    assert!(listed(&mut says_so, "one").await.is_null(), "the list decides, not what a session says");
    assert!(!listed(&mut member, "one").await.is_null());
}

#[tokio::test]
async fn h42_whoever_offers_a_services_tools_hears_when_they_are_others_or_gone_and_nobody_else_does() {
    let (broker, _runner, link, mut owner) = world().await;
    let proxy = |who| Hello::of(&broker, who).with("kind", json!("proxy"));
    let (mut kept, _) = Client::join_with(&broker, proxy(MEMBER)).await;
    let (mut lost, _) = Client::join_with(&broker, proxy(OTHER)).await;
    let tool = |name: &str| crate::harness::tool(name, json!({}));
    let share = |scope: Value| json!({ "type": "mcp_scope", "server_name": "one", "scope": scope });
    let schema = json!({ "type": "mcp_schema", "server_name": "one" });

    up(&mut owner, &link, deploy("one"), vec![tool("first")]).await;
    assert!(tools_changed(&mut lost).await.is_empty(), "it is not theirs to know");
    owner.ask(share(json!("mesh"))).await;
    for client in [&mut kept, &mut lost] {
        assert_eq!(tools_changed(client).await, ["one"], "it is theirs now");
    }
    // An update that brings the same tools is no news; one that brings others is, and the catalog has them by then.
    for (tools, news) in [("first", 0), ("second", 1)] {
        let updating = owner.request(json!({ "type": "mcp_update", "server_name": "one" })).await;
        link.bring_up(vec![tool(tools)]).await;
        assert_eq!(owner.outcome(&updating).await["status"], "running");
        let (cmd, _) = link.unload().await;
        link.done(cmd, Outcome::Ok);
        assert_eq!(tools_changed(&mut lost).await.len(), news, "{tools}");
        assert_eq!(tools_changed(&mut kept).await.len(), news, "{tools}");
        assert_eq!(kept.ask(schema.clone()).await["tools"][0]["name"], tools);
    }
    // Narrowed: those who lose it are told, and it is not there when they ask; for the others nothing is other.
    owner.ask(share(json!({ "peers": [MEMBER.name] }))).await;
    assert_eq!(tools_changed(&mut lost).await, ["one"]);
    assert_eq!(lost.ask(schema.clone()).await["code"], "not_found");
    assert!(tools_changed(&mut kept).await.is_empty());
    // A deploy that shares it with fewer takes it from the rest, who are told as much and no more.
    let again = owner.request(deploy_with("one", json!({ "scope": { "peers": [OTHER.name] } }))).await;
    assert_eq!(kept.until(|frame| frame["type"] == "mcp_tools_changed").await["server_name"], "one");
    assert_eq!(kept.ask(schema.clone()).await["code"], "not_found");
    link.bring_up(vec![tool("third")]).await;
    assert_eq!(owner.outcome(&again).await["status"], "running");
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    assert!(tools_changed(&mut kept).await.is_empty(), "of the third they hear nothing");
    assert_eq!(tools_changed(&mut lost).await.last(), Some(&json!("one")));
    // Undeployed: those who saw it, once it is not there any more.
    let removing = owner.request(undeploy("one")).await;
    let (cmd, _) = link.unload().await;
    link.done(cmd, Outcome::Ok);
    assert_eq!(owner.outcome(&removing).await["status"], "stopped");
    assert_eq!(lost.until(|frame| frame["type"] == "mcp_tools_changed").await["server_name"], "one");
    assert_eq!(lost.ask(schema).await["code"], "not_found");
    assert!(tools_changed(&mut kept).await.is_empty());
}
