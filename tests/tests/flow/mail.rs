//! Who is there, what is held back and when it comes, and what a removal ends.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::harness::ledger::Slip;
use tests::harness::peer::{Peer, converse};
use tests::harness::receiver::delivered_to_broker;
use tests::harness::{Client, Member, Mesh, Owner, Receiver, SETTLE, Session, processes, programs};
use tokio::time::timeout;

/// From a removal, or a newer connection, to the end of what may not stay.
const AT_ONCE: Duration = Duration::from_secs(5);

fn slip(number: u32) -> Slip {
    Slip { run: 1, sender: 0, number }
}

/// Numbers of what was shown.
fn numbers(receiver: &Receiver) -> Vec<u32> {
    receiver.shown.iter().map(|slip| slip.number).collect()
}

/// A sender with its connection, and a receiver.
struct Pair {
    session: Session,
    peer: Peer,
    receiver: Receiver,
}

impl Pair {
    async fn of(mesh: &Mesh, crew: &[Arc<Member>]) -> Result<Self, String> {
        let session = Session::new(&crew[0]);
        let peer = Peer::enter(mesh.port(), &session, Client::New).await?;
        let receiver = Receiver::entered(Session::new(&crew[1]), mesh.port(), Client::New).await?;
        Ok(Self { session, peer, receiver })
    }

    async fn send(&mut self, number: u32, priority: &str) -> Result<String, String> {
        let slip = slip(number);
        let target = self.receiver.session.address();
        let message = self.session.direct(&target, priority, &slip.id(), &slip.body());
        delivered_to_broker(&mut self.peer, message).await
    }

    /// What the broker says of a message's only recipient.
    async fn status(&mut self, id: &str) -> Result<Value, String> {
        let answer = self.peer.ask(json!({ "type": "message_status", "messageId": id })).await?;
        Ok(answer["recipients"][0]["status"].clone())
    }
}

