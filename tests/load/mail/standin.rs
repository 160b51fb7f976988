//! A broker that does no more than pass messages on, and what the phases say when it does that wrong.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ::tests::frames::{self, Frame, Side};
use ::tests::harness::Member;
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use crate::crowd::Crowd;
use crate::phases::Stage;

const MEMBERS: usize = 5;

/// What it does wrong, at its tenth message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Twice,
    /// To a later time.
    Swapped,
    Refused,
    Cut,
}

#[derive(Default)]
struct Broker {
    sessions: HashMap<String, UnboundedSender<Value>>,
    messages: usize,
    held: Option<(String, Value)>,
}

type Shared = Rc<RefCell<Broker>>;

async fn serve(listener: TcpListener, fault: Fault) {
    let shared = Shared::default();
    while let Ok((stream, _)) = listener.accept().await {
        spawn_local(converse(stream, Rc::clone(&shared), fault));
    }
}

async fn converse(stream: TcpStream, shared: Shared, fault: Fault) {
    let stream = accept_async(stream).await.unwrap().into_inner();
    let (mut reader, mut writer) = stream.into_split();
    #[expect(clippy::disallowed_methods, reason = "bounded by the few messages of a test")]
    let (tell, mut told) = unbounded_channel::<Value>();
    spawn_local(async move {
        while let Some(message) = told.recv().await {
            let mut out = BytesMut::new();
            if message.is_null() {
                return;
            }
            frames::put(Side::Server, Data::Text, &[message.to_string().as_bytes()], &mut out);
            let _ = writer.write_all(&out).await;
        }
    });
    let mut own = String::new();
    let mut input = BytesMut::new();
    loop {
        while let Some(frame) = frames::take(&mut input).unwrap() {
            let Frame::Message(message) = frame else { continue };
            let message: Value = serde_json::from_slice(&message).unwrap();
            match message["type"].as_str().unwrap() {
                "hello" => {
                    own = message["sessionPubkey"].as_str().unwrap().to_owned();
                    shared.borrow_mut().sessions.insert(own.clone(), tell.clone());
                    let _ = tell.send(json!({ "type": "hello_ack", "presenceId": "p" }));
                }
                "send" => pass_on(&message, &own, &tell, &shared, fault),
                _ => {}
            }
        }
        if reader.read_buf(&mut input).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

fn pass_on(message: &Value, own: &str, tell: &UnboundedSender<Value>, shared: &Shared, fault: Fault) {
    let broker = &mut *shared.borrow_mut();
    broker.messages += 1;
    let now = broker.messages == 10;
    let id = &message["id"];
    if now && fault == Fault::Refused {
        let _ = tell.send(json!({ "type": "ack", "id": id, "queued": false, "code": "rate" }));
        return;
    }
    if now && fault == Fault::Cut {
        let _ = tell.send(Value::Null);
        return;
    }
    let _ = tell.send(json!({ "type": "ack", "id": id, "messageId": id, "queued": true }));
    let push = json!({ "type": "push", "messageId": id, "seq": 1, "ciphertext": message["ciphertext"] });
    let target = message["targetSpec"].as_str().unwrap();
    let to: Vec<String> = match target {
        "*" => broker.sessions.keys().filter(|key| *key != own).cloned().collect(),
        key => vec![key.to_owned()],
    };
    for key in to {
        let Some(session) = broker.sessions.get(&key) else { continue };
        if now && fault == Fault::Swapped {
            broker.held = Some((key, push.clone()));
            continue;
        }
        let _ = session.send(push.clone());
        if now && fault == Fault::Twice {
            let _ = session.send(push.clone());
        }
        if broker.held.as_ref().is_some_and(|(held, _)| *held == key) {
            let _ = session.send(broker.held.take().unwrap().1);
        }
    }
}

/// Whatever the phases say with such a broker.
fn played(fault: Fault) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        spawn_local(serve(listener, fault));
        let secret = "07".repeat(64);
        let members: Vec<_> =
            (0..MEMBERS).map(|number| Member::of("m", &number.to_string(), &secret, "x").unwrap()).collect();
        let (crowd, _) = Crowd::enter(port, &members, MEMBERS, false).await?;
        let mut stage = Stage::new(crowd, vec![members[0].address()]);
        stage.burst(20).await?;
        assert_eq!(stage.paced(30).await?.len(), 30);
        for _ in 0..3 {
            assert!(stage.broadcast().await? > Duration::ZERO);
        }
        stage.pile_up(&["nobody".to_owned()], 7).await
    }))
}

#[test]
fn with_a_broker_that_is_right_every_phase_ends() {
    assert_eq!(played(Fault::None), Ok(()));
}

#[test]
fn each_fault_ends_the_run_and_is_named() {
    for (fault, words) in [
        (Fault::Twice, "1 that were not due"),
        (Fault::Swapped, "1 out of order"),
        (Fault::Refused, "1 refused"),
        (Fault::Cut, "lost"),
    ] {
        let error = played(fault).unwrap_err();
        assert!(error.contains(words), "{fault:?}: {error}");
    }
}
