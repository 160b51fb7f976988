//! The owner's keys: the root of a mesh, in a file of its own.
//!
//! The key is written before the mesh that it owns is made, so that no crash in between leaves a mesh without its
//! owner. A key without a mesh harms nobody.

use std::path::{Path, PathBuf};

use broker::config::{read_secret_file, secret_file};
use broker::store::Founded;
use protocol::SecretString;
use protocol::config::MeshEntry;
use protocol::identity::{MemberKey, PublicKey};
use rand::RngCore as _;
use zeroize::Zeroizing;

use super::{explained, private_dir};
use crate::error::CliError;

/// Digits of the public key in the file's name: enough to tell owners apart.
const NAME_DIGITS: usize = 16;

fn path(config_dir: &Path, owner: &str) -> PathBuf {
    let name: String = owner.chars().take(NAME_DIGITS).collect();
    config_dir.join(format!("owner-{name}.key"))
}

/// Makes an owner's key and keeps it.
pub(super) fn make(config_dir: &Path) -> Result<PublicKey, CliError> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    rand::rng().fill_bytes(seed.as_mut_slice());
    let key = MemberKey::from_seed(&seed);
    let public = key.public();
    private_dir(config_dir)?;
    secret_file(&path(config_dir, &public.to_string()), || key.to_hex()).map_err(|error| explained(&error))?;
    Ok(public)
}

/// The owner's entry for `config.json`, if its key is kept here.
pub(super) fn entry(config_dir: &Path, founded: &Founded, broker_url: &str) -> Result<Option<MeshEntry>, CliError> {
    let Founded { mesh, owner } = founded;
    let kept: Option<SecretString> =
        read_secret_file(&path(config_dir, &mesh.owner_pubkey)).map_err(|error| explained(&error))?;
    Ok(kept.map(|secret_key| MeshEntry {
        mesh_id: mesh.id.to_string(),
        member_id: owner.id.to_string(),
        slug: mesh.slug.clone(),
        name: mesh.name.clone(),
        pubkey: owner.pubkey.clone(),
        secret_key,
        broker_url: broker_url.to_owned(),
        joined_at: owner.created_at.to_string(),
        owner_pubkey: mesh.owner_pubkey.parse().ok(),
        extra: serde_json::Map::new(),
    }))
}
