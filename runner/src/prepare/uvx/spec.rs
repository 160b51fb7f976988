//! What a Python package may be called: `pkg`, `pkg[extra]`, and either with
//! `==version` or `@version`. Addresses, paths, options and markers, all of
//! which uv would accept, are refused.

use crate::prepare::error::PrepareError;

/// No name on a package index comes near it.
const MAX_BYTES: usize = 214;

/// A validated requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PySpec {
    /// As the deployer wrote it.
    pub(super) name: String,
    /// Normalised, sorted, each once.
    pub(super) extras: Vec<String>,
    /// The exact version, if one is asked for.
    pub(super) version: Option<String>,
}

impl PySpec {
    pub(super) fn parse(text: &str) -> Result<Self, PrepareError> {
        Self::parse_as("package", text)
    }

    /// As [`Self::parse`], of another field.
    pub(super) fn parse_as(field: &'static str, text: &str) -> Result<Self, PrepareError> {
        Self::split(text).map_err(|why| {
            let shown: String = text.chars().take(80).collect();
            PrepareError::invalid(field, format!("{shown:?} {why}"))
        })
    }

    fn split(text: &str) -> Result<Self, &'static str> {
        check_text(text)?;
        let (package, version) = match (text.split_once("=="), text.split_once('@')) {
            (Some((package, version)), _) => (package, Some(version)),
            (None, Some((package, "latest"))) => (package, None),
            (None, Some((package, version))) => (package, Some(version)),
            (None, None) => (text, None),
        };
        let (name, extras) = match package.split_once('[') {
            Some((name, rest)) => {
                let list = rest.strip_suffix(']').ok_or("has a '[' without its ']'")?;
                (name, list.split(',').collect())
            }
            None => (package, Vec::new()),
        };
        if name.contains(['<', '>', '!', '~', '=', ';']) {
            return Err("asks for a range; name an exact version with '=='");
        }
        if !is_identifier(name) {
            return Err("is not a package name (letters, digits, and '-', '_', '.' between them)");
        }
        if !extras.iter().all(|extra| is_identifier(extra)) {
            return Err("has an extra that is not a name");
        }
        if !version.is_none_or(is_version) {
            return Err("has a version that is not exact (digits, letters, '.', '+', '!')");
        }
        let mut extras: Vec<String> = extras.into_iter().map(normalise).collect();
        extras.sort();
        extras.dedup();
        Ok(Self { name: name.to_owned(), extras, version: version.map(str::to_owned) })
    }

    /// The requirement uv is given.
    pub(super) fn requirement(&self, version: Option<&str>) -> String {
        let extras = match self.extras.as_slice() {
            [] => String::new(),
            list => format!("[{}]", list.join(",")),
        };
        let version = version.map(|version| format!("=={version}")).unwrap_or_default();
        format!("{}{extras}{version}", self.name)
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
    if text.starts_with('-') {
        return Err("begins with '-' and would be read as an option");
    }
    if text.contains("..") {
        return Err("contains '..'");
    }
    if text.contains(':') {
        return Err("is an address; only packages of the index are installed");
    }
    if text.contains(['/', '\\']) || text.starts_with(['.', '~']) {
        return Err("is a path; only packages of the index are installed");
    }
    // uv takes a bare argument with such an ending for a local archive.
    let lower = text.to_ascii_lowercase();
    if [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"]
        .iter()
        .any(|ending| lower.ends_with(ending))
    {
        return Err("names an archive file; only packages of the index are installed");
    }
    Ok(())
}

fn is_identifier(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    edge(text.chars().next()) && edge(text.chars().next_back()) && text.chars().all(inner)
}

fn is_version(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '!' | '-' | '_');
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    (digit(text) || text.strip_prefix('v').is_some_and(digit)) && text.chars().all(allowed)
}

/// The one spelling of a name that an index knows: lower case, runs of `-`,
/// `_` and `.` as one `-` (PEP 503).
pub(super) fn normalise(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn requirements_of_an_index_pass() {
        let table = [
            ("mcp-server-time", "mcp-server-time", None),
            ("Some_Pkg.x", "Some_Pkg.x", None),
            ("pkg==1.2.3", "pkg==1.2.3", Some("1.2.3")),
            ("pkg@1.2.3", "pkg==1.2.3", Some("1.2.3")),
            ("pkg@latest", "pkg", None),
            ("pkg[b,a,B]", "pkg[a,b]", None),
            ("pkg[cli]==1!2.0rc1+local.1", "pkg[cli]==1!2.0rc1+local.1", Some("1!2.0rc1+local.1")),
        ];
        for (text, requirement, version) in table {
            let spec = PySpec::parse(text).unwrap();
            assert_eq!(spec.requirement(spec.version.as_deref()), requirement, "{text}");
            assert_eq!(spec.version.as_deref(), version, "{text}");
        }
    }

    #[test]
    fn h13_everything_else_is_refused_in_words() {
        let long = "a".repeat(MAX_BYTES + 1);
        let table = [
            ("", "is empty"),
            (long.as_str(), "longer than"),
            ("--index-url", "option"),
            ("-r", "option"),
            ("../x", "'..'"),
            ("./x", "a path"),
            ("/tmp/x", "a path"),
            ("~x", "a path"),
            ("a/b", "a path"),
            ("https://evil/x.whl", "address"),
            ("git+https://evil/x", "address"),
            ("pkg @ file:///x", "address"),
            ("x.whl", "archive"),
            ("x.tar.gz", "archive"),
            ("pkg>=1", "range"),
            ("pkg~=1.2", "range"),
            ("pkg===1", "not exact"),
            ("pkg==1.*", "not exact"),
            ("pkg==", "not exact"),
            ("pkg@", "not exact"),
            ("pkg@main", "not exact"),
            ("pkg==1;python_version>'3'", "not exact"),
            ("pkg; os_name=='x'", "range"),
            ("pkg[", "without its"),
            ("pkg[]", "extra"),
            ("pkg[a,-b]", "extra"),
            ("pkg[a]b", "without its"),
            ("pkg name", "not a package name"),
            ("pkg-", "not a package name"),
            ("$(id)", "not a package name"),
            ("pkg\n--index-url x", "control"),
            ("p\u{e4}ckage", "not a package name"),
        ];
        for (text, expected) in table {
            let error = PySpec::parse(text).unwrap_err();
            assert!(matches!(error, PrepareError::Invalid { field: "package", .. }), "{text:?}");
            assert!(error.to_string().contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn names_have_one_spelling() {
        for name in ["Mcp_Server.Time", "mcp-server-time", "MCP--SERVER_-time"] {
            assert_eq!(normalise(name), "mcp-server-time");
        }
    }
}
