//! Sessions that are connected, and what they are given to send.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::tests::frames::{self, Side};
use ::tests::harness::ledger::Slip;
use ::tests::harness::{Member, Session};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use crate::board::Board;
use crate::seat::{Queue, Seat};

/// Sockets that connect at the same time, of clients that were not cut off together.
const ENTER: Duration = Duration::from_secs(60);
/// Of a burst, as much goes out with one write as a client's buffer would hold.
const CHUNK_BYTES: usize = 16 * 1024;

/// All of them, by their numbers. Dropped: all are disconnected.
pub(crate) struct Crowd {
    pub(crate) sessions: Vec<Session>,
    pub(crate) board: Board,
    queues: Vec<Rc<Queue>>,
    _seats: JoinSet<()>,
}

/// What a session is to send: whole frames, and how many.
#[derive(Debug, Default)]
pub(crate) struct Script {
    chunks: Vec<Bytes>,
    open: BytesMut,
    pub(crate) messages: usize,
}

impl Crowd {
    /// So many sessions of these members, in turn; all come at once. Inside a `LocalSet`. Waits until each was greeted.
    pub(crate) async fn enter(
        port: u16,
        members: &[Arc<Member>],
        count: usize,
        returns: bool,
    ) -> Result<(Self, Duration), String> {
        let board = Board::default();
        let sessions: Vec<Session> = members.iter().cycle().take(count).map(Session::new).collect();
        let mut seats = JoinSet::new();
        let mut queues = Vec::with_capacity(count);
        let begun = Instant::now();
        for (number, session) in (0..).zip(&sessions) {
            let queue = Rc::new(Queue::default());
            queues.push(Rc::clone(&queue));
            let (session, board) = (session.clone(), board.clone());
            seats.spawn_local(Seat { number, session, port, returns, board, queue }.sit());
        }
        board.until("every session to be greeted", ENTER, |state| state.joined.len() >= count).await?;
        let last = board.state().joined.iter().max().copied().unwrap_or(begun);
        Ok((Self { sessions, board, queues, _seats: seats }, last - begun))
    }

    /// Hands a session what it is to send.
    pub(crate) fn hand(&self, number: usize, script: Script) {
        self.queues[number].put(script.whole());
    }

    /// A script of direct messages to these receivers, with this run's numbers from 0.
    pub(crate) fn script(&self, run: u32, sender: u32, receivers: &[u32]) -> Script {
        let mut script = Script::default();
        for (number, receiver) in (0..).zip(receivers) {
            let target = self.sessions[*receiver as usize].address();
            script.add(&self.direct(Slip { run, sender, number }, &target));
        }
        script
    }

    /// One message of a session to a key.
    pub(crate) fn direct(&self, slip: Slip, target: &str) -> Value {
        Session::made_up(target, "now", &slip.id(), &slip.body(), &[])
    }
}

impl Script {
    pub(crate) fn one(message: &Value) -> Self {
        let mut script = Self::default();
        script.add(message);
        script
    }

    pub(crate) fn add(&mut self, message: &Value) {
        frames::put(Side::Client, Data::Text, &[message.to_string().as_bytes()], &mut self.open);
        self.messages += 1;
        if self.open.len() >= CHUNK_BYTES {
            self.chunks.push(self.open.split().freeze());
        }
    }

    fn whole(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.chunks.push(self.open.freeze());
        }
        self.chunks
    }
}
