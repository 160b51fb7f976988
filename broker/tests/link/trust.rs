//! Both sides prove that they know the token before either believes the other.

use serde_json::json;

use super::{deploy, deploy_with, listed_as, up, world};
use crate::harness::{Broker, Client, MEMBER, OWNER, RUNNER_TOKEN, greet, receive};
use crate::http::eventually;

#[tokio::test]
async fn h28_a_runner_that_does_not_know_the_token_gets_nothing() {
    let (broker, runner) = Broker::with_runner().await;
    let mut client = Client::join(&broker, OWNER).await;
    let request = client.request(deploy("one")).await;
    assert_eq!(client.answer(&request).await["status"], "building");
    // Neither proof nor command, and the same again when it dials again.
    for _ in 0..2 {
        let mut socket = runner.knock().await;
        greet(&mut socket, "local", "another-token-0123456789abcdef0123456789").await;
        assert!(receive(&mut socket).await.is_none(), "the broker hangs up and says nothing more");
    }
    let node = eventually(&broker, "/tree?path=runners/link:local", |body| {
        body["roots"][0]["last_exit"]["reason"].as_str().is_some_and(|reason| reason.contains("RUNNER_TOKEN"))
    })
    .await;
    assert_ne!(node["roots"][0]["state"], "running");
    assert_eq!(super::listed(&mut client, "one").await["status"], "unreachable");
    // The one that knows it gets what was wanted all along.
    let link = runner.accept_with(Vec::new()).await;
    link.bring_up(Vec::new()).await;
    assert_eq!(client.outcome(&request).await["status"], "running");
}

#[tokio::test]
async fn h24_secrets_are_neither_stored_nor_logged_in_clear() {
    const VALUE: &str = "planted-value-of-a-variable";
    const TOKEN: &str = "planted-token-for-a-git-host";
    let (broker, runner, link, mut client) = world().await;
    let source = json!({ "type": "git", "url": "https://git.example/x.git", "auth": TOKEN });
    let message = deploy_with("one", json!({ "source": source, "config": { "env": { "KEY": VALUE } } }));
    up(&mut client, &link, message, Vec::new()).await;
    drop(link);
    // A runner that forgot everything is given all of it again, by a broker that had only what it stored.
    let broker = broker.killed_and_started().await;
    let link = runner.accept_with(Vec::new()).await;
    let mut again = link.load().await.spec;
    assert_eq!(again.env["KEY"].expose(), VALUE);
    assert_eq!(again.source.take_token().as_ref().map(protocol::SecretString::expose), Some(TOKEN));

    let mut client = Client::join(&broker, OWNER).await;
    let entry = super::listed(&mut client, "one").await;
    let shown = [entry.to_string(), broker.log(), crate::harness::get(&broker, "/tree", &[]).await.body.to_string()];
    for secret in [VALUE, TOKEN, RUNNER_TOKEN, crate::harness::OPERATOR_TOKEN] {
        for text in &shown {
            assert!(!text.contains(secret), "{secret} is shown:\n{text}");
        }
        for file in std::fs::read_dir(&broker.setup.data_dir).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                // Uploads: nobody uploaded anything.
                assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "{}", path.display());
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} lies in {}", path.display());
        }
    }
}

#[tokio::test]
async fn what_is_on_the_runners_machine_is_run_for_admins_only() {
    let (broker, _runner, link, mut owner) = world().await;
    let command = json!({ "source": { "type": "command", "argv": ["/bin/tool", "-v"] } });
    let mut member = Client::join(&broker, MEMBER).await;
    let refused = member.ask(deploy_with("one", command.clone())).await;
    assert_eq!(refused["code"], "forbidden", "{refused}");
    up(&mut owner, &link, deploy_with("one", command), Vec::new()).await;
    listed_as(&mut owner, "one", "running").await;
}
