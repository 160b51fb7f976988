//! Projects of Node.js: installed by npm (or bun), workspaces at their root, run by their own `bin` or `main`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{TREE, inside, within};
use crate::prepare::brought::{MANIFEST_BYTES, read};
use crate::prepare::build::{Build, Stdout, Tool};
use crate::prepare::cache::{Receipt, Start};
use crate::prepare::error::PrepareError;
use crate::prepare::npx::bin;
use crate::prepare::{runtimes, words};

/// What pins the versions of dependencies for npm.
const NPM_LOCKS: [&str; 2] = ["package-lock.json", "npm-shrinkwrap.json"];
/// Signs of installers that are not npm, and who they are. A lock of yarn's first version is not among them: npm reads it.
const OTHERS: [(&str, &str); 3] =
    [("pnpm-lock.yaml", "pnpm"), ("pnpm-workspace.yaml", "pnpm"), (".yarnrc.yml", "yarn 2 or newer")];
/// What bun installs by.
const BUN_LOCKS: [&str; 2] = ["bun.lock", "bun.lockb"];

/// A project in a tree.
pub(super) struct Node<'a> {
    pub(super) tree: &'a Path,
    /// Its folder.
    pub(super) project: PathBuf,
    pub(super) bun: bool,
}

impl Node<'_> {
    /// Where dependencies are installed: the nearest folder above the project that has workspaces, or the project itself.
    pub(super) fn root(&self) -> PathBuf {
        let tree = inside(self.tree, self.tree).unwrap_or_else(|| self.tree.to_owned());
        let above = self.project.ancestors().skip(1).take_while(|folder| folder.starts_with(&tree));
        let has_workspaces = |folder: &&Path| {
            let manifest = manifest(folder).ok();
            manifest.is_some_and(|manifest| manifest.get("workspaces").is_some())
        };
        above.into_iter().find(has_workspaces).unwrap_or(&self.project).to_owned()
    }

    /// Installs all dependencies, those for building too: it is a checkout, nothing is built yet.
    pub(super) async fn install(&self, build: &mut Build<'_>) -> Result<(), PrepareError> {
        let root = self.root();

        let around = within(build, &root, &[root.join("node_modules/.bin")]);
        let (tool, args): (Tool, &[&str]) = if self.bun {
            let path = runtimes::require(&runtimes::BUN, build.path)?;
            let locked = BUN_LOCKS.iter().any(|name| root.join(name).is_file());
            (Tool { name: "bun", path }, if locked { &["install", "--frozen-lockfile"] } else { &["install"] })
        } else {
            runtimes::require(&runtimes::NODE, build.path)?;
            let path = runtimes::require(&runtimes::NPM, build.path)?;
            let locked = NPM_LOCKS.iter().any(|name| root.join(name).is_file());
            if let Some((file, whose)) = OTHERS.iter().find(|(name, _)| !locked && root.join(name).is_file()) {
                return Err(PrepareError::Project {
                    what: (*file).to_owned(),
                    why: format!("says that {whose} installs it, which runners do not use; add a package-lock.json"),
                });
            }
            (Tool { name: "npm", path }, if locked { CI } else { INSTALL })
        };
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let step = if self.bun { "installing with bun" } else { "installing with npm" };
        let done = build.run_in(&around, &tool, step, Stdout::Shown, &args).await?;
        if done.status.success() {
            return Ok(());
        }
        let words = if self.bun { words::of_any(&done.stderr) } else { words::of_npm(&done.stderr) };
        Err(PrepareError::Install { program: tool.name, spec: self.shown(), status: done.status, words })
    }

    /// Reads how it is started.
    pub(super) fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError> {
        let manifest = manifest(&self.project)?;
        let none = |why: &'static str, found: Vec<String>| PrepareError::NoBinary { package: self.shown(), why, found };
        let (unscoped, name) = names(&manifest);
        let file = bin::choose(&manifest, name, unscoped, bin::Main::Counts)?;
        let Some(program) = inside(self.tree, &self.project.join(&file)) else {
            let file = file.to_string_lossy().into_owned();
            return Err(none("its program is not there; if it has to be built, name a build command", vec![file]));
        };
        let head = read(&program, bin::HEAD_BYTES)?;
        let start = match (bin::start(&program, &head), self.bun) {
            (Start::Node { .. }, true) => Start::Bun,
            (Start::Direct, true) if program.extension().is_some_and(|ending| ending == "ts") => Start::Bun,
            (start, _) => start,
        };
        let relative = |path: &Path| {
            let tree = inside(self.tree, self.tree)?;
            Some(Path::new(TREE).join(path.strip_prefix(tree).ok()?))
        };
        let (Some(program), Some(folder)) = (relative(&program), relative(&self.root())) else {
            return Err(PrepareError::disk("find the program in", root)(std::io::ErrorKind::NotFound.into()));
        };
        Ok(Receipt::new(version.to_owned(), program, start).with_programs(folder.join("node_modules/.bin")))
    }

    fn shown(&self) -> String {
        let manifest = manifest(&self.project).ok();
        let name = manifest.as_ref().and_then(|manifest| manifest.get("name")?.as_str().map(str::to_owned));
        name.unwrap_or_else(|| "the project".to_owned()).escape_debug().take(128).collect()
    }
}

