//! Members, groups, invites and settings: what a mesh's admins change.
//!
//! Two questions are asked of every change: may this member do it here (its role, as the store has it), and does the
//! statement hold for everybody else (its signatures, up to the owner's key). A statement that peers would not believe is
//! not stored.

use std::sync::Arc;

use protocol::trust::{Doubt, Roll};
use protocol::wire::{
    ErrorCode, GroupResult, GroupSet, InviteCreate, InviteEntry, InviteListResult, InviteResult, InviteRevoke,
    MemberRemove, MemberResult, MemberSet, MembersList, MeshSet, MeshSetResult, ServerMessage,
};

use super::{Outlet, Presence, reply};
use crate::mesh::MeshContext;
use crate::mesh::actor::MembersChanged;
use crate::mesh::members::Snapshot;
use crate::mesh::scope::Principal;
use crate::metrics::Limit;
use crate::store::{Document, Invite, InviteId, Member, MemberId, NewInvite, Role, StoreError, UtcMs};

/// Most that may join by one invite.
const MAX_USES: u32 = 1_000;
/// Longest time an invite is open.
const MAX_INVITE_MS: i64 = 30 * 24 * 3_600_000;
/// How far a statement's serial may be above the last one.
const MAX_SERIAL_STEP: u64 = 1_000;
/// What a message may wait: a minute to a month.
const TTL_S: std::ops::RangeInclusive<u64> = 60..=30 * 24 * 3_600;

/// What admins change.
pub enum Administer {
    /// A member's certificate.
    SetMember(Box<MemberSet>),
    /// A member goes.
    RemoveMember(MemberRemove),
    /// Who belongs to a group.
    SetGroup(GroupSet),
    /// An invite is made known.
    CreateInvite(InviteCreate),
    /// The mesh's invites.
    ListInvites,
    /// An invite is taken back.
    RevokeInvite(InviteRevoke),
    /// The mesh's settings.
    SetMesh(MeshSet),
}

type Refusal = (ErrorCode, String);

/// Does it, and answers.
pub(super) async fn carry_out(
    mesh: &Arc<MeshContext>,
    who: &Presence,
    outlet: &Arc<dyn Outlet>,
    wanted: Administer,
    req_id: Option<&str>,
) {
    let done = match wanted {
        Administer::SetMember(set) => set_member(mesh, who, *set).await,
        Administer::RemoveMember(remove) => remove_member(mesh, who, remove).await,
        Administer::SetGroup(set) => set_group(mesh, who, set).await,
        Administer::CreateInvite(new) => create_invite(mesh, who, new).await,
        Administer::ListInvites => list_invites(mesh, who).await,
        Administer::RevokeInvite(revoke) => revoke_invite(mesh, who, &revoke).await,
        Administer::SetMesh(set) => set_mesh(mesh, who, set).await,
    };
    outlet.send(match done {
        Ok(message) => reply::frame(message, req_id),
        Err((code, words)) => reply::error(code, words, req_id),
    });
    // Behind the answer: it may be the last that its sender hears.
    let _ = mesh.presence.tell(MembersChanged);
}

/// Who belongs to the mesh.
pub(super) fn members(mesh: &MeshContext) -> MembersList {
    let now = mesh.members.now();
    MembersList {
        // A mesh has been read before anybody was let in.
        owner_pubkey: now.owner.unwrap_or(protocol::identity::PublicKey::from_bytes([0; 32])),
        require_proofs: now.require_proofs,
        members: now.entries.clone(),
        groups: now.groups.clone(),
    }
}

/// Lets admins pass.
pub(super) fn manages(who: &Principal) -> Result<(), Refusal> {
    match who.role {
        Role::Owner | Role::Admin => Ok(()),
        Role::Member => Err((ErrorCode::Forbidden, "only admins of the mesh may do that".to_owned())),
    }
}

