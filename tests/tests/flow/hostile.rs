//! Somebody who means ill, on the peers' port: told what is wrong, and nobody else notices.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Value, json};
use tests::frames::{self, Frame, Side};
use tests::harness::hostile::{Hostile, TEXTS};
use tests::harness::ledger::Slip;
use tests::harness::peer::{Peer, converse};
use tests::harness::receiver::delivered_to_broker;
use tests::harness::{Client, Mesh, Owner, Receiver, SETTLE, Session, scaled};
use tests::measure::procfs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::client_async;

/// What a broker may hold on to after an attack, in the development profile: some reads and answers on their way.
const FLAT_KIB: u64 = 32 * 1024;
/// Frames between two looks whether the broker still answers: below what a socket's queue holds.
const ROUND: u32 = 64;
/// A frame, and a row of fragments, far above any limit.
const HUGE: u64 = 64 * 1024 * 1024;
/// Sockets of one address that have not said hello, and more.
const ANONYMOUS: usize = 1_024;
const TOO_MANY: usize = 1_100;

/// Two peers who mind their own business meanwhile.
struct Others {
    session: Session,
    peer: Peer,
    receiver: Receiver,
    sent: u32,
}

impl Others {
    async fn of(mesh: &Mesh, owner: &Owner) -> Result<Self, String> {
        let crew = owner.crew("other", 2)?;
        let session = Session::new(&crew[0]);
        let peer = Peer::enter(mesh.port(), &session, Client::New).await?;
        let receiver = Receiver::entered(Session::new(&crew[1]), mesh.port(), Client::New).await?;
        Ok(Self { session, peer, receiver, sent: 0 })
    }

    /// A message of theirs still passes.
    async fn are_well(&mut self) -> Result<(), String> {
        let slip = Slip { run: 1, sender: 0, number: self.sent };
        let target = self.receiver.session.address();
        let message = self.session.direct(&target, "now", &slip.id(), &slip.body());
        let passed = async {
            delivered_to_broker(&mut self.peer, message).await?;
            self.sent += 1;
            self.receiver.until_shown(self.sent as usize).await
        };
        timeout(SETTLE, passed).await.map_err(|_| "others' messages do not pass any more")?
    }
}

/// The broker's memory, and that it is not much more than it was.
struct Memory(u64);

impl Memory {
    fn of(mesh: &Mesh) -> Self {
        Self(procfs::rss_kib(mesh.broker_pid()).unwrap())
    }

    /// The same at once, while the attack goes on: what is freed later was held.
    #[track_caller]
    fn stays_flat(&self, mesh: &Mesh) {
        let more = Self::of(mesh).0.saturating_sub(self.0);
        assert!(more <= FLAT_KIB, "{more} KiB above {} KiB", self.0);
    }

    #[track_caller]
    fn is_flat(&self, mesh: &Mesh) {
        mesh.wait("the broker's memory to be as it was", SETTLE, || match Self::of(mesh).0.saturating_sub(self.0) {
            more if more <= FLAT_KIB => Ok(()),
            more => Err(format!("{more} KiB above {} KiB", self.0)),
        });
    }
}

/// A story with a mesh, an owner, and others who must not notice.
fn beside_others<F>(story: impl FnOnce(Mesh, Owner, Others) -> F)
where
    F: Future<Output = Result<Mesh, String>>,
{
    let mesh = Mesh::start_alone();
    let owner = Owner::of(&mesh).unwrap();
    let told = converse(async {
        let others = Others::of(&mesh, &owner).await?;
        story(mesh, owner, others).await
    });
    drop(told.unwrap_or_else(|error| panic!("{error}")));
}

#[test]
fn h46_ten_thousand_bad_frames_after_a_hello_are_answered_and_nobody_notices() {
    beside_others(|mesh, owner, mut others| async move {
        let member = owner.crew("ill", 1)?.remove(0);
        let mut peer = Peer::enter(mesh.port(), &Session::new(&member), Client::New).await?;
        let mut hostile = Hostile::seeded(46);
        let (mut memory, mut errors) = (None, 0);
        for round in 0..scaled(10_000, 1_000) / ROUND {
            for _ in 0..ROUND {
                peer.send_text(hostile.frame()).await?;
            }
            let id = peer.send(json!({ "type": "mesh_info" })).await?;
            loop {
                let answer = timeout(SETTLE, peer.next()).await.map_err(|_| "no answer any more")??;
                errors += u32::from(answer["type"] == "error" || answer["queued"] == false);
                if answer["_reqId"] == json!(id) {
                    break;
                }
            }
            if round % 16 == 0 {
                others.are_well().await?;
                // After the first round: buffers that stay have been made by then.
                memory.get_or_insert_with(|| Memory::of(&mesh)).is_flat(&mesh);
            }
        }
        let most = scaled(10_000, 1_000) / 3;
        assert!(errors > most, "only {errors} errors");
        others.are_well().await?;
        memory.unwrap().is_flat(&mesh);
        Ok(mesh)
    });
}

