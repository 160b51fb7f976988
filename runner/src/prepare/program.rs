//! From an installation to the words that start it.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::cache::{Installed, Start, VENV_PYTHON};
use super::error::PrepareError;
use super::{Prepared, Runtime, runtimes, search_path};

/// The program of an installation, with the deployment's arguments.
pub(super) fn of(installed: &Installed, args: &[String], path: &OsStr) -> Result<Prepared, PrepareError> {
    let Installed { directory, receipt, hold } = installed;
    let program = directory.join(&receipt.program);
    let python = || directory.join(VENV_PYTHON).into_os_string();
    let mut rest: Vec<OsString> = args.iter().map(OsString::from).collect();
    let (runtime, mut argv) = match &receipt.start {
        Start::Node { flags } => {
            let node = runtimes::require(&runtimes::NODE, path)?.into_os_string();
            let flags = flags.iter().map(OsString::from);
            (Runtime::Node, std::iter::once(node).chain(flags).chain([program.into()]).collect())
        }
        Start::Bun => {
            let bun = runtimes::require(&runtimes::BUN, path)?.into_os_string();
            (Runtime::Bun, vec![bun, program.into()])
        }
        Start::Python => (Runtime::Python, vec![python(), program.into()]),
        Start::PythonModule { module } => (Runtime::Python, vec![python(), "-m".into(), module.into()]),
        Start::PythonArgs => {
            if let Some(first) = named_by(args, &program)? {
                rest.splice(..1, [first.into_os_string()]);
            }
            (Runtime::Python, vec![python()])
        }
        Start::Direct => (Runtime::Command, vec![program.into()]),
    };
    argv.extend(rest);
    Ok(Prepared {
        version: receipt.version.clone(),
        argv,
        visible: vec![directory.clone()],
        runtime,
        path_env: search_path(&directory.join(&receipt.programs), path),
        hold: Some(hold.clone()),
    })
}

/// The file of the project in `folder` that the first of `args` names; `None` when they name a module.
fn named_by(args: &[String], folder: &Path) -> Result<Option<PathBuf>, PrepareError> {
    let nothing = |why| PrepareError::NoBinary { package: "the project".to_owned(), why, found: Vec::new() };
    let first = match args.first().map(String::as_str) {
        Some("-m") if args.len() > 1 => return Ok(None),
        Some(first) if !first.starts_with('-') => first,
        _ => return Err(nothing("it has no script; say what to run with its arguments: -m MODULE, or a file of it")),
    };
    let plain = Path::new(first).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let file = folder.join(first);
    match plain && file.is_file() {
        true => Ok(Some(file)),
        false => Err(nothing("it has no script, and the first argument names no file of it")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn arguments_name_a_module_or_a_file_of_the_project() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("server.py"), "").unwrap();
        let named = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            named_by(&args, root.path())
        };
        assert_eq!(named(&["-m", "server"]).unwrap(), None);
        assert_eq!(named(&["./server.py", "x"]).unwrap(), Some(root.path().join("./server.py")));
        for args in [&[][..], &["-m"], &["-c", "x"], &["gone.py"], &["../x.py"], &["/etc/passwd"]] {
            assert!(matches!(named(args), Err(PrepareError::NoBinary { .. })), "{args:?}");
        }
    }
}
