//! Installed packages on disk, shared by every runner that uses the directory.
//!
//! **Contract.** A package is in the cache completely or not at all: it is
//! built in a staging directory, flushed to the disk, and then renamed. What is
//! there is never changed afterwards. Whoever builds, publishes or cleans up
//! holds the package's lock; looking needs none.
//!
//! ```text
//! packages/<kind>/<package>/<version>/   one installation; `receipt.json` says how to start it
//! resolved/<kind>/<package>.json         which exact version a specification meant
//! staging/<kind>/<package>/<n>/          one build: home/ work/ pkg/
//! locks/<kind>/<package>                 flock, one builder at a time
//! used/<kind>/<package>/<version>        flock, shared by whoever runs it; its time is that of the last use
//! files/<deployment>                     an uploaded file that is to be built from
//! ```

mod index;
mod lock;
mod stage;
mod trim;
mod usage;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::PrepareError;
use super::size::{self, Bounds};
pub(super) use lock::Lock;
pub(super) use stage::Stage;
pub(super) use trim::Kept;
pub use usage::Hold;

const RECEIPT: &str = "receipt.json";
/// Changes when a receipt's meaning does; packages with another are built anew.
const RECEIPT_FORMAT: u32 = 2;
/// Digits of [`digest`].
const KEY_DIGITS: usize = 32;
/// No version of either registry comes near it.
const MAX_VERSION_BYTES: usize = 128;

/// Which tool a package belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Npx,
    Uvx,
    Git,
    Zip,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Npx, Self::Uvx, Self::Git, Self::Zip];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Npx => "npx",
            Self::Uvx => "uvx",
            Self::Git => "git",
            Self::Zip => "zip",
        }
    }
}

/// A package as the cache knows it. `name` is one file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    kind: Kind,
    name: String,
}

impl Key {
    /// `parts` come from a validated specification. Joined by `+`, which no
    /// package name contains, so that different packages have different keys.
    pub(super) fn new(kind: Kind, parts: &[&str]) -> Self {
        Self { kind, name: parts.join("+").replace('/', "+") }
    }
}

/// What tells apart installations that differ in more than a name can hold, for a part of a [`Key`].
pub(super) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize()).chars().take(KEY_DIGITS).collect()
}

/// How an installed program is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Start {
    /// By node, with these flags before the program.
    Node {
        /// From the program's own first line.
        flags: Vec<String>,
    },
    /// By bun.
    Bun,
    /// By the python of the package's own environment.
    Python,
    /// By that python, as a module.
    PythonModule {
        /// The module.
        module: String,
    },
    /// By that python; the deployment's arguments say what, and `program` is the folder of the project.
    PythonArgs,
    /// By itself.
    Direct,
}

/// What an installation was and how it is started: the last file written into
/// it, so that its presence vouches for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Receipt {
    format: u32,
    pub(super) version: String,
    /// Relative to the installation.
    pub(super) program: PathBuf,
    pub(super) start: Start,
    /// Where its own programs lie, relative to the installation.
    pub(super) programs: PathBuf,
    /// What it takes on the disk.
    bytes: u64,
}

impl Receipt {
    pub(super) fn new(version: String, program: PathBuf, start: Start) -> Self {
        Self { format: RECEIPT_FORMAT, version, program, start, programs: "bin".into(), bytes: 0 }
    }

    pub(super) fn with_programs(self, programs: impl Into<PathBuf>) -> Self {
        Self { programs: programs.into(), ..self }
    }
}

/// A package that is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) directory: PathBuf,
    pub(super) receipt: Receipt,
    /// Keeps it there.
    pub(super) hold: Hold,
}

/// The python of an environment, relative to it.
pub(super) const VENV_PYTHON: &str = "bin/python";