#[test]
fn h46_bad_frames_before_a_hello_are_refused_and_nobody_notices() {
    beside_others(|mesh, _owner, mut others| async move {
        let address = format!("ws://127.0.0.1:{}/ws", mesh.port());
        let mut hostile = Hostile::seeded(47);
        let memory = Memory::of(&mesh);
        let (mut sent, mut closed) = (0, 0);
        while sent < scaled(10_000, 1_000) {
            let mut peer = Peer::open(&address).await?;
            // A hello that is refused closes the socket; whatever else comes is answered.
            for _ in 0..ROUND {
                sent += 1;
                if peer.send_text(hostile.frame()).await.is_err() {
                    break;
                }
                match timeout(SETTLE, peer.next()).await.map_err(|_| "no answer to a frame before the hello")? {
                    Ok(answer) => assert_eq!(answer["type"], "error", "{answer}"),
                    Err(_) => {
                        closed += 1;
                        break;
                    }
                }
            }
        }
        assert!(closed > 0, "no hello was among them");
        others.are_well().await?;
        memory.is_flat(&mesh);
        Ok(mesh)
    });
}

#[test]
fn h27_hostile_names_are_names() {
    beside_others(|mesh, owner, mut others| async move {
        let invite = owner.invite("member", TEXTS.len() as u32)?;
        for (at, text) in TEXTS.iter().enumerate() {
            // A name may be refused with a reason; taken as something else it may not be.
            let member = match invite.join(text) {
                Ok(member) => member,
                Err(error) => {
                    assert!(error.contains("\"ok\":false"), "{error}");
                    continue;
                }
            };
            let mut peer = Peer::enter(mesh.port(), &Session::new(&member), Client::New).await?;
            for question in [
                json!({ "type": "join_group", "name": text, "role": text }),
                json!({ "type": "set_summary", "summary": text }),
                json!({ "type": "set_profile", "title": text, "bio": text }),
                json!({ "type": "message_status", "messageId": text }),
                json!({ "type": "mcp_logs", "server_name": text }),
                json!({ "type": "send", "targetSpec": format!("@{text}"), "priority": "now", "nonce": "", "ciphertext": "aGk=",
                        "id": format!("m-{at}-{text}") }),
            ] {
                let answer = timeout(SETTLE, peer.ask(question.clone())).await.map_err(|_| format!("{question}"))??;
                assert_ne!(answer["code"], "internal", "{question}: {answer}");
            }
            let members = peer.ask(json!({ "type": "list_members" })).await?;
            assert!(members["members"].as_array().is_some_and(|list| list.len() >= 3), "{text:?}: {members}");
        }
        others.are_well().await?;
        Ok(mesh)
    });
}

/// An upgraded connection and nothing else.
async fn raw(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
    let (socket, _) =
        client_async(format!("ws://127.0.0.1:{port}/ws"), stream).await.map_err(|error| error.to_string())?;
    Ok(socket.into_inner())
}

/// The next message on it.
async fn heard(stream: &mut TcpStream, input: &mut BytesMut) -> Result<Value, String> {
    loop {
        match frames::take(input).map_err(|error| error.to_string())? {
            Some(Frame::Message(message)) => {
                return serde_json::from_slice(&message).map_err(|error| error.to_string());
            }
            Some(Frame::Ping(_)) => {}
            Some(Frame::Close) => return Err("closed".to_owned()),
            None => {
                let read = timeout(SETTLE, stream.read_buf(input)).await.map_err(|_| "nothing came")?;
                if read.map_err(|error| error.to_string())? == 0 {
                    return Err("ended".to_owned());
                }
            }
        }
    }
}