fn roll(mesh: &MeshContext, now: &Snapshot) -> Result<Roll, Refusal> {
    let owner = now.owner.ok_or((ErrorCode::Internal, "the mesh has no owner".to_owned()))?;
    Ok(Roll::new(mesh.id.as_str(), owner, &now.entries, &now.groups))
}

fn doubted(doubt: Doubt) -> Refusal {
    (ErrorCode::BadSignature, format!("the statement does not hold: {doubt}"))
}

fn stored(error: StoreError) -> Refusal {
    let code = match &error {
        StoreError::NotFound { .. } => ErrorCode::NotFound,
        StoreError::Limit { .. } => ErrorCode::Limit,
        StoreError::Superseded { .. } => ErrorCode::Superseded,
        StoreError::Nul { .. } | StoreError::Taken { .. } => ErrorCode::BadRequest,
        _ => ErrorCode::Internal,
    };
    (code, error.to_string())
}

async fn reload(mesh: &MeshContext) -> Result<(), Refusal> {
    mesh.members.reload(&mesh.store, &mesh.id).await.map_err(|error| (ErrorCode::Internal, error))
}

fn member(now: &Snapshot, id: &str) -> Result<Arc<Member>, Refusal> {
    let found = id.parse::<MemberId>().ok().and_then(|id| now.by_id(&id).cloned());
    found.ok_or_else(|| (ErrorCode::NotFound, "`memberId` names no member of this mesh".to_owned()))
}

/// A statement that is so far ahead of the last would be the last there ever is.
fn serial(serial: u64, last: u64) -> Result<i64, Refusal> {
    let near = i64::try_from(serial).ok().filter(|_| serial <= last.saturating_add(MAX_SERIAL_STEP));
    near.ok_or_else(|| {
        (ErrorCode::BadRequest, format!("`serial` is more than {MAX_SERIAL_STEP} above the last ({last})"))
    })
}

async fn set_member(mesh: &MeshContext, who: &Presence, set: MemberSet) -> Result<ServerMessage<'static>, Refusal> {
    manages(&who.principal())?;
    let now = mesh.members.now();
    let member = member(&now, &set.member_id)?;
    let key = now.key_of(&member.id).ok_or((ErrorCode::NotFound, "no such member".to_owned()))?;
    if member.role != Role::Member && who.principal().role != Role::Owner {
        return Err((ErrorCode::Forbidden, "only the owner changes what an admin is".to_owned()));
    }
    let role = roll(mesh, &now)?.check_certificate(key, &set.certificate).map_err(doubted)?;
    let role = match role {
        protocol::trust::Role::Owner => Role::Owner,
        protocol::trust::Role::Admin => Role::Admin,
        protocol::trust::Role::Member => Role::Member,
    };
    let certificate = serde_json::to_string(&set.certificate).map_err(|e| (ErrorCode::Internal, e.to_string()))?;
    let serial = serial(set.certificate.serial(), u64::try_from(member.serial).unwrap_or_default())?;
    mesh.store.set_member(&mesh.id, &member.id, role, Some(certificate), serial).await.map_err(stored)?;
    reload(mesh).await?;
    Ok(ServerMessage::MemberResult(MemberResult { member_id: set.member_id, stopped: Vec::new() }))
}

