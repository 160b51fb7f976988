//! Servers that peers host: registered, called through the mesh, and gone with their hosts.

use protocol::identity::SigningKey;
use serde_json::{Value, json};

use super::{call, deploy, up, world};
use crate::harness::{Broker, Client, Hello, MEMBER, OTHER, OWNER};

fn register(name: &str, persistent: bool) -> Value {
    let tools = json!([{ "name": "look", "description": "Look", "inputSchema": { "type": "object" } }]);
    json!({ "type": "mcp_register", "serverName": name, "description": "My desk", "tools": tools, "persistent": persistent })
}

async fn listed(client: &mut Client) -> Value {
    client.ask(json!({ "type": "mcp_list" })).await["servers"].take()
}

async fn forwarded(host: &mut Client) -> Value {
    host.until(|frame| frame["type"] == "mcp_call_forward").await
}

/// A host, and somebody who calls.
async fn pair(broker: &Broker) -> (Client, Client) {
    let mut host = Client::join(broker, MEMBER).await;
    let ack = host.ask(register("desk", false)).await;
    assert_eq!((&ack["type"], &ack["toolCount"]), (&json!("mcp_register_ack"), &json!(1)), "{ack}");
    (host, Client::join(broker, OTHER).await)
}

#[tokio::test]
async fn a_call_goes_to_the_host_and_its_answer_comes_back_as_it_is() {
    let broker = Broker::alone().await;
    let mut owner = Client::join(&broker, OWNER).await;
    let (mut host, mut caller) = pair(&broker).await;
    let event = owner.event("mcp_registered").await;
    assert_eq!((&event["serverName"], &event["hostedBy"]), (&json!("desk"), &json!(MEMBER.name)));
    let servers = listed(&mut caller).await;
    assert_eq!((&servers[0]["name"], &servers[0]["online"]), (&json!("desk"), &json!(true)));
    assert_eq!(servers[0]["tools"][0]["name"], "look");
    let asked = caller.request(call("desk", "look")).await;
    let forward = forwarded(&mut host).await;
    assert_eq!((&forward["toolName"], &forward["args"]), (&json!("look"), &json!({ "a": 1 })));
    assert_eq!(forward["memberPubkey"], OTHER.key().public().to_string(), "who calls is the broker's word, not theirs");
    let id = forward["callId"].clone();
    let result = json!({ "content": [{ "type": "text", "text": "a desk" }], "isError": false });
    // Whoever was not asked answers nothing.
    for stranger in [&mut owner, &mut caller] {
        let answer = json!({ "type": "mcp_call_response", "callId": id, "result": { "content": [] } });
        assert_eq!(stranger.ask(answer).await["code"], "not_found");
    }
    host.send(&json!({ "type": "mcp_call_response", "callId": id, "result": result })).await;
    assert_eq!(caller.answer(&asked).await["result"], result);
    let again = json!({ "type": "mcp_call_response", "callId": id, "result": result });
    assert_eq!(host.ask(again).await["code"], "not_found", "an answer is given once");

    let asked = caller.request(call("desk", "nothing")).await;
    let id = forwarded(&mut host).await["callId"].clone();
    let error = "MCP error -32602: Tool nothing not found";
    host.send(&json!({ "type": "mcp_call_response", "callId": id, "error": error })).await;
    let answer = caller.answer(&asked).await;
    assert_eq!((&answer["error"], &answer["errorCode"]), (&json!(error), &json!(-32602)));
    assert_eq!(caller.ask(json!({ "type": "mcp_schema", "server_name": "desk" })).await["tools"][0]["name"], "look");
}

#[tokio::test]
async fn h09_a_host_that_goes_leaves_no_call_waiting() {
    let broker = Broker::alone().await;
    let (mut host, mut caller) = pair(&broker).await;
    let asked = caller.request(call("desk", "look")).await;
    forwarded(&mut host).await;
    drop(host);
    assert_eq!(caller.answer(&asked).await["errorCode"], "outcome_unknown");
    let away = listed(&mut caller).await;
    assert_eq!(away[0]["online"], false);
    assert!(away[0]["offlineSince"].is_string(), "{away}");
    assert_eq!(caller.ask(call("desk", "look")).await["errorCode"], "unreachable");
    // Its member comes back and has the name again; nobody else takes it meanwhile.
    assert_eq!(caller.ask(register("desk", false)).await["code"], "forbidden");
    let mut host = Client::join(&broker, MEMBER).await;
    assert_eq!(host.ask(register("desk", false)).await["type"], "mcp_register_ack");
    assert_eq!(caller.event("mcp_restored").await["serverName"], "desk");
    // A call is given up by its caller, and runs out of time.
    let mut brief = call("desk", "look");
    brief["timeoutMs"] = json!(1);
    assert_eq!(caller.ask(brief).await["errorCode"], "timeout");
    let mut named = call("desk", "look");
    named["callId"] = json!("mine");
    let asked = caller.request(named).await;
    caller.send(&json!({ "type": "mcp_cancel", "callId": "mine" })).await;
    assert_eq!(caller.answer(&asked).await["errorCode"], "cancelled");
    assert_eq!(host.ask(json!({ "type": "mcp_unregister", "serverName": "desk" })).await["queued"], true);
    assert_eq!(caller.event("mcp_unregistered").await["serverName"], "desk");
    assert_eq!(caller.ask(call("desk", "look")).await["errorCode"], "not_found");
    assert_eq!(host.ask(json!({ "type": "mcp_unregister", "serverName": "desk" })).await["code"], "not_found");
}

