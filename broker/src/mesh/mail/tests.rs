//! Mail against a model of the store: whatever happens in whatever order, what is stored arrives, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use protocol::wire::{Priority, Push};

use super::*;

fn key(name: u8) -> Address {
    PublicKey::from_bytes([name; 32])
}

fn letter(seq: i64, priority: Priority) -> Arc<Letter> {
    let push = Push { message_id: format!("m{seq}"), seq: Some(seq), priority, ..Push::default() };
    Arc::new(Letter::new(&push, ("", ""), None, 100).unwrap())
}

fn at(ms: i64) -> UtcMs {
    UtcMs::from_ms(ms)
}

const MEMBER: u8 = 100;

/// A session of the one member, which says what it has.
fn session(address: u8) -> Opened {
    Opened {
        address: key(address),
        member: key(MEMBER),
        takes: true,
        acks: true,
        opens: true,
        idle: true,
        active_at: at(0),
    }
}

/// A message on its way to the store: its number, its priority, its deliveries.
type Written = (i64, Priority, Vec<(Address, i64)>);

/// Mail with the store behind it, and what arrived where.
#[derive(Default)]
struct World {
    mail: Mail,
    now: i64,
    last: i64,
    /// What the store has: by mailbox and priority, undelivered.
    stored: HashMap<Address, BTreeMap<i64, (Priority, i64)>>,
    /// Given to the store, in order, and not settled.
    writing: Vec<Written>,
    loads: Vec<Wanted>,
    /// Pushed and not acknowledged, by connection, in order of arrival.
    held: HashMap<PresenceId, Vec<String>>,
    /// Everything that was pushed since the connection was made.
    seen: HashMap<PresenceId, Vec<(String, Priority)>>,
    delivered: HashSet<i64>,
    pings: Vec<(PresenceId, u64)>,
    drained: Vec<(PresenceId, u32)>,
}

impl World {
    fn send(&mut self, mailboxes: &[(Address, Of)], priority: Priority) -> Result<(), Refused> {
        self.last += 1;
        let seq = self.last;
        let recipients: Vec<_> = mailboxes
            .iter()
            .enumerate()
            .map(|(n, (mailbox, of))| Recipient {
                mailbox: *mailbox,
                of: *of,
                name: String::new(),
                key: None,
                delivery: seq * 10 + n as i64,
            })
            .collect();
        let direct = recipients.len() == 1;
        let envelope = Envelope { letter: letter(seq, priority), from: None, recipients, direct };
        let accepted = self.mail.accept(envelope, at(self.now))?;
        let to = accepted.recipients.iter().map(|to| (to.mailbox, to.delivery)).collect();
        self.writing.push((seq, priority, to));
        Ok(())
    }

    /// The store settles what it was given first.
    fn settle(&mut self, stored: bool) {
        if self.writing.is_empty() {
            return;
        }
        let (seq, priority, to) = self.writing.remove(0);
        if stored {
            for (mailbox, delivery) in to {
                self.stored.entry(mailbox).or_default().insert(seq, (priority, delivery));
            }
            self.mail.stored(seq, at(self.now));
        } else {
            self.mail.given_up(seq);
        }
        self.follow();
    }

    fn answer_load(&mut self, which: usize, fails: bool) {
        if self.loads.is_empty() {
            return;
        }
        let wanted = self.loads.remove(which % self.loads.len());
        if fails {
            self.mail.load_failed(wanted);
        } else {
            let rows: Vec<_> = self
                .stored
                .get(&wanted.mailbox)
                .into_iter()
                .flatten()
                .filter(|(seq, (priority, _))| **seq > wanted.after && *priority == wanted.priority)
                .take(3)
                .map(|(seq, (priority, delivery))| Loaded {
                    delivery: *delivery,
                    letter: letter(*seq, *priority),
                    key: None,
                })
                .collect();
            let full = !rows.is_empty();
            self.mail.loaded(wanted, rows, full, at(self.now));
        }
        self.follow();
    }

