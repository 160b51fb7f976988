//! Repositories, fetched by the git of this machine at one commit and no more.
//!
//! **Contract.** What a branch or a tag means is asked once; from then on the commit is the version, and that very commit
//! is installed again. git runs without any settings but ours: no hooks, no filters, no submodules, no helper that a
//! repository or the machine names, and only over the transports that the operator allows. A token reaches git by git's
//! own protocol for credentials: it lies in a file of mode 0600 in a home that only the fetch has, is sent to the host of
//! the address and to no other, and is gone before anything of the repository runs. It is never in an argument, in the
//! address, in the environment, in the repository's settings or in what is shown.

mod remote;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use protocol::SecretString;
use protocol::source::{Runtime, Source};

use self::remote::{Home, found};
use super::build::{Build, Finished, Stdout, Surroundings, Tool};
use super::cache::{self, Key, Kind, Receipt};
use super::env::EnvSource;
use super::error::PrepareError;
use super::package::{Package, Unresolved};
use super::settings::GitProtocols;
use super::tree::{self, Order};
use super::{runtimes, words};

/// Digits of a commit's name, by the repository's own hash.
const COMMIT_DIGITS: [usize; 2] = [40, 64];
/// What of a repository's name becomes part of a directory's.
const MAX_LABEL: usize = 40;

/// Settings that no repository and no machine changes.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.symlinks=true",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    // Empty: forgets every helper named before.
    "credential.helper=",
];
/// Reads `.git-credentials` in `HOME`.
const CREDENTIALS: &str = "credential.helper=store";

/// A project in a repository.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    url: String,
    branch: Option<String>,
    token: Option<SecretString>,
    order: Order,
    protocols: GitProtocols,
    env: std::sync::Arc<EnvSource>,
}

impl Repository {
    /// `source` is one of git.
    pub(super) fn of(
        source: &Source,
        runtime: Option<Runtime>,
        protocols: &GitProtocols,
        env: &std::sync::Arc<EnvSource>,
    ) -> Result<Self, PrepareError> {
        source.validate().map_err(|error| PrepareError::invalid(error.field, error.problem))?;
        let Source::Git { url, branch, subdirectory, build_command, auth } = source else {
            return Err(PrepareError::Unsupported { what: source.kind() });
        };
        let (protocol, allowed) = protocols.judge(url);
        if !allowed {
            let why = format!("is an address of {protocol}, which this runner does not allow");
            return Err(PrepareError::invalid("url", format!("{why} (CLAUDEMESH_GIT_PROTOCOLS={protocols})")));
        }
        Ok(Self {
            url: url.clone(),
            branch: branch.clone(),
            token: auth.clone(),
            order: Order::new(subdirectory.as_deref(), build_command, runtime),
            protocols: protocols.clone(),
            env: std::sync::Arc::clone(env),
        })
    }

    /// Everything that shapes an installation, and the token: who cannot fetch it does not get it from the cache either.
    fn digest(&self) -> String {
        let token = self.token.as_ref().map_or("", SecretString::expose);
        let words = self.order.words();
        cache::digest([self.url.as_str(), token].into_iter().chain(words.iter().map(String::as_str)))
    }

    /// The repository's own name, as far as it can be part of a file's.
    fn label(&self) -> String {
        let last = self.url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        let name = last.strip_suffix(".git").unwrap_or(last);
        let plain = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        plain.take(MAX_LABEL).collect()
    }

    /// What git finds around it while it talks to the server.
    fn around(&self, build: &Build<'_>, cwd: &Path, home: &Home) -> Surroundings {
        Surroundings {
            cwd: cwd.to_owned(),
            env: self.env.for_git(home.path(), build.stage.root(), &self.protocols.to_string()),
            mask: self.token.as_ref().map(words::Mask::of).unwrap_or_default(),
        }
    }

    async fn git(
        &self,
        git: &Tool,
        build: &mut Build<'_>,
        around: &Surroundings,
        (step, stdout): (&'static str, Stdout),
        args: &[&str],
    ) -> Result<Finished, PrepareError> {
        let credentials = self.token.as_ref().map(|_| CREDENTIALS);
        let settings = SETTINGS.iter().copied().chain(credentials).flat_map(|setting| ["-c", setting]);
        let all: Vec<&OsStr> = settings.chain(args.iter().copied()).map(OsStr::new).collect();
        build.run_in(around, git, step, stdout, &all).await
    }

    /// As [`Self::git`], for what must succeed.
    async fn must(
        &self,
        git: &Tool,
        build: &mut Build<'_>,
        around: &Surroundings,
        step: &'static str,
        args: &[&str],
    ) -> Result<(), PrepareError> {
        let done = self.git(git, build, around, (step, Stdout::Shown), args).await?;
        if done.status.success() { Ok(()) } else { Err(self.failed(git, &done)) }
    }

    fn failed(&self, git: &Tool, done: &Finished) -> PrepareError {
        PrepareError::Install {
            program: git.name,
            spec: self.spec(),
            status: done.status,
            words: words::of_git(&done.stderr),
        }
    }

    /// The commit and nothing else of the history; from servers that give out only what has a name, all of it.
    async fn fetch(
        &self,
        git: &Tool,
        commit: &str,
        build: &mut Build<'_>,
        around: &Surroundings,
    ) -> Result<(), PrepareError> {
        const STEP: &str = "fetching with git";
        let one = ["fetch", "--no-tags", "--no-recurse-submodules", "--depth=1", "--", &self.url, commit];
        let done = self.git(git, build, around, (STEP, Stdout::Shown), &one).await?;
        if done.status.success() {
            return Ok(());
        }
        if !words::git_wants_a_ref(&done.stderr) {
            return Err(self.failed(git, &done));
        }
        build.say("the server does not give out one commit; fetching all branches and tags");
        let all = [
            "fetch",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
            &self.url,
            "+refs/heads/*:refs/fetched/heads/*",
            "+refs/tags/*:refs/fetched/tags/*",
        ];
        self.must(git, build, around, STEP, &all).await
    }
}

impl Package for Repository {
    type Tools = Tool;

