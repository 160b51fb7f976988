//! Who may command a runner.

use bytes::Bytes;
use protocol::link::{Header, LinkHello, Outcome, RefuseCode, ServiceState, frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::bench::{Broker, NONCE, Refused, Runner, TOKEN, command, introduce, receive, send, spec};

#[tokio::test]
async fn h28_a_wrong_token_is_refused_and_a_right_one_served() {
    let runner = Runner::start(&[]).await;
    let refused = Broker::connect(&runner.socket(), &"f".repeat(32), "store", 1).await;
    assert!(matches!(refused, Err(Refused(Some(RefuseCode::BadProof)))));
    let broker = runner.broker(1).await;
    assert!(broker.is_complete && broker.services.is_empty());
    assert_eq!(broker.hello.pid, runner.child.id());
    assert!(broker.hello.pid_start.is_some());
}

#[tokio::test]
async fn h14_an_old_broker_commands_nothing() {
    let mut runner = Runner::start(&[]).await;
    let mut old = runner.broker(5).await;
    let refused = Broker::connect(&runner.socket(), TOKEN, "store", 4).await;
    assert!(matches!(refused, Err(Refused(Some(RefuseCode::Fenced)))));
    assert_eq!(old.load(&spec("one", &[])).await, Outcome::Ok);

    let mut new = runner.broker(6).await;
    assert_eq!(old.load(&spec("two", &[])).await, Outcome::Fenced { epoch: 6 });
    assert_eq!(old.unload(&spec("one", &[])).await, Outcome::Fenced { epoch: 6 });
    new.in_state(&spec("one", &[]), ServiceState::Running).await;

    // Another store gets nothing while this one's services are here.
    let other = Broker::connect(&runner.socket(), TOKEN, "another", 99).await;
    assert!(matches!(other, Err(Refused(Some(RefuseCode::Fenced)))));

    // And all of that survives the runner.
    drop((old, new));
    runner.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(runner.ended().await, Some(0));
    let Runner { dir, .. } = runner;
    let runner = Runner::start_in(dir, &[]).await;
    let refused = Broker::connect(&runner.socket(), TOKEN, "store", 5).await;
    assert!(matches!(refused, Err(Refused(Some(RefuseCode::Fenced)))));
}

#[tokio::test]
async fn another_major_version_is_refused_but_may_order_an_end() {
    let mut runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    broker.run(&spec("one", &["--orphan", "major-token"])).await;
    let hello = LinkHello { major: 99, ..LinkHello::broker("next", NONCE, "store", 2) };
    let (mut socket, _) = introduce(&runner.socket(), TOKEN, hello).await;
    let refused = frame::decode(receive(&mut socket).await.unwrap()).unwrap().header;
    assert!(matches!(refused, Header::LinkRefused { code: RefuseCode::Major, .. }), "{refused:?}");
    send(&mut socket, &Header::StopAll { cmd: 1 }).await;
    assert_eq!(runner.ended().await, Some(0));
    super::bench::nothing_left_of("major-token").await;
}

#[tokio::test]
async fn a_second_runner_on_the_directory_says_so() {
    let runner = Runner::start(&[]).await;
    let output = command(runner.dir.path(), &[]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("a runner is already running on"), "{words}");
    // The first one is none the worse.
    runner.broker(1).await;
}

#[tokio::test]
async fn health_is_open_and_the_tree_is_not() {
    let runner = Runner::start(&[]).await;
    let health = get(&runner, "/health", "").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains(r#""status":"ok""#), "{health}");
    for path in ["/tree", "/metrics"] {
        assert!(get(&runner, path, "").await.starts_with("HTTP/1.1 401"), "{path}");
    }
    let wrong = format!("authorization: Bearer {}\r\n", "f".repeat(32));
    for path in ["/tree", "/metrics"] {
        assert!(get(&runner, path, &wrong).await.starts_with("HTTP/1.1 401"), "{path}");
    }
    let tree = get(&runner, "/tree", &format!("authorization: Bearer {TOKEN}\r\n")).await;
    assert!(tree.starts_with("HTTP/1.1 200") && tree.contains(r#""id":"http""#), "{tree}");
    assert!(get(&runner, "/link", "").await.starts_with("HTTP/1.1 426"));
    let page = "connection: upgrade\r\nupgrade: websocket\r\norigin: http://evil\r\n";
    assert!(get(&runner, "/link", page).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn a_broken_frame_ends_the_session_only() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    broker.run(&spec("one", &[])).await;
    let (mut socket, _) = introduce(&runner.socket(), TOKEN, LinkHello::broker("bad", NONCE, "store", 1)).await;
    send(&mut socket, &Header::Chunk { stream: 7, last: true }).await;
    while receive(&mut socket).await.is_some() {}
    assert_eq!(broker.text(&spec("one", &[]), "echo", serde_json::json!({ "text": "still here" })).await, "still here");
}

pub(super) async fn get(runner: &Runner, path: &str, headers: &str) -> String {
    let mut stream = UnixStream::connect(runner.socket()).await.unwrap();
    let connection = if headers.contains("upgrade") { "" } else { "connection: close\r\n" };
    let request = format!("GET {path} HTTP/1.1\r\nhost: runner\r\n{connection}{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&Bytes::from(answer)).into_owned()
}
