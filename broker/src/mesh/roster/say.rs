//! What sessions say about themselves.

use std::sync::Arc;

use protocol::validate;
use protocol::wire::{Group, PeerStatus, Profile};
use serde_json::Value;

use super::{Address, Fx, Life, Roster};
use crate::mesh::admission::MAX_GROUPS;
use crate::store::UtcMs;

/// Longest summary, bytes.
pub(super) const MAX_SUMMARY_BYTES: usize = 1_024;
/// Largest profile, and largest figures, as JSON, bytes.
pub(super) const MAX_PROFILE_BYTES: usize = 4_096;
/// Longest role in a group, in characters.
const MAX_ROLE_CHARS: usize = 64;

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// What it does.
    Summary(String),
    /// What it is doing.
    Status(PeerStatus),
    /// It joins a group.
    Join(Group),
    /// It leaves a group.
    Leave(String),
    /// Figures.
    Stats(Value),
    /// Whether it shows in lists.
    Visible(bool),
    /// What it is.
    Profile(Profile),
}

/// Why it is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SayError {
    /// Too long.
    #[error("`{field}` is longer than {max} bytes")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// What is allowed.
        max: usize,
    },
    /// A name that is none.
    #[error("`name`: {0}")]
    Name(validate::NameError),
    /// It is in many groups already.
    #[error("limit: a session is in at most {MAX_GROUPS} groups")]
    Groups,
    /// Not for this session.
    #[error("the group @{0} is restricted, and this member is not in its list")]
    Restricted(String),
}

impl Roster {
    /// A session says something. `may_join` says whether its member may be in a group.
    ///
    /// # Errors
    /// [`SayError`]; nothing has changed then.
    pub fn say(
        &mut self,
        address: &Address,
        say: Say,
        may_join: impl Fn(&str) -> bool,
        now: UtcMs,
    ) -> Result<(), SayError> {
        let Some(session) = self.sessions.get_mut(address) else { return Ok(()) };
        let live = match &session.life {
            Life::Live(presence) => Some(Arc::clone(presence)),
            Life::Leased { .. } | Life::Away => None,
        };
        match say {
            Say::Summary(text) => {
                let text = validate::cleaned(&text);
                short("summary", text.len(), MAX_SUMMARY_BYTES)?;
                session.summary = Some(text).filter(|text| !text.is_empty());
            }
            Say::Status(status) => {
                (session.status, session.status_at) = (status, now);
                self.fx.extend(live.map(|presence| Fx::Gate { presence, idle: status == PeerStatus::Idle }));
                // Not worth a row: a status does not outlive its session.
                return Ok(());
            }
            Say::Join(group) => {
                let group = named(group)?;
                if !may_join(&group.name) {
                    return Err(SayError::Restricted(group.name));
                }
                session.groups.retain(|other| other.name != group.name);
                if session.groups.len() >= MAX_GROUPS {
                    return Err(SayError::Groups);
                }
                session.groups.push(group);
                self.fx.extend(live.map(Fx::Changed));
            }
            Say::Leave(name) => {
                let name = name.strip_prefix('@').unwrap_or(&name);
                session.groups.retain(|other| other.name != name);
                self.fx.extend(live.map(Fx::Changed));
            }
            Say::Stats(stats) => {
                short("stats", stats.to_string().len(), MAX_PROFILE_BYTES)?;
                session.stats = Some(stats);
            }
            Say::Visible(visible) => session.visible = visible,
            Say::Profile(profile) => session.profile = Some(cleaned(profile)?),
        }
        self.fx.push(Fx::Write(*address));
        Ok(())
    }
}

/// A group as it may be joined: its name without `@`, its role without what could deceive.
///
/// # Errors
/// [`SayError::Name`].
pub fn named(group: Group) -> Result<Group, SayError> {
    let name = group.name.strip_prefix('@').unwrap_or(&group.name).to_owned();
    validate::group_name(&name).map_err(SayError::Name)?;
    let role = group.role.map(|role| validate::cleaned(&role).chars().take(MAX_ROLE_CHARS).collect());
    Ok(Group { name, role })
}

fn cleaned(profile: Profile) -> Result<Profile, SayError> {
    let clean = |text: Option<String>| text.map(|text| validate::cleaned(&text));
    let Profile { avatar, title, bio, capabilities } = profile;
    let capabilities = capabilities.map(|all| all.iter().map(|text| validate::cleaned(text)).collect::<Vec<_>>());
    let profile = Profile { avatar: clean(avatar), title: clean(title), bio: clean(bio), capabilities };
    let texts = [&profile.avatar, &profile.title, &profile.bio].into_iter().flatten();
    let bytes: usize = texts.chain(profile.capabilities.iter().flatten()).map(String::len).sum();
    short("profile", bytes, MAX_PROFILE_BYTES)?;
    Ok(profile)
}

fn short(field: &'static str, bytes: usize, max: usize) -> Result<(), SayError> {
    if bytes > max { Err(SayError::TooLong { field, max }) } else { Ok(()) }
}
