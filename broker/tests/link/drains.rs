//! An orderly end.

use serde_json::json;

use super::{call, deploy, up, world};
use crate::harness::tool;
use crate::http::eventually;

#[tokio::test]
async fn h47_calls_that_are_under_way_are_answered_before_the_broker_ends() {
    let (mut broker, _runner, link, mut client) = world().await;
    up(&mut client, &link, deploy("one"), vec![tool("t", json!({}))]).await;
    let asked = client.request(call("one", "t")).await;
    let (header, _) = link.call().await;
    let pid = nix::unistd::Pid::from_raw(broker.pid().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    eventually(&broker, "/health/ready", |body| body["draining"] == true).await;
    let late = client.ask(call("one", "t")).await;
    assert_eq!(late["code"], "draining", "no new work: {late}");
    link.reply(header.id, "just in time");
    assert_eq!(client.answer(&asked).await["result"]["content"][0]["text"], "just in time");
    assert_eq!(client.closed().await.map(|(code, _)| code), Some(1001));
    assert_eq!(broker.ended().await, Some(0), "{}", broker.log());
}