    fn attach(&mut self, name: &str, opened: Opened) {
        let presence: PresenceId = name.into();
        self.held.insert(Arc::clone(&presence), Vec::new());
        self.seen.insert(Arc::clone(&presence), Vec::new());
        self.mail.attach(presence, opened, at(self.now));
        self.follow();
    }

    fn detach(&mut self, name: &str) {
        let presence: PresenceId = name.into();
        self.held.remove(&presence);
        self.mail.detach(&presence, at(self.now));
        self.follow();
    }

    fn ack(&mut self, name: &str, count: usize) {
        let presence: PresenceId = name.into();
        let Some(held) = self.held.get_mut(&presence) else { return };
        let some: Vec<String> = held.drain(..count.min(held.len())).collect();
        self.mail.ack(&presence, some.iter().map(String::as_str), at(self.now));
        self.follow();
    }

    fn follow(&mut self) {
        self.mail.mark();
        for fx in self.mail.take_fx() {
            match fx {
                Fx::Push { to, frame } => {
                    let push: serde_json::Value = serde_json::from_str(&frame).unwrap();
                    let id = push["messageId"].as_str().unwrap().to_owned();
                    let seq: i64 = id[1..].parse().unwrap();
                    let stored = self.stored.values().any(|waiting| waiting.contains_key(&seq));
                    assert!(stored, "{id} was pushed and is not stored, or was delivered");
                    let priority = serde_json::from_value(push["priority"].clone()).unwrap();
                    let seen = self.seen.get_mut(&to).expect("pushed to a connection");
                    assert!(seen.iter().all(|(other, _)| *other != id), "{id} twice on one connection");
                    seen.push((id.clone(), priority));
                    let held = self.held.get_mut(&to).expect("pushed to an open connection");
                    held.push(id);
                    assert!(held.len() <= WINDOW_MESSAGES);
                }
                Fx::Ping { to, mark } => self.pings.push((to, mark)),
                Fx::Load(wanted) => self.loads.push(wanted),
                Fx::Delivered { deliveries } => {
                    for delivery in deliveries {
                        assert!(self.delivered.insert(delivery), "delivered twice");
                        for waiting in self.stored.values_mut() {
                            waiting.retain(|_, (_, other)| *other != delivery);
                        }
                    }
                }
                Fx::Drained { by, delivered } => self.drained.push((by, delivered)),
            }
        }
    }

    fn waiting(&self) -> usize {
        let stored: usize = self.stored.values().map(BTreeMap::len).sum();
        stored + self.writing.iter().map(|(.., to)| to.len()).sum::<usize>()
    }

    /// Everything comes to rest: the store answers, and everybody acknowledges.
    fn quiesce(&mut self) {
        for _ in 0..10_000 {
            self.now += 1;
            if !self.writing.is_empty() {
                self.settle(true);
            } else if !self.loads.is_empty() {
                self.answer_load(0, false);
            } else if let Some(name) =
                self.held.iter().find(|(_, held)| !held.is_empty()).map(|(name, _)| name.to_string())
            {
                self.ack(&name, usize::MAX);
            } else {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Send { to: u8, priority: u8 },
    Settle { stored: bool },
    Load { which: usize, fails: bool },
    Attach { address: u8, idle: bool },
    Detach { address: u8 },
    Ack { address: u8, count: usize },
    Idle { address: u8, idle: bool },
    Tick,
    Later,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..4, 0u8..3).prop_map(|(to, priority)| Step::Send { to, priority }),
        5 => prop::bool::weighted(0.9).prop_map(|stored| Step::Settle { stored }),
        5 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Step::Load { which, fails }),
        2 => (1u8..3, any::<bool>()).prop_map(|(address, idle)| Step::Attach { address, idle }),
        1 => (1u8..3).prop_map(|address| Step::Detach { address }),
        4 => (1u8..3, 1usize..4).prop_map(|(address, count)| Step::Ack { address, count }),
        1 => (1u8..3, any::<bool>()).prop_map(|(address, idle)| Step::Idle { address, idle }),
        1 => Just(Step::Tick),
        1 => Just(Step::Later),
    ];
    prop::collection::vec(step, 1..120)
}

