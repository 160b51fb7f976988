//! From mailboxes to sockets, and what comes back from them.

use std::sync::Arc;

use protocol::wire::Priority;

use super::lane::{Item, LOAD_ITEMS, Lane, Step};
use super::mailbox::{Mailbox, Of};
use super::socket::{Opened, Reading, Sent, Socket};
use super::{Address, Fx, Letter, Loaded, Mail, PresenceId, RETRY_AFTER_MS, Wanted};
use crate::store::UtcMs;

impl Mail {
    /// A connection is there. What it was sent in an earlier life and did not acknowledge comes again first.
    pub fn attach(&mut self, presence: PresenceId, opened: Opened, now: UtcMs) {
        let (address, member) = (opened.address, opened.member);
        self.by_address.entry(address).or_default().push(Arc::clone(&presence));
        self.by_member.entry(member).or_default().push(Arc::clone(&presence));
        self.sockets.insert(presence, Socket::new(opened));
        self.pump_of(address, member, now);
    }

    /// A connection is gone.
    pub fn detach(&mut self, presence: &PresenceId, now: UtcMs) {
        let Some(socket) = self.sockets.remove(presence) else { return };
        let Opened { address, member, .. } = socket.opened;
        for (index, key) in [(&mut self.by_address, address), (&mut self.by_member, member)] {
            if let Some(present) = index.get_mut(&key) {
                present.retain(|other| other != presence);
                if present.is_empty() {
                    index.remove(&key);
                }
            }
        }
        // What it had of its own comes again, to another connection of the session if there is one. What it had of the
        // member's mailbox waits out its time there: it may come back and say that it has it.
        if let Some(held) = self.boxes.get_mut(&address) {
            for sent in socket.sent.values().filter(|sent| sent.mailbox == address) {
                if let Some(item) = held.lane(sent.priority).0.and_then(|lane| lane.of_seq(sent.seq)) {
                    item.step = Step::Ready;
                }
            }
        }
        self.pump_of(address, member, now);
    }

    /// The status says whether `next` and `low` may come.
    pub fn set_idle(&mut self, presence: &PresenceId, idle: bool, now: UtcMs) {
        if let Some(socket) = self.sockets.get_mut(presence) {
            socket.opened.idle = idle;
            let Opened { address, member, .. } = socket.opened;
            self.pump_of(address, member, now);
        }
    }

    /// The session did something.
    pub fn touch(&mut self, presence: &PresenceId, now: UtcMs) {
        if let Some(socket) = self.sockets.get_mut(presence) {
            socket.opened.active_at = now;
        }
    }

    /// Everything that waits is to come, whatever the status.
    pub fn read_inbox(&mut self, presence: &PresenceId, follow: bool, now: UtcMs) {
        if let Some(socket) = self.sockets.get_mut(presence) {
            socket.reading = Reading::ToTheEnd { taken: 0, follow };
            let Opened { address, member, .. } = socket.opened;
            self.pump_of(address, member, now);
        }
    }

