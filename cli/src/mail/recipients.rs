//! For whom a message to several is sealed. Pure.
//!
//! The broker knows who is in a group at the moment, so it has a say; but it cannot put somebody in unseen: who is not on
//! the list of members, or not on the signed list of a restricted group, is refused, and who is not vouched for is named.

use protocol::identity::PublicKey;
use protocol::trust::{GroupStanding, Standing};
use protocol::wire::Peer;

use super::directory::label;
use crate::client::Trusted;
use crate::error::CliError;
use crate::text;

/// Whom a message to several is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Several<'a> {
    /// A group, without `@`.
    Group(&'a str),
    /// All of the mesh.
    Everybody,
}

impl Several<'_> {
    /// `targetSpec`.
    pub(crate) fn spec(&self) -> String {
        match self {
            Self::Group(name) => format!("@{name}"),
            Self::Everybody => "*".to_owned(),
        }
    }
}

/// Those who probably are meant; the broker says if it is others.
pub(super) fn first(to: Several<'_>, trusted: &Trusted, peers: &[Peer]) -> Result<Vec<PublicKey>, CliError> {
    let present = trusted.roll.members().filter(|entry| entry.standing != Standing::Removed).map(|entry| entry.pubkey);
    Ok(match to {
        Several::Everybody => present.collect(),
        Several::Group(name) => match list_of(name, trusted)? {
            Some(members) => present.filter(|key| members.binary_search(key).is_ok()).collect(),
            None => {
                let in_group = |peer: &&Peer| peer.groups.iter().any(|group| group.name == name);
                let mut members: Vec<_> = peers.iter().filter(in_group).filter_map(|peer| peer.member_pubkey).collect();
                members.sort_unstable();
                members.dedup();
                members
            }
        },
    })
}

/// Those of `members` whom nobody vouches for, as they are shown.
pub(super) fn check(to: Several<'_>, trusted: &Trusted, members: &[PublicKey]) -> Result<Vec<String>, CliError> {
    let list = match to {
        Several::Everybody => None,
        Several::Group(name) => list_of(name, trusted)?,
    };
    let mut doubtful = Vec::new();
    for key in members {
        let shown = label(&trusted.name(key).unwrap_or_default(), key);
        if list.as_ref().is_some_and(|list| list.binary_search(key).is_err()) {
            return Err(refused(&shown, "does not belong to the group's signed list"));
        }
        match trusted.standing(key) {
            Some(Standing::Verified(_)) => {}
            Some(Standing::Unattested | Standing::Unverified(_)) => doubtful.push(shown),
            Some(Standing::Removed) => return Err(refused(&shown, "is no member any more")),
            None => return Err(refused(&shown, "is not on its list of members")),
        }
    }
    Ok(doubtful)
}

/// A restricted group's members; none for an open one.
fn list_of(name: &str, trusted: &Trusted) -> Result<Option<Vec<PublicKey>>, CliError> {
    let shown = text::line(name);
    match trusted.group(name) {
        Some(GroupStanding::Open { .. }) => Ok(None),
        Some(GroupStanding::Restricted { members, .. }) => Ok(Some(members)),
        Some(GroupStanding::Unverified(doubt)) => {
            Err(CliError::refused(format!("the list of @{shown} does not hold: {doubt}"))
                .hint("an admin can sign a new one: claudemesh group restrict"))
        }
        None => Err(CliError::refused(format!("the list of @{shown} is older than one you have seen"))
            .hint("the broker may hold a newer one back; an admin can sign a new one: claudemesh group restrict")),
    }
}

fn refused(who: &str, why: &str) -> CliError {
    CliError::refused(format!("the broker wants this sealed for {who}, who {why}"))
        .hint("nothing was sent; compare with claudemesh member list")
}
