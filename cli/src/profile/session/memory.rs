//! The content of a session's file. Pure.
//!
//! | what | for |
//! |---|---|
//! | key and id | the session is the same address every time, so that answers find it |
//! | seen | a message is shown once; a nonce of a sender comes once |
//! | sent | a box of our own that is sent back is no message |
//! | outbox | what was sent and not acknowledged goes out again, under the same id |
//! | pins | a statement that is older than one we have seen does not count |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::SecretString;
use protocol::identity::{KeyError, PublicKey, SessionKey};
use protocol::mail::Nonces;
use protocol::secret;
use protocol::trust::Roll;
use protocol::wire::Send;
use serde::{Deserialize, Serialize};

/// Messages of one sender that are remembered.
const SEEN_PER_SENDER: usize = 10_000;
/// Messages of all senders that are remembered.
const SEEN_IN_ALL: usize = 100_000;
/// Own nonces that are remembered.
const SENT_NONCES: usize = 10_000;
/// Members, and groups, whose statements are remembered.
const MAX_PINS: usize = 10_000;
/// Messages that may wait for their acknowledgement.
const MAX_OUTBOX: usize = 100;
/// How long one of them is sent again. A broker knows the id for longer.
const OUTBOX_KEPT_MS: u64 = 24 * 3_600_000;

/// What a session remembers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Memory {
    version: u32,
    session_id: String,
    #[serde(serialize_with = "secret::reveal")]
    secret_key: SecretString,
    /// The first owner's key that was heard of, where `config.json` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner_pubkey: Option<PublicKey>,
    #[serde(default)]
    seen: VecDeque<Seen>,
    #[serde(default)]
    sent: VecDeque<String>,
    #[serde(default)]
    outbox: Vec<Held>,
    #[serde(default)]
    pins: Pins,
}

/// A message that was taken: its id at the broker, and, if it opened, whose it was and with which nonce.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Seen(String, Option<(PublicKey, String)>);

/// A message that waits for its acknowledgement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    /// As it was sent.
    pub(crate) message: Send,
    /// When, milliseconds since the Unix epoch.
    pub(crate) at: u64,
}

/// The highest serials that were seen.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pins {
    #[serde(default)]
    members: BTreeMap<PublicKey, u64>,
    #[serde(default)]
    groups: BTreeMap<String, u64>,
    #[serde(default)]
    vault: BTreeMap<String, u64>,
}

/// A statement that is older than one that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pin {
    /// About a member.
    Member(PublicKey),
    /// A group's list.
    Group(String),
}

/// The nonces in a form that answers quickly.
#[derive(Debug, Default)]
pub(crate) struct SessionMemory {
    sent: BTreeSet<String>,
    seen: BTreeSet<(PublicKey, String)>,
    messages: BTreeSet<String>,
}

