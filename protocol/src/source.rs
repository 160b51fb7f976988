//! Where a service's program comes from.
//!
//! Contract: a [`Source`] that passes [`Source::validate`] holds no text that a package manager or git could take for an
//! option, a path or another kind of address. Programs are started with argument vectors, never through a shell; these
//! rules keep the vectors meaning what they say.

use serde::{Deserialize, Serialize};

use crate::secret::{self, SecretString};

/// Longest package specification; npm's own limit for a name is 214.
const MAX_PACKAGE_BYTES: usize = 214;
/// Longest address of a repository.
const MAX_URL_BYTES: usize = 2_048;
/// Longest branch name.
const MAX_BRANCH_BYTES: usize = 255;
/// Longest id of an uploaded file.
const MAX_FILE_ID_BYTES: usize = 64;
/// Longest path of a folder in a repository.
const MAX_SUBDIRECTORY_BYTES: usize = 512;
/// Most packages that are installed beside one of the Python index.
const MAX_WITH: usize = 32;
/// Most words of a command, and the longest of them.
const MAX_ARGV: usize = 256;
const MAX_ARG_BYTES: usize = 128 * 1024;
/// Transports that git may be asked for. Which of them a runner uses is its operator's choice.
const GIT_SCHEMES: [&str; 3] = ["https", "ssh", "file"];

/// Where a program comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// A package of the npm registry: `name`, `@scope/name`, either with `@version`.
    Npx {
        /// The specification.
        package: String,
    },
    /// A package of the Python index: `name`, `name[extra]`, with `==version` or `@version`.
    Uvx {
        /// The specification.
        package: String,
        /// Packages to install beside it, such as `mcp[cli]`: extras that it uses and does not ask for (ours).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<String>,
    },
    /// A git repository.
    Git {
        /// `https://…`, `ssh://…` or `user@host:path`.
        url: String,
        /// A branch, a tag or all digits of a commit; none = the default branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// The folder of the project in the repository; none = the whole of it (ours).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subdirectory: Option<String>,
        /// What to run after the dependencies are installed: a program and its arguments, no shell (ours).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        build_command: Vec<String>,
        /// A token for the host, used over https only.
        #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "secret::reveal")]
        auth: Option<SecretString>,
    },
    /// An uploaded archive.
    Zip {
        /// The id that the upload returned.
        file_id: String,
        /// The folder of the project in it; none = the whole of it (ours).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subdirectory: Option<String>,
        /// What to run after the dependencies are installed: a program and its arguments, no shell (ours).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        build_command: Vec<String>,
    },
    /// A program that is already on the runner's machine.
    Command {
        /// The program and its first arguments.
        argv: Vec<String>,
    },
}

/// What a program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Node.js.
    Node,
    /// Python.
    Python,
    /// Bun.
    Bun,
}

