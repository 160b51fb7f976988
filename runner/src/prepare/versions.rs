//! Which version of a runtime a program runs under, as far as files beside the runtime say so.

use std::fs;
use std::path::Path;

use super::{Runtime, brought};

/// What is read of such a file.
const MOST: u64 = 64 * 1024;
/// Digits of a version's part.
const MAX_DIGITS: usize = 5;

/// The word for what runs a program whose first word is `started`, with the version where that is known.
pub(super) fn shown(runtime: Runtime, started: Option<&Path>) -> String {
    let version = match runtime {
        Runtime::Node => started.and_then(node),
        Runtime::Python => started.and_then(python),
        Runtime::Bun => None,
        Runtime::Command => return "program".to_owned(),
    };
    version.map_or_else(|| runtime.to_string(), |version| format!("{runtime} {version}"))
}

/// Of an environment's own `pyvenv.cfg`.
fn python(started: &Path) -> Option<String> {
    let text = read(&started.parent()?.parent()?.join("pyvenv.cfg"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
        line.map(str::trim).and_then(two_parts)
    };
    value("version_info").or_else(|| value("version"))
}

/// Of the headers that Node.js brings along.
fn node(started: &Path) -> Option<String> {
    let program = fs::canonicalize(started).ok()?;
    let text = read(&program.parent()?.parent()?.join("include/node/node_version.h"))?;
    let number = |name: &str| {
        let line =
            text.lines().find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name)?.split_whitespace().next());
        line.and_then(digits)
    };
    Some(format!("{}.{}", number("NODE_MAJOR_VERSION ")?, number("NODE_MINOR_VERSION ")?))
}

fn read(file: &Path) -> Option<String> {
    String::from_utf8(brought::read(file, MOST).ok()?).ok()
}

/// `3.12` of `3.12.3` and `3.12.3.final.0`.
fn two_parts(version: &str) -> Option<String> {
    let mut parts = version.split('.');
    Some(format!("{}.{}", digits(parts.next()?)?, digits(parts.next()?)?))
}

fn digits(text: &str) -> Option<&str> {
    let is_number = !text.is_empty() && text.len() <= MAX_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_version_is_read_from_beside_the_runtime_and_is_a_number_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(root.path().join("include/node")).unwrap();
        fs::write(bin.join("node"), "").unwrap();
        let (node, python) = (bin.join("node"), bin.join("python"));
        let of = |runtime, started: &Path| shown(runtime, Some(started));
        assert_eq!((of(Runtime::Node, &node), of(Runtime::Python, &python)), ("node".into(), "python".into()));
        let header = "#define NODE_MAJOR_VERSION 22\n#define NODE_MINOR_VERSION 11\n";
        fs::write(root.path().join("include/node/node_version.h"), header).unwrap();
        assert_eq!(of(Runtime::Node, &node), "node 22.11");
        for (config, expected) in [
            ("home = /usr/bin\nversion_info = 3.12.3\n", "python 3.12"),
            ("version = 3.11.2.final.0", "python 3.11"),
            ("version_info = 3.\u{1b}[2J.1", "python"),
            ("version_info = 123456.1.0", "python"),
        ] {
            fs::write(root.path().join("pyvenv.cfg"), config).unwrap();
            assert_eq!(of(Runtime::Python, &python), expected, "{config}");
        }
        assert_eq!((of(Runtime::Bun, &node), of(Runtime::Command, &node)), ("bun".into(), "program".into()));
    }
}