/// The cache directory.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The complete installation of this version, if there is one that can
    /// still start: an environment whose system python is gone cannot.
    pub(super) fn find(&self, key: &Key, version: &str) -> Option<Installed> {
        let directory = self.installation(key, version);
        if !directory.join(RECEIPT).is_file() {
            return None;
        }
        // Held before it is looked at, or it could be cleared away in between.
        let hold = self.hold(key, version)?;
        let receipt = read_receipt(&directory)?;
        let python = matches!(receipt.start, Start::Python | Start::PythonModule { .. } | Start::PythonArgs);
        let usable = receipt.version == version
            && directory.join(&receipt.program).exists()
            && (!python || directory.join(VENV_PYTHON).is_file());
        usable.then_some(Installed { directory, receipt, hold })
    }

    /// Moves what `stage` has built into its place. Blocks: it waits for the disk.
    pub(super) fn publish(&self, stage: &Stage, key: &Key, mut receipt: Receipt) -> Result<Installed, PrepareError> {
        let built = stage.package();
        receipt.bytes = size::measure(&built, Bounds { bytes: u64::MAX, files: u64::MAX }).bytes;
        let directory = self.installation(key, &receipt.version);
        let parent = directory.parent().unwrap_or(&self.root);
        create(parent)?;
        let held = self.hold(key, &receipt.version);
        let hold = held.ok_or_else(|| PrepareError::disk("hold", &directory)(Errno::EWOULDBLOCK.into()))?;
        write_durably(&built.join(RECEIPT), &receipt)?;
        // Thousands of files were written by a tool that flushed none of them.
        // Without this a power cut could leave a renamed tree of empty files.
        let flushed = File::open(&built).and_then(|root| Ok(nix::unistd::syncfs(root)?));
        flushed.map_err(PrepareError::disk("flush", &built))?;
        if directory.exists() {
            let aside = stage.aside();
            fs::rename(&directory, &aside).map_err(PrepareError::disk("replace", &directory))?;
        }
        fs::rename(&built, &directory).map_err(PrepareError::disk("publish", &directory))?;
        let parent_flushed = File::open(parent).and_then(|parent| parent.sync_all());
        parent_flushed.map_err(PrepareError::disk("flush", parent))?;
        Ok(Installed { directory, receipt, hold })
    }

    fn installation(&self, key: &Key, version: &str) -> PathBuf {
        self.place("packages", key).join(version)
    }

    fn place(&self, area: &str, key: &Key) -> PathBuf {
        self.root.join(area).join(key.kind.as_str()).join(&key.name)
    }
}

/// Whether `version` may become part of a path and of a tool's argument.
pub(super) fn is_plain_version(version: &str) -> bool {
    version.len() <= MAX_VERSION_BYTES
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !version.contains("..")
        && version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '!' | '_'))
}

/// The receipt of what lies in `directory`, if it is one that this program wrote.
fn read_receipt(directory: &Path) -> Option<Receipt> {
    let receipt: Receipt = serde_json::from_slice(&fs::read(directory.join(RECEIPT)).ok()?).ok()?;
    (receipt.format == RECEIPT_FORMAT).then_some(receipt)
}

fn create(directory: &Path) -> Result<(), PrepareError> {
    fs::create_dir_all(directory).map_err(PrepareError::disk("create", directory))
}

/// Refuses what is not a folder itself, but a link, say: tools may have put it there, and whoever works in it afterwards
/// would work wherever it leads.
pub(super) fn real_folder(folder: &Path) -> Result<(), PrepareError> {
    let facts = fs::symlink_metadata(folder).map_err(PrepareError::disk("look at", folder))?;
    if facts.is_dir() {
        return Ok(());
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().escape_debug().to_string();
    Err(PrepareError::Project { what: name, why: "is not the folder any more that it was before the build".to_owned() })
}

/// Removes the file or link of this name, if there is one.
pub(super) fn unlink(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Replaces `file` so that a reader, or a power cut, finds the old content or
/// the new, never half of it.
fn write_durably(file: &Path, content: &impl Serialize) -> Result<(), PrepareError> {
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = serde_json::to_vec_pretty(content).map_err(Into::into).and_then(|bytes| {
        // Whatever is there goes first, and nothing is followed: a build's own directory is the build's to write, and
        // a link of that name would lead out of it.
        unlink(&temporary)?;
        let mut open = OpenOptions::new().create_new(true).write(true).open(&temporary)?;
        open.write_all(&bytes)?;
        open.sync_all()?;
        fs::rename(&temporary, file)
    });
    written.map_err(PrepareError::disk("write", file))
}

#[cfg(test)]
mod tests;
