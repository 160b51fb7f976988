#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::link::frame::{self, Announced};
use crate::link::{CHUNK_BYTES, CallHeader, FailCode, INITIAL_CREDIT_BYTES, ReplyOutcome, RetryKind};

const MIB: usize = 1024 * 1024;

fn reply(id: u64) -> Header {
    Header::Reply { id, outcome: ReplyOutcome::Result, attempts: 1 }
}

fn call(id: u64) -> Header {
    Header::Call(CallHeader {
        id,
        mesh: "m".into(),
        service: "s".into(),
        deployment: "d".into(),
        affinity: None,
        method: "tools/call".into(),
        timeout_ms: 1,
        retry: RetryKind::Auto,
        attempts_before: 0,
        progress: false,
        whole_time: false,
    })
}

/// A body whose every byte depends on its id and place.
fn body(id: u64, len: usize) -> Bytes {
    (0..len).map(|at| (at as u64).wrapping_mul(31).wrapping_add(id.wrapping_mul(17) + (at as u64 >> 8)) as u8).collect()
}

fn id_of(header: &Header) -> u64 {
    match header {
        Header::Reply { id, .. } | Header::Cancel { id, .. } => *id,
        Header::Call(call) => call.id,
        other => panic!("{other:?}"),
    }
}

/// Counts, from the frames alone, what each stream was allowed and what it sent.
#[derive(Default)]
struct Auditor {
    allowed: BTreeMap<u64, usize>,
    sent: BTreeMap<u64, usize>,
}

impl Auditor {
    fn sent(&mut self, message: &Bytes) {
        let frame = frame::decode(message.clone()).unwrap();
        if let Some(Announced { stream, .. }) = frame.announced {
            self.allowed.insert(stream, INITIAL_CREDIT_BYTES);
        }
        if let Header::Chunk { stream, .. } = frame.header {
            let sent = self.sent.entry(stream).or_default();
            *sent += frame.body.len();
            assert!(*sent <= self.allowed[&stream], "stream {stream} sent {sent} of {}", self.allowed[&stream]);
        }
    }

    fn granted(&mut self, message: &Bytes) {
        if let Header::Credit { stream, bytes } = frame::decode(message.clone()).unwrap().header {
            *self.allowed.get_mut(&stream).unwrap() += bytes as usize;
        }
    }
}

/// One direction of traffic, with the wire in between under the test's control.
struct Pair {
    near: Mux,
    far: Mux,
    to_far: VecDeque<Bytes>,
    to_near: VecDeque<Bytes>,
    audit: Auditor,
    arrived: Vec<Delivered>,
}

impl Pair {
    fn new(budget: usize) -> Self {
        Self {
            near: Mux::new(),
            far: Mux { outbox: Outbox::default(), inbox: Inbox::with_budget(budget) },
            to_far: VecDeque::new(),
            to_near: VecDeque::new(),
            audit: Auditor::default(),
            arrived: Vec::new(),
        }
    }

    /// One of four things happens; whether anything could.
    fn step(&mut self, which: u8) -> bool {
        match which % 4 {
            0 => match self.near.outbox.next() {
                Some(message) => {
                    self.audit.sent(&message);
                    self.to_far.push_back(message);
                    true
                }
                None => false,
            },
            1 => match self.to_far.pop_front() {
                Some(message) => {
                    self.arrived.extend(self.far.receive(message).unwrap());
                    true
                }
                None => false,
            },
            2 => match self.far.outbox.next() {
                Some(message) => {
                    self.audit.granted(&message);
                    self.to_near.push_back(message);
                    true
                }
                None => false,
            },
            _ => match self.to_near.pop_front() {
                Some(message) => self.near.receive(message).unwrap().is_none(),
                None => false,
            },
        }
    }