#[tokio::test]
async fn a_persistent_name_outlasts_a_goodbye_and_not_its_members_removal() {
    let broker = Broker::alone().await;
    let mut owner = Client::join(&broker, OWNER).await;
    for (name, persistent) in [("kept", true), ("brief", false)] {
        let mut host = Client::join(&broker, MEMBER).await;
        host.ask(register(name, persistent)).await;
        host.socket.close(None).await.unwrap();
        owner.event("peer_left").await;
    }
    owner.event("mcp_unregistered").await;
    let servers = listed(&mut owner).await;
    assert_eq!((servers.as_array().unwrap().len(), &servers[0]["name"]), (1, &json!("kept")));
    let key: SigningKey = OWNER.key();
    let removal = protocol::trust::Removal::sign(broker.mesh(), MEMBER.key().public(), 1, &key).unwrap();
    let remove = json!({ "type": "member_remove", "memberId": broker.member_id(MEMBER), "removal": removal });
    assert_eq!(owner.ask(remove).await["type"], "member_result");
    assert_eq!(listed(&mut owner).await, json!([]));
}

#[tokio::test]
async fn a_name_is_a_services_or_a_peers_and_bounds_hold() {
    let (broker, _runner, link, mut owner) = world().await;
    up(&mut owner, &link, deploy("one"), Vec::new()).await;
    let (mut host, mut caller) = pair(&broker).await;
    assert_eq!(host.ask(register("one", false)).await["code"], "forbidden", "a service has the name");
    assert_eq!(owner.ask(deploy("desk")).await["code"], "forbidden", "a peer has the name");
    assert_eq!(host.ask(register("no/name", false)).await["code"], "invalid_name");
    let mut wordy = register("wordy", false);
    wordy["description"] = json!("x".repeat(1_025));
    assert_eq!(host.ask(wordy).await["code"], "limit");
    let mut many = register("many", false);
    many["tools"] = (0..513).map(|n| json!({ "name": format!("t{n}"), "inputSchema": {} })).collect();
    assert_eq!(host.ask(many).await["code"], "limit");
    for n in 1..20 {
        assert_eq!(host.ask(register(&format!("s{n}"), false)).await["type"], "mcp_register_ack");
    }
    let refused = host.ask(register("s20", false)).await;
    assert_eq!(refused["code"], "limit", "{refused}");
    let (mut says_owner, _) =
        Client::join_with(&broker, Hello::of(&broker, OTHER).with("displayName", MEMBER.name)).await;
    assert_eq!(says_owner.ask(register("desk", false)).await["code"], "forbidden", "a display name opens nothing");
    // So many calls wait for peers at a time, and one caller does not keep the others out.
    for _ in 0..64 {
        caller.request(call("desk", "look")).await;
    }
    assert_eq!(caller.ask(call("desk", "look")).await["errorCode"], "overloaded");
    let asked = says_owner.request(call("desk", "look")).await;
    loop {
        let forward = forwarded(&mut host).await;
        let id = forward["callId"].clone();
        host.send(&json!({ "type": "mcp_call_response", "callId": id, "result": { "content": [] } })).await;
        if forward["memberPubkey"] == OTHER.key().public().to_string() && forward["callerName"] == MEMBER.name {
            break;
        }
    }
    assert!(says_owner.answer(&asked).await["result"].is_object());
}

#[tokio::test]
async fn h50_a_member_registers_so_often_a_minute_and_is_told_the_limit() {
    let broker = Broker::alone().await;
    let mut host = Client::join(&broker, MEMBER).await;
    for _ in 0..120 {
        assert_eq!(host.ask(register("desk", false)).await["type"], "mcp_register_ack");
    }
    let refused = host.ask(register("desk", false)).await;
    assert_eq!(refused["code"], "limit", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("120 registrations a minute"), "{refused}");
    let mut other = Client::join(&broker, OWNER).await;
    assert_eq!(other.ask(register("another", false)).await["type"], "mcp_register_ack", "nobody else pays for it");
}

#[tokio::test]
async fn h46_a_list_of_what_is_hosted_has_so_many_tools_and_says_what_it_left_out() {
    let broker = Broker::alone().await;
    let mut host = Client::join(&broker, MEMBER).await;
    for n in 0..5 {
        let mut large = register(&format!("s{n}"), false);
        large["tools"] = json!([{ "name": "t", "description": "x".repeat(900_000), "inputSchema": {} }]);
        assert_eq!(host.ask(large).await["type"], "mcp_register_ack");
    }
    let servers = listed(&mut host).await;
    let omitted = |server: &&Value| server["toolsOmitted"] == true && server["tools"] == json!([]);
    let servers = servers.as_array().unwrap();
    assert_eq!((servers.len(), servers.iter().filter(omitted).count()), (5, 1));
    let left_out = servers.iter().find(omitted).unwrap()["name"].clone();
    let schema = host.ask(json!({ "type": "mcp_schema", "server_name": left_out })).await;
    assert_eq!(schema["tools"][0]["name"], "t");
}