/// A source that is not used, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`source.{field}` {problem}")]
pub struct SourceError {
    /// The member that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Source {
    /// The word in `type`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Npx { .. } => "npx",
            Self::Uvx { .. } => "uvx",
            Self::Git { .. } => "git",
            Self::Zip { .. } => "zip",
            Self::Command { .. } => "command",
        }
    }

    /// Whether a program from here can be run by `runtime`. What a repository or an archive holds is seen when it is there.
    #[must_use]
    pub const fn runs_on(&self, runtime: Runtime) -> bool {
        match self {
            Self::Npx { .. } => matches!(runtime, Runtime::Node | Runtime::Bun),
            Self::Uvx { .. } => matches!(runtime, Runtime::Python),
            Self::Git { .. } | Self::Zip { .. } => true,
            Self::Command { .. } => false,
        }
    }

    /// Takes the token out, for whoever stores or shows the rest.
    pub fn take_token(&mut self) -> Option<SecretString> {
        match self {
            Self::Git { auth, .. } => auth.take(),
            Self::Npx { .. } | Self::Uvx { .. } | Self::Zip { .. } | Self::Command { .. } => None,
        }
    }

    /// Whether it brings a token, in clear.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        matches!(self, Self::Git { auth: Some(_), .. })
    }

    /// Puts a token back where [`Source::take_token`] found it.
    pub fn put_token(&mut self, token: Option<SecretString>) {
        if let Self::Git { auth, .. } = self {
            *auth = token;
        }
    }

    /// Checks that no text can be taken for something else than what its member means.
    ///
    /// # Errors
    /// The member and what is wrong with it; the text itself is not repeated.
    pub fn validate(&self) -> Result<(), SourceError> {
        let (field, checked) = match self {
            Self::Npx { package } => ("package", npm_package(package)),
            Self::Uvx { package, with } => match python_package(package) {
                Ok(()) => ("with", beside(with)),
                refused => ("package", refused),
            },
            Self::Git { .. } => return self.git(),
            Self::Zip { file_id, subdirectory, build_command } => {
                file_id_text(file_id).map_err(|problem| SourceError { field: "file_id", problem })?;
                return project(subdirectory.as_deref(), build_command);
            }
            Self::Command { argv } => ("argv", command(argv)),
        };
        checked.map_err(|problem| SourceError { field, problem })
    }

    fn git(&self) -> Result<(), SourceError> {
        let Self::Git { url, branch, subdirectory, build_command, auth } = self else {
            return Ok(());
        };
        let wrong = |field| move |problem| SourceError { field, problem };
        git_url(url).map_err(wrong("url"))?;
        if let Some(branch) = branch {
            git_branch(branch).map_err(wrong("branch"))?;
        }
        project(subdirectory.as_deref(), build_command)?;
        let Some(token) = auth else { return Ok(()) };
        // Over anything else it would travel in clear, or not at all.
        require(url.starts_with("https://"), "is used over https only").map_err(wrong("auth"))?;
        plain(token.expose(), MAX_URL_BYTES).map_err(wrong("auth"))
    }
}

type Checked = Result<(), &'static str>;

/// What is said about a tree of files, wherever it comes from.
fn project(subdirectory: Option<&str>, build_command: &[String]) -> Result<(), SourceError> {
    let wrong = |field| move |problem| SourceError { field, problem };
    subdirectory.map_or(Ok(()), folder).map_err(wrong("subdirectory"))?;
    if build_command.is_empty() {
        return Ok(());
    }
    command(build_command).and_then(|()| build_program(build_command)).map_err(wrong("build_command"))
}

/// Refuses what is wrong in any field: nothing, too much, something invisible, an option.
fn plain(text: &str, longest: usize) -> Checked {
    if text.is_empty() {
        Err("is empty")
    } else if text.len() > longest {
        Err("is too long")
    } else if text.starts_with('-') {
        Err("starts with `-` and would be taken for an option")
    } else if text.chars().any(|c| c.is_whitespace() || crate::validate::is_hostile(c)) {
        Err("contains a space or a control character")
    } else {
        Ok(())
    }
}

fn require(holds: bool, problem: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(problem) }
}

fn npm_package(spec: &str) -> Checked {
    plain(spec, MAX_PACKAGE_BYTES)?;
    let (scope, rest) = match spec.strip_prefix('@') {
        Some(scoped) => {
            let (scope, rest) = scoped.split_once('/').ok_or("has a scope but no name")?;
            (Some(scope), rest)
        }
        None => (None, spec),
    };
    let (name, version) = match rest.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (rest, None),
    };
    let part = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '~')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._~-".contains(c))
            && !text.contains("..")
    };
    require(scope.is_none_or(part) && part(name), "is not the name of an npm package")?;
    require(
        version.is_none_or(|v| {
            !v.is_empty()
                && !v.starts_with('-')
                && !v.contains("..")
                && v.chars().all(|c| c.is_ascii_alphanumeric() || "._+-^~*<>=|".contains(c))
        }),
        "has a version that is no version, range or tag",
    )
}

fn python_package(spec: &str) -> Checked {
    plain(spec, MAX_PACKAGE_BYTES)?;
    let (requirement, version) = match spec.split_once("==").or_else(|| spec.split_once('@')) {
        Some((requirement, version)) => (requirement, Some(version)),
        None => (spec, None),
    };
    let (name, extras) = match requirement.split_once('[') {
        Some((name, extras)) => (name, Some(extras.strip_suffix(']').ok_or("has an extra without its `]`")?)),
        None => (requirement, None),
    };
    let part = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && !text.contains("..")
    };
    require(part(name), "is not the name of a Python package")?;
    require(extras.is_none_or(|extras| extras.split(',').all(part)), "has an extra that is no name")?;
    require(
        version.is_none_or(|v| {
            v.starts_with(|c: char| c.is_ascii_alphanumeric())
                && !v.contains("..")
                && v.chars().all(|c| c.is_ascii_alphanumeric() || "._+-!".contains(c))
        }),
        "has a version that is no version",
    )
}