    /// The client has these messages.
    pub fn ack<'a>(&mut self, presence: &PresenceId, messages: impl IntoIterator<Item = &'a str>, now: UtcMs) {
        let Some(socket) = self.sockets.get_mut(presence) else { return };
        let taken: Vec<Sent> = messages.into_iter().filter_map(|message| socket.take(message)).collect();
        self.delivered(presence, &taken, now);
    }

    /// The client answered the ping with this mark: everything that was pushed before it has arrived.
    pub fn pong(&mut self, presence: &PresenceId, mark: u64, now: UtcMs) {
        let Some(socket) = self.sockets.get_mut(presence).filter(|socket| !socket.opened.acks) else { return };
        let arrived: Vec<Box<str>> =
            socket.sent.iter().filter(|(_, sent)| sent.mark <= mark).map(|(message, _)| message.clone()).collect();
        let taken: Vec<Sent> = arrived.iter().filter_map(|message| socket.take(message)).collect();
        self.delivered(presence, &taken, now);
    }

    fn delivered(&mut self, presence: &PresenceId, taken: &[Sent], now: UtcMs) {
        let mut deliveries = Vec::with_capacity(taken.len());
        for sent in taken {
            // Another session may have been faster, or its time may be over.
            let item = self.boxes.get_mut(&sent.mailbox).and_then(|held| held.lane(sent.priority).remove_seq(sent.seq));
            if let Some(item) = item {
                deliveries.push(item.delivery);
                self.release(sent.mailbox, 1, sent.bytes);
            }
        }
        if !deliveries.is_empty() {
            self.fx.push(Fx::Delivered { deliveries });
        }
        if let Some(socket) = self.sockets.get(presence) {
            let Opened { address, member, .. } = socket.opened;
            let reads = socket.reads();
            self.pump(address, now);
            self.pump(member, now);
            if reads {
                self.look_drained_at(address);
            }
        }
    }

    /// What the store had. A mailbox that was closed since has no use for it.
    pub fn loaded(&mut self, wanted: Wanted, rows: Vec<Loaded>, full: bool, now: UtcMs) {
        if let Some(lane) = self.lane_of(&wanted) {
            let item =
                |row: Loaded| Item { delivery: row.delivery, letter: row.letter, key: row.key, step: Step::Ready };
            lane.loaded(rows.into_iter().map(item).collect(), full, wanted.as_of);
            self.pump(wanted.mailbox, now);
            self.look_drained_at(wanted.mailbox);
        }
    }

    /// The store had no answer.
    pub fn load_failed(&mut self, wanted: Wanted) {
        if let Some(lane) = self.lane_of(&wanted) {
            lane.load_failed();
        }
    }

    fn lane_of(&mut self, wanted: &Wanted) -> Option<&mut Lane> {
        let held = self.boxes.get_mut(&wanted.mailbox)?;
        if held.opening() == Some(wanted.opening) { held.lane(wanted.priority).0 } else { None }
    }

    /// Time passes: a member's message that was not acknowledged goes to another of its sessions.
    pub fn tick(&mut self, now: UtcMs) {
        self.forget_full_buckets(now);
        let members: Vec<Address> = self.by_member.keys().copied().collect();
        for member in members {
            if self.overdue(member, now) {
                self.pump(member, now);
            }
            // A load that failed is made again now.
            self.load(member);
        }
        let sessions: Vec<Address> = self.by_address.keys().copied().collect();
        sessions.into_iter().for_each(|address| self.load(address));
    }

    fn overdue(&mut self, member: Address, now: UtcMs) -> bool {
        let Some(held) = self.boxes.get_mut(&member) else { return false };
        let mut any = false;
        for priority in Priority::ALL {
            let Some(lane) = held.lane(priority).0 else { continue };
            for item in &mut lane.items {
                let Step::Sent { at } = item.step else { continue };
                if now.as_ms().saturating_sub(at.as_ms()) >= RETRY_AFTER_MS {
                    item.step = Step::Ready;
                    any = true;
                }
            }
        }
        any
    }

    fn pump_of(&mut self, address: Address, member: Address, now: UtcMs) {
        for mailbox in [address, member] {
            self.attend(mailbox);
            self.pump(mailbox, now);
        }
        self.look_drained_at(address);
        self.look_drained_at(member);
    }

    /// Opens a mailbox that somebody attends, and closes one that nobody does.
    fn attend(&mut self, mailbox: Address) {
        let attended = self.readers(mailbox).any(|presence| self.sockets.get(presence).is_some_and(Socket::attends));
        if attended {
            let (number, accepted) = (self.openings + 1, self.accepted.max(self.settled));
            let of = if self.by_member.contains_key(&mailbox) { Of::Member } else { Of::Session };
            let held = self.boxes.entry(mailbox).or_insert(Mailbox::holding(of, 0, 0));
            if !held.is_open() {
                self.openings = number;
                held.open(number, accepted);
            }
        } else if let Some(held) = self.boxes.get_mut(&mailbox) {
            held.close();
            if held.count == 0 {
                self.boxes.remove(&mailbox);
            }
        }
    }

    /// Those that may have what is in a mailbox.
    fn readers(&self, mailbox: Address) -> impl Iterator<Item = &PresenceId> {
        let of_session = self.by_address.get(&mailbox).into_iter().flatten();
        let of_member = self.by_member.get(&mailbox).into_iter().flatten();
        of_session.chain(of_member)
    }

    /// Pushes what may be pushed, and asks for what is not in memory.
    pub(super) fn pump(&mut self, mailbox: Address, now: UtcMs) {
        for priority in Priority::ALL {
            while let Some((to, seq)) = self.next_for(mailbox, priority) {
                self.push(mailbox, priority, to, seq, now);
            }
        }
        self.load(mailbox);
    }

    /// The next message of a lane that somebody can be given, and who that is.
    fn next_for(&mut self, mailbox: Address, priority: Priority) -> Option<(PresenceId, i64)> {
        let held = self.boxes.get_mut(&mailbox)?;
        let index = if held.of == Of::Member { &self.by_member } else { &self.by_address };
        let readers = index.get(&mailbox)?;
        for item in held.lane(priority).0?.items.iter().filter(|item| item.step == Step::Ready) {
            let (message, bytes) = (&*item.letter.id, item.letter.bytes);
            let sockets = || readers.iter().filter_map(|presence| Some((presence, self.sockets.get(presence)?)));
            // An inbox that is being read first, then the session that was active last.
            let chosen = sockets()
                .filter(|(_, socket)| !socket.sent.contains_key(message))
                .filter(|(_, socket)| socket.admits(priority) && socket.has_room(bytes))
                .filter(|(_, socket)| socket.opened.opens || item.key.is_none())
                .max_by_key(|(_, socket)| (socket.reads(), socket.opened.active_at));
            match chosen {
                Some((presence, _)) => return Some((Arc::clone(presence), item.letter.seq)),
                // Whoever could have it has it, and may yet say so: those behind it are not held up.
                None if sockets().any(|(_, socket)| socket.sent.contains_key(message)) => {}
                None => return None,
            }
        }
        None
    }

    fn push(&mut self, mailbox: Address, priority: Priority, to: PresenceId, seq: i64, now: UtcMs) {
        let Some(socket) = self.sockets.get_mut(&to) else { return };
        let member = socket.opened.member;
        let lane = self.boxes.get_mut(&mailbox).and_then(|held| held.lane(priority).0);
        let Some(item) = lane.and_then(|lane| lane.of_seq(seq)) else { return };
        item.step = Step::Sent { at: now };
        let letter: &Letter = &item.letter;
        let frame = letter.frame(item.key.as_deref().map(|key| (member, key)));
        let sent = Sent { mailbox, priority, seq, bytes: letter.bytes, mark: 0 };
        if socket.pushed(letter.id.clone(), sent) {
            self.unmarked.push(Arc::clone(&to));
        }
        self.fx.push(Fx::Push { to, frame });
    }

    fn load(&mut self, mailbox: Address) {
        let settled = self.settled;
        let Some(held) = self.boxes.get_mut(&mailbox) else { return };
        let Some(opening) = held.opening() else { return };
        for priority in Priority::ALL {
            let Some(after) = held.lane(priority).0.and_then(|lane| lane.begin_load(settled)) else { continue };
            let limit = u32::try_from(LOAD_ITEMS).unwrap_or(u32::MAX);
            self.fx.push(Fx::Load(Wanted { mailbox, priority, after, limit, as_of: settled, opening }));
        }
    }

    /// Whether whoever reads an inbox has come to its end.
    fn look_drained_at(&mut self, mailbox: Address) {
        let reading: Vec<PresenceId> = self.readers(mailbox).cloned().collect();
        for presence in reading {
            let Some(socket) = self.sockets.get(&presence) else { continue };
            let Reading::ToTheEnd { taken, follow } = socket.reading else { continue };
            let boxes = [socket.opened.address, socket.opened.member];
            let waits = boxes.iter().any(|mailbox| self.boxes.get(mailbox).is_some_and(|held| !held.is_drained()));
            if waits || !socket.sent.is_empty() {
                continue;
            }
            if let Some(socket) = self.sockets.get_mut(&presence) {
                socket.reading = if follow { Reading::On } else { Reading::No };
            }
            self.fx.push(Fx::Drained { by: presence, delivered: taken });
            // One that takes no mail by itself attends no more.
            boxes.into_iter().for_each(|mailbox| self.attend(mailbox));
        }
    }

    /// Pings those that say by their pong what they have. Once for all that was pushed in one go.
    pub fn mark(&mut self) {
        for presence in std::mem::take(&mut self.unmarked) {
            if let Some(socket) = self.sockets.get_mut(&presence) {
                let mark = socket.next_mark();
                self.fx.push(Fx::Ping { to: presence, mark });
            }
        }
    }
}