    fn settle(&mut self) {
        loop {
            let moved = [0, 1, 2, 3].map(|which| self.step(which));
            if moved == [false; 4] {
                return;
            }
        }
    }
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..2_000_usize,
        2 => Just(CHUNK_BYTES),
        2 => Just(CHUNK_BYTES + 1),
        1 => Just(INITIAL_CREDIT_BYTES),
        1 => Just(INITIAL_CREDIT_BYTES + 1),
        4 => CHUNK_BYTES..3 * INITIAL_CREDIT_BYTES,
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Push(usize),
    Step(u8),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is pushed, in whatever order messages are sent, received and granted, and however little room the
    /// receiver has: every body arrives once, whole, and small ones in order; nothing is left over.
    #[test]
    fn every_body_arrives_whole(
        events in prop::collection::vec(
            prop_oneof![1 => length().prop_map(Event::Push), 4 => (0_u8..4).prop_map(Event::Step)], 1..120),
        budget in prop_oneof![Just(1_usize), Just(600 * 1024), Just(ASSEMBLY_BYTES)],
    ) {
        let mut pair = Pair::new(budget);
        let mut pushed = Vec::new();
        for event in events {
            match event {
                Event::Push(len) => {
                    let id = pushed.len() as u64;
                    pair.near.outbox.push(&reply(id), body(id, len)).unwrap();
                    pushed.push(len);
                }
                Event::Step(which) => drop(pair.step(which)),
            }
        }
        pair.settle();

        let mut seen = vec![false; pushed.len()];
        let mut last_small = None;
        for Delivered { header, body: got } in &pair.arrived {
            let id = id_of(header);
            prop_assert!(!std::mem::replace(&mut seen[id as usize], true), "{id} arrived twice");
            prop_assert!(*got == body(id, pushed[id as usize]), "body {id} is damaged");
            if got.len() <= CHUNK_BYTES {
                prop_assert!(last_small < Some(id));
                last_small = Some(id);
            }
        }
        prop_assert!(seen.iter().all(|&seen| seen), "something never arrived");
        prop_assert!(pair.near.outbox.is_empty() && pair.far.outbox.is_empty());
        prop_assert_eq!(pair.near.outbox.queued_bytes(), 0);
        prop_assert_eq!(pair.far.inbox.open_streams(), 0);
    }