fn beside(packages: &[String]) -> Checked {
    require(packages.len() <= MAX_WITH, "has more than 32 packages")?;
    packages.iter().try_for_each(|package| python_package(package))
}

/// A folder below the one that it is looked for in, whatever stands between the slashes.
fn folder(path: &str) -> Checked {
    require(!path.is_empty(), "is empty")?;
    require(path.len() <= MAX_SUBDIRECTORY_BYTES, "is too long")?;
    require(!path.starts_with('-'), "starts with `-` and would be taken for an option")?;
    require(!path.chars().any(crate::validate::is_hostile), "contains a control character")?;
    require(!path.starts_with('/') && !path.contains('\\'), "is not a folder inside the repository")?;
    require(!path.split('/').any(|part| part == ".."), "has a path with `..`")?;
    require(!path.split('/').any(|part| part.eq_ignore_ascii_case(".git")), "is git's own folder")
}

/// A build runs what is on the runner's `PATH` or in the tree.
fn build_program(argv: &[String]) -> Checked {
    let program = argv.first().map_or("", String::as_str);
    require(!program.starts_with('/'), "names its program by an absolute path")?;
    require(!program.split('/').any(|part| part == ".."), "names its program with `..`")
}

fn git_url(url: &str) -> Checked {
    plain(url, MAX_URL_BYTES)?;
    require(!url.contains("::"), "names a remote helper")?;
    let host_part = |host: &str| {
        host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
    };
    let user_part = |user: &str| {
        user.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && user.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let climbs = |path: &str| path.split('/').any(|part| part == "..");
    if let Some((scheme, rest)) = url.split_once("://") {
        require(GIT_SCHEMES.contains(&scheme), "has a scheme other than https, ssh or file")?;
        let (authority, path) = rest.split_once('/').ok_or("has no path")?;
        require(!path.is_empty() && !path.starts_with('-') && !climbs(path), "has a path with `..` or `-` in front")?;
        if scheme == "file" {
            return require(authority.is_empty(), "names a host with the file scheme");
        }
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        require(user.is_none_or(user_part), "has credentials in it; pass them as `auth`")?;
        return require(host_part(host), "has no host");
    }
    let (authority, path) = url.split_once(':').ok_or("is neither a URL nor user@host:path")?;
    let (user, host) = authority.split_once('@').ok_or("is neither a URL nor user@host:path")?;
    require(user_part(user) && host_part(host), "is neither a URL nor user@host:path")?;
    require(!path.is_empty() && !path.starts_with('-') && !climbs(path), "has a path with `..` or `-` in front")
}

fn git_branch(branch: &str) -> Checked {
    plain(branch, MAX_BRANCH_BYTES)?;
    let part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !part.ends_with(".lock");
    require(
        branch.split('/').all(part)
            && !branch.contains("..")
            && !branch.contains("@{")
            && branch != "@"
            && !branch.contains(['~', '^', ':', '?', '*', '[', '\\']),
        "is not the name of a branch or tag",
    )
}

fn file_id_text(id: &str) -> Checked {
    plain(id, MAX_FILE_ID_BYTES)?;
    require(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "is not the id of an uploaded file")
}

fn command(argv: &[String]) -> Checked {
    let program = argv.first().ok_or("is empty")?;
    require(!program.is_empty(), "starts with an empty word")?;
    require(!program.starts_with('-'), "starts with `-` and would be taken for an option")?;
    require(!program.chars().any(crate::validate::is_hostile), "names a program with a control character")?;
    require(argv.len() <= MAX_ARGV, "has more than 256 words")?;
    require(argv.iter().all(|word| word.len() <= MAX_ARG_BYTES), "has a word longer than 128 KiB")?;
    require(argv.iter().all(|word| !word.contains('\0')), "contains a NUL character")
}

#[cfg(test)]
mod tests;
