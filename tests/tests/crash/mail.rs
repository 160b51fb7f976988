//! Messages while parts die: what the broker took comes, once and in order.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::harness::ledger::{Ledger, Slip};
use tests::harness::peer::{Peer, converse};
use tests::harness::receiver::delivered_to_broker;
use tests::harness::{
    Backend, Client, Member, Mesh, Owner, Receiver, SETTLE, Session, processes, programs, scaled, wait_until,
};
use tokio::time::timeout;

on_both! {
    h31_a_kill_of_the_broker_in_a_burst_loses_nothing_that_it_took_and_repeats_nothing,
    h31_what_a_frozen_receiver_did_not_take_comes_to_its_next_connection,
    h31_a_receiver_that_reconnects_in_a_burst_shows_each_message_once_and_in_order,
}

const SENDERS: usize = 4;
/// Messages of a sender on their way at any moment.
const WINDOW: usize = 32;
/// How often the receiver of a burst cuts its connection.
const RECONNECTS: usize = 20;

/// One sender: its messages in order, and which of them the broker took.
struct Sender {
    session: Session,
    messages: Vec<(Slip, Value)>,
    /// The broker's id of each that it took.
    taken: Vec<Option<String>>,
}

impl Sender {
    /// Messages for these keys in turn, noted in their receivers' ledgers.
    fn new(member: &std::sync::Arc<Member>, run: u32, sender: u32, to: &[String], each: u32, due: &mut Ledger) -> Self {
        let session = Session::new(member);
        let message = |number: u32| {
            let slip = Slip { run, sender, number };
            let at = number as usize % to.len();
            due.expect(slip, at as u32);
            (slip, session.direct(&to[at], "now", &slip.id(), &slip.body()))
        };
        let messages = (0..each).map(message).collect();
        Self { session, messages, taken: vec![None; each as usize] }
    }

    /// Sends what was not taken yet, again if it must; ends when all was taken, or the connection is lost.
    async fn send(&mut self, port: u16, tell: impl Fn()) -> Result<(), String> {
        let mut peer = Peer::enter(port, &self.session, Client::New).await?;
        let wanted: Vec<usize> = (0..self.taken.len()).filter(|at| self.taken[*at].is_none()).collect();
        let (mut sent, mut answered) = (0, 0);
        while answered < wanted.len() {
            while sent < wanted.len() && sent < answered + WINDOW {
                peer.send(self.messages[wanted[sent]].1.clone()).await?;
                sent += 1;
            }
            let answer = peer.next().await?;
            let (queued, id) = (answer["queued"].as_bool(), answer["messageId"].as_str());
            match (answer["type"].as_str(), queued, id) {
                (Some("push"), ..) => {}
                (Some("ack"), Some(true), Some(id)) => {
                    let at = self.messages.iter().position(|(slip, _)| answer["id"] == json!(slip.id()));
                    let before = self.taken[at.expect("an own id")].replace(id.to_owned());
                    assert_eq!(before, None, "answered twice: {answer}");
                    answered += 1;
                    tell();
                }
                _ => panic!("send was answered with {answer}"),
            }
        }
        Ok(())
    }

    /// The same message with the same id is the same message.
    async fn repeat(&self, port: u16, every: usize) -> Result<(), String> {
        let mut peer = Peer::enter(port, &self.session, Client::New).await?;
        for (at, (_, message)) in self.messages.iter().enumerate().step_by(every) {
            assert_eq!(Some(delivered_to_broker(&mut peer, message.clone()).await?), self.taken[at]);
        }
        Ok(())
    }
}

/// Everything due came to each receiver, once and in order, and nothing is left.
async fn settle(receivers: &mut [Receiver], run: u32, mut due: Ledger) -> Result<(), String> {
    for (at, receiver) in (0..).zip(receivers) {
        receiver.drain().await?;
        for slip in receiver.shown.iter().filter(|slip| slip.run == run) {
            due.take(*slip, at);
        }
        assert_eq!(receiver.drain().await?, 0, "something is left");
    }
    assert!(due.faults.none(), "{}", due.faults);
    assert_eq!(due.left(), 0, "messages are missing; {} came", due.delivered);
    Ok(())
}

fn h31_a_kill_of_the_broker_in_a_burst_loses_nothing_that_it_took_and_repeats_nothing(backend: Backend) {
    let mut mesh = Mesh::start_alone_on(backend);
    let crew = Owner::of(&mesh).unwrap().crew("m", SENDERS + 2).unwrap();
    let port = mesh.port();
    // One that is there, one that was there and is not.
    let mut receivers: Vec<Receiver> =
        crew[SENDERS..].iter().map(|member| Receiver::new(Session::new(member), port, Client::New)).collect();
    let to: Vec<String> = receivers.iter().map(|receiver| receiver.session.address()).collect();
    converse(async {
        receivers[1].enter().await?;
        receivers[1].drain().await
    })
    .unwrap();
    receivers[1].leave();

    let each = scaled(1_200, 120);
    for run in 1..=scaled(10, 2) {
        let mut due = Ledger::of_run(run);
        let mut senders: Vec<Sender> =
            (0..).zip(&crew[..SENDERS]).map(|(at, member)| Sender::new(member, run, at, &to, each, &mut due)).collect();
        let half = SENDERS * each as usize / 2;
        let taken = Rc::new(Cell::new(0));
        let broker = mesh.broker_pid();
        let burst = converse(async {
            receivers[0].enter().await?;
            let tell = || {
                taken.set(taken.get() + 1);
                if taken.get() == half {
                    processes::send(broker, Signal::SIGKILL);
                }
            };
            let sent = async { join_all(senders.iter_mut().map(|sender| sender.send(port, tell))).await };
            // Until the connection is lost.
            let heard = async { while receivers[0].hear().await.is_ok() {} };
            Ok(futures_util::future::join(sent, heard).await.0)
        });
        assert!(burst.unwrap().iter().any(Result::is_err), "the kill came in the middle of it");
        mesh.kill_broker();
        mesh.start_up();
        let settled = converse(async {
            for sender in &mut senders {
                sender.send(port, || {}).await?;
                sender.repeat(port, 7).await?;
            }
            for receiver in &mut receivers {
                receiver.enter().await?;
            }
            settle(&mut receivers, run, due).await
        });
        settled.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
        receivers.iter_mut().for_each(Receiver::leave);
    }
}

