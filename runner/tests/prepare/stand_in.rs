//! A directory of tools for one test: an `npm` that logs what it is asked and
//! does what the test's script says, and a real `node`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runner::prepare::{EnvSource, Preparer};
use runner::process::Level;

use crate::levels::HINT;

/// The tools and what they leave, in a directory of its own.
pub(super) struct StandIn {
    root: tempfile::TempDir,
}

/// Answers every question with 1.2.3 and installs a package of one file.
pub(super) const OBLIGING: &str = r#"
case "$1" in
view) echo '"1.2.3"' ;;
install) install_package ;;
esac
"#;

/// What every script may use besides `$log` and `$gate`, files of the test.
const PRELUDE: &str = r#"
install_package() {
    name=${spec%@*}
    mkdir -p "$prefix/node_modules/$name"
    printf '{"bin":{"a":"cli.js"}}' > "$prefix/node_modules/$name/package.json"
    printf '#!/usr/bin/env node\n' > "$prefix/node_modules/$name/cli.js"
    echo "added 1 package"
}
"#;

impl StandIn {
    /// Tools whose `npm` runs `script`.
    pub(super) fn new(script: &str) -> Self {
        let stand_in = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(stand_in.bin()).unwrap();
        std::os::unix::fs::symlink("/bin/true", stand_in.bin().join("node")).unwrap();
        stand_in.npm(script);
        stand_in
    }

    /// Replaces the script.
    pub(super) fn npm(&self, script: &str) {
        let (log, gate) = (self.log_file(), self.gate());
        let text = format!(
            "#!/bin/sh\nPATH=$PATH:/usr/bin:/bin\nlog='{}'\ngate='{}'\n{ARGUMENTS}{PRELUDE}echo \"$1 $spec\" >> \"$log\"\n{script}",
            log.display(),
            gate.display()
        );
        let file = self.bin().join("npm");
        // Renamed into place: a file that is open for writing cannot be run.
        let new = self.bin().join("npm.new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Takes `npm` away.
    pub(super) fn remove_npm(&self) {
        fs::remove_file(self.bin().join("npm")).unwrap();
    }

    /// What was asked of `npm` so far: the command and the package.
    pub(super) fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub(super) async fn preparer(&self) -> Preparer {
        super::preparer(&self.data(), self.env()).await
    }

    /// As [`preparer`](Self::preparer), with tools held at exactly this level.
    pub(super) async fn preparer_at(&self, level: Level) -> Preparer {
        let launcher = super::launcher_of(&self.data(), Some(level)).await;
        assert_eq!(launcher.level(), level, "{HINT}; here {:?}", launcher.degraded());
        Preparer::new(self.cache(), launcher, EnvSource::new(self.env()), 2)
    }

    /// A runner's environment with a secret and, on its `PATH`, nothing but
    /// these tools: the machine's own npm must not step in for a missing one.
    pub(super) fn env(&self) -> Vec<(OsString, OsString)> {
        let path = self.bin();
        [("PATH", path.to_str().unwrap()), ("RUNNER_TOKEN", "planted"), ("HTTP_PROXY", "http://proxy.test")]
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.data().join("cache")
    }

    /// A file that scripts may wait for.
    pub(super) fn gate(&self) -> PathBuf {
        self.root().join("gate")
    }

    fn bin(&self) -> PathBuf {
        self.root().join("bin")
    }

    fn log_file(&self) -> PathBuf {
        self.root().join("log")
    }
}

/// Finds `$spec` (what follows `--`) and `$prefix` in the arguments.
const ARGUMENTS: &str = r#"
prefix= spec= before=
for argument in "$@"; do
    case "$before" in
    --prefix) prefix=$argument ;;
    --) spec=$argument ;;
    esac
    before=$argument
done
"#;
