//! Lets a client into a mesh: every check of a hello, in one place.

use meter::Counters;
use protocol::identity::{HelloClaim, SessionClaim, TrustError};
use protocol::validate;
use protocol::wire::{ErrorCode, Hello, SessionKind};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

use super::peer::{About, Kind, Presence};
use super::scope::Principal;
use super::{MeshContext, Meshes};
use crate::metrics::Limit;
use crate::store::{Sighting, UtcMs};

/// Groups of one session.
pub const MAX_GROUPS: usize = 64;
/// Capabilities that are remembered of one client.
const MAX_CAPABILITIES: usize = 64;
/// Longest free text of a hello.
const MAX_TEXT_BYTES: usize = 4_096;

/// A client that may stay.
pub struct Admitted {
    /// The mesh it is in.
    pub mesh: Arc<MeshContext>,
    /// As what it is there.
    pub presence: Presence,
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

/// Checks a hello and says who came.
///
/// # Errors
/// [`Refusal`] with the published code.
pub async fn admit(meshes: &Meshes, hello: Hello, max_connections: usize) -> Result<Admitted, Refusal> {
    let now = UtcMs::now();
    let now_ms = u64::try_from(now.as_ms()).unwrap_or_default();
    let limits = &meshes.metrics().limits;
    bounded(&hello, limits)?;
    // One answer for no mesh, no member and another's id: who knocks learns nothing.
    let stranger = || refuse(ErrorCode::Unauthorized, "not a member of this mesh");
    let mesh = hello.mesh_id.parse().ok().and_then(|id| meshes.get(&id)).ok_or_else(stranger)?;
    let claim = HelloClaim {
        mesh_id: &hello.mesh_id,
        member_id: &hello.member_id,
        pubkey: hello.pubkey,
        timestamp_ms: hello.timestamp,
    };
    claim.verify(&hello.signature, now_ms)?;
    let internal = |error: crate::store::StoreError| refuse(ErrorCode::Internal, error.to_string());
    let member = mesh.store.member_by_pubkey(&mesh.id, &hello.pubkey.to_string()).await.map_err(internal)?;
    let member = member.filter(|member| member.id.as_str() == hello.member_id).ok_or_else(stranger)?;
    session_key(&hello, now_ms)?;
    if let Some(session) = &hello.session_pubkey {
        let taken = mesh.store.member_by_pubkey(&mesh.id, &session.to_string()).await.map_err(internal)?;
        if taken.is_some() {
            return Err(refuse(ErrorCode::SessionTaken, "`sessionPubkey` is a member's own key"));
        }
    }
    if mesh.store.seen_hello(&replay_key(&hello), now).await.map_err(internal)? != Sighting::First {
        return Err(refuse(ErrorCode::Replayed, "this hello was seen before"));
    }
    if mesh.peers.ids().len() >= max_connections {
        limits.count(Limit::ConnectionsPerMesh);
        return Err(refuse(ErrorCode::Capacity, "MAX_CONNECTIONS_PER_MESH is reached"));
    }
    let named = hello.display_name.as_deref().and_then(|name| validate::display_name(name).ok());
    let principal = Principal {
        member_id: member.id.to_string(),
        pubkey: member.pubkey,
        display_name: named.unwrap_or(member.display_name),
        role: member.role,
        groups: hello.groups.iter().map(|group| group.name.trim_start_matches('@').to_owned()).collect(),
    };
    let presence = presence(&mesh, hello, principal);
    Ok(Admitted { mesh, presence })
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

fn session_key(hello: &Hello, now_ms: u64) -> Result<(), Refusal> {
    let Some(session) = hello.session_pubkey else {
        return match hello.session_cert {
            None => Ok(()),
            Some(_) => Err(refuse(ErrorCode::Malformed, "`sessionCert` without `sessionPubkey`")),
        };
    };
    if let Some(cert) = &hello.session_cert {
        let claim =
            SessionClaim { mesh_id: &hello.mesh_id, member: hello.pubkey, session, session_id: &hello.session_id };
        claim.verify(cert, now_ms)?;
    }
    Ok(())
}

fn replay_key(hello: &Hello) -> String {
    let session = hello.session_pubkey.map(|key| key.to_string()).unwrap_or_default();
    let parts = format!("{}|{}|{session}|{}", hello.pubkey, hello.timestamp, hello.session_id);
    hex::encode(Sha256::digest(parts.as_bytes()))
}

fn presence(mesh: &MeshContext, hello: Hello, principal: Principal) -> Presence {
    let kind = match hello.kind.unwrap_or_default() {
        SessionKind::Session => Kind::Session,
        SessionKind::Proxy => Kind::Proxy,
        SessionKind::Cli => Kind::Cli,
    };
    Presence {
        presence_id: uuid::Uuid::now_v7().to_string(),
        mesh_id: mesh.id.clone(),
        principal,
        address: hello.session_pubkey.unwrap_or(hello.pubkey),
        shows: kind == Kind::Session,
        session_id: hello.session_id,
        kind,
        capabilities: hello.capabilities,
        about: Arc::new(About {
            member: hello.pubkey,
            session_cert: hello.session_cert,
            groups: hello.groups,
            cwd: hello.cwd,
            hostname: hello.hostname,
            peer_type: hello.peer_type,
            channel: hello.channel,
            model: hello.model,
            connected_at: UtcMs::now(),
        }),
    }
}