/// The header of a masked frame, whose mask is zeros.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn h46_a_frame_of_64_mib_is_too_large_and_its_socket_stays() {
    beside_others(|mesh, owner, mut others| async move {
        let member = owner.crew("ill", 1)?.remove(0);
        let mut stream = raw(mesh.port()).await?;
        let mut input = BytesMut::new();
        let hello = Session::new(&member).hello(Client::New).to_string();
        let mut out = BytesMut::new();
        let text = tokio_tungstenite::tungstenite::protocol::frame::coding::Data::Text;
        frames::put(Side::Client, text, &[hello.as_bytes()], &mut out);
        stream.write_all(&out).await.map_err(|error| error.to_string())?;
        while heard(&mut stream, &mut input).await?["type"] != "hello_ack" {}
        let memory = Memory::of(&mesh);
        // A text in one frame.
        stream.write_all(&header(0x81, HUGE)).await.map_err(|error| error.to_string())?;
        let piece = vec![b' '; 1 << 20];
        for _ in 0..HUGE >> 20 {
            stream.write_all(&piece).await.map_err(|error| error.to_string())?;
            memory.stays_flat(&mesh);
        }
        while heard(&mut stream, &mut input).await?["code"] != "too_large" {}
        let mut out = BytesMut::new();
        frames::put(Side::Client, text, &[br#"{"type":"mesh_info","_reqId":"still"}"#], &mut out);
        stream.write_all(&out).await.map_err(|error| error.to_string())?;
        while heard(&mut stream, &mut input).await?["_reqId"] != "still" {}
        others.are_well().await?;
        Ok(mesh)
    });
}

#[test]
fn h46_fragments_without_an_end_before_a_hello_are_not_kept() {
    const PIECE: usize = 64 * 1024;
    beside_others(|mesh, _owner, mut others| async move {
        let memory = Memory::of(&mesh);
        let mut stream = raw(mesh.port()).await?;
        // A text that is not the last fragment, and ever more of it.
        let (mut first, mut sent) = (0x01, 0);
        while sent < HUGE {
            let frame = [header(first, PIECE as u64), vec![b' '; PIECE]].concat();
            first = 0x00;
            // A broker that has enough of it may close.
            if stream.write_all(&frame).await.is_err() {
                break;
            }
            sent += PIECE as u64;
            memory.stays_flat(&mesh);
        }
        others.are_well().await?;
        drop(stream);
        memory.is_flat(&mesh);
        Ok(mesh)
    });
}

#[test]
fn h46_large_messages_between_fragments_do_not_let_more_of_them_through() {
    /// Below the limit of a frame, and above.
    const FRAGMENT: usize = 1_000_000;
    const LARGE: usize = 1_100_000;
    beside_others(|mesh, _owner, mut others| async move {
        let memory = Memory::of(&mesh);
        let mut stream = raw(mesh.port()).await?;
        let mut first = 0x01;
        for _ in 0..HUGE as usize / FRAGMENT {
            let fragment = [header(first, FRAGMENT as u64), vec![b' '; FRAGMENT]].concat();
            let large = [header(0x81, LARGE as u64), vec![b' '; LARGE]].concat();
            first = 0x00;
            // A message may not stand there: a broker that sees one closes.
            if stream.write_all(&fragment).await.is_err() || stream.write_all(&large).await.is_err() {
                break;
            }
            memory.stays_flat(&mesh);
        }
        others.are_well().await?;
        memory.is_flat(&mesh);
        Ok(mesh)
    });
}

#[test]
fn h50_sockets_without_a_hello_are_counted_by_address_and_keep_nobody_out() {
    beside_others(|mesh, owner, mut others| async move {
        let member = owner.crew("late", 1)?.remove(0);
        let mut open = Vec::new();
        let mut refused = 0;
        // All of them within the time that a socket has for its hello.
        for _ in 0..TOO_MANY {
            match raw(mesh.port()).await {
                Ok(stream) => open.push(stream),
                Err(error) => {
                    refused += 1;
                    assert!(error.contains("429") || error.contains("503"), "{error}");
                }
            }
        }
        assert!(open.len() <= ANONYMOUS && refused >= TOO_MANY - ANONYMOUS, "{} open, {refused} refused", open.len());
        others.are_well().await?;
        open.clear();
        let until = Duration::from_millis(20);
        let enter = async {
            while Peer::enter(mesh.port(), &Session::new(&member), Client::New).await.is_err() {
                tokio::time::sleep(until).await;
            }
        };
        timeout(SETTLE, enter).await.map_err(|_| "nobody gets in any more")?;
        Ok(mesh)
    });
}