#[test]
fn h33_what_is_held_comes_when_the_status_changes_whatever_changes_it() {
    let mesh = Mesh::start();
    let crew = Owner::of(&mesh).unwrap().crew("m", 2).unwrap();
    let told = converse(async {
        let mut pair = Pair::of(&mesh, &crew).await?;
        let mut number = 0;
        for status in ["dnd", "working"] {
            for by in ["itself", "a command", "an inbox"] {
                pair.receiver.ask(json!({ "type": "set_status", "status": status })).await?;
                let first = number;
                let low = pair.send(first, "low").await?;
                let next = pair.send(first + 1, "next").await?;
                pair.send(first + 2, "now").await?;
                number += 3;
                pair.receiver.until_shown(first as usize + 1).await?;
                assert_eq!(numbers(&pair.receiver).last(), Some(&(first + 2)), "{status}: only what is urgent");
                for id in [&low, &next] {
                    assert_eq!(pair.status(id).await?, "held", "{status}");
                }
                let idle = json!({ "type": "set_status", "status": "idle" });
                match by {
                    "itself" => drop(pair.receiver.ask(idle).await?),
                    "a command" => {
                        let command = Session::new(&crew[1]);
                        let mut command = Peer::enter(mesh.port(), &command, Client::Command).await?;
                        let mut idle = idle;
                        idle["session"] = json!(pair.receiver.session.address());
                        let _ = command.ask(idle).await?;
                    }
                    _ => assert_eq!(pair.receiver.drain().await?, 2, "everything that waits, whatever the status"),
                }
                pair.receiver.until_shown(first as usize + 3).await?;
                // Each priority keeps its own order; between two of them the more urgent comes first.
                assert_eq!(numbers(&pair.receiver)[first as usize + 1..], [first + 1, first], "{status}, {by}");
            }
        }
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
}

/// Of this session, what an observer was told.
fn events_of(observer: &Receiver, session: &Session) -> Vec<String> {
    let address = session.address();
    let of = observer.events.iter().filter(|(_, data)| data["pubkey"] == json!(address));
    of.map(|(name, _)| name.clone()).collect()
}

#[test]
fn h32_a_session_that_comes_back_is_one_that_never_left_and_its_newer_connection_wins() {
    let mesh = Mesh::start();
    let crew = Owner::of(&mesh).unwrap().crew("m", 3).unwrap();
    let told = converse(async {
        let mut observer = Receiver::entered(Session::new(&crew[2]), mesh.port(), Client::New).await?;
        let mut pair = Pair::of(&mesh, &crew).await?;
        let session = pair.receiver.session.clone();
        // Cut, and back again, several times.
        for round in 0..3 {
            pair.receiver.leave();
            pair.send(round, "now").await?;
            pair.receiver.enter().await?;
            pair.receiver.until_shown(round as usize + 1).await?;
        }
        // Somebody with the same key while it is there.
        let mut older = pair.receiver.enter_beside().await?.ok_or("it was connected")?;
        let closed = async { while older.next().await.is_ok() {} };
        timeout(AT_ONCE, closed).await.map_err(|_| "the older connection stays")?;
        pair.send(3, "now").await?;
        pair.receiver.until_shown(4).await?;
        assert_eq!(numbers(&pair.receiver), [0, 1, 2, 3]);

        let listed = pair.receiver.ask(json!({ "type": "list_peers" })).await?;
        let peers = listed["peers"].as_array().ok_or(format!("no peers: {listed}"))?;
        let own = peers.iter().filter(|peer| peer["pubkey"] == json!(session.address())).count();
        assert_eq!(own, 1, "one presence: {listed}");
        // Everything before somebody else's coming has been told by then.
        let late = Receiver::entered(Session::new(&crew[0]), mesh.port(), Client::New).await?;
        while events_of(&observer, &late.session).is_empty() {
            observer.hear().await?;
        }
        assert_eq!(events_of(&observer, &session), ["peer_joined"], "{:?}", observer.events);
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
}

#[test]
fn h29_a_removed_member_is_out_at_once_with_all_that_it_started() {
    const SERVICE: &str = "theirs";
    let mesh = Mesh::start();
    let owner = Owner::of(&mesh).unwrap();
    let admin = owner.invite("admin", 1).unwrap().join("admin").unwrap();
    let other = owner.crew("m", 1).unwrap().remove(0);
    let sessions = [Session::new(&admin), Session::new(&admin)];
    let told = converse(async {
        let mut first = Peer::enter(mesh.port(), &sessions[0], Client::New).await?;
        let mut second = Peer::enter(mesh.port(), &sessions[1], Client::Old).await?;
        let mut third = Peer::enter(mesh.port(), &Session::new(&other), Client::New).await?;
        deploy(&mut first, SERVICE).await?;
        let pid = mesh.pid(SERVICE);
        mesh.look();
        let answer = owner.remove(&admin)?;
        assert_eq!(answer["stopped"], json!([SERVICE]), "{answer}");
        for socket in [&mut first, &mut second] {
            let closed = async { while socket.next().await.is_ok() {} };
            timeout(AT_ONCE, closed).await.map_err(|_| "its socket stays open")?;
        }
        mesh.wait("the service's process to go", SETTLE, || match processes::entry(pid) {
            Some(entry) if !entry.is_zombie() => Err(format!("process {pid} runs")),
            _ => Ok(()),
        });
        assert_eq!(mesh.status(SERVICE), "absent");
        let refused = Peer::enter(mesh.port(), &sessions[0], Client::New).await.err().unwrap_or_default();
        assert!(refused.contains("unauthorized"), "{refused}");
        let message = Session::new(&other).direct(&admin.address(), "now", "m-1", &slip(0).body());
        let ack = third.ask(message).await?;
        assert_eq!((&ack["queued"], &ack["code"]), (&json!(false), &json!("unknown_peer")), "{ack}");
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
}

async fn deploy(peer: &mut Peer, name: &str) -> Result<(), String> {
    let source = json!({ "type": "command", "argv": [programs::fixture()] });
    let id = peer.send(json!({ "type": "mcp_deploy", "server_name": name, "source": source, "scope": "mesh" })).await?;
    loop {
        let answer = peer.reply_to(&id).await?;
        match answer["status"].as_str() {
            Some("running") => return Ok(()),
            Some("queued" | "building" | "starting") => {}
            _ => return Err(format!("the deploy ended with {answer}")),
        }
    }
}
