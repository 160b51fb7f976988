//! Real repositories, made by git in a directory of the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use protocol::source::Source;
use runner::prepare::{EnvSource, Preparer, SourceSettings};

/// A repository that a test fills.
pub(super) struct Repository {
    root: tempfile::TempDir,
}

impl Repository {
    /// One with a commit of these files on `main`.
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let this = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(this.path()).unwrap();
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        this.commit(files);
        this
    }

    pub(super) fn path(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Writes the files, commits all there is, and names the commit.
    pub(super) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let file = self.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=next"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(super) fn link(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path().join(name)).unwrap();
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.path()).env_clear().args(["-c", "user.name=Ana", "-c", "user.email=ana@mesh.test"]);
        git.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.root.path());
        let done = git.args(args).output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Takes it away, as a server goes away.
    pub(super) fn vanish(&self) {
        std::fs::rename(self.path(), self.root.path().join("gone")).unwrap();
    }

    pub(super) fn source(&self) -> Source {
        source(&format!("file://{}", self.path().display()))
    }
}

pub(super) fn source(url: &str) -> Source {
    Source::Git { url: url.to_owned(), branch: None, subdirectory: None, build_command: Vec::new(), auth: None }
}

/// The source of another branch, tag or commit.
pub(super) fn at(mut source: Source, name: &str) -> Source {
    if let Source::Git { branch, .. } = &mut source {
        *branch = Some(name.to_owned());
    }
    source
}

/// The source of a folder in it.
pub(super) fn below(mut source: Source, folder: &str) -> Source {
    if let Source::Git { subdirectory, .. } = &mut source {
        *subdirectory = Some(folder.to_owned());
    }
    source
}

/// The source with a build.
pub(super) fn built(mut source: Source, argv: &[&str]) -> Source {
    if let Source::Git { build_command, .. } = &mut source {
        *build_command = argv.iter().map(|&word| word.to_owned()).collect();
    }
    source
}

/// A preparer that may read repositories of this machine, with this machine's tools.
pub(super) async fn preparer(data: &Path) -> Preparer {
    preparer_with(data, SourceSettings::default()).await
}

pub(super) async fn preparer_with(data: &Path, settings: SourceSettings) -> Preparer {
    let git_protocols = "https:file".parse().unwrap();
    super::preparer(data, std::env::vars_os()).await.settled(SourceSettings { git_protocols, ..settings })
}

/// The same on a machine with nothing but `path`.
pub(super) async fn preparer_on(data: &Path, path: &Path) -> Preparer {
    let settings = SourceSettings { git_protocols: "https:file".parse().unwrap(), ..SourceSettings::default() };
    let env = EnvSource::new([("PATH".into(), path.as_os_str().to_owned())]);
    Preparer::new(data.join("cache"), super::launcher(data).await, env, 2).settled(settings)
}
