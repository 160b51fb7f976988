//! What an npm package may be called, and which of the versions on offer is meant.
//!
//! npm reads a package argument as a name, a path, an archive, an address or an
//! option, whichever fits. Only names from the registry pass here: `pkg` and
//! `@scope/pkg`, each with an optional `@version`, `@range` or `@tag`.

use crate::prepare::error::PrepareError;

/// npm's own limit for a name; here for the whole specification.
const MAX_BYTES: usize = 214;
/// Endings that make npm look for a file of that name.
const ARCHIVES: &[&str] = &[".tgz", ".tar.gz", ".tar"];

/// A validated specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NpmSpec {
    /// `pkg` or `@scope/pkg`.
    pub(super) name: String,
    /// What follows the `@`: a version, a range or a tag.
    pub(super) wanted: Option<String>,
}

impl NpmSpec {
    pub(super) fn parse(text: &str) -> Result<Self, PrepareError> {
        check_text(text).map_err(refusal(text))?;
        let at = text.char_indices().skip(1).find(|&(_, c)| c == '@');
        let (name, wanted) = match at.and_then(|(at, _)| text.split_at_checked(at)) {
            // The tail begins with the one-byte `@` that was found.
            Some((name, tail)) => (name, tail.strip_prefix('@')),
            None => (text, None),
        };
        check_name(name).map_err(refusal(text))?;
        if let Some(wanted) = wanted {
            check_wanted(wanted).map_err(refusal(text))?;
        }
        Ok(Self { name: name.to_owned(), wanted: wanted.map(str::to_owned) })
    }

    /// The version, when the specification leaves no choice.
    pub(super) fn exact(&self) -> Option<&str> {
        self.wanted.as_deref().filter(|wanted| Release::parse(wanted).is_some())
    }

