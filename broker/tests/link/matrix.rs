//! Verb × scope × person, over real sockets: whatever is asked, one function decides, and what must not be seen is not
//! found, in no list and in no event.

use std::sync::Arc;

use protocol::trust::{GroupList, Removal};
use serde_json::{Value, json};

use super::{call, deploy_with, robot, undeploy};
use crate::harness::{ADMIN, Broker, Client, FakeRunner, Hello, MEMBER, OTHER, OWNER, Who};

const INSIDER: Who = Who::with_seed("Eli", 5);
const REMOVED: Who = Who::with_seed("Fay", 6);

/// Every form of a scope, and the people besides deployer and admins that it lets in.
fn scopes(broker: &Broker) -> Vec<(Value, Vec<&'static str>)> {
    let everybody = vec!["inside", "outside", "claims"];
    vec![
        (json!("peer"), vec![]),
        (json!("mesh"), everybody.clone()),
        (json!({ "peers": [broker.member_id(INSIDER)] }), vec!["inside"]),
        (json!({ "group": "eng" }), vec!["inside"]),
        (json!({ "group": "board" }), vec!["inside"]),
        (json!({ "groups": ["board", "nobody"] }), vec!["inside"]),
        (json!({ "role": "member" }), everybody),
        (json!({ "role": "admin" }), vec![]),
    ]
}

const MANAGERS: [&str; 3] = ["owner", "admin", "deployer"];

/// What people do who use a service.
fn uses(name: &str) -> Vec<Value> {
    vec![
        json!({ "type": "mcp_schema", "server_name": name }),
        call(name, "t"),
        json!({ "type": "mcp_logs", "server_name": name }),
        json!({ "type": "mcp_events", "server_name": name }),
        json!({ "type": "mcp_scope", "server_name": name }),
    ]
}

/// What those do who manage it. An update and a rollback are asked for by one of them each: they are counted.
fn manages(name: &str, scope: &Value, who: &str) -> Vec<Value> {
    let mut all = vec![
        json!({ "type": "mcp_restart", "server_name": name }),
        json!({ "type": "mcp_stop", "server_name": name }),
        json!({ "type": "mcp_start", "server_name": name }),
        json!({ "type": "mcp_scope", "server_name": name, "scope": scope }),
    ];
    if who != "deployer" && who != "owner" {
        all.push(json!({ "type": "mcp_update", "server_name": name }));
    }
    if who != "deployer" && who != "admin" {
        all.push(json!({ "type": "mcp_rollback", "server_name": name }));
    }
    if !MANAGERS.contains(&who) {
        all.push(deploy_with(name, json!({ "scope": scope })));
        all.push(undeploy(name));
    }
    all
}

/// What an answer says: `ok`, or the code of the refusal.
fn verdict(answer: &Value) -> &str {
    let code = answer["code"].as_str().or(answer["errorCode"].as_str());
    code.unwrap_or(if answer["status"] == "failed" { "failed" } else { "ok" })
}

async fn people(broker: &Broker) -> Vec<(&'static str, Client)> {
    let groups = |hello: Hello, names: &[&str]| {
        let groups: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        hello.with("groups", groups)
    };
    let mut all = Vec::new();
    for (name, who, says) in [
        // Its update gives the owner something to go back from.
        ("admin", ADMIN, vec![]),
        ("owner", OWNER, vec![]),
        ("deployer", MEMBER, vec![]),
        ("inside", INSIDER, vec!["eng"]),
        ("outside", OTHER, vec![]),
        // Says to be where nobody may be who is not listed.
        ("claims", OTHER, vec!["board"]),
    ] {
        let hello = groups(Hello::of(broker, who), &says).with("displayName", INSIDER.name);
        all.push((name, Client::join_with(broker, hello).await.0));
    }
    all
}

