//! Python packages, run the way `uvx` would: by their own script, in a virtual
//! environment of their own.
//!
//! The environment is relocatable: it works after it was moved from where it
//! was built, and it refers to the system's interpreter, which stays where it is.

pub(super) mod script;
mod spec;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use self::spec::{PySpec, normalise};
use super::build::{Build, Finished, Stdout, Tool};
use super::cache::{Key, Kind, Receipt, Start, VENV_PYTHON};
use super::error::PrepareError;
use super::package::{Package, Unresolved};
use super::{runtimes, words};

/// Digits that tell apart what a package is installed with.
const WITH_DIGITS: usize = 16;

/// A package of the Python index.
#[derive(Debug, Clone)]
pub(super) struct PyPackage {
    spec: PySpec,
    /// What is installed beside it.
    with: Vec<PySpec>,
}

impl PyPackage {
    pub(super) fn parse(text: &str, with: &[String]) -> Result<Self, PrepareError> {
        let beside = |text: &String| PySpec::parse_as("with", text);
        Ok(Self { spec: PySpec::parse(text)?, with: with.iter().map(beside).collect::<Result<_, _>>()? })
    }

    /// What is installed beside it, as it is given to uv.
    fn beside(&self) -> Vec<String> {
        let mut list: Vec<String> = self.with.iter().map(|spec| spec.requirement(spec.version.as_deref())).collect();
        list.sort();
        list.dedup();
        list
    }
}

impl Package for PyPackage {
    type Tools = Tool;

    fn key(&self) -> Key {
        let name = normalise(&self.spec.name);
        let beside = self.beside();
        // `~` is in no extra's name.
        let digest = (!beside.is_empty()).then(|| hex::encode(Sha256::digest(beside.join("\n"))));
        let with: Option<String> =
            digest.map(|digest| format!("~{}", digest.chars().take(WITH_DIGITS).collect::<String>()));
        let parts: Vec<&str> =
            std::iter::once(&name).chain(&self.spec.extras).chain(&with).map(String::as_str).collect();
        Key::new(Kind::Uvx, &parts)
    }

    fn spec(&self) -> String {
        self.spec.requirement(self.spec.version.as_deref())
    }

    fn exact(&self) -> Option<&str> {
        self.spec.version.as_deref()
    }

    fn tools(&self, build: &Build<'_>) -> Result<Tool, PrepareError> {
        runtimes::require(&runtimes::PYTHON, build.path)?;
        let path = runtimes::require(&runtimes::UV, build.path)?;
        Ok(Tool { name: "uv", path })
    }

    async fn resolve(&self, uv: &Tool, build: &mut Build<'_>) -> Result<String, Unresolved> {
        let spec = self.spec();
        let wanted = build.stage.work().join("wanted.in");
        fs::write(&wanted, format!("{spec}\n")).map_err(PrepareError::disk("write", &wanted))?;
        let options = ["pip", "compile", "--no-deps", "--no-header", "--no-annotate"];
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        args.push(wanted.as_os_str());
        let asked = build.run(uv, "asking uv for a version", Stdout::Answer, &args).await?;
        let said = words::of_uv(&asked.stderr);
        if asked.status.success()
            && let Some(version) = pinned(&asked)
        {
            return Ok(version);
        }
        Err(Unresolved {
            unreachable: words::uv_unreachable(&said),
            error: PrepareError::Resolve { program: uv.name, spec, status: asked.status, words: said },
        })
    }

    async fn install(&self, uv: &Tool, version: &str, build: &mut Build<'_>) -> Result<(), PrepareError> {
        let venv = build.stage.package();
        let python = venv.join(VENV_PYTHON);
        let spec = self.spec.requirement(Some(version));
        let create = [OsStr::new("venv"), OsStr::new("--relocatable"), venv.as_os_str()];
        let beside = self.beside();
        let mut install = vec![
            OsStr::new("pip"),
            OsStr::new("install"),
            // The directory is read-only later, so nothing compiles itself then.
            OsStr::new("--compile-bytecode"),
            OsStr::new("--python"),
            python.as_os_str(),
            OsStr::new("--"),
            OsStr::new(&spec),
        ];
        install.extend(beside.iter().map(OsStr::new));
        let steps = [("creating an environment with uv", &create[..]), ("installing with uv", &install[..])];
        for (step, args) in steps {
            let done = build.run(uv, step, Stdout::Shown, args).await?;
            if !done.status.success() {
                return Err(PrepareError::Install {
                    program: uv.name,
                    spec: spec.clone(),
                    status: done.status,
                    words: words::of_uv(&done.stderr),
                });
            }
        }
        Ok(())
    }

    fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError> {
        let Some(distribution) = script::read(root, &self.spec.name)? else {
            return Err(PrepareError::NoBinary {
                package: self.spec.requirement(Some(version)),
                why: "uv installed it without its metadata",
                found: Vec::new(),
            });
        };
        let module = if distribution.scripts.is_empty() { script::module(root, &self.spec.name)? } else { None };
        if distribution.version != version {
            // `1.0` and `1.0.0` are one version. The spelling that was asked for
            // is the one kept: the next start asks for it again.
            let own = &distribution.version;
            tracing::info!(package = self.spec.name, version, own, "two spellings of a version");
        }
        if let Some((module, file)) = module {
            return Ok(Receipt::new(version.to_owned(), file, Start::PythonModule { module }).with_programs("bin"));
        }
        let (name, start) = script::choose(&distribution, &self.spec.name)?;
        Ok(Receipt::new(version.to_owned(), Path::new("bin").join(name), start).with_programs("bin"))
    }
}

/// The version in `name[extra]==version`, which may be followed by a marker.
fn pinned(answer: &Finished) -> Option<String> {
    let line = answer.stdout.iter().find(|line| !line.starts_with('#') && line.contains("=="))?;
    let version = line.split_once("==")?.1;
    let end = version.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(version.len());
    version.get(..end).map(str::to_owned)
}