    fn key(&self) -> Key {
        Key::new(Kind::Git, &[&self.label(), &self.digest()])
    }

    fn spec(&self) -> String {
        match &self.branch {
            Some(branch) => format!("{} ({branch})", self.url),
            None => self.url.clone(),
        }
    }

    fn exact(&self) -> Option<&str> {
        self.branch.as_deref().filter(|name| is_commit(name))
    }

    fn tools(&self, build: &Build<'_>) -> Result<Tool, PrepareError> {
        let path = runtimes::require(&runtimes::GIT, build.path)?;
        Ok(Tool { name: "git", path })
    }

    async fn resolve(&self, git: &Tool, build: &mut Build<'_>) -> Result<String, Unresolved> {
        let home = Home::make(build.stage.root(), &self.url, self.token.as_ref())?;
        let around = self.around(build, &build.stage.work(), &home);
        let wanted = remote::names(self.branch.as_deref());
        let mut args = vec!["ls-remote", "--", &self.url];
        args.extend(wanted.iter().map(String::as_str));
        let asked = self.git(git, build, &around, ("asking git for a commit", Stdout::Answer), &args).await?;
        let mut said = words::of_git(&asked.stderr);
        if asked.status.success() {
            match found(&asked.stdout, &wanted) {
                Some(commit) => return Ok(commit),
                None => said = vec![remote::nothing(self.branch.as_deref())],
            }
        }
        Err(Unresolved {
            unreachable: words::git_unreachable(&said),
            error: PrepareError::Resolve { program: git.name, spec: self.spec(), status: asked.status, words: said },
        })
    }

    async fn install(&self, git: &Tool, commit: &str, build: &mut Build<'_>) -> Result<(), PrepareError> {
        if !is_commit(commit) {
            return Err(PrepareError::invalid("version", format!("{commit:?} is not a commit")));
        }
        let tree = build.stage.package().join(tree::TREE);
        fs::create_dir_all(&tree).map_err(PrepareError::disk("create", &tree))?;
        let home = Home::make(build.stage.root(), &self.url, self.token.as_ref())?;
        let around = self.around(build, &tree, &home);
        let format = if commit.len() == COMMIT_DIGITS[0] { "sha1" } else { "sha256" };
        let object_format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--template=", "--initial-branch=fetched", &object_format];
        self.must(git, build, &around, "making a repository with git", &init).await?;
        self.fetch(git, commit, build, &around).await?;
        let checkout = ["checkout", "--quiet", "--detach", "--no-recurse-submodules", commit];
        self.must(git, build, &around, "checking out with git", &checkout).await?;
        // From here on runs what the repository brought.
        home.remove()?;
        Box::pin(self.order.raise(build)).await
    }

    fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError> {
        self.order.receipt(root, version)
    }
}

/// Whether `name` is all digits of a commit.
fn is_commit(name: &str) -> bool {
    COMMIT_DIGITS.contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn source(url: &str, token: Option<&str>) -> Source {
        let (branch, subdirectory) = (None, None);
        let auth = token.map(SecretString::from);
        Source::Git { url: url.to_owned(), branch, subdirectory, build_command: Vec::new(), auth }
    }

    fn repository(url: &str, token: Option<&str>, runtime: Option<Runtime>) -> Repository {
        Repository::of(&source(url, token), runtime, &GitProtocols::default(), &std::sync::Arc::default()).unwrap()
    }

    #[test]
    fn whoever_cannot_fetch_it_does_not_find_it_in_the_cache() {
        let public = repository("https://h/a/b.git", None, None);
        assert_eq!(public.label(), "b");
        assert_eq!(repository("git@h:x/../..".trim_end_matches("/../.."), None, None).label(), "x");
        let keys = [
            public.key(),
            repository("https://h/a/b.git", Some("one"), None).key(),
            repository("https://h/a/b.git", Some("two"), None).key(),
            repository("https://h/other/b.git", None, None).key(),
            repository("https://h/a/b.git", None, Some(Runtime::Node)).key(),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(keys.iter().skip(n + 1).all(|other| other != key), "{keys:?}");
        }
        assert_eq!(public.key(), repository("https://h/a/b.git", None, None).key());
    }

    #[test]
    fn a_transport_that_is_not_allowed_is_named_with_its_setting() {
        let refused =
            Repository::of(&source("file:///srv/x", None), None, &GitProtocols::default(), &Default::default());
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with("url: ") && error.contains("CLAUDEMESH_GIT_PROTOCOLS=https:ssh"), "{error}");
    }

    #[test]
    fn h24_nothing_prints_a_token() {
        let shown = format!("{:?}", repository("https://h/p", Some("planted-token"), None));
        assert!(!shown.contains("planted"), "{shown}");
    }

    #[test]
    fn a_commit_has_all_its_digits() {
        assert!(is_commit(&"0a".repeat(20)) && is_commit(&"0a".repeat(32)));
        for other in ["", "0a1b2c3", &"0A".repeat(20), &"0g".repeat(20), &"0a".repeat(21)] {
            assert!(!is_commit(other), "{other}");
        }
    }
}
