//! A tree of files that was fetched, whoever fetched it: what it is, how it is installed and built, what of it is run.
//!
//! **Contract.** The tree lies in [`TREE`] of a build's package directory before [`Order::raise`]. Nothing in it is trusted:
//! links that leave it are refused before a tool sees it, and again after tools but for those to programs; every path that its files name stays inside it. What tools
//! make of it is trusted no more: where this process itself reads or writes after them, it follows no link out. What it
//! brings (install scripts, the build command) runs as tools do: in the build's directory, without a secret, for a time.
//!
//! ```text
//! pkg/           for Python the environment, with its bin/ and lib/
//!   tree/        what was fetched
//! ```

mod links;
mod node;
mod program;
mod python;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use protocol::source::Runtime;

use self::node::Node;
use self::python::Python;
use super::build::{Build, Stdout, Surroundings, Tool};
use super::cache::{Receipt, real_folder};
use super::error::PrepareError;
use super::{off_thread, search_path};

/// Where the tree lies in a package directory.
pub(super) const TREE: &str = "tree";
/// What is shown of a build command.
const MAX_SHOWN: usize = 120;

/// What the deployer says about a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The project's folder, relative to the tree and inside it.
    subdirectory: PathBuf,
    build_command: Vec<String>,
    runtime: Option<Runtime>,
}

/// What a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node { bun: bool },
    Python,
}

/// Which of the files that say what a project is are there.
#[derive(Debug, Clone, Copy, Default)]
struct Signs {
    package_json: bool,
    pyproject: bool,
    requirements: bool,
}

impl Order {
    /// Of validated parts.
    pub(super) fn new(subdirectory: Option<&str>, build_command: &[String], runtime: Option<Runtime>) -> Self {
        let parts = Path::new(subdirectory.unwrap_or_default()).components();
        let subdirectory = parts.filter(|part| matches!(part, Component::Normal(_))).collect();
        Self { subdirectory, build_command: build_command.to_vec(), runtime }
    }

    /// All of it as words, for telling orders apart.
    pub(super) fn words(&self) -> Vec<String> {
        let runtime = format!("{:?}", self.runtime);
        let folder = self.subdirectory.to_string_lossy().into_owned();
        [runtime, folder].into_iter().chain(self.build_command.iter().cloned()).collect()
    }

    /// Checks the tree, installs what it needs, and builds it.
    pub(super) async fn raise(&self, build: &mut Build<'_>) -> Result<(), PrepareError> {
        let package = build.stage.package();
        let tree = package.join(TREE);
        let checked = tree.clone();
        off_thread(move || links::check(&checked)).await?;
        self.install_and_build(build, &package, &tree).await?;
        in_place(&package)?;
        off_thread(move || links::check_built(&tree)).await
    }

    async fn install_and_build(&self, build: &mut Build<'_>, package: &Path, tree: &Path) -> Result<(), PrepareError> {
        match self.kind(tree)? {
            Kind::Node { bun } => {
                let node = Node { tree, project: self.project(tree)?, bun };
                node.install(build).await?;
                in_place(package)?;
                let folder = node.root();
                let programs = [folder.join("node_modules/.bin"), node.project.join("node_modules/.bin")];
                self.build(build, tree, &folder, &programs).await
            }
            Kind::Python => {
                let python = Python { package, project: self.project(tree)? };
                python.install(build).await?;
                in_place(package)?;
                self.build(build, tree, &python.project, &[package.join("bin")]).await?;
                if self.build_command.is_empty() { Ok(()) } else { python.install_again(build).await }
            }
        }
    }

    /// What is to be run of what was raised in `root`. Blocks.
    pub(super) fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError> {
        let tree = root.join(TREE);
        in_place(root)?;
        // Only now is it known that nothing needs it any more.
        let history = tree.join(".git");
        match fs::remove_dir_all(&history) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(PrepareError::disk("remove", &history)(error));
            }
            _ => {}
        }
        match self.kind(&tree)? {
            Kind::Node { bun } => Node { tree: &tree, project: self.project(&tree)?, bun }.receipt(root, version),
            Kind::Python => Python { package: root, project: self.project(&tree)? }.receipt(version),
        }
    }

    /// The project's folder.
    fn project(&self, tree: &Path) -> Result<PathBuf, PrepareError> {
        let folder = tree.join(&self.subdirectory);
        if !folder.is_dir() {
            return Err(PrepareError::invalid("subdirectory", format!("{} is no folder of it", self.shown())));
        }
        inside(tree, &folder).ok_or_else(|| PrepareError::invalid("subdirectory", "leads out of it"))
    }

    fn kind(&self, tree: &Path) -> Result<Kind, PrepareError> {
        let folder = self.project(tree)?;
        let has = |name: &str| folder.join(name).is_file();
        let signs = Signs {
            package_json: has("package.json"),
            pyproject: has("pyproject.toml") || has("setup.py"),
            requirements: has("requirements.txt"),
        };
        recognise(signs, self.runtime).map_err(|why| PrepareError::Project { what: self.shown(), why: why.to_owned() })
    }

    fn shown(&self) -> String {
        match self.subdirectory.as_os_str().is_empty() {
            true => "the top folder".to_owned(),
            false => self.subdirectory.to_string_lossy().escape_debug().to_string(),
        }
    }

    /// Runs the build command in `folder`; `programs` come before the operator's.
    async fn build(
        &self,
        build: &mut Build<'_>,
        tree: &Path,
        folder: &Path,
        programs: &[PathBuf],
    ) -> Result<(), PrepareError> {
        let Some((program, args)) = self.build_command.split_first() else {
            return Ok(());
        };
        let around = within(build, folder, programs);
        let path = around.env.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let tool = Tool { name: "the build command", path: program::locate(tree, folder, program, &path)? };
        let command: String = self.build_command.join(" ").chars().take(MAX_SHOWN).collect();
        build.say(&format!("building: {command}"));
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let done = build.run_in(&around, &tool, "building", Stdout::Shown, &args).await?;
        if done.status.success() {
            return Ok(());
        }
        // Tools that build say what is wrong on either stream.
        let said = if done.stderr.iter().any(|line| !line.is_empty()) { done.stderr } else { done.stdout };
        Err(PrepareError::Build { command, status: done.status, words: super::words::of_any(&said) })
    }
}

