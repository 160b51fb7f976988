//! Whom a word means. Pure.
//!
//! A word is a name, `name (prefix of its key)`, a key of 64 digits, `@group`, or `*`. A name that several have is nobody's:
//! the answer lists them in a form that tells them apart.

use protocol::identity::{PublicKey, SessionClaim};
use protocol::trust::{Doubt, RollEntry, Standing};
use protocol::wire::Peer;

use crate::client::Trusted;
use crate::error::CliError;
use crate::text;

/// Digits of a key that are shown beside a name.
const SHOWN_DIGITS: usize = 8;
/// How many are listed when a name is several people's, or nobody's.
const MOST_LISTED: usize = 5;
/// How alike a name must be to be offered for one that nobody has.
const ALIKE: f64 = 0.6;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A session or a member.
    One {
        /// Its key.
        key: PublicKey,
        /// What to call it.
        label: String,
        /// Why it is not certain who that is.
        doubt: Option<String>,
    },
    /// A group, without `@`.
    Group(String),
    /// Everybody.
    Everybody,
}

/// A name and as much of a key as tells it from others of that name.
pub(crate) fn label(name: &str, key: &PublicKey) -> String {
    let digits: String = key.to_string().chars().take(SHOWN_DIGITS).collect();
    let name = text::line(name);
    if name.is_empty() { digits } else { format!("{name} ({digits})") }
}

/// Who is here, and who belongs here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a> {
    /// The mesh.
    pub(crate) mesh_id: &'a str,
    /// The sessions.
    pub(crate) peers: &'a [Peer],
    /// The members.
    pub(crate) trusted: &'a Trusted,
    /// Milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
}

/// Somebody with a name.
struct Somebody<'a> {
    /// The member, or a session of which no member is known.
    key: PublicKey,
    member: Option<&'a RollEntry>,
    sessions: Vec<&'a Peer>,
}

impl<'a> Directory<'a> {
    /// Why it is not certain that a session is its member's, and the member one of the mesh; none if it is.
    pub(crate) fn doubt(&self, peer: &Peer) -> Option<String> {
        match self.member_of(peer) {
            Ok(member) => self.member_doubt(&member),
            Err(why) => Some(why),
        }
    }

    /// The member whose word a session has, whatever that member is; or why there is none.
    fn member_of(&self, peer: &Peer) -> Result<PublicKey, String> {
        let (Some(member), Some(cert)) = (peer.member_pubkey, &peer.session_cert) else {
            return Err("nobody vouches for this session: an old client's".to_owned());
        };
        let claim = SessionClaim { mesh_id: self.mesh_id, member, session: peer.pubkey, session_id: &peer.session_id };
        match claim.verify(cert, self.now_ms) {
            Ok(()) => Ok(member),
            Err(error) => Err(format!("what vouches for this session does not hold: {error}")),
        }
    }

    /// Why it is not certain that a key is a member's; none if it is.
    pub(crate) fn member_doubt(&self, key: &PublicKey) -> Option<String> {
        standing_doubt(self.trusted.standing(key))
    }

    /// Whom a word means.
    pub(crate) fn resolve(&self, word: &str) -> Result<Target, CliError> {
        match word {
            "" => Err(CliError::usage("a name, a key, @group or * is expected")),
            "*" | "@all" => Ok(Target::Everybody),
            _ => match word.strip_prefix('@') {
                Some("") => Err(CliError::usage("@ stands before the name of a group")),
                Some(group) => Ok(Target::Group(group.to_owned())),
                None => self.one(word),
            },
        }
    }

    fn one(&self, word: &str) -> Result<Target, CliError> {
        if let Ok(key) = word.parse() {
            return Ok(self.by_key(key));
        }
        let everybody = self.everybody();
        let found: Vec<_> = everybody.iter().filter(|somebody| somebody.is_called(word)).collect();
        match found.as_slice() {
            [only] => Ok(self.best_address(only)),
            [] => Err(unknown(word, everybody.iter().map(Somebody::label))),
            several => Err(ambiguous(word, several.iter().map(|somebody| somebody.label()))),
        }
    }

    fn by_key(&self, key: PublicKey) -> Target {
        if let Some(peer) = self.peers.iter().find(|peer| peer.pubkey == key) {
            return Target::One { key, label: label(&peer.display_name, &key), doubt: self.doubt(peer) };
        }
        let name = self.trusted.name(&key).unwrap_or_default();
        Target::One { key, label: label(&name, &key), doubt: self.member_doubt(&key) }
    }

    /// The latest session that has its member's word, else the member itself: whatever session it has then will take it.
    fn best_address(&self, somebody: &Somebody<'_>) -> Target {
        let live = somebody.sessions.iter().filter(|peer| peer.online != Some(false));
        let vouched =
            live.filter(|peer| self.member_of(peer).is_ok()).max_by(|a, b| a.connected_at.cmp(&b.connected_at));
        match (vouched, somebody.member, somebody.sessions.first()) {
            (Some(peer), ..) => self.by_key(peer.pubkey),
            (None, None, Some(peer)) => self.by_key(peer.pubkey),
            (None, _, _) => self.by_key(somebody.key),
        }
    }

