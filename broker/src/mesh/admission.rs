//! Lets a client into a mesh: every check of a hello, in one place.

use meter::Counters;
use protocol::identity::{HelloClaim, PublicKey, SessionClaim, TrustError};
use protocol::validate;
use protocol::wire::{ErrorCode, Group, Hello, SessionKind};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

use super::members::Snapshot;
use super::peer::{About, Kind, Presence, Standing};
use super::roster;
use super::scope::Principal;
use super::seats::Seat;
use super::{MeshContext, Meshes};
use crate::metrics::Limit;
use crate::store::{Member, UtcMs};

/// Groups of one session.
pub const MAX_GROUPS: usize = 64;
/// Longest `sessionId`: messages are found by it.
const MAX_SESSION_ID_BYTES: usize = 256;
/// Capabilities that are remembered of one client.
const MAX_CAPABILITIES: usize = 64;
/// Longest free text of a hello.
const MAX_TEXT_BYTES: usize = 4_096;

/// RFC 6455: an end for what the client is or did.
pub const CLOSE_POLICY: u16 = 1008;

/// A client that may stay, if its hello is new.
pub struct Admitted {
    /// The mesh it is in.
    pub mesh: Arc<MeshContext>,
    /// As what it is there.
    pub presence: Arc<Presence>,
    /// What its hello is known by.
    pub replay_key: String,
}

/// Why a client may not stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For a program.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

impl From<TrustError> for Refusal {
    fn from(error: TrustError) -> Self {
        let code = match error {
            TrustError::BadSignature => ErrorCode::BadSignature,
            TrustError::Skew { .. } | TrustError::Expired { .. } => ErrorCode::TimestampSkew,
            TrustError::Period | TrustError::Separator(_) => ErrorCode::Malformed,
        };
        refuse(code, error.to_string())
    }
}

/// Checks everything about a hello but whether it is new, and says who came.
///
/// # Errors
/// [`Refusal`] with the published code.
pub fn admit(meshes: &Meshes, mut hello: Hello, max_connections: usize) -> Result<Admitted, Refusal> {
    let now = UtcMs::now();
    let now_ms = u64::try_from(now.as_ms()).unwrap_or_default();
    let limits = &meshes.metrics().limits;
    bounded(&hello, limits)?;
    hello.groups = groups(hello.groups)?;
    // One answer for no mesh, no member and another's id: who knocks learns nothing.
    let stranger = || refuse(ErrorCode::Unauthorized, "not a member of this mesh");
    let claim = HelloClaim {
        mesh_id: &hello.mesh_id,
        member_id: &hello.member_id,
        pubkey: hello.pubkey,
        timestamp_ms: hello.timestamp,
    };
    claim.verify(&hello.signature, now_ms)?;
    let mesh = hello.mesh_id.parse().ok().and_then(|id| meshes.get(&id)).ok_or_else(stranger)?;
    let members = mesh.members.now();
    let member = members.by_key(&hello.pubkey).filter(|member| member.id.as_str() == hello.member_id);
    let member = member.ok_or_else(stranger)?;
    session_key(&hello, &members, now_ms)?;
    let seat = mesh.seats.take(&member.id, max_connections).map_err(|limit| {
        limits.count(limit);
        let words = match limit {
            Limit::ConnectionsPerMember => "this member has half of MAX_CONNECTIONS_PER_MESH, and no member has more",
            _ => "MAX_CONNECTIONS_PER_MESH is reached",
        };
        refuse(ErrorCode::Capacity, words)
    })?;
    let replay_key = replay_key(&hello);
    let presence = Arc::new(presence(&mesh, hello, member, seat));
    Ok(Admitted { mesh, presence, replay_key })
}

fn groups(groups: Vec<Group>) -> Result<Vec<Group>, Refusal> {
    let mut named: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        let group = roster::named(group).map_err(|error| refuse(ErrorCode::Malformed, format!("`groups`: {error}")))?;
        if named.iter().all(|other| other.name != group.name) {
            named.push(group);
        }
    }
    Ok(named)
}

