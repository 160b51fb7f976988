//! The endpoints of operators.

mod upload;

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
        let of_a_mesh = ["scribe", "mesh", "journal", "hosted", "peers", "services", "watches"]
            .map(|part| format!("meshes/default/{part}"));
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

/// The number of the last change.
async fn seq(broker: &Broker) -> u64 {
    get(broker, "/tree?depth=0", &[]).await.body["seq"].as_u64().unwrap()
}

/// A number after which nothing has changed for a while.
async fn quiet(broker: &Broker) -> u64 {
    let mut last = seq(broker).await;
    loop {
        let answer = get(broker, &format!("/tree?depth=0&after={last}&wait=1"), &[]).await;
        if answer.status == 204 {
            return last;
        }
        last = answer.body["seq"].as_u64().unwrap();
    }
}

#[tokio::test]
async fn h06_a_change_of_the_tree_can_be_waited_for() {
    let (broker, runner) = Broker::with_runner().await;
    let _link = runner.accept_with(Vec::new()).await;
    eventually(&broker, "/health/ready", |body| body["ready"] == true).await;
    let last = quiet(&broker).await;
    // Who has another number has its answer at once, also one from before the broker's restart.
    for other in [0, last - 1, last + 1] {
        let answer = get(&broker, &format!("/tree?after={other}&wait=60"), &[]).await;
        assert!(answer.status == 200 && answer.body["seq"].as_u64().unwrap() >= last, "{}", answer.body);
    }
    let asked = async {
        let mut known = last;
        loop {
            let answer = get(&broker, &format!("/tree?path=meshes/default/peers&after={known}&wait=60"), &[]).await;
            assert_eq!(answer.status, 200);
            assert!(answer.body["seq"].as_u64().unwrap() > known, "{}", answer.body);
            if children(&answer.body["roots"][0]).len() == 1 {
                return;
            }
            known = answer.body["seq"].as_u64().unwrap();
        }
    };
    let joined = async {
        let waits = |page: &str| page.lines().any(|line| line == "claudemesh_broker_tree_waiters 1");
        while !waits(&get(&broker, "/metrics", &[]).await.text) {
            sleep(LOOK_EVERY).await;
        }
        crate::harness::Client::join(&broker, crate::harness::OWNER).await
    };
    let ((), _client) = tokio::join!(asked, joined);

    let last = quiet(&broker).await;
    let gone = get(&broker, &format!("/tree?path=nowhere&after={}&wait=60", last - 1), &[]).await;
    assert!(gone.status == 404 && gone.body["seq"].as_u64().unwrap() >= last, "{}", gone.body);
    assert_eq!(get(&broker, "/tree?after=x", &[]).await.status, 400);
}

#[tokio::test]
async fn h50_not_everybody_may_wait_for_the_tree() {
    let broker = Broker::alone().await;
    let last = quiet(&broker).await;
    let path = format!("/tree?after={last}&wait=60");
    let waiting = futures_util::future::join_all((0..65).map(|_| get(&broker, &path, &[])));
    let stop = async {
        let refused = r#"claudemesh_limit_refused_total{limit="tree_waiters"} 1"#;
        while !get(&broker, "/metrics", &[]).await.text.contains(refused) {
            sleep(LOOK_EVERY).await;
        }
        // They are not kept waiting by a broker that ends.
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(broker.pid().try_into().unwrap()).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
    };
    let (answers, ()) = tokio::join!(waiting, stop);
    assert_eq!(answers.iter().filter(|answer| answer.body["error"] == "limit").count(), 1);
    let draining = |answer: &&crate::harness::Answer| answer.body["error"] == "draining" || answer.status == 200;
    assert_eq!(answers.iter().filter(draining).count(), 64);
}
