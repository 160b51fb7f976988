//! The broker and its runner, which here is a fake: it speaks the link, and the test says what it answers.

mod calls;
mod deploys;
mod drains;
mod hosted;
mod matrix;
mod moves;
mod plain_env;
mod restarts;
mod robot;
mod scopes;
mod trust;
mod verbs;

use serde_json::{Value, json};

use crate::harness::{Broker, Client, Conn, FakeRunner, OWNER};

/// `mcp_deploy` of a package.
pub(crate) fn deploy(name: &str) -> Value {
    json!({ "type": "mcp_deploy", "server_name": name, "source": { "type": "npx", "package": "p" } })
}

fn deploy_with(name: &str, members: Value) -> Value {
    let mut message = deploy(name);
    message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    message
}

pub(crate) fn undeploy(name: &str) -> Value {
    json!({ "type": "mcp_undeploy", "server_name": name })
}

pub(crate) fn call(name: &str, tool: &str) -> Value {
    json!({ "type": "mcp_call", "serverName": name, "toolName": tool, "args": { "a": 1 } })
}

/// A broker with a runner that is up, and a session of the owner.
pub(crate) async fn world() -> (Broker, FakeRunner, Conn, Client) {
    let (broker, runner) = Broker::with_runner().await;
    let link = runner.accept_with(Vec::new()).await;
    let client = Client::join(&broker, OWNER).await;
    crate::http::eventually(&broker, "/health/ready", |body| body["ready"] == true).await;
    (broker, runner, link, client)
}

/// Deploys a service that comes up with these tools; its deployment's id.
pub(crate) async fn up(client: &mut Client, link: &Conn, message: Value, tools: Vec<protocol::link::Tool>) -> String {
    let request = client.request(message).await;
    let id = link.bring_up(tools).await;
    let outcome = client.outcome(&request).await;
    assert_eq!(outcome["status"], "running", "{outcome}");
    id
}

/// What the catalog says of a service; null when it is not in it.
async fn listed(client: &mut Client, name: &str) -> Value {
    let catalog = client.ask(json!({ "type": "mcp_catalog" })).await;
    let services = catalog["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == name).cloned().unwrap_or_default()
}

/// Asks until the catalog says so.
async fn listed_as(client: &mut Client, name: &str, status: &str) -> Value {
    let deadline = tokio::time::Instant::now() + crate::harness::SOON;
    loop {
        let entry = listed(client, name).await;
        if entry["status"] == status {
            return entry;
        }
        assert!(tokio::time::Instant::now() < deadline, "never {status}: {entry}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
