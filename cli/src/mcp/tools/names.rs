//! Names that are not too long for a client. Pure.
//!
//! A model's client puts a prefix before the name of a tool and allows 64 characters in all. A name that does not fit is cut
//! and ends with six hex digits of its hash, so that it is the same name the next time; two that would be one are told
//! apart by hashing again.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

/// What a client allows, its prefix included.
const MAX_CHARS: usize = 64;
/// What a client puts before the tools of a session's server.
pub(crate) const PREFIX_OF_SESSION: &str = "mcp__claudemesh__";
/// Hex digits of the hash.
const DIGITS: usize = 6;
/// The least that is left of a name and its hash, however long the prefix is.
const LEAST: usize = 16;

/// Names as clients see them, and what they stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names<T> {
    by_short: BTreeMap<String, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { by_short: BTreeMap::new() }
    }
}

/// How much a prefix leaves.
pub(crate) fn room_behind(prefix: usize) -> usize {
    MAX_CHARS.saturating_sub(prefix).max(LEAST)
}

/// What is left behind `mcp__mesh_<service>_<pid>__`, which is how clients show the entry of a service.
pub(crate) fn room_of_proxy(service: &str, launcher_digits: usize) -> usize {
    room_behind("mcp__mesh_".len() + service.len() + "_".len() + launcher_digits + "__".len())
}

impl<T> Names<T> {
    /// Gives each of these a name of at most `room` characters. Of each the name that it would have, what tells it from
    /// all others, and what it is. The same ones get the same names.
    pub(crate) fn assign(wanted: impl IntoIterator<Item = (String, String, T)>, room: usize) -> Self {
        let wanted: BTreeMap<(String, String), T> =
            wanted.into_iter().map(|(name, identity, what)| ((name, identity), what)).collect();
        // Those that fit keep their names, whatever the others are cut to.
        let fitting: BTreeSet<String> =
            wanted.keys().map(|(name, _)| name).filter(|name| fits(name, room)).cloned().collect();
        let mut by_short = BTreeMap::new();
        for ((name, identity), what) in wanted {
            let keeps = fits(&name, room) && !by_short.contains_key(&name);
            let is_taken = |short: &String| fitting.contains(short) || by_short.contains_key(short);
            let short = if keeps { name } else { cut(&name, &identity, room, is_taken) };
            by_short.insert(short, what);
        }
        Self { by_short }
    }

    /// What a name stands for.
    pub(crate) fn get(&self, short: &str) -> Option<&T> {
        self.by_short.get(short)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.by_short.iter().map(|(short, what)| (short.as_str(), what))
    }
}

/// Whether a client takes it as it is.
fn fits(name: &str, room: usize) -> bool {
    name.len() <= room && name.bytes().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn cut(name: &str, identity: &str, room: usize, is_taken: impl Fn(&String) -> bool) -> String {
    let plain = |c: char| if u8::try_from(c).is_ok_and(is_plain) { c } else { '_' };
    let start: String = name.chars().map(plain).take(room.saturating_sub(DIGITS + 1)).collect();
    let mut round: u64 = 0;
    loop {
        let mut hash = Sha256::new();
        hash.update(identity.as_bytes());
        if round > 0 {
            hash.update(round.to_be_bytes());
        }
        let digits: String = hex::encode(hash.finalize()).chars().take(DIGITS).collect();
        let short = format!("{start}_{digits}");
        // There are fewer names than hashes, so this ends.
        if !is_taken(&short) {
            return short;
        }
        round += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the names are, each gets one of its own that fits and is plain, and always the same one.
        #[test]
        fn h44_names_fit_and_never_collide(
            names in prop::collection::btree_set(prop_oneof!["[a-c_./é]{1,90}", "a{70}[a-z]{1,3}"], 0..24),
            room in LEAST..64_usize,
        ) {
            let wanted = || names.iter().map(|name| (name.clone(), name.clone(), name.clone()));
            let assigned = Names::assign(wanted(), room);
            prop_assert_eq!(assigned.iter().count(), names.len(), "two became one");
            for (short, name) in assigned.iter() {
                prop_assert!(short.len() <= room && short.bytes().all(is_plain), "{}", short);
                prop_assert!(!fits(name, room) || short == name, "{} was changed", name);
                prop_assert_eq!(assigned.get(short), Some(name));
            }
            prop_assert_eq!(Names::assign(wanted().collect::<Vec<_>>().into_iter().rev(), room), assigned);
        }
    }

    #[test]
    fn h44_a_name_that_looks_like_anothers_short_one_is_told_apart() {
        let long = "a".repeat(80);
        let short = cut(&long, &long, 30, |_| false);
        assert_eq!(short.len(), 30);
        let (start, digits) = short.rsplit_once('_').unwrap();
        assert!(long.starts_with(start) && digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let names = Names::assign([(long.clone(), long.clone(), 1), (short.clone(), short.clone(), 2)], 30);
        assert_eq!(names.get(&short), Some(&2), "who has the name keeps it");
        assert_eq!(names.iter().filter(|(_, what)| **what == 1).count(), 1);
    }

    #[test]
    fn h44_two_of_one_name_are_two() {
        let twins = [("svc__a__b__c", "a__b/c", 1), ("svc__a__b__c", "a/b__c", 2)];
        let names = Names::assign(twins.map(|(name, of, what)| (name.to_owned(), of.to_owned(), what)), 47);
        let mut both: Vec<_> = names.iter().map(|(_, what)| *what).collect();
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
    }

    #[test]
    fn the_longest_service_leaves_room_for_a_name() {
        assert_eq!(room_of_proxy("time", 5), 64 - "mcp__mesh_time_12345__".len());
        assert_eq!(room_of_proxy(&"s".repeat(64), 7), LEAST);
    }
}
