//! Projects of Python: installed by uv into an environment that can be moved, run by a script of their own, or by what the
//! deployment's arguments name (`-m module`, or a file of the project).

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{TREE, in_place, inside};
use crate::prepare::brought::{MANIFEST_BYTES, read};
use crate::prepare::build::{Build, Stdout, Tool};
use crate::prepare::cache::{Receipt, Start, VENV_PYTHON, unlink};
use crate::prepare::error::PrepareError;
use crate::prepare::uvx::script;
use crate::prepare::{runtimes, words};

/// A project in a tree.
pub(super) struct Python<'a> {
    /// The environment, with the tree in it.
    pub(super) package: &'a Path,
    /// Its folder.
    pub(super) project: PathBuf,
}

/// Of `pyproject.toml` what matters here.
#[derive(Debug, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    project: Table,
    #[serde(default)]
    tool: Tools,
}

#[derive(Debug, Default, Deserialize)]
struct Tools {
    #[serde(default)]
    poetry: Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Table {
    name: Option<String>,
    requires_python: Option<String>,
}

impl Manifest {
    fn name(&self) -> Option<&str> {
        self.project.name.as_deref().or(self.tool.poetry.name.as_deref())
    }

    /// Which Python it wants, where that can only be read as versions.
    fn python(&self) -> Option<&str> {
        let wanted = self.project.requires_python.as_deref()?;
        let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | '<' | '>' | '=' | '!' | '~' | ',' | '*' | ' ');
        (!wanted.is_empty() && wanted.chars().all(plain)).then_some(wanted)
    }
}