async fn remove_member(
    mesh: &Arc<MeshContext>,
    who: &Presence,
    remove: MemberRemove,
) -> Result<ServerMessage<'static>, Refusal> {
    let now = mesh.members.now();
    let member = member(&now, &remove.member_id)?;
    let itself = member.id == who.member;
    if !itself {
        manages(&who.principal())?;
    }
    let key = now.key_of(&member.id).ok_or((ErrorCode::NotFound, "no such member".to_owned()))?;
    if member.role == Role::Owner {
        return Err((ErrorCode::Forbidden, "the owner of a mesh stays in it".to_owned()));
    }
    roll(mesh, &now)?.check_removal(key, &remove.removal).map_err(doubted)?;
    let statement = serde_json::to_string(&remove.removal).map_err(|e| (ErrorCode::Internal, e.to_string()))?;
    let serial = serial(remove.removal.serial, u64::try_from(member.serial).unwrap_or_default())?;
    mesh.store.remove_member(&mesh.id, &member.id, Some(statement), serial, UtcMs::now()).await.map_err(stored)?;
    reload(mesh).await?;
    if !itself {
        // Its sockets end now, whatever its services take.
        let _ = mesh.presence.tell(MembersChanged);
    }
    mesh.hosted.removed(mesh, member.id.as_str());
    mesh.watches.removed(&member.id).await;
    let stopped = stop_services(mesh, who, &member.id).await;
    Ok(ServerMessage::MemberResult(MemberResult { member_id: remove.member_id, stopped }))
}

/// The services that a member deployed are nobody's: they stop.
async fn stop_services(mesh: &MeshContext, who: &Presence, member: &MemberId) -> Vec<String> {
    let mut stopped = Vec::new();
    for cell in mesh.services.all() {
        let deployed = cell.view().is_some_and(|view| view.deployed_by == member.as_str());
        if !deployed {
            continue;
        }
        let nobody_waits = Arc::new(|_: &crate::mesh::service::News| {});
        match mesh.services.undeploy(&cell.name, (*who.principal()).clone(), nobody_waits).await {
            Ok(()) => stopped.push(cell.name.clone()),
            Err(error) => tracing::error!(mesh = mesh.slug, service = cell.name, %error, "not stopped with its member"),
        }
    }
    stopped
}

async fn set_group(mesh: &MeshContext, who: &Presence, set: GroupSet) -> Result<ServerMessage<'static>, Refusal> {
    manages(&who.principal())?;
    let list = set.list;
    protocol::validate::group_name(&list.name).map_err(|e| (ErrorCode::BadRequest, format!("`list.name`: {e}")))?;
    let now = mesh.members.now();
    if let Some(strange) = list.members.iter().flatten().find(|key| now.by_key(key).is_none()) {
        return Err((ErrorCode::BadRequest, format!("`list.members` has {strange}, who is no member of this mesh")));
    }
    roll(mesh, &now)?.check_group(&list).map_err(doubted)?;
    let last = now.groups.iter().find(|known| known.name == list.name).map_or(0, |known| known.serial);
    let (name, serial) = (list.name.clone(), serial(list.serial, last)?);
    let statement = Document::of(&list).map_err(|error| (ErrorCode::Internal, error.to_string()))?;
    mesh.store.put_group_list(&mesh.id, &name, serial, statement).await.map_err(stored)?;
    reload(mesh).await?;
    Ok(ServerMessage::GroupResult(GroupResult { name }))
}

async fn create_invite(
    mesh: &MeshContext,
    who: &Presence,
    new: InviteCreate,
) -> Result<ServerMessage<'static>, Refusal> {
    manages(&who.principal())?;
    let bad = |words: &str| (ErrorCode::BadRequest, words.to_owned());
    let now = UtcMs::now();
    let role = match new.role.as_str() {
        "admin" if new.uses != 1 => return Err(bad("`uses`: an invite for an admin is good once")),
        "admin" => Role::Admin,
        "member" => Role::Member,
        _ => return Err(bad("`role` is member or admin")),
    };
    if !(1..=MAX_USES).contains(&new.uses) {
        return Err((ErrorCode::BadRequest, format!("`uses` is 1 to {MAX_USES}")));
    }
    let is_digest =
        new.token_sha256.len() == 64 && new.token_sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digest {
        return Err(bad("`tokenSha256` is 64 hex digits"));
    }
    let expires_ms = i64::try_from(new.expires_at).unwrap_or(i64::MAX).saturating_mul(1_000);
    if expires_ms <= now.as_ms() || expires_ms > now.as_ms().saturating_add(MAX_INVITE_MS) {
        return Err(bad("`expiresAt` is in the future, and at most 30 days"));
    }
    let invite = NewInvite {
        mesh_id: mesh.id.clone(),
        token_sha256: new.token_sha256,
        role,
        max_uses: i32::try_from(new.uses).unwrap_or(i32::MAX),
        expires_at: UtcMs::from_ms(expires_ms),
        created_by: who.member.clone(),
    };
    let created = mesh.store.create_invite(invite, now).await.map_err(|error| {
        if matches!(error, StoreError::Limit { .. }) {
            mesh.metrics.limits.count(Limit::OpenInvites);
        }
        stored(error)
    })?;
    Ok(ServerMessage::InviteResult(InviteResult { invite_id: created.id.to_string() }))
}