fn bounded(hello: &Hello, limits: &Counters<Limit>) -> Result<(), Refusal> {
    let texts = [&hello.mesh_id, &hello.member_id, &hello.session_id, &hello.cwd];
    let optional = [&hello.display_name, &hello.hostname, &hello.channel, &hello.model];
    let names = hello.groups.iter().map(|group| &group.name).chain(&hello.capabilities);
    let long =
        texts.into_iter().chain(optional.into_iter().flatten()).chain(names).any(|text| text.len() > MAX_TEXT_BYTES);
    if long {
        limits.count(Limit::HelloTextBytes);
        return Err(refuse(ErrorCode::Malformed, format!("a text is longer than {MAX_TEXT_BYTES} bytes")));
    }
    if hello.session_id.len() > MAX_SESSION_ID_BYTES {
        limits.count(Limit::HelloTextBytes);
        return Err(refuse(ErrorCode::Malformed, format!("`sessionId` is longer than {MAX_SESSION_ID_BYTES} bytes")));
    }
    if hello.groups.len() > MAX_GROUPS {
        limits.count(Limit::SessionGroups);
        return Err(refuse(ErrorCode::Malformed, format!("`groups` has more than {MAX_GROUPS} of them")));
    }
    if hello.capabilities.len() > MAX_CAPABILITIES {
        limits.count(Limit::SessionCapabilities);
        return Err(refuse(ErrorCode::Malformed, format!("`capabilities` has more than {MAX_CAPABILITIES} of them")));
    }
    Ok(())
}

fn session_key(hello: &Hello, members: &Snapshot, now_ms: u64) -> Result<(), Refusal> {
    if members.require_proofs && hello.session_cert.is_none() {
        let words = "this mesh takes sessions with a certificate only (`sessionCert`): update the client";
        return Err(refuse(ErrorCode::Unauthorized, words));
    }
    let Some(session) = hello.session_pubkey else {
        return match hello.session_cert {
            None => Ok(()),
            Some(_) => Err(refuse(ErrorCode::Malformed, "`sessionCert` without `sessionPubkey`")),
        };
    };
    if members.is_a_members(&session) {
        return Err(refuse(ErrorCode::SessionTaken, "`sessionPubkey` is a member's own key"));
    }
    if let Some(cert) = &hello.session_cert {
        let claim =
            SessionClaim { mesh_id: &hello.mesh_id, member: hello.pubkey, session, session_id: &hello.session_id };
        claim.verify(cert, now_ms)?;
    }
    Ok(())
}

/// The mailbox of a client without a key of its own: nobody can write to it, only groups reach it.
fn unnamed_address(hello: &Hello) -> PublicKey {
    let text = format!("claudemesh/unnamed/v1|{}|{}|{}", hello.mesh_id, hello.pubkey, hello.session_id);
    PublicKey::from_bytes(Sha256::digest(text.as_bytes()).into())
}

fn replay_key(hello: &Hello) -> String {
    let session = hello.session_pubkey.map(|key| key.to_string()).unwrap_or_default();
    let parts = format!("{}|{}|{session}|{}", hello.pubkey, hello.timestamp, hello.session_id);
    hex::encode(Sha256::digest(parts.as_bytes()))
}

fn presence(mesh: &MeshContext, hello: Hello, member: &Member, seat: Seat) -> Presence {
    let kind = match hello.kind.unwrap_or_default() {
        SessionKind::Session => Kind::Session,
        SessionKind::Proxy => Kind::Proxy,
        SessionKind::Cli => Kind::Cli,
    };
    let named = hello.display_name.as_deref().and_then(|name| validate::display_name(name).ok());
    let name = named.unwrap_or_else(|| member.display_name.clone());
    let standing = Standing::new(Principal {
        member_id: member.id.to_string(),
        pubkey: member.pubkey.clone(),
        display_name: name.clone(),
        role: member.role,
        // Those that are open; the mesh's actor adds the restricted ones as it lets the session in.
        groups: Vec::new(),
    });
    let clean = |text: Option<String>| text.map(|text| validate::cleaned(&text));
    Presence {
        presence_id: uuid::Uuid::now_v7().to_string().into(),
        mesh_id: mesh.id.clone(),
        standing,
        member: member.id.clone(),
        name,
        address: hello.session_pubkey.unwrap_or_else(|| unnamed_address(&hello)),
        shown: hello.session_pubkey.unwrap_or(hello.pubkey),
        seat,
        session_id: hello.session_id,
        kind,
        groups: hello.groups,
        capabilities: hello.capabilities,
        about: Arc::new(About {
            member: hello.pubkey,
            session_cert: hello.session_cert,
            cwd: validate::cleaned(&hello.cwd),
            hostname: clean(hello.hostname),
            peer_type: hello.peer_type,
            channel: clean(hello.channel),
            model: clean(hello.model),
            connected_at: UtcMs::now(),
        }),
    }
}
