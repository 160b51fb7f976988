//! Which of a package's programs is the one to run, and with what.
//!
//! The rule is npx's: the only program, or else the one called like the package.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::prepare::cache::Start;
use crate::prepare::error::PrepareError;

/// Enough of a program to see its first line.
pub(in crate::prepare) const HEAD_BYTES: u64 = 256;

/// Whether a package without `bin` is run by its `main`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::prepare) enum Main {
    /// It is: a project that is deployed is meant to be run.
    Counts,
    /// It is not, as npx has it: a package without `bin` is a library.
    IsALibrary,
}

/// The program named by a package's own `package.json`, relative to the package.
pub(in crate::prepare) fn choose(
    manifest: &Value,
    package: &str,
    unscoped: &str,
    main: Main,
) -> Result<PathBuf, PrepareError> {
    let none = |why, found: Vec<String>| PrepareError::NoBinary { package: package.to_owned(), why, found };
    let chosen = match manifest.get("bin") {
        Some(Value::String(file)) => file.as_str(),
        Some(Value::Object(bins)) => {
            let named = |name: &str| bins.get(name).and_then(Value::as_str);
            let mut files: Vec<&str> = bins.values().filter_map(Value::as_str).collect();
            files.dedup();
            match (files.as_slice(), named(unscoped)) {
                ([only], _) => only,
                (_, Some(file)) => file,
                ([], None) => return Err(none("its package.json has an empty `bin`", Vec::new())),
                (_, None) => {
                    return Err(none(
                        "several programs, and none is called like the package",
                        bins.keys().cloned().collect(),
                    ));
                }
            }
        }
        _ if main == Main::Counts => manifest.get("main").and_then(Value::as_str).unwrap_or("index.js"),
        _ => {
            return Err(none("its package.json has no `bin`; it is a library", Vec::new()));
        }
    };
    inside(chosen).ok_or_else(|| none("its program lies outside the package", vec![chosen.to_owned()]))
}

/// `file` without `.` parts, if it cannot leave the directory it is joined to.
fn inside(file: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(file).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (path.file_name().is_some()).then_some(path)
}

/// How to run `file`, whose content begins with `head`: under node when it
/// says so itself or is a script by name, otherwise directly.
pub(in crate::prepare) fn start(file: &Path, head: &[u8]) -> Start {
    if let Some(flags) = node_shebang(head) {
        return Start::Node { flags };
    }
    let script = file
        .extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| matches!(ending, "js" | "mjs" | "cjs"));
    match script {
        true => Start::Node { flags: Vec::new() },
        false => Start::Direct,
    }
}

/// The flags of a `#!` line that asks for node: `#!/usr/bin/env -S node --flag`.
fn node_shebang(head: &[u8]) -> Option<Vec<String>> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let is = |word: &str, name: &str| Path::new(word).file_name().is_some_and(|file| file == name);
    let mut program = words.next()?;
    if is(program, "env") {
        program = words.find(|&word| word != "-S")?;
    }
    is(program, "node").then(|| words.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn bin_table() {
        let table = [
            (json!({"bin": "./cli.js"}), Ok("cli.js")),
            (json!({"bin": {"other": "dist/a.js"}}), Ok("dist/a.js")),
            (json!({"bin": {"x": "x.js", "pkg": "p.js"}}), Ok("p.js")),
            (json!({"bin": {"a": "same.js", "b": "same.js"}}), Ok("same.js")),
            (json!({"bin": {"a": "a.js", "b": "b.js"}}), Err("it has a, b")),
            (json!({"bin": {}}), Err("empty")),
            (json!({}), Err("library")),
            (json!({"main": "index.js"}), Err("library")),
            (json!({"bin": 7}), Err("library")),
            (json!({"bin": "../../evil"}), Err("outside")),
            (json!({"bin": "/bin/sh"}), Err("outside")),
            (json!({"bin": {"pkg": "a/../../b"}}), Err("outside")),
            (json!({"bin": "."}), Err("outside")),
        ];
        for (manifest, expected) in table {
            match (choose(&manifest, "@scope/pkg", "pkg", Main::IsALibrary), expected) {
                (Ok(file), Ok(expected)) => assert_eq!(file, Path::new(expected), "{manifest}"),
                (Err(error), Err(expected)) => {
                    assert!(matches!(error, PrepareError::NoBinary { .. }), "{manifest}");
                    assert!(error.to_string().contains(expected), "{manifest}: {error}");
                }
                (got, _) => panic!("{manifest}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_project_is_run_by_its_main() {
        let table = [
            (json!({"main": "./lib/a.js"}), Ok("lib/a.js")),
            (json!({"main": "a.js", "bin": "b.js"}), Ok("b.js")),
            (json!({}), Ok("index.js")),
            (json!({"main": "../a.js"}), Err("outside")),
        ];
        for (manifest, expected) in table {
            match (choose(&manifest, "p", "p", Main::Counts), expected) {
                (Ok(file), Ok(expected)) => assert_eq!(file, Path::new(expected), "{manifest}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{manifest}: {error}"),
                (got, _) => panic!("{manifest}: {got:?}"),
            }
        }
    }

    #[test]
    fn start_table() {
        let node = |flags: &[&str]| Start::Node { flags: flags.iter().map(|&flag| flag.to_owned()).collect() };
        let table: [(&str, &[u8], Start); 9] = [
            ("cli", b"#!/usr/bin/env node\nx", node(&[])),
            ("cli", b"#!/usr/local/bin/node --no-warnings\r\n", node(&["--no-warnings"])),
            ("cli", b"#!/usr/bin/env -S node --experimental-vm-modules\n", node(&["--experimental-vm-modules"])),
            ("cli.js", b"'use strict'", node(&[])),
            ("cli.mjs", b"", node(&[])),
            ("cli.cjs", b"#!/bin/sh", node(&[])),
            ("cli", b"\x7fELF", Start::Direct),
            ("cli", b"#!/bin/sh\n# node", Start::Direct),
            ("cli", b"#!/usr/bin/env python3\n", Start::Direct),
        ];
        for (file, head, expected) in table {
            assert_eq!(start(Path::new(file), head), expected, "{file} {head:?}");
        }
    }
}