    /// No message of a hostile peer makes the inbox panic.
    #[test]
    fn damaged_messages_are_errors(flip in 0_usize..100_000, value: u8, len in 0_usize..70_000) {
        let mut outbox = Outbox::default();
        outbox.push(&reply(1), body(1, len)).unwrap();
        let mut inbox = Inbox::default();
        while let Some(message) = outbox.next() {
            let mut bytes = message.to_vec();
            let at = flip % bytes.len();
            bytes[at] ^= value;
            if inbox.receive(bytes.into()).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_small_frame_waits_for_one_piece_at_most() {
    let mut outbox = Outbox::default();
    outbox.push(&reply(1), body(1, 10 * MIB)).unwrap();
    outbox.next().unwrap();
    outbox.next().unwrap();
    outbox.push(&reply(2), body(2, 10)).unwrap();
    let header = frame::decode(outbox.next().unwrap()).unwrap().header;
    assert!(matches!(header, Header::Reply { id: 2, .. }), "{header:?}");
}

#[test]
fn a_flood_of_small_frames_leaves_half_the_line_to_a_large_body() {
    let mut outbox = Outbox::default();
    outbox.push(&reply(0), body(0, INITIAL_CREDIT_BYTES)).unwrap();
    for id in 1..2_000 {
        outbox.push(&reply(id), body(id, 1_000)).unwrap();
    }
    let (mut small, mut chunks) = (0, 0);
    while chunks < 4 {
        let frame = frame::decode(outbox.next().unwrap()).unwrap();
        match frame.header {
            Header::Chunk { .. } => chunks += 1,
            _ => small += frame.body.len(),
        }
    }
    assert!(small <= 6 * CHUNK_BYTES, "{small} bytes of small frames went before four pieces");
}

#[test]
fn large_bodies_take_turns() {
    let mut outbox = Outbox::default();
    for id in 1..=3 {
        outbox.push(&reply(id), body(id, INITIAL_CREDIT_BYTES)).unwrap();
    }
    let order: Vec<u64> = std::iter::from_fn(|| outbox.next())
        .filter_map(|message| match frame::decode(message).unwrap().header {
            Header::Chunk { stream, .. } => Some(stream),
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

#[test]
fn without_credit_a_body_stops_and_others_go_on() {
    let mut outbox = Outbox::default();
    outbox.push(&reply(1), body(1, MIB)).unwrap();
    let sent: usize =
        std::iter::from_fn(|| outbox.next()).map(|message| frame::decode(message).unwrap().body.len()).sum();
    assert_eq!(sent, INITIAL_CREDIT_BYTES);
    assert!(!outbox.is_empty());
    outbox.push(&reply(2), body(2, 10)).unwrap();
    assert!(outbox.next().is_some());
    assert!(outbox.next().is_none());
    outbox.credit(1, 5).unwrap();
    assert_eq!(frame::decode(outbox.next().unwrap()).unwrap().body.len(), 5);
    assert!(outbox.next().is_none());
}

#[test]
fn a_full_outbox_refuses_bodies_and_still_takes_refusals() {
    let mut outbox = Outbox::default();
    let large = body(1, MAX_BODY_BYTES - MIB);
    outbox.push(&reply(1), large.clone()).unwrap();
    outbox.push(&reply(2), large.clone()).unwrap();
    assert!(matches!(outbox.push(&reply(3), large.clone()), Err(PushError::Full { .. })));
    let refusal = Header::Reply {
        id: 3,
        outcome: ReplyOutcome::Failed { code: FailCode::Overloaded, message: "x".repeat(MIB) },
        attempts: 0,
    };
    let mut refusals = 0;
    while outbox.push(&refusal, Bytes::new()).is_ok() {
        refusals += 1;
    }
    assert_eq!(refusals, 9, "what was left of the common room, then the reserve");
    assert!(outbox.queued_bytes() <= MAX_QUEUED_BYTES + RESERVE_BYTES);
    assert!(matches!(outbox.push(&reply(4), vec![0; MAX_BODY_BYTES + 1].into()), Err(PushError::BodyTooLarge(_))));
}

#[test]
fn more_streams_than_may_be_open_wait_their_turn() {
    let mut pair = Pair::new(ASSEMBLY_BYTES);
    let count = MAX_OPEN_STREAMS as u64 + 10;
    for id in 0..count {
        pair.near.outbox.push(&reply(id), body(id, CHUNK_BYTES + 1)).unwrap();
    }
    pair.settle();
    assert_eq!(pair.arrived.len() as u64, count);
}

#[test]
fn room_is_set_aside_in_order_and_freed() {
    let mut pair = Pair::new(MIB);
    for id in 0..4 {
        pair.near.outbox.push(&reply(id), body(id, 700 * 1024)).unwrap();
    }
    pair.settle();
    let order: Vec<u64> = pair.arrived.iter().map(|delivered| id_of(&delivered.header)).collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn a_cancel_does_not_overtake_its_call() {
    let mut pair = Pair::new(ASSEMBLY_BYTES);
    pair.near.outbox.push(&call(5), body(5, MIB)).unwrap();
    pair.near.outbox.push(&Header::Cancel { id: 5, reason: None }, Bytes::new()).unwrap();
    pair.near.outbox.push(&reply(6), Bytes::new()).unwrap();
    pair.settle();
    let order: Vec<u64> = pair.arrived.iter().map(|delivered| id_of(&delivered.header)).collect();
    assert_eq!(order, [6, 5, 5]);
    assert!(matches!(pair.arrived[2].header, Header::Cancel { .. }));
    assert_eq!(pair.near.outbox.queued_bytes(), 0);
}

fn announce(stream: u64, body_len: usize) -> Bytes {
    frame::encode_announcement(&reply(1), Announced { stream, body_len: body_len as u64 }).unwrap()
}

fn chunk(stream: u64, last: bool, len: usize) -> Bytes {
    frame::encode(&Header::Chunk { stream, last }, &vec![0; len]).unwrap()
}

#[test]
fn broken_rules_have_names() {
    use MuxError as E;
    type Case = (&'static str, Vec<Bytes>, fn(&MuxError) -> bool);
    let cases: [Case; 9] = [
        ("unknown", vec![chunk(1, false, 1)], |e| matches!(e, E::UnknownStream(1))),
        ("reused", vec![announce(2, 70_000), announce(2, 70_000)], |e| matches!(e, E::StreamReused(2))),
        ("falling", vec![announce(2, 70_000), announce(1, 70_000)], |e| matches!(e, E::StreamReused(1))),
        ("early end", vec![announce(1, 70_000), chunk(1, true, 9)], |e| matches!(e, E::Length { stream: 1, .. })),
        ("no end", vec![announce(1, 70_000), chunk(1, false, 60_000), chunk(1, false, 10_000)], |e| {
            matches!(e, E::Length { stream: 1, .. })
        }),
        ("empty", vec![announce(1, 70_000), chunk(1, false, 0)], |e| matches!(e, E::Length { .. })),
        ("too long", vec![announce(1, 70_000), chunk(1, false, 60_000), chunk(1, true, 10_001)], |e| {
            matches!(e, E::CreditExceeded(1))
        }),
        ("body", vec![frame::encode(&Header::StopAll { cmd: 1 }, b"x").unwrap()], |e| matches!(e, E::NoBody)),
        ("too many", (1..=MAX_OPEN_STREAMS as u64 + 1).map(|stream| announce(stream, 70_000)).collect(), |e| {
            matches!(e, E::TooManyStreams)
        }),
    ];
    for (name, messages, expected) in cases {
        let mut inbox = Inbox::default();
        let error = messages.into_iter().find_map(|message| inbox.receive(message).err());
        assert!(error.as_ref().is_some_and(expected), "{name}: {error:?}");
    }
}

#[test]
fn a_stream_without_room_is_held_to_its_first_credit() {
    let mut inbox = Inbox::with_budget(MIB);
    assert_eq!(inbox.receive(announce(1, MIB)).unwrap().grants.len(), 1);
    assert_eq!(inbox.receive(announce(2, MIB)).unwrap().grants, []);
    for _ in 0..INITIAL_CREDIT_BYTES / CHUNK_BYTES {
        inbox.receive(chunk(2, false, CHUNK_BYTES)).unwrap();
    }
    assert!(matches!(inbox.receive(chunk(2, false, 1)), Err(MuxError::CreditExceeded(2))));
}

#[test]
fn credit_that_cannot_be_is_refused() {
    let mut outbox = Outbox::default();
    assert!(matches!(outbox.credit(1, 1), Err(MuxError::UnknownStream(1))));
    outbox.push(&reply(1), body(1, MIB)).unwrap();
    assert!(matches!(outbox.credit(1, 1), Err(MuxError::UnknownStream(1))), "not announced yet");
    outbox.next().unwrap();
    assert!(matches!(outbox.credit(1, u64::MAX), Err(MuxError::CreditOverflow(1))));
    assert!(matches!(outbox.credit(1, (MIB - INITIAL_CREDIT_BYTES) as u64 + 1), Err(MuxError::CreditOverflow(1))));
    outbox.credit(1, (MIB - INITIAL_CREDIT_BYTES) as u64).unwrap();
}

#[test]
fn only_the_multiplexer_sends_chunks_and_credits() {
    let mut outbox = Outbox::default();
    for header in [Header::Chunk { stream: 1, last: true }, Header::Credit { stream: 1, bytes: 1 }] {
        assert!(matches!(outbox.push(&header, Bytes::new()), Err(PushError::NoBody)));
    }
    assert!(matches!(outbox.push(&Header::StopAll { cmd: 1 }, body(1, 1)), Err(PushError::NoBody)));
}
