//! The person's own files: which meshes they belong to, and with which keys.
//!
//! Contract: `config.json` lies in `CLAUDEMESH_CONFIG_DIR` (default `~/.claudemesh`). It is read whole and checked
//! before anything is done with it. A file that cannot be understood is never written to. Nothing here prints a secret:
//! not even a parse error quotes the file.

mod file;
mod kept;
mod launched;
mod owners;
mod runners;
mod session;
mod settings;

use std::path::{Path, PathBuf};

use protocol::config::{ClientConfig, MeshEntry, VERSION};

pub(crate) use launched::{Told, remove_launched};
pub(crate) use owners::OwnerKey;
pub(crate) use runners::{Accepted, Runners};
pub(crate) use session::{Memory, Pin, SessionFile, SessionMemory};
pub(crate) use settings::{Chosen, groups_variable};

use crate::error::CliError;

/// The mesh that is meant when several are known and none is named.
const DEFAULT_SLUG: &str = "default";

/// The file's name in the configuration directory.
const FILE_NAME: &str = "config.json";

/// More than this is no `config.json`, and no owner's key.
const MAX_BYTES: u64 = 1024 * 1024;

/// The name of its lock.
const LOCK_NAME: &str = "config.lock";

/// The configuration directory.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    directory: PathBuf,
}

/// What a command needs to know of its person: the mesh it works on.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    /// The mesh and the keys.
    pub(crate) mesh: MeshEntry,
    /// The name to show to others, where one was chosen.
    pub(crate) display_name: Option<String>,
}

impl Profile {
    /// The directory that the environment names.
    pub(crate) fn from_environment() -> Result<Self, CliError> {
        let directory = match std::env::var_os("CLAUDEMESH_CONFIG_DIR") {
            Some(directory) if !directory.is_empty() => PathBuf::from(directory),
            _ => home()?.join(".claudemesh"),
        };
        Ok(Self { directory })
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where `config.json` is.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// The mesh called `slug`, else the only one, else the one called `default`.
    pub(crate) fn membership(&self, slug: Option<&str>) -> Result<Membership, CliError> {
        let config = self.read()?;
        let mesh = choose(&config.meshes, slug)?.clone();
        Ok(Membership { mesh, display_name: chosen_name().or(config.display_name) })
    }

    /// Every mesh that is known here, and the name to show to others, where one was chosen.
    pub(crate) fn meshes(&self) -> Result<(Vec<MeshEntry>, Option<String>), CliError> {
        let config = self.read()?;
        Ok((config.meshes, chosen_name().or(config.display_name)))
    }

    /// Takes a mesh out, with what its sessions remember. The owner's key, where it is kept here, stays.
    pub(crate) fn forget(&self, mesh: &MeshEntry) -> Result<(), CliError> {
        self.change(|meshes| {
            meshes.retain(|known| known.mesh_id != mesh.mesh_id || known.member_id != mesh.member_id);
        })?;
        self.forget_tools(&mesh.mesh_id)?;
        session::forget(&self.directory, &mesh.mesh_id)
    }

    /// Whether others may read the keys: a thing to warn about.
    pub(crate) fn is_open_to_others(&self) -> bool {
        file::is_open_to_others(&self.path())
    }

    /// Adds `mesh`, or takes its new data if this member of it is known already. Under a lock, atomic, mode 0600; all
    /// that the file holds beside it stays as it was.
    pub(crate) fn remember(&self, mesh: &MeshEntry) -> Result<(), CliError> {
        self.change(|meshes| merge(meshes, mesh))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<MeshEntry>)) -> Result<(), CliError> {
        let _lock = file::lock(&self.directory, LOCK_NAME)?;
        let path = self.path();
        let mut config = self.read()?;
        change(&mut config.meshes);
        let bytes = serde_json::to_vec_pretty(&config)
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
        file::replace(&path, &bytes)
    }

    fn read(&self) -> Result<ClientConfig, CliError> {
        let path = self.path();
        match file::read(&path, MAX_BYTES)? {
            None => Ok(ClientConfig::default()),
            Some(bytes) => parse(&path, &bytes),
        }
    }
}

fn chosen_name() -> Option<String> {
    std::env::var("CLAUDEMESH_DISPLAY_NAME").ok().filter(|name| !name.is_empty())
}

/// The person's home directory.
pub(crate) fn home() -> Result<PathBuf, CliError> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).ok_or_else(|| {
        CliError::failed("cannot tell where your home directory is")
            .hint("set HOME, or CLAUDEMESH_CONFIG_DIR and CLAUDEMESH_DATA_DIR")
    })
}

fn parse(path: &Path, bytes: &[u8]) -> Result<ClientConfig, CliError> {
    let config: ClientConfig = serde_json::from_slice(bytes).map_err(|error| corrupt(path, &error))?;
    if config.version != VERSION {
        return Err(CliError::failed(format!(
            "{} has version {}, and this program knows version {VERSION} only; it was left as it is",
            path.display(),
            config.version
        ))
        .hint("use the claudemesh that wrote it, or point CLAUDEMESH_CONFIG_DIR elsewhere"));
    }
    Ok(config)
}

/// Says where the fault is and not what stands there: a serde message quotes the value, which may be a key.
fn corrupt(path: &Path, error: &serde_json::Error) -> CliError {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        serde_json::error::Category::Data => "a field is missing or of the wrong kind",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
    };
    CliError::failed(format!(
        "cannot read {} (line {}, column {}): {what}; it was left as it is",
        path.display(),
        error.line(),
        error.column()
    ))
    .hint("repair it or restore a copy; it holds your keys, so do not delete it")
}

/// The choice itself; pure.
fn choose<'a>(meshes: &'a [MeshEntry], slug: Option<&str>) -> Result<&'a MeshEntry, CliError> {
    if let Some(slug) = slug {
        return meshes
            .iter()
            .find(|mesh| mesh.slug == slug)
            .ok_or_else(|| CliError::usage(format!("no mesh `{slug}` is known here")).hint(known(meshes)));
    }
    match meshes {
        [] => Err(CliError::failed("you belong to no mesh yet").hint("claudemesh up starts one on this machine")),
        [only] => Ok(only),
        several => several.iter().find(|mesh| mesh.slug == DEFAULT_SLUG).ok_or_else(|| {
            CliError::usage("several meshes are known here, and none is named `default`")
                .hint(format!("say which: --mesh SLUG; {}", known(meshes)))
        }),
    }
}

fn known(meshes: &[MeshEntry]) -> String {
    if meshes.is_empty() {
        return "claudemesh up starts a mesh on this machine".to_owned();
    }
    let slugs: Vec<_> = meshes.iter().map(|mesh| mesh.slug.as_str()).collect();
    format!("known: {}", slugs.join(", "))
}

/// Puts `mesh` among those known. Of an entry for the same member, what other clients keep in it stays.
fn merge(meshes: &mut Vec<MeshEntry>, mesh: &MeshEntry) {
    let same = |known: &&mut MeshEntry| known.mesh_id == mesh.mesh_id && known.member_id == mesh.member_id;
    match meshes.iter_mut().find(same) {
        None => meshes.push(mesh.clone()),
        Some(known) => {
            let mut extra = std::mem::take(&mut known.extra);
            extra.extend(mesh.extra.clone());
            // What was once believed to be the root of trust stays it.
            let owner_pubkey = known.owner_pubkey.or(mesh.owner_pubkey);
            *known = MeshEntry { extra, owner_pubkey, ..mesh.clone() };
        }
    }
}

#[cfg(test)]
mod tests;
