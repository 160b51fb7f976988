//! A person's place in a mesh: the connection, the keys, what the session remembers, and who can be trusted.
//!
//! Contract: the owner's key comes from `config.json`; where that has none, from what the session was told first. A broker
//! that tells of another one is not believed. What the broker tells about members is judged by [`Roll`] and compared with
//! what was seen before; what is older than that does not count.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::identity::{MemberKey, PublicKey, SessionKey, SigningKey};
use protocol::trust::{GroupStanding, Roll, Standing};
use protocol::wire::MembersList;

use super::{Appearance, Client, ClientError, Pushes, SessionName, keys};
use crate::error::CliError;
use crate::output::Printer;
use crate::profile::{Membership, Memory, Pin, Profile, SessionFile};
use crate::text;
use crate::wire::mesh::ListMembers;

/// How long the broker may take for a list, or for a change that needs no runner.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The refusal of a session whose key another member has used.
const SESSION_TAKEN: &str = "session_taken";

/// A connected member.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// The connection.
    pub(crate) client: Client,
    /// The mesh and the person in it.
    pub(crate) membership: Membership,
    /// The member's key.
    pub(crate) member: MemberKey,
    /// The session's key.
    pub(crate) session: SessionKey,
    /// What the session remembers.
    pub(crate) file: SessionFile,
    name: SessionName,
    appearance: Appearance,
    mode: Pushes,
    profile: Profile,
    printer: Printer,
}

/// The members of a mesh, as far as they can be trusted.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// What the broker tells.
    pub(crate) list: MembersList,
    /// What of it counts.
    pub(crate) roll: Roll,
    stale_groups: BTreeSet<String>,
}

impl Trusted {
    /// As it is when nothing was seen before.
    #[cfg(test)]
    pub(crate) fn of(mesh_id: &str, list: MembersList) -> Self {
        let roll = Roll::new(mesh_id, list.owner_pubkey, &list.members, &list.groups);
        Self { list, roll, stale_groups: BTreeSet::new() }
    }

    /// A member's standing; none for a key that is no member's.
    pub(crate) fn standing(&self, key: &PublicKey) -> Option<Standing> {
        self.roll.member(key).map(|entry| entry.standing)
    }

    /// A group; none if what the broker tells is older than what was seen.
    pub(crate) fn group(&self, name: &str) -> Option<GroupStanding> {
        if self.stale_groups.contains(name) { None } else { Some(self.roll.group(name)) }
    }

    /// A member's name, as the broker has it, fit to be shown.
    pub(crate) fn name(&self, key: &PublicKey) -> Option<String> {
        self.roll.member(key).map(|entry| text::line(&entry.name))
    }
}

impl Mesh {
    /// Connects as the session that this person's commands share.
    pub(crate) async fn connect(
        profile: Profile,
        membership: Membership,
        printer: Printer,
        mode: Pushes,
    ) -> Result<Self, CliError> {
        // Before anything is made: an address or a key that makes no sense leaves no session behind.
        keys::member_key(&membership.mesh)?;
        crate::endpoint::Endpoint::parse(&membership.mesh.broker_url)?;
        let file = profile.session(&membership.mesh.mesh_id)?;
        Self::connect_as(profile, membership, printer, mode, file, Appearance::command()).await
    }

    /// Connects as another session than that.
    pub(crate) async fn connect_as(
        profile: Profile,
        membership: Membership,
        printer: Printer,
        mode: Pushes,
        file: SessionFile,
        appearance: Appearance,
    ) -> Result<Self, CliError> {
        let member = keys::member_key(&membership.mesh)?;
        let (mut session, mut name) = identity(&file.read()?)?;
        let client = match Client::connect(&membership, &member, &name, &appearance, mode).await {
            // Another member used this session's key, as after joining anew: the address is lost, the person is not.
            Err(error) if error.code.as_deref() == Some(SESSION_TAKEN) => {
                (session, name) = identity(&file.renew()?)?;
                Client::connect(&membership, &member, &name, &appearance, mode).await?
            }
            other => other?,
        };
        Ok(Self { client, membership, member, session, file, name, appearance, mode, profile, printer })
    }

