//! Secrets that a deploy brings in clear: taken and marked, or refused where the mesh says so.

use serde_json::{Value, json};

use super::{deploy, deploy_with, listed, up, world};
use crate::harness::{Client, MEMBER};

/// Planted: no refusal repeats it.
const SECRET: &str = "planted-5f1c0e";

fn with_env() -> Value {
    deploy_with("env", json!({ "config": { "env": { "TOKEN": SECRET } } }))
}

fn with_token() -> Value {
    let source = json!({ "type": "git", "url": "https://example.com/a/b.git", "auth": SECRET });
    deploy_with("git", json!({ "source": source }))
}

#[tokio::test]
async fn h24_a_mesh_may_refuse_secrets_in_clear() {
    let (broker, _runner, link, mut ada) = world().await;
    // As it is at first: taken, and shown as what it is.
    let request = ada.request(with_env()).await;
    link.bring_up(Vec::new()).await;
    assert_eq!(ada.outcome(&request).await["secrets"], "seen by broker");
    // Every verb that ends with it running says so.
    let request = ada.request(json!({ "type": "mcp_start", "server_name": "env" })).await;
    assert_eq!(ada.outcome(&request).await["secrets"], "seen by broker");
    up(&mut ada, &link, with_token(), Vec::new()).await;
    up(&mut ada, &link, deploy("none"), Vec::new()).await;
    for (name, seen) in [("env", json!("seen by broker")), ("git", json!("seen by broker")), ("none", Value::Null)] {
        assert_eq!(listed(&mut ada, name).await["secrets"], seen, "{name}");
    }

    let off = json!({ "type": "mesh_set", "plainEnv": false });
    let mut ben = Client::join(&broker, MEMBER).await;
    assert_eq!(ben.ask(off.clone()).await["code"], "forbidden");
    let set = ada.ask(off).await;
    assert_eq!((&set["plainEnv"], &set["requireProofs"]), (&json!(false), &json!(false)));
    assert_eq!(ada.ask(json!({ "type": "mesh_info" })).await["plainEnvOff"], true);
    for (message, field) in [(with_env(), "config.env"), (with_token(), "source.auth")] {
        let refused = ada.ask(message).await;
        let words = refused["message"].as_str().unwrap_or_default();
        assert_eq!(refused["code"], "forbidden", "{refused}");
        assert!(words.contains(field) && words.contains("plain-env on") && !words.contains(SECRET), "{words}");
    }
    // What has nothing to hide comes up, also after a restart; what is there goes on.
    up(&mut ada, &link, deploy("none"), Vec::new()).await;
    let broker = broker.killed_and_started().await;
    let mut ada = Client::join(&broker, crate::harness::OWNER).await;
    assert_eq!(ada.ask(with_env()).await["code"], "forbidden");
    assert_eq!(ada.ask(json!({ "type": "mesh_set", "plainEnv": true })).await["plainEnv"], true);
    assert!(!broker.log().contains(SECRET));
}
