//! The owner of the mesh that a first `up` makes: the root's key, and the key that the owner is a member by.
//!
//! The root's key goes into its own file ([`OwnerKey`]), the member's into another, from which the entry in `config.json`
//! is made at every start. Both are written before the mesh is made, so that no crash in between leaves a mesh without
//! its owner. Keys without a mesh harm nobody.

use std::path::{Path, PathBuf};

use broker::config::{read_secret_file, secret_file};
use broker::store::first_start::{FIRST_MESH_SLUG, FirstOwner};
use broker::store::{Founded, MeshId};
use protocol::SecretString;
use protocol::config::MeshEntry;
use protocol::identity::SigningKey;
use protocol::trust::{MemberCert, Role};
use zeroize::Zeroizing;

use super::{explained, private_dir};
use crate::error::CliError;
use crate::profile::{OwnerKey, Profile};

/// The first statement about a member.
const FIRST_SERIAL: u64 = 1;
/// Digits of the public key in a file's name: enough to tell keys apart.
const NAME_DIGITS: usize = 16;
/// What the file of a member's key begins with; `owner` where, as in meshes made earlier, it is the root's too.
const PREFIXES: [&str; 2] = ["member", "owner"];

fn path(config_dir: &Path, prefix: &str, pubkey: &str) -> PathBuf {
    let name: String = pubkey.chars().take(NAME_DIGITS).collect();
    config_dir.join(format!("{prefix}-{name}.key"))
}

/// Makes both keys and keeps them, with the root's word for the member.
pub(super) fn make(profile: &Profile, display_name: String) -> Result<FirstOwner, CliError> {
    let new_key = || SigningKey::from_seed(&Zeroizing::new(rand::random()));
    let (mesh_id, root, member) = (MeshId::new(), new_key(), new_key());
    let certificate = MemberCert::signed(mesh_id.as_str(), member.public(), Role::Owner, FIRST_SERIAL, &root)
        .map_err(|error| explained(&error))?;
    let certificate = serde_json::to_string(&certificate).map_err(|error| explained(&error))?;
    private_dir(profile.directory())?;
    let [prefix, _] = PREFIXES;
    let member_pubkey = member.public().to_string();
    secret_file(&path(profile.directory(), prefix, &member_pubkey), || member.to_hex())
        .map_err(|error| explained(&error))?;
    let mesh = mesh_id.to_string();
    profile.keep_owner(&OwnerKey { mesh_id: mesh, slug: FIRST_MESH_SLUG.to_owned(), secret_key: root.to_hex() })?;
    Ok(FirstOwner {
        mesh_id,
        pubkey: root.public().to_string(),
        member_pubkey,
        certificate: Some(certificate),
        display_name,
    })
}

/// The owner's entry for `config.json`, if its key is kept here.
pub(super) fn entry(config_dir: &Path, founded: &Founded, broker_url: &str) -> Result<Option<MeshEntry>, CliError> {
    let Founded { mesh, owner } = founded;
    let kept = PREFIXES.iter().find_map(|prefix| kept(&path(config_dir, prefix, &owner.pubkey)).transpose());
    Ok(kept.transpose()?.map(|secret_key| MeshEntry {
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

fn kept(path: &Path) -> Result<Option<SecretString>, CliError> {
    read_secret_file(path).map_err(|error| explained(&error))
}