/// A receiver that is a process of its own; killed when it is dropped.
struct Apart {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Apart {
    fn start(session: &Session, port: u16, client: Client) -> Self {
        let member = &session.member;
        let client = if client == Client::Old { "old" } else { "new" };
        let mut child = Command::new(programs::mail_peer())
            .args([&port.to_string(), client, &member.mesh, &member.id, &member.secret(), &session.seed()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut apart = Self { child, said };
        assert_eq!(apart.line(), "ready");
        apart
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Stops it in the middle of whatever it does, and waits until it stands.
    fn freeze(&self) {
        processes::send(self.child.id(), Signal::SIGSTOP);
        let stopped =
            || processes::entry(self.child.id()).filter(|entry| entry.state == 'T').ok_or("it runs".to_owned());
        let _ = wait_until("the receiver to stand still", SETTLE, stopped).unwrap();
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn status_of(peer: &mut Peer, id: &str) -> Result<Value, String> {
    peer.ask(json!({ "type": "message_status", "messageId": id })).await
}

fn h31_what_a_frozen_receiver_did_not_take_comes_to_its_next_connection(backend: Backend) {
    const MESSAGES: u32 = 50;
    let mesh = Mesh::start_alone_on(backend);
    let crew = Owner::of(&mesh).unwrap().crew("m", 2).unwrap();
    for (run, client) in (1..).zip([Client::New, Client::Old]) {
        let (sender, session) = (Session::new(&crew[0]), Session::new(&crew[1]));
        let mut apart = Apart::start(&session, mesh.port(), client);
        let to = [session.address()];
        let told = converse(async {
            let mut peer = Peer::enter(mesh.port(), &sender, Client::New).await?;
            // While it is well, what it shows counts as delivered: by its word, or by its pong.
            let first = Slip { run, sender: 0, number: 0 };
            let id = delivered_to_broker(&mut peer, sender.direct(&to[0], "now", &first.id(), &first.body())).await?;
            assert_eq!(apart.line(), first.body());
            let delivered = async {
                while status_of(&mut peer, &id).await?["delivered"] != true {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok::<(), String>(())
            };
            timeout(SETTLE, delivered).await.map_err(|_| format!("{client:?}: shown, and never delivered"))??;

            apart.freeze();
            let mut last = id;
            for number in 1..=MESSAGES {
                let slip = Slip { run, sender: 0, number };
                let message = sender.direct(&to[0], "now", &slip.id(), &slip.body());
                last = delivered_to_broker(&mut peer, message).await?;
            }
            let status = status_of(&mut peer, &last).await?;
            assert_eq!(status["delivered"], false, "{client:?}: the kernel took it, its client did not: {status}");
            Ok(())
        });
        told.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
        drop(apart);
        let shown = converse(async {
            let mut next = Receiver::entered(session, mesh.port(), Client::New).await?;
            next.until_shown(MESSAGES as usize).await?;
            assert_eq!(next.drain().await?, 0);
            Ok(next.shown)
        });
        let expected: Vec<Slip> = (1..=MESSAGES).map(|number| Slip { run, sender: 0, number }).collect();
        assert_eq!(shown.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs())), expected, "{client:?}");
    }
}

fn h31_a_receiver_that_reconnects_in_a_burst_shows_each_message_once_and_in_order(backend: Backend) {
    let mesh = Mesh::start_alone_on(backend);
    let crew = Owner::of(&mesh).unwrap().crew("m", 2).unwrap();
    let port = mesh.port();
    let each = scaled(1_800, 400);
    let mut receivers = [Receiver::new(Session::new(&crew[1]), port, Client::New)];
    let mut due = Ledger::of_run(1);
    let mut sender = Sender::new(&crew[0], 1, 0, &[receivers[0].session.address()], each, &mut due);
    let told = converse(async {
        receivers[0].enter().await?;
        let burst = async { sender.send(port, || {}).await };
        let receiver = &mut receivers[0];
        let reconnects = async {
            for round in 1..=RECONNECTS {
                let some = each as usize * round / (RECONNECTS + 1);
                receiver.until_shown(some).await?;
                receiver.enter().await?;
            }
            receiver.until_shown(each as usize).await
        };
        let (sent, heard) = futures_util::future::join(burst, reconnects).await;
        sent.and(heard)?;
        settle(&mut receivers, 1, due).await
    });
    told.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
}
