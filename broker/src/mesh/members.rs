//! The members of a mesh, its settings and its restricted groups, as a snapshot that is read without waiting.
//!
//! The store is the truth; whoever changes it reloads this.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::identity::PublicKey;
use protocol::trust::GroupList;
use protocol::wire::MemberEntry;
use tokio::sync::Mutex;

use super::roster::GroupLists;
use crate::store::{Member, MemberId, MeshId, Store, StoreError};

/// How it is now.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The root of trust.
    pub owner: Option<PublicKey>,
    /// Sessions without a certificate are refused.
    pub require_proofs: bool,
    /// How long a message waits, ms.
    pub message_ttl_ms: i64,
    /// Deploys that bring secrets in clear are refused.
    pub plain_env_off: bool,
    /// Those that are members now, by key.
    by_key: HashMap<PublicKey, Arc<Member>>,
    by_id: HashMap<MemberId, PublicKey>,
    /// Those that are and those that were, in the order they joined.
    pub entries: Vec<MemberEntry>,
    /// The latest list of each group that had one.
    pub groups: Vec<GroupList>,
    /// The restricted groups.
    pub lists: GroupLists,
}

impl Snapshot {
    /// The present member with a key.
    #[must_use]
    pub fn by_key(&self, key: &PublicKey) -> Option<&Arc<Member>> {
        self.by_key.get(key)
    }

    /// The present member of an id.
    #[must_use]
    pub fn by_id(&self, id: &MemberId) -> Option<&Arc<Member>> {
        self.by_key.get(self.by_id.get(id)?)
    }

    /// The key of a present member.
    #[must_use]
    pub fn key_of(&self, id: &MemberId) -> Option<PublicKey> {
        self.by_id.get(id).copied()
    }

    /// Whether a key is, or was, a member's own.
    #[must_use]
    pub fn is_a_members(&self, key: &PublicKey) -> bool {
        self.by_key.contains_key(key) || self.entries.iter().any(|entry| entry.pubkey == *key)
    }

    /// The present members.
    pub fn all(&self) -> impl Iterator<Item = (&PublicKey, &Arc<Member>)> {
        self.by_key.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    fn add(&mut self, member: Member) -> Result<(), String> {
        let words = |error: &dyn std::fmt::Display| format!("member {}: {error}", member.id);
        let key: PublicKey = member.pubkey.parse().map_err(|error| words(&error))?;
        let certificate = member.certificate.as_deref().map(serde_json::from_str).transpose();
        let removal = member.removal.as_deref().map(serde_json::from_str).transpose();
        self.entries.push(MemberEntry {
            member_id: member.id.to_string(),
            pubkey: key,
            display_name: member.display_name.clone(),
            role: member.role.to_string(),
            certificate: certificate.map_err(|error| words(&error))?,
            removal: removal.map_err(|error| words(&error))?,
            joined_at: member.created_at.to_string(),
            removed_at: member.removed_at.map(|at| at.to_string()),
        });
        if member.removed_at.is_none() {
            self.by_id.insert(member.id.clone(), key);
            self.by_key.insert(key, Arc::new(member));
        }
        Ok(())
    }

    fn list(&mut self, list: GroupList) {
        if let Some(keys) = &list.members {
            let ids = keys.iter().filter_map(|key| self.by_key(key)).map(|member| member.id.clone()).collect();
            self.lists.0.insert(list.name.clone(), ids);
        }
        self.groups.push(list);
    }
}

/// The members of one mesh. Cheap to read.
#[derive(Debug, Default)]
pub struct Members {
    now: RwLock<Arc<Snapshot>>,
    /// Held from reading the store to replacing the snapshot: what was read earlier never replaces what is newer.
    changing: Mutex<()>,
}

impl Members {
    /// How it is now.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more, who has just joined; known already is no change.
    ///
    /// # Errors
    /// In words; then nothing has changed.
    pub async fn add(&self, member: Member) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        // One that was removed meanwhile does not come back by what was read before.
        if now.entries.iter().all(|entry| entry.member_id != member.id.as_str()) {
            Arc::make_mut(&mut now).add(member)?;
        }
        Ok(())
    }

    /// Reads the store again.
    ///
    /// # Errors
    /// In words; then nothing has changed.
    pub async fn reload(&self, store: &Store, mesh: &MeshId) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        let words = |error: StoreError| error.to_string();
        let row = store.mesh_by_id(mesh).await.map_err(words)?.ok_or("the mesh is gone")?;
        let owner = row.owner_pubkey.parse().map_err(|error| format!("the owner's key: {error}"))?;
        let mut snapshot = Snapshot {
            owner: Some(owner),
            require_proofs: row.require_proofs,
            message_ttl_ms: row.message_ttl_ms,
            plain_env_off: !row.plain_env,
            ..Snapshot::default()
        };
        for member in store.list_all_members(mesh).await.map_err(words)? {
            snapshot.add(member)?;
        }
        for list in store.group_lists(mesh).await.map_err(words)? {
            snapshot.list(list.statement.read().map_err(|error| format!("the list of @{}: {error}", list.name))?);
        }
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        Ok(())
    }
}