    /// The name without its scope.
    pub(super) fn unscoped(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

fn refusal(text: &str) -> impl Fn(&'static str) -> PrepareError + '_ {
    move |why| {
        // The text is the deployer's: shown, but neither raw nor at any length.
        let shown: String = text.chars().take(80).collect();
        PrepareError::invalid("package", format!("{shown:?} {why}"))
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > MAX_BYTES {
        return Err("is longer than 214 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character");
    }
    if !text.is_ascii() {
        return Err("contains a character outside ASCII");
    }
    if text.starts_with('-') {
        return Err("begins with '-' and would be read as an option");
    }
    if text.contains("..") {
        return Err("contains '..'");
    }
    if text.contains(':') {
        return Err("is an address or an alias; only packages of the registry are installed");
    }
    if text.contains('\\') || text.starts_with(['/', '.', '~']) {
        return Err("is a path; only packages of the registry are installed");
    }
    if ARCHIVES.iter().any(|ending| text.to_ascii_lowercase().ends_with(ending)) {
        return Err("names an archive file; only packages of the registry are installed");
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let parts = match name.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, package)) => vec![scope, package],
            None => return Err("has a scope but no package; write @scope/package"),
        },
        None => vec![name],
    };
    for part in parts {
        if part.is_empty() {
            return Err("has an empty name");
        }
        if part.contains('/') {
            return Err("is a path or a repository; only packages of the registry are installed");
        }
        if part.starts_with(['.', '_', '-']) {
            return Err("has a name that begins with '.', '_' or '-'");
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
        if !part.chars().all(allowed) {
            return Err("has a character that no package name contains");
        }
    }
    Ok(())
}

fn check_wanted(wanted: &str) -> Result<(), &'static str> {
    if wanted.is_empty() {
        return Err("has nothing after the '@'");
    }
    if wanted.starts_with('-') || wanted.starts_with(' ') || wanted.ends_with(' ') {
        return Err("has a version that begins with '-' or is padded with spaces");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .-+^~<>=|*_".contains(c);
    if !wanted.chars().all(allowed) {
        return Err("has a character that no version, range or tag contains");
    }
    Ok(())
}

/// The version to take of those that match a range: the highest release, or
/// the last listed when there are only pre-releases.
pub(super) fn choose(versions: &[String]) -> Option<&String> {
    let released = versions
        .iter()
        .filter_map(|version| Release::parse(version).map(|release| (release, version)))
        .filter(|(release, _)| !release.pre);
    released
        .max_by(|(left, _), (right, _)| left.number.cmp(&right.number))
        .map(|(_, version)| version)
        .or_else(|| versions.last())
}

/// As much of a semantic version as a choice needs.
struct Release {
    number: [u64; 3],
    pre: bool,
}

impl Release {
    fn parse(text: &str) -> Option<Self> {
        let (text, build) = text.split_once('+').map_or((text, None), |(t, b)| (t, Some(b)));
        let (numbers, pre) = text.split_once('-').map_or((text, None), |(t, p)| (t, Some(p)));
        let identifiers = |list: &str| {
            list.split('.').all(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
        };
        if ![build, pre].into_iter().flatten().all(identifiers) {
            return None;
        }
        let mut parts = numbers.split('.').map(number);
        let number = [parts.next()??, parts.next()??, parts.next()??];
        let complete = parts.next().is_none();
        complete.then_some(Self { number, pre: pre.is_some() })
    }
}

fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn names_of_the_registry_pass() {
        let table = [
            ("pkg", "pkg", None, None),
            ("@scope/pkg", "@scope/pkg", None, None),
            ("pkg@1.2.3", "pkg", Some("1.2.3"), Some("1.2.3")),
            ("@s/p@2.0.0-rc.1", "@s/p", Some("2.0.0-rc.1"), Some("2.0.0-rc.1")),
            ("pkg@^1.2", "pkg", Some("^1.2"), None),
            ("pkg@>=1.2 <2", "pkg", Some(">=1.2 <2"), None),
            ("pkg@1.x || 2", "pkg", Some("1.x || 2"), None),
            ("pkg@latest", "pkg", Some("latest"), None),
            ("pkg@1.2", "pkg", Some("1.2"), None),
            ("pkg@01.2.3", "pkg", Some("01.2.3"), None),
            ("JSONStream", "JSONStream", None, None),
        ];
        for (text, name, wanted, exact) in table {
            let spec = NpmSpec::parse(text).unwrap();
            assert_eq!((spec.name.as_str(), spec.wanted.as_deref(), spec.exact()), (name, wanted, exact), "{text}");
        }
        assert_eq!(NpmSpec::parse("@scope/pkg@1").unwrap().unscoped(), "pkg");
    }

    #[test]
    fn h13_everything_else_is_refused_in_words() {
        let long = "a".repeat(MAX_BYTES + 1);
        let table = [
            ("", "is empty"),
            (long.as_str(), "longer than 214"),
            ("--registry=http://evil", "option"),
            ("-g", "option"),
            ("../evil", "'..'"),
            ("@a/../../b", "'..'"),
            ("pkg@..", "'..'"),
            ("/etc/passwd", "a path"),
            ("./evil", "a path"),
            ("~/evil", "a path"),
            ("a\\b", "a path"),
            ("user/repo", "repository"),
            ("@scope/pkg/sub", "repository"),
            ("https://evil/x.tgz", "address"),
            ("git+ssh://evil/x", "address"),
            ("file:x", "address"),
            ("pkg@npm:other@1", "address or an alias"),
            ("pkg@file:x", "address"),
            ("evil.tgz", "archive"),
            ("pkg@evil.TGZ", "archive"),
            ("pkg@x.tar.gz", "archive"),
            ("pkg@user/repo", "no version"),
            ("pkg@--global", "begins with '-'"),
            ("pkg@", "nothing after"),
            ("pkg@ 1", "padded"),
            ("@scope", "no package"),
            ("@/pkg", "empty name"),
            ("@scope/", "empty name"),
            ("@@x/y", "no package"),
            (".hidden", "a path"),
            ("_private", "begins with"),
            ("@s/-x", "begins with"),
            ("pkg name", "no package name"),
            ("pkg;rm -rf", "no package name"),
            ("$(id)", "no package name"),
            ("pkg@1;id", "no version"),
            ("pkg@1\n", "control"),
            ("p\u{0}kg", "control"),
            ("pаckage", "outside ASCII"),
        ];
        for (text, expected) in table {
            let error = NpmSpec::parse(text).unwrap_err();
            assert!(matches!(error, PrepareError::Invalid { field: "package", .. }), "{text:?}");
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_highest_release_is_chosen() {
        let table: [(&[&str], Option<&str>); 5] = [
            (&["7.3.0", "7.8.6", "7.2.4"], Some("7.8.6")),
            (&["1.9.0", "1.10.0", "2.0.0-beta.1"], Some("1.10.0")),
            (&["1.0.0-a", "1.0.0-b"], Some("1.0.0-b")),
            (&["1.0.0+a", "1.0.0+b"], Some("1.0.0+b")),
            (&[], None),
        ];
        for (offered, expected) in table {
            let offered: Vec<String> = offered.iter().map(|&v| v.to_owned()).collect();
            assert_eq!(choose(&offered).map(String::as_str), expected, "{offered:?}");
        }
    }
}
