//! The entries of a batch, sorted by what is done with them. Plain data: nothing here touches the database.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, Hello, Verdict};
use crate::store::column::{MeshId, UtcMs, without_nul};
use crate::store::message::{DeliveryState, MessageRow, NewDelivery, NewDeliveryRow, NewMessage};
use crate::store::session::Session;
use crate::store::watch::WatchCommit;

/// A batch. Messages and deliveries stay where the entries are.
pub(super) struct Plan<'a> {
    /// An answer for each entry, so far.
    pub(super) verdicts: Verdicts,
    /// Hellos and sessions in their order, each with its entry's place.
    pub(super) presence: Vec<(usize, Presence)>,
    /// Whether there is a hello.
    pub(super) hellos: bool,
    /// What happened to watches, each with its entry's place and what is said of it.
    pub(super) watches: Vec<(usize, &'a WatchCommit, Option<Word<'a>>)>,
    pub(super) places: Places,
    pub(super) rows: Rows<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Hello(Box<Hello>),
    Session(Box<Session>),
}

/// A message and its deliveries.
pub(super) type Word<'a> = (&'a NewMessage, &'a [NewDelivery]);

/// Messages, deliveries and ends.
#[derive(Default)]
pub(super) struct Rows<'a> {
    pub(super) messages: Vec<MessageRow<'a>>,
    pub(super) deliveries: Vec<NewDeliveryRow<'a>>,
    /// The deliveries that end alike, together.
    pub(super) ends: BTreeMap<End, Vec<i64>>,
}

/// How deliveries end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) at: UtcMs,
    pub(super) state: DeliveryState,
    pub(super) reason: Option<String>,
}

/// The entries' answers.
pub(super) struct Verdicts(Vec<Verdict>);

impl Verdicts {
    pub(super) fn set(&mut self, place: usize, verdict: Verdict) {
        // Places come from the plan, which made an answer for each.
        if let Some(slot) = self.0.get_mut(place) {
            *slot = verdict;
        }
    }

    pub(super) fn into_list(self) -> Vec<Verdict> {
        self.0
    }
}

/// The place of each message's entry, by the message's number.
#[derive(Default)]
pub(super) struct Places(HashMap<i64, usize>);

impl Places {
    /// Past the end for a message that is not in the batch.
    pub(super) fn of(&self, seq: i64) -> usize {
        self.0.get(&seq).copied().unwrap_or(usize::MAX)
    }
}

impl<'a> Rows<'a> {
    /// A message to be written, and its deliveries.
    pub(super) fn add(&mut self, mesh: &'a MeshId, (new, deliveries): Word<'a>) {
        self.deliveries.extend(deliveries.iter().map(|delivery| delivery.row(new, mesh)));
        self.messages.push(new.row(mesh, deliveries));
    }
}

impl<'a> Plan<'a> {
    pub(super) fn of(mesh: &'a MeshId, entries: &'a [Entry]) -> Self {
        let verdicts = Verdicts(Vec::with_capacity(entries.len()));
        let (presence, places, rows) = (Vec::new(), Places::default(), Rows::default());
        let mut plan = Self { verdicts, presence, hellos: false, watches: Vec::new(), places, rows };
        // Where each session stands that may still be said anew: what counts is how it is in the end.
        let mut latest = HashMap::new();
        for (place, entry) in entries.iter().enumerate() {
            plan.verdicts.0.push(Verdict::Done);
            match entry {
                Entry::Hello(hello) => {
                    // It reads the rows of others: what they are by then, not later.
                    latest.clear();
                    plan.hello(place, mesh, Hello::clone(hello));
                }
                Entry::Session(session) => plan.session(place, of(mesh, Session::clone(session)), &mut latest),
                Entry::Message(new, deliveries) => {
                    plan.verdicts.set(place, Verdict::Stored);
                    plan.places.0.insert(new.seq, place);
                    plan.rows.add(mesh, (new, deliveries));
                }
                Entry::Watch(commit, word) => {
                    plan.verdicts.set(place, Verdict::Stored);
                    let word = word.as_ref().map(|(new, deliveries)| (&**new, deliveries.as_slice()));
                    plan.watches.push((place, commit, word));
                }
                Entry::End { ids, how, reason, at } => {
                    let reason = reason.as_deref().map(|words| without_nul(words).into_owned());
                    let end = End { at: *at, state: (*how).into(), reason };
                    plan.rows.ends.entry(end).or_default().extend(ids);
                }
            }
        }
        plan
    }

    fn hello(&mut self, place: usize, mesh: &MeshId, hello: Hello) {
        self.hellos = true;
        let hello = Hello { session: of(mesh, hello.session), ..hello };
        self.presence.push((place, Presence::Hello(Box::new(hello))));
    }

    fn session(&mut self, place: usize, session: Session, latest: &mut HashMap<String, usize>) {
        let key = session.pubkey.clone();
        let step = (place, Presence::Session(Box::new(session)));
        match latest.get(&key).and_then(|before| self.presence.get_mut(*before)) {
            Some(before) => *before = step,
            None => {
                latest.insert(key, self.presence.len());
                self.presence.push(step);
            }
        }
    }
}

/// A session as it is stored, in the batch's mesh whatever it says.
fn of(mesh: &MeshId, session: Session) -> Session {
    Session { mesh_id: mesh.clone(), ..session.stored() }
}
