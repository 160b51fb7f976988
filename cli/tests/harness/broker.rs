//! A broker that checks the hello for real and answers each request as its script says.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// How long a test waits for a message that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to answer to a message. The broker adds the `_reqId` of the request unless the answer has one (null: none).
/// `{"type": "!close"}` closes the socket, `{"type": "!drop"}` breaks it, `{"type": "!raw", "text"}` sends a text as it is.
type Script = Box<dyn Fn(&Value) -> Vec<Value> + Send>;

pub(crate) struct FakeBroker {
    pub(crate) url: String,
    seen: mpsc::Receiver<Value>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeBroker {
    /// A broker on a TCP port of its own, which welcomes everybody.
    pub(crate) fn start(script: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        Self::spawn(url, Box::new(script), async move |seen, script| {
            let listener = TcpListener::from_std(listener).unwrap();
            serve_all(async || listener.accept().await.unwrap().0, seen, script).await;
        })
    }

    /// The same on a Unix socket.
    pub(crate) fn start_unix(path: &Path, script: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("unix:{}", path.display());
        Self::spawn(url, Box::new(script), async move |seen, script| {
            let listener = UnixListener::from_std(listener).unwrap();
            serve_all(async || listener.accept().await.unwrap().0, seen, script).await;
        })
    }

    fn spawn(
        url: String,
        script: Script,
        accept: impl AsyncFnOnce(&mpsc::Sender<Value>, &Script) + Send + 'static,
    ) -> Self {
        let (sender, seen) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(&sender, &script) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { url, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// The next message of type `kind` that a client sent, without its `_reqId`; others on the way are dropped.
    pub(crate) fn next(&self, kind: &str) -> Value {
        self.all_until(kind).pop().unwrap()
    }

    /// All messages that clients sent up to the next of type `kind`, which is the last one; without their `_reqId`.
    pub(crate) fn all_until(&self, kind: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut message = self.seen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {kind} came: {all:?}"));
            let is_it = message["type"] == kind;
            message.as_object_mut().unwrap().remove("_reqId");
            all.push(message);
            if is_it {
                return all;
            }
        }
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.expect("the broker's own checks failed");
        }
    }
}

/// Serves whoever comes, several at a time.
async fn serve_all<S: AsyncRead + AsyncWrite + Unpin>(
    mut accept: impl AsyncFnMut() -> S,
    seen: &mpsc::Sender<Value>,
    script: &Script,
) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            stream = accept() => open.push(serve(stream, seen, script)),
            Some(()) = open.next() => {}
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, seen: &mpsc::Sender<Value>, script: &Script) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        // Whatever the program says must be what the wire defines.
        protocol::wire::parse(&text).unwrap_or_else(|error| panic!("{error:?}: {text}"));
        let request: Value = serde_json::from_str(&text).unwrap();
        let mut answers = script(&request);
        if request["type"] == "hello" {
            check_hello(&request);
            if answers.is_empty() {
                answers = vec![json!({"type": "hello_ack", "presenceId": "p", "memberDisplayName": "Ada"})];
            }
        }
        let _ = seen.send(request.clone());
        for answer in answers {
            if !send(&mut socket, &request, answer).await {
                return;
            }
        }
    }
    let _ = seen.send(json!({"type": "!closed"}));
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    request: &Value,
    mut answer: Value,
) -> bool {
    let text = match answer["type"].as_str() {
        Some("!drop") => return false,
        Some("!close") => {
            let _ = socket.close(None).await;
            return true;
        }
        Some("!raw") => answer["text"].as_str().unwrap().to_owned(),
        _ => {
            let fields = answer.as_object_mut().unwrap();
            let id = fields.entry("_reqId").or_insert_with(|| request["_reqId"].clone());
            if id.is_null() {
                fields.remove("_reqId");
            }
            answer.to_string()
        }
    };
    socket.send(Message::text(text)).await.is_ok()
}

/// The hello must be complete, and both signatures must be the member's.
fn check_hello(hello: &Value) {
    let text = |name: &str| hello[name].as_str().unwrap_or_else(|| panic!("hello has no {name}: {hello}"));
    let pubkey = text("pubkey");
    let member: VerifyingKey = VerifyingKey::from_bytes(&hex::decode(pubkey).unwrap().try_into().unwrap()).unwrap();
    let verify = |signed: String, signature: &Value| {
        let bytes = hex::decode(signature.as_str().unwrap()).unwrap();
        member
            .verify(signed.as_bytes(), &Signature::from_slice(&bytes).unwrap())
            .expect("the member signed something else");
    };
    let (mesh, id, session) = (text("meshId"), text("memberId"), text("sessionPubkey"));
    verify(format!("{mesh}|{id}|{pubkey}|{}", hello["timestamp"]), &hello["signature"]);
    let cert = &hello["sessionCert"];
    verify(
        format!(
            "claudemesh/session/v1|{mesh}|{pubkey}|{session}|{}|{}|{}",
            text("sessionId"),
            cert["issuedAt"],
            cert["expiresAt"]
        ),
        &cert["signature"],
    );
    assert!(["cli", "session", "proxy"].contains(&text("kind")), "{hello}");
    assert_eq!(hello["capabilities"], json!(["deploy_progress", "call_id", "client_ack", "e2e", "inbox"]));
    assert!(hello["pid"].is_u64() && hello["cwd"].is_string(), "{hello}");
}