/// As the lock says, to the byte.
const CI: &[&str] = &["ci", "--location=project", "--include=dev", "--no-audit", "--no-fund", "--no-dry-run"];
const INSTALL: &[&str] =
    &["install", "--location=project", "--include=dev", "--no-audit", "--no-dry-run", "--no-fund", "--no-package-lock"];

/// The name without its scope, and the whole.
fn names(manifest: &Value) -> (&str, &str) {
    let name = manifest.get("name").and_then(Value::as_str).unwrap_or("the project");
    (name.rsplit('/').next().unwrap_or(name), name)
}

fn manifest(folder: &Path) -> Result<Value, PrepareError> {
    let file = folder.join("package.json");
    let bytes = read(&file, MANIFEST_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| PrepareError::Project {
        what: "package.json".to_owned(),
        why: format!("cannot be read: line {}, column {}", error.line(), error.column()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = root.path().join(TREE).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    fn receipt(files: &[(&str, &str)], project: &str, bun: bool) -> Result<Receipt, PrepareError> {
        let root = tree(files);
        let tree = root.path().join(TREE);
        let project = fs::canonicalize(tree.join(project)).unwrap();
        Node { tree: &tree, project, bun }.receipt(root.path(), "v")
    }

    #[test]
    fn workspaces_are_installed_at_the_nearest_root_that_has_them() {
        let root = tree(&[
            ("package.json", r#"{"workspaces": ["ts/*"]}"#),
            ("ts/package.json", r#"{"private": true}"#),
            ("ts/server/package.json", "{}"),
            ("alone/package.json", "not json"),
        ]);
        let tree = fs::canonicalize(root.path().join(TREE)).unwrap();
        let found = |project: &str| Node { tree: &tree, project: tree.join(project), bun: false }.root();
        assert_eq!(found("ts/server"), tree);
        assert_eq!(found(""), tree);
        let lone = super::tests::tree(&[("package.json", "{}"), ("a/package.json", "{}")]);
        let tree = fs::canonicalize(lone.path().join(TREE)).unwrap();
        let project = tree.join("a");
        assert_eq!(Node { tree: &tree, project: project.clone(), bun: false }.root(), project);
    }

    #[test]
    fn the_program_is_the_bin_or_else_the_main() {
        let ok = |files: &[(&str, &str)], project: &str, bun| {
            let receipt = receipt(files, project, bun).unwrap();
            (receipt.program.display().to_string(), receipt.start)
        };
        let node = Start::Node { flags: Vec::new() };
        let bin = r#"{"name": "@s/srv", "bin": {"other": "o.js", "srv": "./dist/srv.js"}}"#;
        let files = [("p/package.json", bin), ("p/dist/srv.js", "#!/usr/bin/env node\n"), ("p/o.js", "")];
        assert_eq!(ok(&files, "p", false), ("tree/p/dist/srv.js".to_owned(), node.clone()));
        assert_eq!(ok(&files, "p", true), ("tree/p/dist/srv.js".to_owned(), Start::Bun));
        let main = [("package.json", r#"{"main": "lib/main.mjs"}"#), ("lib/main.mjs", "")];
        assert_eq!(ok(&main, "", false), ("tree/lib/main.mjs".to_owned(), node.clone()));
        assert_eq!(ok(&[("package.json", "{}"), ("index.js", "")], "", false), ("tree/index.js".to_owned(), node));
        let ts = [("package.json", r#"{"main": "x.ts"}"#), ("x.ts", "")];
        assert_eq!(ok(&ts, "", true), ("tree/x.ts".to_owned(), Start::Bun));
    }

    #[test]
    fn what_names_no_program_says_so() {
        let table: [(&[(&str, &str)], &str); 5] = [
            (&[("package.json", r#"{"bin": "dist/a.js"}"#)], "build command (it has dist/a.js)"),
            (&[("package.json", r#"{"main": "../../../etc/passwd"}"#)], "outside"),
            (&[("package.json", r#"{"name": "x", "bin": {"a": "a.js", "b": "b.js"}}"#)], "it has a, b"),
            (&[("package.json", "{\"planted\": secret}")], "line 1, column"),
            (&[("package.json", "{}")], "build command"),
        ];
        for (files, words) in table {
            let error = receipt(files, "", false).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }
}
