//! The environment an installation gets: a short list of the operator's
//! settings, and a home that is deleted afterwards. Nothing else of the
//! runner's own environment reaches a tool, let alone a package's scripts.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// Variables an operator sets for every tool, passed when present: where
/// programs are, how to reach the network, and whom to trust there.
pub const NETWORK: &[&str] = &[
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Those for every installation besides: whom its tools trust, and where
/// packages come from.
pub const PASSED: &[&str] = &[
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_TRUSTED_HOST",
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_NATIVE_TLS",
    "UV_PYTHON",
    "UV_SYSTEM_CERTS",
];

/// Families of such variables. npm reads both spellings.
pub const PASSED_PREFIXES: &[&str] = &["npm_config_", "NPM_CONFIG_", "UV_INDEX_"];

/// Those for git besides. Its own settings files are not read, so a repository cannot be sent elsewhere by them.
const FOR_GIT: &[&str] = &["GIT_SSL_CAINFO", "GIT_SSL_CAPATH"];

/// Set for git always: no settings but ours, no questions, no filters, no helpers.
const FIXED_FOR_GIT: &[(&str, &str)] = &[
    ("LANG", "C.UTF-8"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", ""),
    ("SSH_ASKPASS", ""),
    ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
    ("GIT_SSH_VARIANT", "ssh"),
    ("GIT_LFS_SKIP_SMUDGE", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
];

/// npm settings that would move an installation out of its own directory, or
/// run something else as its shell.
const WITHHELD: &[&str] = &[
    "cache",
    "global",
    "globalconfig",
    "local_prefix",
    "location",
    "prefix",
    "script_shell",
    "workspace",
    "workspaces",
];

/// Set for every installation unless the operator's settings say otherwise.
/// npm's own retry delays (10 s and more) would keep a deployer waiting for
/// over a minute to hear that the network is down.
const DEFAULTS: &[(&str, &str)] =
    &[("npm_config_fetch_retry_mintimeout", "500"), ("npm_config_fetch_retry_maxtimeout", "5000")];

/// Set always: no downloads of interpreters, nothing interactive, plain text.
const FIXED: &[(&str, &str)] = &[
    ("LANG", "C.UTF-8"),
    ("NO_COLOR", "1"),
    ("CI", "1"),
    ("UV_PYTHON_DOWNLOADS", "never"),
    ("UV_NO_PROGRESS", "1"),
    ("npm_config_color", "false"),
    ("npm_config_progress", "false"),
    ("npm_config_update_notifier", "false"),
];

/// The runner's environment as far as installations may know it. The caller
/// reads the process environment once and hands it over here.
#[derive(Clone, Default)]
pub struct EnvSource {
    passed: BTreeMap<OsString, OsString>,
    git: BTreeMap<OsString, OsString>,
    home: Option<OsString>,
}

impl EnvSource {
    /// Keeps of `all` what is on the list, and where the operator's home is
    /// (for its npm settings file; it never becomes a tool's `HOME`).
    pub fn new(all: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut kept = Self::default();
        for (name, value) in all {
            if name.to_str().is_some_and(|name| NETWORK.contains(&name) || FOR_GIT.contains(&name)) {
                kept.git.insert(name.clone(), value.clone());
            }
            if name == "HOME" {
                kept.home = Some(value);
            } else if is_passed(&name) {
                kept.passed.insert(name, value);
            }
        }
        kept
    }

    /// The `PATH` on which runtimes and commands are looked up.
    pub fn path(&self) -> &OsStr {
        self.passed.get(OsStr::new("PATH")).map_or(OsStr::new(""), |path| path)
    }

    /// The whole environment of an installation that lives in `home`.
    pub(super) fn for_build(&self, home: &Path) -> BTreeMap<OsString, OsString> {
        let mut env = self.passed.clone();
        for (name, value) in DEFAULTS {
            let upper = OsString::from(name.to_uppercase());
            if !env.contains_key(&upper) {
                env.entry(name.into()).or_insert_with(|| value.into());
            }
        }
        if let Some(file) = self.npm_settings() {
            env.insert("npm_config_userconfig".into(), file);
        }
        for (name, value) in FIXED {
            env.insert(name.into(), value.into());
        }
        env.insert("HOME".into(), home.into());
        env
    }

    /// The whole environment of git, whose home is `home`; `ceiling` is where its search for a repository ends.
    pub(super) fn for_git(&self, home: &Path, ceiling: &Path, protocols: &str) -> BTreeMap<OsString, OsString> {
        let mut env = self.git.clone();
        env.extend(FIXED_FOR_GIT.iter().map(|(name, value)| (name.into(), value.into())));
        env.insert("GIT_ALLOW_PROTOCOL".into(), protocols.into());
        env.insert("GIT_CEILING_DIRECTORIES".into(), ceiling.into());
        env.insert("HOME".into(), home.into());
        env
    }

    /// The operator's npm settings file, when none was named and one exists.
    fn npm_settings(&self) -> Option<OsString> {
        let named = ["npm_config_userconfig", "NPM_CONFIG_USERCONFIG"];
        if named.iter().any(|name| self.passed.contains_key(OsStr::new(name))) {
            return None;
        }
        let file = Path::new(self.home.as_ref()?).join(".npmrc");
        (file.is_absolute() && file.is_file()).then(|| file.into_os_string())
    }
}

/// Names only: a registry address may hold a password.
impl fmt::Debug for EnvSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.passed.keys()).finish()
    }
}