impl Memory {
    /// Of a new session.
    pub(super) fn new(key: &SessionKey, session_id: String) -> Self {
        Self {
            version: 1,
            session_id,
            secret_key: key.to_hex(),
            owner_pubkey: None,
            seen: VecDeque::new(),
            sent: VecDeque::new(),
            outbox: Vec::new(),
            pins: Pins::default(),
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The same with a key and an id that nobody has had: another address.
    pub(super) fn renew(&mut self, key: &SessionKey, session_id: String) {
        (self.secret_key, self.session_id) = (key.to_hex(), session_id);
        // They were signed by the other key.
        self.outbox.clear();
    }

    /// The session's key.
    pub(crate) fn key(&self) -> Result<SessionKey, KeyError> {
        SessionKey::from_hex(self.secret_key.expose())
    }

    /// The session's id.
    pub(crate) fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The owner's key: `told` by a broker, or the one that an earlier command was told.
    pub(crate) fn owner(&mut self, told: PublicKey) -> PublicKey {
        *self.owner_pubkey.get_or_insert(told)
    }

    /// What there is to compare nonces and ids with.
    pub(crate) fn nonces(&self) -> SessionMemory {
        SessionMemory {
            sent: self.sent.iter().cloned().collect(),
            seen: self.seen.iter().filter_map(|Seen(_, nonce)| nonce.clone()).collect(),
            messages: self.seen.iter().map(|Seen(id, _)| id.clone()).collect(),
        }
    }

    /// A message was taken. `opened` is its sender and nonce: what did not open must not bar what will.
    pub(crate) fn remember_seen(&mut self, message_id: &str, opened: Option<(PublicKey, String)>) {
        if let Some((sender, _)) = opened.as_ref().filter(|_| self.seen.len() >= SEEN_PER_SENDER) {
            let of_sender = |seen: &Seen| matches!(&seen.1, Some((known, _)) if known == sender);
            if self.seen.iter().filter(|seen| of_sender(seen)).count() >= SEEN_PER_SENDER
                && let Some(oldest) = self.seen.iter().position(of_sender)
            {
                self.seen.remove(oldest);
            }
        }
        self.seen.push_back(Seen(message_id.to_owned(), opened));
        bound(&mut self.seen, SEEN_IN_ALL);
    }

    /// A nonce is used.
    pub(crate) fn remember_sent(&mut self, nonce: &str) {
        self.sent.push_back(nonce.to_owned());
        bound(&mut self.sent, SENT_NONCES);
    }

    /// A message is about to be sent; whether there was room to keep it.
    pub(crate) fn hold(&mut self, message: &Send, now_ms: u64) -> bool {
        self.outbox.retain(|held| held.is_fresh(now_ms));
        if self.outbox.len() >= MAX_OUTBOX {
            return false;
        }
        self.remember_sent(&message.nonce);
        self.outbox.push(Held { message: message.clone(), at: now_ms });
        true
    }

    /// The broker has said what becomes of a message.
    pub(crate) fn settle(&mut self, id: &str) {
        self.outbox.retain(|held| held.message.id.as_deref() != Some(id));
    }

    /// What was sent and not answered, oldest first.
    pub(crate) fn unanswered(&self, now_ms: u64) -> Vec<Held> {
        self.outbox.iter().filter(|held| held.is_fresh(now_ms)).cloned().collect()
    }

    /// What on the roll is older than what was seen before. What is newer is what was seen from now on.
    pub(crate) fn pin(&mut self, roll: &Roll) -> Vec<Pin> {
        let mut older = Vec::new();
        for entry in roll.members() {
            if self.pins.members.len() >= MAX_PINS && !self.pins.members.contains_key(&entry.pubkey) {
                continue;
            }
            let pinned = self.pins.members.entry(entry.pubkey).or_insert(entry.serial);
            if entry.serial < *pinned {
                older.push(Pin::Member(entry.pubkey));
            }
            *pinned = entry.serial.max(*pinned);
        }
        let told: BTreeMap<&str, u64> =
            roll.groups().map(|(name, group)| (name, group.serial().unwrap_or(0))).collect();
        for (name, serial) in &told {
            if self.pins.groups.len() >= MAX_PINS && !self.pins.groups.contains_key(*name) {
                continue;
            }
            let pinned = self.pins.groups.entry((*name).to_owned()).or_insert(*serial);
            *pinned = (*serial).max(*pinned);
        }
        let lost = |name: &String, pinned: u64| told.get(name.as_str()).copied().unwrap_or(0) < pinned;
        older.extend(
            self.pins
                .groups
                .iter()
                .filter(|&(name, pinned)| lost(name, *pinned))
                .map(|(name, _)| Pin::Group(name.clone())),
        );
        older
    }

    /// The serial of the next statement about a member, or a group's next list.
    pub(crate) fn next_serial(&self, about: &Pin, told: u64) -> u64 {
        let pinned = match about {
            Pin::Member(key) => self.pins.members.get(key),
            Pin::Group(name) => self.pins.groups.get(name),
        };
        told.max(pinned.copied().unwrap_or(0)) + 1
    }
}

impl Memory {
    /// The highest version of an entry of the member's vault that was seen; 0 for none.
    pub(crate) fn vault_version(&self, key: &str) -> u64 {
        self.pins.vault.get(key).copied().unwrap_or_default()
    }

    /// A version of an entry was signed here, or was found to hold. Of more than [`MAX_PINS`] keys the rest is not pinned.
    pub(crate) fn saw_vault(&mut self, key: &str, version: u64) {
        if self.pins.vault.len() < MAX_PINS || self.pins.vault.contains_key(key) {
            let pinned = self.pins.vault.entry(key.to_owned()).or_insert(version);
            *pinned = version.max(*pinned);
        }
    }
}

impl Held {
    fn is_fresh(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.at) < OUTBOX_KEPT_MS
    }
}

impl SessionMemory {
    /// Whether a message was taken before.
    pub(crate) fn has_message(&self, id: &str) -> bool {
        self.messages.contains(id)
    }

    /// A message was taken.
    pub(crate) fn add(&mut self, message_id: &str, opened: Option<(PublicKey, String)>) {
        self.messages.insert(message_id.to_owned());
        self.seen.extend(opened);
    }

    #[cfg(test)]
    pub(super) fn is_sent(&self, nonce: &str) -> bool {
        self.sent.contains(nonce)
    }
}

impl Nonces for SessionMemory {
    fn sent(&self, nonce: &str) -> bool {
        self.sent.contains(nonce)
    }