fn name(address: u8) -> String {
    format!("s{address}")
}

impl World {
    fn step(&mut self, step: &Step) {
        self.now += 1;
        match *step {
            Step::Send { to, priority } => {
                let sessions = [(key(1), Of::Session), (key(2), Of::Session)];
                let to = match to {
                    0 => vec![(key(MEMBER), Of::Member)],
                    3 => sessions.to_vec(),
                    n => vec![sessions[n as usize - 1]],
                };
                self.send(&to, Priority::ALL[priority as usize]).unwrap();
            }
            Step::Settle { stored } => self.settle(stored),
            Step::Load { which, fails } => self.answer_load(which, fails),
            Step::Attach { address, idle } => {
                if !self.held.contains_key(name(address).as_str()) {
                    let opened = Opened { idle, active_at: at(self.now), ..session(address) };
                    self.attach(&name(address), opened);
                }
            }
            Step::Detach { address } => self.detach(&name(address)),
            Step::Ack { address, count } => self.ack(&name(address), count),
            Step::Idle { address, idle } => {
                self.mail.set_idle(&name(address).as_str().into(), idle, at(self.now));
                self.follow();
            }
            Step::Tick => {
                self.mail.tick(at(self.now));
                self.follow();
            }
            Step::Later => self.now += RETRY_AFTER_MS,
        }
        assert_eq!(self.mail.waiting() as usize, self.waiting(), "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Rules 1 to 6 of delivery: nothing stored is lost, nothing is pushed before it is stored or after it was delivered,
    /// each connection sees each message once, and a session's own in order.
    #[test]
    fn h31_whatever_happens_what_is_stored_arrives_once_and_in_order(steps in steps()) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
        }
        for address in [1, 2] {
            world.detach(&name(address));
            world.attach(&format!("last{address}"), session(address));
        }
        world.quiesce();
        // A load that failed, or a message that somebody was sent and never acknowledged, has its time.
        for _ in 0..3 {
            world.now += RETRY_AFTER_MS;
            world.mail.tick(at(world.now));
            world.follow();
            world.quiesce();
        }
        prop_assert_eq!(world.waiting(), 0, "all arrived");
        prop_assert_eq!(world.mail.waiting(), 0);
        for seen in world.seen.values() {
            for priority in Priority::ALL {
                let seqs: Vec<i64> = seen.iter().filter(|(_, of)| *of == priority).map(|(id, _)| id[1..].parse().unwrap()).collect();
                // A member's mailbox and a session's are two: each is in order, and here they are merged.
                let own: Vec<i64> = seqs.iter().copied().filter(|seq| !is_members(&steps, *seq)).collect();
                prop_assert!(own.is_sorted(), "{:?}", own);
            }
        }
    }
}

/// Whether the message of this number went to the member's mailbox.
fn is_members(steps: &[Step], seq: i64) -> bool {
    let sends = steps.iter().filter_map(|step| match step {
        Step::Send { to, .. } => Some(*to),
        _ => None,
    });
    sends.enumerate().any(|(n, to)| n as i64 + 1 == seq && to == 0)
}

fn world_with(sessions: &[u8]) -> World {
    let mut world = World::default();
    for address in sessions {
        world.attach(&name(*address), session(*address));
    }
    world
}

fn seen(world: &World, name: &str) -> Vec<String> {
    world.seen[name].iter().map(|(id, _)| id.clone()).collect()
}

