//! The endpoints of operators.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{Broker, SOON, get, get_bytes};

/// How often a page is asked for again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks until the page is as wanted; the last body then, a failure when that takes too long.
pub(crate) async fn eventually(broker: &Broker, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let body = get(broker, path, &[]).await.body;
        if wanted(&body) {
            return body;
        }
        assert!(Instant::now() < deadline, "{path} never became as wanted: {body:#}");
        sleep(LOOK_EVERY).await;
    }
}

fn children(node: &Value) -> Vec<&str> {
    let children = node["children"].as_array().map(Vec::as_slice).unwrap_or_default();
    children.iter().map(|child| child["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_process_says_that_it_lives_and_when_it_is_ready() {
    let (broker, runner) = Broker::with_runner().await;
    let live = get(&broker, "/health", &["Authorization: none"]).await;
    assert_eq!((live.status, &live.body["status"], &live.body["version"]), (200, &json!("ok"), &json!("test-build")));

    let ready = get(&broker, "/health/ready", &[]).await;
    assert_eq!((ready.status, &ready.body["ready"]), (503, &json!(false)));
    assert_eq!(ready.body["waiting_for"], json!(["runners/link:local"]));

    let _link = runner.accept_with(Vec::new()).await;
    eventually(&broker, "/health/ready", |body| body["ready"] == true).await;
    assert_eq!(get(&broker, "/health/ready", &[]).await.status, 200);
}

#[tokio::test]
async fn a_nodes_health_is_that_of_what_stands_below_it() {
    let (broker, runner) = Broker::with_runner().await;
    let ill = get(&broker, "/health/runners", &[]).await;
    assert_eq!((ill.status, &ill.body["healthy"]), (503, &json!(false)));
    assert_eq!(ill.body["ill"], json!(["runners/link:local: starting"]));
    assert_eq!(get(&broker, "/health/store", &[]).await.status, 200);

    let link = runner.accept_with(Vec::new()).await;
    eventually(&broker, "/health/runners", |body| body["healthy"] == true).await;
    link.cut();
    eventually(&broker, "/health/runners", |body| body["healthy"] == false).await;
}

#[tokio::test]
async fn h06_the_tree_is_shown_whole_or_in_part() {
    let broker = Broker::alone().await;
    let whole = get(&broker, "/tree", &[]).await;
    assert_eq!(whole.status, 200);
    assert!(whole.body["seq"].as_u64().unwrap() > 0);
    let root = &whole.body["roots"][0];
    let parts = ["store", "runners", "meshes", "http", "drain"];
    assert_eq!(children(root), parts);

    let shallow = get(&broker, "/tree?depth=0", &[]).await.body;
    assert_eq!(children(&shallow["roots"][0]), Vec::<&str>::new());
    for path in ["meshes/default", "/meshes/default/"] {
        let part = get(&broker, &format!("/tree?path={path}&depth=1"), &[]).await.body;
        let mesh = &part["roots"][0];
        assert_eq!(mesh["id"], "meshes/default", "{path}");
        assert_eq!(mesh["state"], "running");
        let of_a_mesh = ["mesh", "journal", "peers", "services"].map(|part| format!("meshes/default/{part}"));
        assert_eq!(children(mesh), of_a_mesh);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let broker = Broker::alone().await;
    for path in ["/tree?path=meshes/none", "/health/meshes/none", "/nothing"] {
        assert_eq!(get(&broker, path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(get(&broker, "/tree?depth=-1", &[]).await.status, 400);
}

#[tokio::test]
async fn beyond_liveness_one_must_be_an_operator() {
    let broker = Broker::alone().await;
    let wrong = [
        "Authorization: Bearer wrong",
        "Authorization: Bearer ",
        "Authorization: Bearer operator-token-of-the-test",
        "Authorization: Basic operator-token-of-the-tests",
        "Authorization: operator-token-of-the-tests",
    ];
    for path in ["/tree", "/metrics", "/health/store", "/health/none"] {
        for header in wrong {
            let refused = get(&broker, path, &[header]).await;
            assert_eq!((refused.status, &refused.body["error"]), (401, &json!("unauthorized")), "{path} {header}");
        }
        let host = format!("Host: {}", broker.address());
        assert_eq!(get_bytes(&broker, path, host.as_bytes()).await.status, 401, "without a token");
    }
}

#[tokio::test]
async fn a_foreign_page_reaches_nothing() {
    let broker = Broker::alone().await;
    let own = format!("Host: {}", broker.address());
    let foreign: [&[&str]; 7] = [
        &["Host: evil.example"],
        &["Host: evil.example:7900"],
        &["Host: 127.0.0.1.evil.example"],
        &["Host: localhost.evil.example"],
        &[&own, "Origin: https://evil.example"],
        &[&own, "Origin: null"],
        &[&own, "Origin: http://127.0.0.1.evil.example:7900"],
    ];
    for path in ["/tree", "/metrics", "/health/store", "/ws"] {
        for headers in foreign {
            let refused = get(&broker, path, headers).await;
            assert_eq!((refused.status, &refused.body["error"]), (403, &json!("foreign_host")), "{path} {headers:?}");
        }
    }
    for headers in [&["Host: localhost"][..], &["Host: [::1]:7900"], &[&own, "Origin: http://localhost:3000"]] {
        assert_eq!(get(&broker, "/tree", headers).await.status, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_read_is_foreign() {
    let broker = Broker::alone().await;
    for name in ["Host", "Origin"] {
        let mut headers = format!("Authorization: Bearer {}\r\n", crate::harness::OPERATOR_TOKEN).into_bytes();
        if name == "Origin" {
            headers.extend(format!("Host: {}\r\n", broker.address()).bytes());
        }
        headers.extend(name.bytes());
        headers.extend(b": \xff\xfe.example");
        assert_eq!(get_bytes(&broker, "/tree", &headers).await.status, 403, "{name}");
    }
}