    fn everybody(&self) -> Vec<Somebody<'a>> {
        let present = |entry: &&RollEntry| entry.standing != Standing::Removed;
        let mut everybody: Vec<_> = self
            .trusted
            .roll
            .members()
            .filter(present)
            .map(|entry| Somebody { key: entry.pubkey, member: Some(entry), sessions: Vec::new() })
            .collect();
        for peer in self.peers {
            let key = peer.member_pubkey.unwrap_or(peer.pubkey);
            match everybody.iter_mut().find(|somebody| somebody.key == key) {
                Some(somebody) => somebody.sessions.push(peer),
                None => everybody.push(Somebody { key, member: None, sessions: vec![peer] }),
            }
        }
        everybody
    }
}

impl Somebody<'_> {
    fn names(&self) -> impl Iterator<Item = String> {
        let member = self.member.map(|entry| text::line(&entry.name));
        member.into_iter().chain(self.sessions.iter().map(|peer| text::line(&peer.display_name)))
    }

    fn is_called(&self, word: &str) -> bool {
        self.names().any(|name| is_name_of(word, &name, &self.key))
            || self.sessions.iter().any(|peer| is_name_of(word, &text::line(&peer.display_name), &peer.pubkey))
    }

    fn label(&self) -> String {
        label(&self.names().next().unwrap_or_default(), &self.key)
    }
}

/// `name`, `name (prefix)` or `name/prefix`.
fn is_name_of(word: &str, name: &str, key: &PublicKey) -> bool {
    let Some(rest) = word.strip_prefix(name) else {
        return false;
    };
    let prefix = rest.strip_prefix('/').or_else(|| rest.trim_start().strip_prefix('(')?.strip_suffix(')'));
    rest.is_empty() || prefix.is_some_and(|prefix| !prefix.is_empty() && key.to_string().starts_with(prefix))
}

/// Why a member's standing is not certain; none if it is.
fn standing_doubt(standing: Option<Standing>) -> Option<String> {
    let why = |doubt: Doubt| format!("what vouches for this member does not hold: {doubt}");
    match standing {
        Some(Standing::Verified(_)) => None,
        Some(Standing::Unattested) => Some("nobody has vouched for this member yet".to_owned()),
        Some(Standing::Unverified(doubt)) => Some(why(doubt)),
        Some(Standing::Removed) => Some("this is no member any more".to_owned()),
        None => Some("this key is not on the list of members".to_owned()),
    }
}

/// The member that a word means.
pub(crate) fn find_member<'a>(word: &str, trusted: &'a Trusted) -> Result<&'a RollEntry, CliError> {
    let present: Vec<_> = trusted.roll.members().filter(|entry| entry.standing != Standing::Removed).collect();
    let by_key: Option<PublicKey> = word.parse().ok();
    let is_meant = |entry: &&&RollEntry| match by_key {
        Some(key) => entry.pubkey == key,
        None => is_name_of(word, &text::line(&entry.name), &entry.pubkey),
    };
    let found: Vec<_> = present.iter().filter(is_meant).collect();
    let labels = |entries: &[&RollEntry]| -> Vec<String> {
        entries.iter().map(|entry| label(&entry.name, &entry.pubkey)).collect()
    };
    match found.as_slice() {
        [only] => Ok(only),
        [] => Err(unknown(word, labels(&present).into_iter())),
        several => Err(ambiguous(word, several.iter().map(|entry| label(&entry.name, &entry.pubkey)))),
    }
}

fn ambiguous(word: &str, who: impl Iterator<Item = String>) -> CliError {
    let word = text::line(word);
    let who: Vec<_> = who.take(MOST_LISTED).collect();
    CliError::usage(format!("`{word}` is the name of several")).hint(format!(
        "say which, as in \"{}\": {}",
        who.first().cloned().unwrap_or_default(),
        who.join(", ")
    ))
}

fn unknown(word: &str, who: impl Iterator<Item = String>) -> CliError {
    let word = text::line(word);
    let name_of = |label: &str| label.rsplit_once(" (").map_or(label.to_owned(), |(name, _)| name.to_owned());
    let mut alike: Vec<_> = who
        .map(|label| (strsim::jaro_winkler(&word.to_lowercase(), &name_of(&label).to_lowercase()), label))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    let alike: Vec<_> = alike.into_iter().take(MOST_LISTED).map(|(_, label)| label).collect();
    let error = CliError::failed(format!("nobody here is called `{word}`"));
    if alike.is_empty() {
        error.hint("claudemesh peers and claudemesh member list show who is")
    } else {
        error.hint(format!("alike: {}", alike.join(", ")))
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