#[test]
fn h33_what_is_held_comes_when_the_status_changes_and_now_comes_always() {
    let mut world = world_with(&[1]);
    let presence: PresenceId = "s1".into();
    world.mail.set_idle(&presence, false, at(0));
    for priority in [Priority::Low, Priority::Next, Priority::Now] {
        world.send(&[(key(1), Of::Session)], priority).unwrap();
        world.settle(true);
    }
    assert_eq!(seen(&world, "s1"), ["m3"], "only what is urgent");
    world.mail.set_idle(&presence, true, at(1));
    world.follow();
    assert_eq!(seen(&world, "s1"), ["m3", "m2", "m1"], "next before low");
}

#[test]
fn h34_a_socket_holds_no_more_than_its_window() {
    let mut world = world_with(&[1]);
    // Of two mailboxes and two priorities: what one lane keeps in memory is not what bounds it.
    let boxes = [(key(1), Of::Session), (key(MEMBER), Of::Member)];
    for n in 0..WINDOW_MESSAGES + 10 {
        let priority = if n % 4 < 2 { Priority::Next } else { Priority::Now };
        world.send(&[boxes[n % 2]], priority).unwrap();
        world.settle(true);
    }
    assert_eq!(world.held["s1"].len(), WINDOW_MESSAGES);
    world.quiesce();
    assert_eq!(world.seen["s1"].len(), WINDOW_MESSAGES + 10);
    let large = |seq: i64| {
        let push = Push { message_id: format!("m{seq}"), seq: Some(seq), ..Push::default() };
        Arc::new(Letter::new(&push, ("", ""), None, WINDOW_BYTES / 2 + 1).unwrap())
    };
    let mut mail = Mail::default();
    mail.attach("s1".into(), session(1), at(0));
    for seq in 1..=2 {
        let to = Recipient { mailbox: key(1), of: Of::Session, name: String::new(), key: None, delivery: seq };
        mail.accept(Envelope { letter: large(seq), from: None, recipients: vec![to], direct: true }, at(0)).unwrap();
        mail.stored(seq, at(0));
    }
    let pushes = mail.take_fx().into_iter().filter(|fx| matches!(fx, Fx::Push { .. })).count();
    assert_eq!(pushes, 1, "nor more bytes");
}

#[test]
fn h31_a_members_message_goes_to_one_session_and_to_the_next_when_it_is_not_acknowledged() {
    let mut world = world_with(&[1]);
    world.attach("s2", Opened { active_at: at(5), ..session(2) });
    world.send(&[(key(MEMBER), Of::Member)], Priority::Next).unwrap();
    world.settle(true);
    assert_eq!((seen(&world, "s1").len(), seen(&world, "s2").len()), (0, 1), "the one that was active last");
    world.now = RETRY_AFTER_MS - 1;
    world.mail.tick(at(world.now));
    world.follow();
    assert_eq!(seen(&world, "s1").len(), 0, "not before its time");
    world.now += 1 + world.last;
    world.mail.tick(at(world.now));
    world.follow();
    assert_eq!(seen(&world, "s1"), ["m1"]);
    world.ack("s1", 1);
    assert_eq!(world.waiting(), 0);
    world.ack("s2", 1);
    assert_eq!(world.delivered.len(), 1, "the second word about it changes nothing");
}

#[test]
fn h31_of_an_old_client_the_pong_behind_the_push_says_that_it_arrived() {
    let mut world = World::default();
    world.attach("old", Opened { acks: false, ..session(1) });
    for _ in 0..2 {
        world.send(&[(key(1), Of::Session)], Priority::Next).unwrap();
        world.settle(true);
    }
    let presence: PresenceId = "old".into();
    assert_eq!(world.pings, [(Arc::clone(&presence), 1), (Arc::clone(&presence), 2)]);
    world.mail.ack(&presence, ["m1"], at(1));
    world.mail.pong(&presence, 0, at(1));
    world.follow();
    // Its words do count, since it says them about what it was sent.
    assert_eq!(world.waiting(), 1);
    world.mail.pong(&presence, 2, at(1));
    world.follow();
    assert_eq!(world.waiting(), 0);
}