    /// Connects again, as the same session.
    pub(crate) async fn reconnect(&mut self) -> Result<(), CliError> {
        self.client = Client::connect(&self.membership, &self.member, &self.name, &self.appearance, self.mode).await?;
        Ok(())
    }

    /// The mesh's id.
    pub(crate) fn id(&self) -> &str {
        &self.membership.mesh.mesh_id
    }

    /// Who belongs to the mesh, judged. Warns of what is older than what was seen before.
    pub(crate) async fn trusted(&self) -> Result<Trusted, CliError> {
        let list = self.client.request(&ListMembers {}, ANSWER_TIMEOUT).await?;
        self.judge(list)
    }

    fn judge(&self, mut list: MembersList) -> Result<Trusted, CliError> {
        let pinned = self.membership.mesh.owner_pubkey;
        let mesh_id = &self.membership.mesh.mesh_id;
        let (owner, roll, older) = self.file.update(|memory| {
            let owner = pinned.unwrap_or_else(|| memory.owner(list.owner_pubkey));
            let roll = Roll::new(mesh_id, owner, &list.members, &list.groups);
            let older = memory.pin(&roll);
            (owner, roll, older)
        })?;
        if owner != list.owner_pubkey {
            return Err(CliError::refused("the broker names another owner of this mesh than the one you joined")
                .hint("do not go on before you know why: ask whoever invited you"));
        }
        let mut stale_groups = BTreeSet::new();
        for pin in &older {
            match pin {
                Pin::Group(name) => drop(stale_groups.insert(name.clone())),
                Pin::Member(key) => {
                    list.members
                        .iter_mut()
                        .filter(|entry| entry.pubkey == *key)
                        .for_each(|entry| entry.certificate = None);
                }
            }
            self.printer.warning(&stale(pin));
        }
        let roll = if older.is_empty() { roll } else { Roll::new(mesh_id, owner, &list.members, &list.groups) };
        Ok(Trusted { list, roll, stale_groups })
    }

    /// The key to sign statements with: the owner's where it is here, else the member's.
    pub(crate) fn issuer(&self) -> Result<SigningKey, CliError> {
        Ok(self.profile.owner_key(&self.membership.mesh)?.unwrap_or_else(|| self.member.clone()))
    }

    /// The owner's key, for what nobody else can sign.
    pub(crate) fn owner_key(&self, trusted: &Trusted) -> Result<SigningKey, CliError> {
        self.profile.owner_key(&self.membership.mesh)?.filter(|key| key.public() == trusted.roll.owner()).ok_or_else(
            || {
                CliError::refused("this needs the owner's key, which is not here")
                    .hint("it lies on the machine where the mesh was made, in the folder owners/ beside config.json")
            },
        )
    }

    /// Ends the connection.
    pub(crate) async fn close(self) {
        self.client.close().await;
    }
}

fn identity(memory: &Memory) -> Result<(SessionKey, SessionName), CliError> {
    let session =
        memory.key().map_err(|error| CliError::failed(format!("the session's file cannot be used: {error}")))?;
    let name = SessionName { pubkey: session.public(), id: memory.session_id().to_owned() };
    Ok((session, name))
}

fn stale(pin: &Pin) -> String {
    match pin {
        Pin::Member(key) => {
            format!("the broker shows an older statement about the member {key} than it did before; it does not count")
        }
        Pin::Group(name) => {
            let name = text::line(name);
            format!("the broker shows an older list of the group @{name} than it did before; it does not count")
        }
    }
}

/// Whether the connection, and not the request, is at fault.
pub(crate) fn is_lost(error: &ClientError) -> bool {
    matches!(error, ClientError::Lost(_) | ClientError::Connect { .. })
}