async fn list_invites(mesh: &MeshContext, who: &Presence) -> Result<ServerMessage<'static>, Refusal> {
    manages(&who.principal())?;
    let (members, now) = (mesh.members.now(), UtcMs::now());
    let invites = mesh.store.list_invites(&mesh.id).await.map_err(stored)?;
    let invites = invites.into_iter().map(|invite| entry(&invite, &members, now)).collect();
    Ok(ServerMessage::InviteListResult(InviteListResult { invites }))
}

fn entry(invite: &Invite, members: &Snapshot, now: UtcMs) -> InviteEntry {
    let state = if invite.revoked_at.is_some() {
        "revoked"
    } else if invite.used >= invite.max_uses {
        "used_up"
    } else if invite.expires_at <= now {
        "expired"
    } else {
        "open"
    };
    let maker = members.entries.iter().find(|entry| entry.member_id == invite.created_by.as_str());
    InviteEntry {
        invite_id: invite.id.to_string(),
        role: invite.role.to_string(),
        uses: u32::try_from(invite.max_uses).unwrap_or_default(),
        used: u32::try_from(invite.used).unwrap_or_default(),
        expires_at: invite.expires_at.to_string(),
        created_at: invite.created_at.to_string(),
        created_by: maker.map(|maker| maker.display_name.clone()).unwrap_or_default(),
        state: state.to_owned(),
    }
}

async fn revoke_invite(
    mesh: &MeshContext,
    who: &Presence,
    revoke: &InviteRevoke,
) -> Result<ServerMessage<'static>, Refusal> {
    manages(&who.principal())?;
    let missing = || (ErrorCode::NotFound, "`inviteId` names no open invite of this mesh".to_owned());
    let id: InviteId = revoke.invite_id.parse().map_err(|_| missing())?;
    if !mesh.store.revoke_invite(&mesh.id, &id, UtcMs::now()).await.map_err(stored)? {
        return Err(missing());
    }
    Ok(ServerMessage::InviteResult(InviteResult { invite_id: revoke.invite_id.clone() }))
}

async fn set_mesh(mesh: &MeshContext, who: &Presence, set: MeshSet) -> Result<ServerMessage<'static>, Refusal> {
    manages(&who.principal())?;
    if set.message_ttl_s.is_some_and(|seconds| !TTL_S.contains(&seconds)) {
        return Err((ErrorCode::BadRequest, "`messageTtlS` is 60 to 2592000".to_owned()));
    }
    let ttl_ms = set.message_ttl_s.and_then(|seconds| i64::try_from(seconds.saturating_mul(1_000)).ok());
    mesh.store.set_mesh(&mesh.id, set.require_proofs, ttl_ms, set.plain_env).await.map_err(stored)?;
    reload(mesh).await?;
    let now = mesh.members.now();
    let message_ttl_s = u64::try_from(now.message_ttl_ms / 1_000).unwrap_or_default();
    let (require_proofs, plain_env) = (now.require_proofs, !now.plain_env_off);
    Ok(ServerMessage::MeshSetResult(MeshSetResult { require_proofs, message_ttl_s, plain_env }))
}