#[test]
fn h30_a_full_mailbox_refuses_a_direct_message_and_a_group_goes_on() {
    let waiting = Waiting { mailbox: key(1), of: Of::Session, count: MAX_MAILBOX_MESSAGES, bytes: 0 };
    let mut world = World { mail: Mail::recall([waiting]), ..World::default() };
    assert_eq!(world.send(&[(key(1), Of::Session)], Priority::Now), Err(Refused::MailboxFull));
    world.send(&[(key(1), Of::Session), (key(2), Of::Session)], Priority::Now).unwrap();
    assert_eq!(world.writing[0].2.len(), 1);
    let full = Waiting { mailbox: key(3), of: Of::Session, count: 1, bytes: MAX_QUEUE_BYTES };
    let mut world = World { mail: Mail::recall([full]), ..World::default() };
    assert_eq!(world.send(&[(key(1), Of::Session)], Priority::Now), Err(Refused::QueueFull));
}

#[test]
fn h50_a_member_sends_no_faster_than_its_rate() {
    let mut mail = Mail::default();
    let mut send = |seq: i64| {
        let to = Recipient { mailbox: key(1), of: Of::Session, name: String::new(), key: None, delivery: seq };
        let letter = letter(seq, Priority::Low);
        let envelope = Envelope { letter, from: Some(key(MEMBER)), recipients: vec![to], direct: true };
        mail.accept(envelope, at(0)).map(drop)
    };
    let burst = SENDS_BURST as i64;
    assert!((1..=burst).all(|seq| send(seq).is_ok()));
    assert_eq!(send(burst + 1), Err(Refused::Rate { after_ms: 5 }));
}

#[test]
fn an_inbox_is_read_to_its_end_by_who_takes_no_mail_otherwise() {
    let mut world = World::default();
    for of in [(key(1), Of::Session), (key(MEMBER), Of::Member)] {
        world.send(&[of], Priority::Low).unwrap();
        world.settle(true);
    }
    world.attach("cli", Opened { takes: false, ..session(1) });
    assert!(seen(&world, "cli").is_empty(), "a command gets what it asks for");
    let presence: PresenceId = "cli".into();
    world.mail.read_inbox(&presence, false, at(1));
    world.follow();
    assert!(world.drained.is_empty());
    world.quiesce();
    assert_eq!(seen(&world, "cli").len(), 2);
    assert_eq!(world.drained, [(Arc::clone(&presence), 2)]);
    world.send(&[(key(1), Of::Session)], Priority::Now).unwrap();
    world.settle(true);
    assert_eq!(seen(&world, "cli").len(), 2, "it has read");
    world.mail.read_inbox(&presence, true, at(2));
    world.follow();
    world.quiesce();
    world.send(&[(key(1), Of::Session)], Priority::Low).unwrap();
    world.settle(true);
    assert_eq!(seen(&world, "cli").len(), 4, "it goes on reading");
}

#[test]
fn what_is_forgotten_holds_no_room() {
    let mut world = world_with(&[1]);
    world.send(&[(key(1), Of::Session)], Priority::Now).unwrap();
    world.settle(true);
    world.mail.forget(key(1));
    assert_eq!((world.mail.waiting(), world.mail.waiting_bytes()), (0, 0));
}

#[test]
fn h31_of_two_connections_of_one_address_the_other_gets_what_the_first_left() {
    let mut world = World::default();
    let cli = || Opened { takes: false, ..session(1) };
    let read = |world: &mut World, name: &str| {
        world.attach(name, cli());
        world.mail.read_inbox(&name.into(), true, at(world.now));
        world.follow();
    };
    read(&mut world, "half-open");
    for _ in 0..2 {
        world.send(&[(key(1), Of::Session)], Priority::Next).unwrap();
        world.settle(true);
    }
    assert_eq!(seen(&world, "half-open"), ["m1", "m2"]);
    read(&mut world, "new");
    world.detach("half-open");
    world.quiesce();
    assert_eq!(seen(&world, "new"), ["m1", "m2"], "in order, and not lost with the first");
}