impl Python<'_> {
    /// Makes the environment and installs the project, or what it lists, into it.
    pub(super) async fn install(&self, build: &mut Build<'_>) -> Result<(), PrepareError> {
        runtimes::require(&runtimes::PYTHON, build.path)?;
        let uv = Tool { name: "uv", path: runtimes::require(&runtimes::UV, build.path)? };
        let manifest = self.manifest()?;
        let python = manifest.python().map(|wanted| format!("--python={wanted}"));
        let mut create = vec!["venv", "--no-project", "--relocatable", "--allow-existing"];
        create.extend(python.as_deref());
        let mut create: Vec<&OsStr> = create.into_iter().map(OsStr::new).collect();
        create.push(self.package.as_os_str());
        // Not in the project: a file there may ask for the one Python that its author had.
        self.uv(&uv, build, &build.stage.work(), "creating an environment with uv", &create).await?;
        if !self.has("pyproject.toml") && !self.has("setup.py") {
            self.install_these(&uv, build, &["-r", "requirements.txt"]).await?;
            return self.make_importable();
        }
        match self.constraints(&uv, build).await? {
            Some(file) => self.install_these(&uv, build, &["--constraint", &file, "."]).await,
            None => self.install_these(&uv, build, &["."]).await,
        }
    }

    /// Installs what the build command has made of it.
    pub(super) async fn install_again(&self, build: &mut Build<'_>) -> Result<(), PrepareError> {
        if !self.has("pyproject.toml") && !self.has("setup.py") {
            return Ok(());
        }
        let uv = Tool { name: "uv", path: runtimes::require(&runtimes::UV, build.path)? };
        self.install_these(&uv, build, &["--no-deps", "--reinstall", "."]).await
    }

    /// The versions that the project's lock names, as a file; `None` without a lock.
    async fn constraints(&self, uv: &Tool, build: &mut Build<'_>) -> Result<Option<String>, PrepareError> {
        if !self.has("uv.lock") {
            return Ok(None);
        }
        let file = build.stage.work().join("locked.txt");
        let python = self.package.join(VENV_PYTHON);
        let options = ["export", "--quiet", "--frozen", "--no-dev", "--no-emit-local", "--no-hashes", "--python"];
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        args.extend([python.as_os_str(), OsStr::new("--output-file"), file.as_os_str()]);
        self.uv(uv, build, &self.project, "reading uv.lock", &args).await?;
        Ok(file.to_str().map(str::to_owned))
    }

    async fn install_these(&self, uv: &Tool, build: &mut Build<'_>, what: &[&str]) -> Result<(), PrepareError> {
        let python = self.package.join(VENV_PYTHON);
        let mut args: Vec<&OsStr> = ["pip", "install", "--compile-bytecode", "--python"].map(OsStr::new).to_vec();
        args.push(python.as_os_str());
        args.extend(what.iter().map(OsStr::new));
        self.uv(uv, build, &self.project, "installing with uv", &args).await
    }

    async fn uv(
        &self,
        uv: &Tool,
        build: &mut Build<'_>,
        folder: &Path,
        step: &'static str,
        args: &[&OsStr],
    ) -> Result<(), PrepareError> {
        // uv goes there by itself: a `uv` that picks its version by where it is called would not find the author's.
        let mut all = vec![OsStr::new("--directory"), folder.as_os_str()];
        all.extend(args);
        let done = build.run(uv, step, Stdout::Shown, &all).await?;
        if done.status.success() {
            return Ok(());
        }
        Err(PrepareError::Install {
            program: uv.name,
            spec: self.shown(),
            status: done.status,
            words: words::of_uv(&done.stderr),
        })
    }

    /// Puts the project's folder on the path of its environment, by a way that stays true when both move together. What
    /// was installed ran its own code there, so no link of its is followed.
    fn make_importable(&self) -> Result<(), PrepareError> {
        in_place(self.package)?;
        let tree = self.package.join(TREE);
        let folder = inside(&tree, &tree).and_then(|tree| Some(self.project.strip_prefix(tree).ok()?.to_owned()));
        for packages in site_packages(self.package)? {
            let line = Path::new("../../..").join(TREE).join(folder.clone().unwrap_or_default());
            let file = packages.join("tree.pth");
            let open = unlink(&file).and_then(|()| OpenOptions::new().create_new(true).write(true).open(&file));
            let written = open.and_then(|mut open| writeln!(open, "{}", line.display()));
            written.map_err(PrepareError::disk("write", &file))?;
        }
        Ok(())
    }

    /// Reads how it is started.
    pub(super) fn receipt(&self, version: &str) -> Result<Receipt, PrepareError> {
        let manifest = self.manifest()?;
        let distribution = match manifest.name() {
            Some(name) => script::read(self.package, name)?,
            None => None,
        };
        if let (Some(name), Some(distribution)) = (manifest.name(), &distribution)
            && !distribution.scripts.is_empty()
        {
            let (script, start) = script::choose(distribution, name)?;
            return Ok(Receipt::new(version.to_owned(), Path::new("bin").join(script), start));
        }
        let tree = self.package.join(TREE);
        let folder = inside(&tree, &tree).and_then(|tree| Some(self.project.strip_prefix(tree).ok()?.to_owned()));
        let program = Path::new(TREE).join(folder.unwrap_or_default());
        Ok(Receipt::new(version.to_owned(), program, Start::PythonArgs))
    }

    fn manifest(&self) -> Result<Manifest, PrepareError> {
        let file = self.project.join("pyproject.toml");
        if !self.has("pyproject.toml") {
            return Ok(Manifest::default());
        }
        let bytes = read(&file, MANIFEST_BYTES)?;
        let wrong = |why: &str| PrepareError::Project { what: "pyproject.toml".to_owned(), why: why.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text"))?;
        toml::from_str(text).map_err(|error| wrong(&format!("cannot be read: {}", error.message())))
    }

    fn has(&self, name: &str) -> bool {
        self.project.join(name).is_file()
    }

    fn shown(&self) -> String {
        let manifest = self.manifest().unwrap_or_default();
        manifest.name().unwrap_or("the project").escape_debug().take(128).collect()
    }
}

/// Where the environment's packages lie, with every link followed; refused if one of them is not in the environment.
fn site_packages(venv: &Path) -> Result<Vec<PathBuf>, PrepareError> {
    let lib = venv.join("lib");
    let out = || PrepareError::Project { what: "lib".to_owned(), why: "leads out of the environment".to_owned() };
    let entries = fs::read_dir(inside(venv, &lib).ok_or_else(out)?).map_err(PrepareError::disk("read", &lib))?;
    let packages = entries.flatten().map(|entry| entry.path().join("site-packages"));
    packages.filter(|packages| packages.is_dir()).map(|packages| inside(venv, &packages).ok_or_else(out)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn manifest(text: &str) -> Manifest {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_manifest_names_its_project_and_its_python() {
        let table = [
            ("[project]\nname = 'a'\nrequires-python = '>=3.10,<4'\n", Some("a"), Some(">=3.10,<4")),
            ("[tool.poetry]\nname = 'b'\n[tool.other]\nx = 1\n", Some("b"), None),
            ("[build-system]\nrequires = []\n", None, None),
            ("[project]\nname = 'a'\nrequires-python = '/tmp/evil'\n", Some("a"), None),
            ("[project]\nname = 'a'\nrequires-python = '--x'\n", Some("a"), None),
        ];
        for (text, name, python) in table {
            let manifest = manifest(text);
            assert_eq!((manifest.name(), manifest.python()), (name, python), "{text}");
        }
    }
}
