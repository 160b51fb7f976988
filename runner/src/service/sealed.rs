//! Boxes: opened with the runner's key, and only for the process they were sealed for.
//!
//! Contract: nothing of a box is handed out unless all that shapes the process is what the box says
//! ([`protocol::sealed::Binding`]), it was signed by whoever sealed it, and the isolation here is at least what it demands.
//! What was opened is asked for anew at every start and lives as long as that takes; but what is taken out of logs
//! ([`super::redact`]) has to be known as long as the deployment is here.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::identity::PublicKey;
use protocol::link::{ServiceSpec, Source};
use protocol::sealed::{Asked, Binding, Contents, Opened, SealedError};
use sha2::{Digest as _, Sha256};

use super::redact::Redactor;
use super::spec::Means;
use crate::home::write_durably;
use crate::process::Level;

/// Exact versions that are kept of a source.
const MAX_VERSIONS: usize = 64;
/// More than this holds no versions.
const MAX_VERSIONS_BYTES: u64 = 64 * 1_024;
/// The digits of a member's key that its home is named after.
const HOME_DIGITS: usize = 16;

/// What a box gave.
pub(crate) struct Unlocked {
    /// What the process is given.
    pub(crate) contents: Contents,
    /// What it is bound to.
    binding: Binding,
    by: PublicKey,
}

impl Means {
    /// Opens the box of a load; `None` when there is none.
    ///
    /// # Errors
    /// [`SealedError`], which names the field that differs and no value.
    pub(crate) fn unlock(&self, spec: &ServiceSpec) -> Result<Option<Unlocked>, SealedError> {
        let Some(sealed) = &spec.sealed else { return Ok(None) };
        let opened = sealed.open(self.key.secret())?;
        opened.is_for(&Asked::of_load(spec, opened.binding.isolation.as_deref()))?;
        let by = opened.by();
        opened.is_by(&by)?;
        match opened.binding.isolation.as_deref().map(level) {
            Some(Some(demanded)) if self.launcher.level() >= demanded => {}
            Some(_) => return Err(SealedError::ForOther("isolation")),
            None => {}
        }
        let Opened { binding, contents, .. } = opened;
        Ok(Some(Unlocked { contents, binding, by }))
    }

    /// Takes the secrets of a deployment out of what is shown of it.
    pub(crate) fn redactor(&self, spec: &ServiceSpec) -> Result<Redactor, SealedError> {
        let unlocked = self.unlock(spec)?;
        let mut values: Vec<zeroize::Zeroizing<Vec<u8>>> = Vec::new();
        let mut add = |text: &str| values.push(text.as_bytes().to_vec().into());
        spec.env.values().for_each(|value| add(value.expose()));
        if let Source::Git { auth: Some(token), .. } = &spec.source {
            add(token.expose());
        }
        if let Some(Unlocked { contents, .. }) = &unlocked {
            contents.env.values().chain(&contents.git_token).for_each(|value| add(value.expose()));
            for file in &contents.files {
                values.push(file.bytes()?);
            }
        }
        Ok(Redactor::new(values.iter().map(|value| value.as_slice())))
    }
}

fn level(name: &str) -> Option<Level> {
    [Level::Guard, Level::Namespace].into_iter().find(|level| level.as_str() == name)
}

impl Unlocked {
    /// The folder below the service's own that its process has as its home. What runs without a box may be anything that
    /// a broker names; it must not leave files where a program with secrets looks for its own. So homes are apart: that
    /// of what runs without a box, and one for each member whose signature is on boxes.
    pub(crate) fn home(&self) -> String {
        let digits: String = self.by.to_string().chars().take(HOME_DIGITS).collect();
        format!("data-{digits}")
    }

    /// Names the source and its runtime, for [`Versions`].
    pub(crate) fn source_digest(&self) -> String {
        let Binding { source, runtime, .. } = &self.binding;
        // Neither can fail to be written as JSON; if they did, no version would be known.
        hex::encode(Sha256::digest(serde_json::to_vec(&(source, runtime)).unwrap_or_default()))
    }
}

/// The exact versions that this runner itself found for what was asked for.
///
/// A broker passes on the version that an earlier build found. For a program without secrets its word is enough; for one
/// with secrets it is not, since any commit of a repository, and of its forks, could be named.
#[derive(Clone, Debug)]
pub(crate) struct Versions(PathBuf);

impl Versions {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self(dir.join("versions"))
    }

    /// Whether this version was found here for this source.
    pub(crate) fn knows(&self, source: &str, version: &str) -> bool {
        self.of(source).is_some_and(|known| known.lines().any(|line| line == version))
    }

    /// Keeps a version that was found. Blocks briefly.
    ///
    /// # Errors
    /// When it cannot be written; then it is found anew another time.
    pub(crate) fn keep(&self, source: &str, version: &str) -> io::Result<()> {
        if version.contains('\n') || self.knows(source, version) {
            return Ok(());
        }
        fs::create_dir_all(&self.0)?;
        let known = self.of(source).unwrap_or_default();
        let mut lines: Vec<&str> = known.lines().collect();
        let beyond = (lines.len() + 1).saturating_sub(MAX_VERSIONS);
        lines.drain(..beyond);
        lines.push(version);
        write_durably(&self.0.join(source), lines.join("\n").as_bytes())
    }

    fn of(&self, source: &str) -> Option<String> {
        let path = self.0.join(source);
        let meta = fs::metadata(&path).ok().filter(|meta| meta.len() <= MAX_VERSIONS_BYTES)?;
        meta.is_file().then(|| fs::read_to_string(&path).ok()).flatten()
    }
}

/// Removes the secret files that a runner left which was killed.
pub(crate) fn sweep(services_dir: &Path) {
    let folders = |path: &Path| -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        // A link that a service made is not followed.
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
    };
    for service in folders(services_dir).iter().flat_map(|mesh| folders(mesh)) {
        let secrets = service.join(super::SECRETS_FOLDER);
        match fs::remove_dir_all(&secrets) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(path = %secrets.display(), %error, "secret files of an earlier life cannot be removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn h24_only_versions_that_were_found_here_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let versions = Versions::in_dir(dir.path());
        assert!(!versions.knows("ab", "1.0.0"));
        versions.keep("ab", "1.0.0").unwrap();
        versions.keep("ab", "1.0.0").unwrap();
        assert!(versions.knows("ab", "1.0.0") && !versions.knows("ab", "1.0") && !versions.knows("cd", "1.0.0"));
        for n in 0..MAX_VERSIONS {
            versions.keep("ab", &format!("2.0.{n}")).unwrap();
        }
        assert!(!versions.knows("ab", "1.0.0"), "the oldest went");
        assert!(versions.knows("ab", "2.0.0") && Versions::in_dir(dir.path()).knows("ab", "2.0.63"));
    }

    #[test]
    fn h25_what_a_killed_runner_left_is_swept_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let services = dir.path().join("services");
        let secrets = services.join("default/time/secrets/d-1/shared");
        fs::create_dir_all(&secrets).unwrap();
        fs::write(secrets.join("KEY"), "planted").unwrap();
        fs::create_dir_all(services.join("default/time/data")).unwrap();
        let outside = dir.path().join("outside/time/secrets");
        fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), services.join("linked")).unwrap();
        sweep(&services);
        assert!(!services.join("default/time/secrets").exists());
        assert!(services.join("default/time/data").exists() && outside.exists());
    }
}
