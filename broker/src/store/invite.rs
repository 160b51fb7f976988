//! Invites: what lets a key become a member, so often and so long.
//!
//! **Contract.** Of a token only its digest is kept. A use and the member that came of it are written together, so no
//! race joins more often than the invite says. Whoever is a member already uses nothing up.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{InviteId, MemberId, MeshId, UtcMs, storable};
use super::error::{InviteRefused, StoreError};
use super::member::{Member, NewMember, Role};
use super::pool::Store;
use super::schema::{invite, member};

/// Invites of a mesh that somebody may still join by.
pub const MAX_OPEN_INVITES_PER_MESH: i64 = 100;
/// How long an invite is shown after it expired, in ms: 30 days.
pub const INVITE_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// An invite to a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = invite)]
pub struct Invite {
    /// Its identifier.
    pub id: InviteId,
    /// The mesh.
    pub mesh_id: MeshId,
    /// The token's SHA-256, 64 hex digits.
    pub token_sha256: String,
    /// What those who join by it become.
    pub role: Role,
    /// How often it may be used.
    pub max_uses: i32,
    /// How often it was.
    pub used: i32,
    /// From then on it lets nobody in.
    pub expires_at: UtcMs,
    /// Who made it.
    pub created_by: MemberId,
    /// When.
    pub created_at: UtcMs,
    /// When it was taken back.
    pub revoked_at: Option<UtcMs>,
}

/// What a new invite needs.
#[derive(Debug, Clone)]
pub struct NewInvite {
    /// The mesh.
    pub mesh_id: MeshId,
    /// The token's SHA-256, 64 hex digits.
    pub token_sha256: String,
    /// What those who join by it become: admin or member.
    pub role: Role,
    /// How often it may be used; at least once.
    pub max_uses: i32,
    /// From then on it lets nobody in.
    pub expires_at: UtcMs,
    /// Who makes it: a present member.
    pub created_by: MemberId,
}

/// Who joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The member.
    pub member: Member,
    /// Whether the key was a member already; then nothing was changed.
    pub already: bool,
}

impl Store {
    /// Makes an invite, and lets go of those that expired [`INVITE_KEPT_MS`] ago.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when [`MAX_OPEN_INVITES_PER_MESH`] are open; [`StoreError::Taken`] when the token is
    /// known; [`StoreError::NotFound`] when its maker is no present member.
    pub async fn create_invite(&self, new: NewInvite, now: UtcMs) -> Result<Invite, StoreError> {
        storable([("token_sha256", new.token_sha256.as_str())])?;
        let row = Invite {
            id: InviteId::new(),
            mesh_id: new.mesh_id,
            token_sha256: new.token_sha256,
            role: new.role,
            max_uses: new.max_uses,
            used: 0,
            expires_at: new.expires_at,
            created_by: new.created_by,
            created_at: now,
            revoked_at: None,
        };
        writing!(self, "make an invite", |conn| {
            let own = invite::mesh_id.eq(&row.mesh_id);
            let maker = member::table.find(&row.created_by).filter(member::mesh_id.eq(&row.mesh_id));
            let makers: i64 = maker.filter(member::removed_at.is_null()).count().get_result(conn).await?;
            if makers == 0 {
                return Err(StoreError::not_found("member", row.created_by));
            }
            let long_over = invite::expires_at.le(now.plus_ms(-INVITE_KEPT_MS));
            diesel::delete(invite::table.filter(own).filter(long_over)).execute(conn).await?;
            let open = invite::table
                .filter(invite::mesh_id.eq(&row.mesh_id))
                .filter(invite::expires_at.gt(now))
                .filter(invite::revoked_at.is_null())
                .filter(invite::used.lt(invite::max_uses));
            within_limit(open.count().get_result(conn).await?)?;
            let made = diesel::insert_into(invite::table)
                .values(&row)
                .on_conflict(invite::token_sha256)
                .do_nothing()
                .execute(conn)
                .await?;
            // Whoever reads the error needs no digest.
            if made == 0 { Err(StoreError::taken("invite", "token")) } else { Ok(row) }
        })
    }

    /// The invites of a mesh, open or not, the newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn list_invites(&self, mesh: &MeshId) -> Result<Vec<Invite>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the invites", |conn| {
            Ok(invite::table
                .filter(invite::mesh_id.eq(mesh))
                .order((invite::created_at.desc(), invite::id.desc()))
                .select(Invite::as_select())
                .load(conn)
                .await?)
        })
    }

    /// Takes an invite back. Says whether it was there and not taken back already.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn revoke_invite(&self, mesh: &MeshId, id: &InviteId, now: UtcMs) -> Result<bool, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "revoke an invite", |conn| {
            let this = invite::table.find(id).filter(invite::mesh_id.eq(mesh)).filter(invite::revoked_at.is_null());
            let revoked = diesel::update(this).set(invite::revoked_at.eq(now)).execute(conn).await?;
            Ok(revoked == 1)
        })
    }

    /// Makes a key a member by an invite, and counts the use: both or neither. A key that is a member already is
    /// told so, whatever became of the invite, and uses nothing up.
    ///
    /// # Errors
    /// [`StoreError::Invite`] says why not.
    pub async fn join(&self, token_sha256: &str, new: NewMember, now: UtcMs) -> Result<Joined, StoreError> {
        storable([("token_sha256", token_sha256)])?;
        new.storable()?;
        let token = token_sha256.to_owned();
        writing!(self, "join by an invite", |conn| {
            let asked = invite::table.filter(invite::token_sha256.eq(token)).filter(invite::mesh_id.eq(&new.mesh_id));
            let found: Option<Invite> = asked.select(Invite::as_select()).first(conn).await.optional()?;
            let found = found.ok_or(InviteRefused::Unknown)?;
            let known: Option<Member> = member::table
                .filter(member::mesh_id.eq(&new.mesh_id))
                .filter(member::pubkey.eq(&new.pubkey))
                .select(Member::as_select())
                .first(conn)
                .await
                .optional()?;
            match known {
                Some(known) if known.removed_at.is_some() => return Err(InviteRefused::Removed.into()),
                Some(member) => return Ok(Joined { member, already: true }),
                None => found.admits(new.role, now)?,
            }
            let this = diesel::update(invite::table.find(&found.id));
            this.set(invite::used.eq(invite::used + 1)).execute(conn).await?;
            let member = new.into_row(now);
            diesel::insert_into(member::table).values(&member).execute(conn).await?;
            Ok(Joined { member, already: false })
        })
    }
}

impl Invite {
    /// Whether it lets somebody in now, in that role.
    fn admits(&self, role: Role, now: UtcMs) -> Result<(), InviteRefused> {
        if self.revoked_at.is_some() {
            return Err(InviteRefused::Revoked);
        }
        if self.expires_at <= now {
            return Err(InviteRefused::Expired);
        }
        if self.used >= self.max_uses {
            return Err(InviteRefused::UsedUp);
        }
        if self.role != role {
            return Err(InviteRefused::Role);
        }
        Ok(())
    }
}

fn within_limit(open: i64) -> Result<(), StoreError> {
    if open < MAX_OPEN_INVITES_PER_MESH {
        return Ok(());
    }
    let max = u64::try_from(MAX_OPEN_INVITES_PER_MESH).unwrap_or(u64::MAX);
    Err(StoreError::Limit { name: "MAX_OPEN_INVITES_PER_MESH", max })
}