    fn seen(&self, sender: &PublicKey, nonce: &str) -> bool {
        self.seen.contains(&(*sender, nonce.to_owned()))
    }
}

fn bound<T>(queue: &mut VecDeque<T>, most: usize) {
    while queue.len() > most {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use protocol::mail::Letter;
    use protocol::trust::{GroupList, MemberCert, Role};
    use protocol::wire::{MemberEntry, Priority};

    use super::*;

    fn key(n: u8) -> SessionKey {
        SessionKey::from_seed(&[n; 32])
    }
    fn memory() -> Memory {
        Memory::new(&key(1), "s-1".to_owned())
    }
    fn letter(id: &str, nonce: u8) -> Send {
        let letter = Letter { mesh_id: "m", id, ts: 1, priority: Priority::Next, nonce: &[nonce; 24], text: "hi" };
        letter.direct(&key(2).public(), &key(1)).unwrap()
    }

    #[test]
    fn it_comes_back_from_the_file_and_shows_no_key() {
        let mut memory = memory();
        memory.remember_seen("b-1", Some((key(2).public(), "n-1".to_owned())));
        memory.remember_seen("b-2", None);
        assert!(memory.hold(&letter("i-1", 7), 10));
        let json = serde_json::to_vec(&memory).unwrap();
        let back = Memory::parse(&json).unwrap();
        assert_eq!(serde_json::to_vec(&back).unwrap(), json);
        assert_eq!(back.key().unwrap().public(), key(1).public());
        let nonces = back.nonces();
        assert!(nonces.has_message("b-1") && nonces.has_message("b-2") && !nonces.has_message("b-3"));
        assert!(nonces.seen(&key(2).public(), "n-1") && !nonces.seen(&key(3).public(), "n-1"));
        assert!(nonces.sent(&letter("i-1", 7).nonce));
        assert!(!format!("{memory:?}").contains(&key(1).to_hex().expose()[..64]));
    }

    #[test]
    fn one_sender_cannot_push_another_out() {
        let mut memory = memory();
        memory.remember_seen("quiet", Some((key(3).public(), "q".to_owned())));
        for n in 0..=SEEN_PER_SENDER {
            memory.remember_seen(&format!("b-{n}"), Some((key(2).public(), format!("n-{n}"))));
        }
        assert_eq!(memory.seen.len(), SEEN_PER_SENDER + 1);
        let nonces = memory.nonces();
        assert!(nonces.has_message("quiet") && !nonces.has_message("b-0") && nonces.has_message("b-1"));
    }

    #[test]
    fn the_outbox_is_bounded_settled_and_grows_old() {
        let mut memory = memory();
        for n in 0..MAX_OUTBOX {
            assert!(memory.hold(&letter(&format!("i-{n}"), 1), 1_000));
        }
        assert!(!memory.hold(&letter("more", 1), 1_000), "full");
        memory.settle("i-0");
        assert!(memory.hold(&letter("more", 1), 2_000));
        assert_eq!(memory.unanswered(2_000).len(), MAX_OUTBOX);
        let later = 1_000 + OUTBOX_KEPT_MS;
        let left = memory.unanswered(later);
        assert_eq!((left.len(), left[0].message.id.as_deref()), (1, Some("more")));
    }

    #[test]
    fn an_older_statement_is_noticed() {
        let roll = |serial: u64, group: Option<u64>| {
            let certificate =
                (serial > 0).then(|| MemberCert::signed("m", key(2).public(), Role::Member, serial, &key(1)).unwrap());
            let entry = MemberEntry {
                member_id: "m2".to_owned(),
                pubkey: key(2).public(),
                display_name: "Ben".to_owned(),
                role: "member".to_owned(),
                certificate,
                removal: None,
                joined_at: String::new(),
                removed_at: None,
            };
            let lists: Vec<_> =
                group.map(|serial| GroupList::sign("m", "eng", serial, None, &key(1)).unwrap()).into_iter().collect();
            Roll::new("m", key(1).public(), &[entry], &lists)
        };
        let mut memory = memory();
        assert_eq!(memory.pin(&roll(2, Some(1))), []);
        assert_eq!(memory.pin(&roll(3, Some(2))), []);
        assert_eq!(memory.pin(&roll(2, Some(2))), [Pin::Member(key(2).public())]);
        assert_eq!(memory.pin(&roll(0, Some(2))), [Pin::Member(key(2).public())], "a certificate that was taken away");
        assert_eq!(memory.pin(&roll(3, Some(1))), [Pin::Group("eng".to_owned())]);
        assert_eq!(memory.pin(&roll(3, None)), [Pin::Group("eng".to_owned())], "a list that was taken away");
        assert_eq!(memory.next_serial(&Pin::Member(key(2).public()), 1), 4);
        assert_eq!(memory.next_serial(&Pin::Group("eng".to_owned()), 5), 6);
    }

    #[test]
    fn the_first_owner_that_was_heard_of_stays() {
        let mut memory = memory();
        assert_eq!(memory.owner(key(5).public()), key(5).public());
        assert_eq!(memory.owner(key(6).public()), key(5).public());
    }
}
