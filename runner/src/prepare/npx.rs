//! npm packages, run the way `npx` would: by their own program, under node.
//!
//! Unlike `npx`, which asks the registry at every start, an exact version is
//! settled once and installed into a directory of its own.

pub(super) mod bin;
mod spec;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use protocol::source::Runtime;
use serde_json::Value;

use self::bin::Main;
use self::spec::NpmSpec;
use super::brought::{self, MANIFEST_BYTES};
use super::build::{Build, Finished, Stdout, Tool};
use super::cache::{Key, Kind, Receipt, Start};
use super::error::PrepareError;
use super::package::{Package, Unresolved};
use super::{runtimes, words};

/// A package of the npm registry.
#[derive(Debug, Clone)]
pub(super) struct NpmPackage {
    spec: NpmSpec,
    /// Run by bun; npm installs it all the same.
    bun: bool,
}

impl NpmPackage {
    pub(super) fn parse(text: &str, runtime: Option<Runtime>) -> Result<Self, PrepareError> {
        let spec = NpmSpec::parse(text)?;
        Ok(Self { spec, bun: runtime == Some(Runtime::Bun) })
    }
}

impl Package for NpmPackage {
    type Tools = Tool;

    fn key(&self) -> Key {
        // No package's name begins with a capital letter any more.
        let runtime = self.bun.then_some("Bun");
        let parts: Vec<&str> = std::iter::once(self.spec.name.as_str()).chain(runtime).collect();
        Key::new(Kind::Npx, &parts)
    }

    fn spec(&self) -> String {
        match &self.spec.wanted {
            Some(wanted) => format!("{}@{wanted}", self.spec.name),
            None => self.spec.name.clone(),
        }
    }

    fn exact(&self) -> Option<&str> {
        self.spec.exact()
    }

    fn tools(&self, build: &Build<'_>) -> Result<Tool, PrepareError> {
        runtimes::require(&runtimes::NODE, build.path)?;
        if self.bun {
            runtimes::require(&runtimes::BUN, build.path)?;
        }
        let path = runtimes::require(&runtimes::NPM, build.path)?;
        Ok(Tool { name: "npm", path })
    }

    async fn resolve(&self, npm: &Tool, build: &mut Build<'_>) -> Result<String, Unresolved> {
        let spec = self.spec();
        let args = ["view", "--json", "--", &spec, "version"].map(OsStr::new);
        let asked = build.run(npm, "asking npm for a version", Stdout::Answer, &args).await?;
        let said = words::of_npm(&asked.stderr);
        if asked.status.success()
            && let Some(version) = versions(&asked).as_deref().and_then(spec::choose)
        {
            return Ok(version.clone());
        }
        Err(Unresolved {
            unreachable: words::npm_unreachable(&said),
            error: PrepareError::Resolve { program: npm.name, spec, status: asked.status, words: said },
        })
    }

    async fn install(&self, npm: &Tool, version: &str, build: &mut Build<'_>) -> Result<(), PrepareError> {
        let root = build.stage.package();
        fs::create_dir(&root).map_err(PrepareError::disk("create", &root))?;
        let spec = format!("{}@{version}", self.spec.name);
        // Given as options, these beat whatever the operator's settings say.
        let options = [
            "install",
            "--location=project",
            "--install-strategy=hoisted",
            "--omit=dev",
            "--no-audit",
            "--no-dry-run",
            "--no-fund",
            "--no-package-lock",
            "--no-save",
            "--prefix",
        ];
        let mut args: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        args.extend([root.as_os_str(), OsStr::new("--"), OsStr::new(&spec)]);
        let installed = build.run(npm, "installing with npm", Stdout::Shown, &args).await?;
        if !installed.status.success() {
            return Err(PrepareError::Install {
                program: npm.name,
                spec,
                status: installed.status,
                words: words::of_npm(&installed.stderr),
            });
        }
        Ok(())
    }

    fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError> {
        let folder = Path::new("node_modules").join(&self.spec.name);
        let manifest = read_manifest(&root.join(&folder).join("package.json"))?;
        let program = folder.join(bin::choose(&manifest, &self.spec.name, self.spec.unscoped(), Main::IsALibrary)?);
        let file = root.join(&program);
        let head = brought::read(&file, bin::HEAD_BYTES)?;
        let start = match bin::start(&program, &head) {
            Start::Node { .. } if self.bun => Start::Bun,
            start => start,
        };
        Ok(Receipt::new(version.to_owned(), program, start).with_programs("node_modules/.bin"))
    }
}

/// npm answers one version as a string, several as a list.
fn versions(answer: &Finished) -> Option<Vec<String>> {
    match serde_json::from_str(&answer.stdout.join("\n")).ok()? {
        Value::String(version) => Some(vec![version]),
        Value::Array(list) => list.into_iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn read_manifest(file: &Path) -> Result<Value, PrepareError> {
    let bytes = brought::read(file, MANIFEST_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| PrepareError::disk("read", file)(error.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn h13_the_program_of_a_package_is_not_read_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("pkg/node_modules/tool");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("package.json"), r#"{"name": "tool", "bin": "cli.js"}"#).unwrap();
        let outside = root.path().join("outside");
        fs::write(&outside, "#!/usr/bin/env node\n").unwrap();
        let package = NpmPackage::parse("tool", None).unwrap();
        let receipt = || package.receipt(&root.path().join("pkg"), "1.0.0");
        fs::copy(&outside, folder.join("cli.js")).unwrap();
        receipt().unwrap();
        fs::remove_file(folder.join("cli.js")).unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("cli.js")).unwrap();
        assert!(matches!(receipt(), Err(PrepareError::Disk { .. })), "{:?}", receipt().map(drop));
    }
}