/// The group `board` is the insider's and of one who was removed since.
async fn restrict(broker: &Broker) {
    let mut owner = Client::join(broker, OWNER).await;
    let keys = [INSIDER, REMOVED].map(|who| who.key().public());
    let list = GroupList::sign(broker.mesh(), "board", 1, Some(&keys), &OWNER.key()).unwrap();
    assert_eq!(owner.ask(json!({ "type": "group_set", "list": list })).await["type"], "group_result");
    let removal = Removal::sign(broker.mesh(), REMOVED.key().public(), 1, &OWNER.key()).unwrap();
    let remove = json!({ "type": "member_remove", "memberId": broker.member_id(REMOVED), "removal": removal });
    assert_eq!(owner.ask(remove).await["type"], "member_result");
}

#[tokio::test]
async fn h21_every_verb_and_every_event_asks_the_one_function() {
    let dir = tempfile::tempdir().unwrap();
    let runner = FakeRunner::listen(dir.path(), "local");
    let socket = runner.socket();
    let broker = Broker::start_in(dir, |setup| {
        setup.runners.insert("local".to_owned(), socket);
        setup.more = [INSIDER, REMOVED].map(|who| (who.name.to_owned(), if who.name == "Eli" { 5 } else { 6 })).into();
    })
    .await;
    let link = Arc::new(runner.accept_with(Vec::new()).await);
    tokio::spawn(robot::run(link));
    let mut gone = Client::join(&broker, REMOVED).await;
    restrict(&broker).await;
    gone.closed().await;
    let mut people = people(&broker).await;
    crate::http::eventually(&broker, "/health/ready", |body| body["ready"] == true).await;
    for (number, (scope, let_in)) in scopes(&broker).into_iter().enumerate() {
        let name = format!("s{number}");
        let deployer = &mut people[2].1;
        let deployed = deployer.ask(deploy_with(&name, json!({ "scope": scope }))).await;
        assert_eq!(deployed["status"], "running", "{deployed}");
        for (who, client) in &mut people {
            let sees = MANAGERS.contains(who) || let_in.contains(who);
            check(client, who, &name, &scope, sees).await;
        }
        let (late, ack) = Client::join_with(&broker, Hello::of(&broker, OTHER)).await;
        drop(late);
        let listed = ack["services"].as_array().unwrap().iter().any(|service| service["name"] == *name);
        assert_eq!(listed, let_in.contains(&"outside"), "hello of one outside {scope}");
        let mut refused = Client::connect(&broker).await;
        refused.send(&Hello::of(&broker, REMOVED).0).await;
        assert_eq!(refused.next().await["code"], "unauthorized", "who was removed is let in nowhere");

        let removed = people[number % MANAGERS.len()].1.ask(undeploy(&name)).await;
        assert_eq!(removed["status"], "stopped", "{removed}");
        for (who, client) in &mut people {
            let sees = MANAGERS.contains(who) || let_in.contains(who);
            let told: Vec<_> = client.told_of(&name).await.into_iter().map(|(event, _)| event).collect();
            for event in ["mcp_deployed", "mcp_updated", "mcp_undeployed"] {
                assert_eq!(told.iter().any(|told| told == event), sees, "{event} of {scope} to {who}: {told:?}");
            }
            assert!(sees || told.is_empty(), "{scope} to {who}: {told:?}");
        }
    }
}

async fn check(client: &mut Client, who: &str, name: &str, scope: &Value, sees: bool) {
    let catalog = client.ask(json!({ "type": "mcp_catalog" })).await;
    let listed = catalog["services"].as_array().unwrap().iter().any(|service| service["name"] == name);
    assert_eq!(listed, sees, "the catalog of {who} about {scope}");
    for verb in uses(name) {
        let answer = client.ask(verb.clone()).await;
        let expected = if sees { "ok" } else { "not_found" };
        assert_eq!(verdict(&answer), expected, "{who}, {scope}: {verb} -> {answer}");
    }
    for verb in manages(name, scope, who) {
        let answer = client.ask(verb.clone()).await;
        let expected = match (MANAGERS.contains(&who), sees) {
            (true, _) => "ok",
            (false, true) => "forbidden",
            (false, false) => "not_found",
        };
        assert_eq!(verdict(&answer), expected, "{who}, {scope}: {verb} -> {answer}");
    }
}