fn is_passed(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    NETWORK.contains(&name)
        || PASSED.contains(&name)
        || PASSED_PREFIXES.iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|setting| {
                let setting = setting.to_lowercase().replace('-', "_");
                !WITHHELD.contains(&setting.as_str())
            })
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> EnvSource {
        EnvSource::new(pairs.iter().map(|(n, v)| (n.into(), v.into())))
    }

    #[test]
    fn only_what_is_listed_passes() {
        let env = source(&[
            ("PATH", "/bin"),
            ("HOME", "/no/such/home"),
            ("https_proxy", "http://p"),
            ("npm_config_registry", "http://r"),
            ("NPM_CONFIG_STRICT_SSL", "true"),
            ("UV_INDEX_INTERNAL_PASSWORD", "pw"),
            ("npm_config_prefix", "/usr"),
            ("NPM_CONFIG_CACHE", "/c"),
            ("NPM_CONFIG_SCRIPT-SHELL", "/tmp/sh"),
            ("RUNNER_TOKEN", "t"),
            ("AWS_SECRET_ACCESS_KEY", "k"),
            ("LD_PRELOAD", "/x.so"),
            ("NODE_OPTIONS", "--require=/x.js"),
            ("PYTHONPATH", "/x"),
        ])
        .for_build(Path::new("/stage/home"));
        let passed: Vec<&str> = env
            .keys()
            .map(|name| name.to_str().unwrap())
            .filter(|name| !FIXED.iter().chain(DEFAULTS).any(|(fixed, _)| fixed == name))
            .collect();
        assert_eq!(
            passed,
            [
                "HOME",
                "NPM_CONFIG_STRICT_SSL",
                "PATH",
                "UV_INDEX_INTERNAL_PASSWORD",
                "https_proxy",
                "npm_config_registry",
            ]
        );
        assert_eq!(env[OsStr::new("HOME")], "/stage/home");
    }

    #[test]
    fn git_gets_the_network_and_nothing_that_packages_get() {
        let env = source(&[
            ("PATH", "/bin"),
            ("HOME", "/home/op"),
            ("https_proxy", "http://p"),
            ("GIT_SSL_CAINFO", "/ca"),
            ("GIT_SSH_COMMAND", "evil"),
            ("GIT_CONFIG_COUNT", "1"),
            ("UV_INDEX_INTERNAL_PASSWORD", "pw"),
            ("RUNNER_TOKEN", "t"),
        ])
        .for_git(Path::new("/stage/git"), Path::new("/stage"), "https");
        let own: Vec<&str> = env
            .keys()
            .map(|name| name.to_str().unwrap())
            .filter(|name| !FIXED_FOR_GIT.iter().any(|(fixed, _)| fixed == name))
            .collect();
        let expected =
            ["GIT_ALLOW_PROTOCOL", "GIT_CEILING_DIRECTORIES", "GIT_SSL_CAINFO", "HOME", "PATH", "https_proxy"];
        assert_eq!(own, expected);
        assert_eq!(env[OsStr::new("GIT_SSH_COMMAND")], "ssh -o BatchMode=yes");
        assert_eq!(env[OsStr::new("HOME")], "/stage/git");
    }

    #[test]
    fn an_operator_setting_beats_a_default_in_either_spelling() {
        let env = source(&[("NPM_CONFIG_FETCH_RETRY_MINTIMEOUT", "9")]).for_build(Path::new("/h"));
        assert!(!env.contains_key(OsStr::new("npm_config_fetch_retry_mintimeout")));
        assert!(env.contains_key(OsStr::new("npm_config_fetch_retry_maxtimeout")));
    }

    #[test]
    fn the_operators_npm_file_is_named_when_there_is_one() {
        let home = tempfile::tempdir().unwrap();
        let with_home = source(&[("HOME", home.path().to_str().unwrap())]);
        let key = OsStr::new("npm_config_userconfig");
        assert!(!with_home.for_build(Path::new("/h")).contains_key(key));
        let file = home.path().join(".npmrc");
        std::fs::write(&file, "registry=http://r\n").unwrap();
        assert_eq!(with_home.for_build(Path::new("/h"))[key], file);
    }

    #[test]
    fn values_are_not_printed() {
        let shown = format!("{:?}", source(&[("UV_INDEX_URL", "https://u:hunter2@r")]));
        assert!(shown.contains("UV_INDEX_URL") && !shown.contains("hunter2"), "{shown}");
    }
}