fn recognise(signs: Signs, runtime: Option<Runtime>) -> Result<Kind, &'static str> {
    let python = signs.pyproject || signs.requirements;
    match (runtime, signs.package_json, python) {
        (Some(Runtime::Node) | None, true, false) | (Some(Runtime::Node), true, true) => Ok(Kind::Node { bun: false }),
        (Some(Runtime::Bun), true, _) => Ok(Kind::Node { bun: true }),
        (Some(Runtime::Python) | None, false, true) | (Some(Runtime::Python), true, true) => Ok(Kind::Python),
        (Some(Runtime::Node | Runtime::Bun), false, _) => {
            Err("has no package.json, and the runtime that is asked for needs one")
        }
        (Some(Runtime::Python), _, false) => {
            Err("has neither pyproject.toml nor requirements.txt, and the runtime that is asked for needs one")
        }
        (None, true, true) => Err("holds a project of Node.js and one of Python; say which with the runtime"),
        (None, false, false) => Err(
            "has neither package.json nor pyproject.toml nor requirements.txt; name the project's folder as subdirectory",
        ),
    }
}

/// The surroundings of a tool that works in `folder` and finds `programs` first.
fn within(build: &Build<'_>, folder: &Path, programs: &[PathBuf]) -> Surroundings {
    let mut around = build.usual();
    around.cwd = folder.to_owned();
    let path = programs.iter().rev().fold(OsString::from(build.path), |rest, first| search_path(first, &rest));
    around.env.insert("PATH".into(), path);
    around
}

/// Refuses a package directory whose tree, or which itself, is a link since a tool ran.
fn in_place(package: &Path) -> Result<(), PrepareError> {
    real_folder(package).and_then(|()| real_folder(&package.join(TREE)))
}

/// `path` with every link followed, if it is below `tree` then.
fn inside(tree: &Path, path: &Path) -> Option<PathBuf> {
    let (tree, path) = (fs::canonicalize(tree).ok()?, fs::canonicalize(path).ok()?);
    path.starts_with(tree).then_some(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_a_project_is() {
        let node = Signs { package_json: true, ..Signs::default() };
        let python = Signs { pyproject: true, ..Signs::default() };
        let list = Signs { requirements: true, ..Signs::default() };
        let both = Signs { package_json: true, ..python };
        let plain = Kind::Node { bun: false };
        let table = [
            (node, None, Ok(plain)),
            (node, Some(Runtime::Node), Ok(plain)),
            (node, Some(Runtime::Bun), Ok(Kind::Node { bun: true })),
            (node, Some(Runtime::Python), Err("neither pyproject")),
            (python, None, Ok(Kind::Python)),
            (list, None, Ok(Kind::Python)),
            (list, Some(Runtime::Python), Ok(Kind::Python)),
            (python, Some(Runtime::Bun), Err("no package.json")),
            (python, Some(Runtime::Node), Err("no package.json")),
            (both, None, Err("say which")),
            (both, Some(Runtime::Node), Ok(plain)),
            (both, Some(Runtime::Python), Ok(Kind::Python)),
            (Signs::default(), None, Err("subdirectory")),
        ];
        for (signs, runtime, expected) in table {
            match (recognise(signs, runtime), expected) {
                (Ok(kind), Ok(expected)) => assert_eq!(kind, expected, "{signs:?} {runtime:?}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{signs:?} {runtime:?}: {why}"),
                (got, expected) => panic!("{signs:?} {runtime:?}: {got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_folder_is_found_inside_the_tree_only() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join(TREE);
        fs::create_dir_all(tree.join("a/b")).unwrap();
        std::os::unix::fs::symlink("/", tree.join("out")).unwrap();
        let order = |folder: &str| Order::new(Some(folder), &[], None);
        assert!(order("./a//b/").project(&tree).unwrap().ends_with("tree/a/b"));
        assert!(order("").project(&tree).unwrap().ends_with("tree"));
        for (folder, words) in [("gone", "no folder"), ("out", "leads out"), ("out/etc", "leads out")] {
            let error = order(folder).project(&tree).unwrap_err();
            assert!(matches!(error, PrepareError::Invalid { field: "subdirectory", .. }), "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
