//! A command of the operator's own: nothing is installed, only found.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::PrepareError;
use super::{Prepared, Runtime, runtimes};

/// What stands where a package has its version: the program is whatever the
/// operator has installed.
pub(super) const VERSION: &str = "unversioned";

pub(super) fn prepare(argv: &[String], args: &[String], path: &OsStr) -> Result<Prepared, PrepareError> {
    let Some((program, own)) = argv.split_first() else {
        return Err(PrepareError::invalid("argv", "is empty; it needs at least the program"));
    };
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(PrepareError::invalid("argv", "contains a zero byte"));
    }
    let program = locate(program, path)?;
    let rest = own.iter().chain(args).map(OsString::from);
    Ok(Prepared {
        version: VERSION.to_owned(),
        argv: std::iter::once(program.into_os_string()).chain(rest).collect(),
        visible: Vec::new(),
        runtime: Runtime::Command,
        path_env: path.to_owned(),
        hold: None,
    })
}

fn locate(program: &str, path: &OsStr) -> Result<PathBuf, PrepareError> {
    if program.is_empty() || program.starts_with('-') || program.chars().any(char::is_control) {
        return Err(PrepareError::invalid("argv", format!("{program:?} is not a program's name")));
    }
    let file = Path::new(program);
    if file.is_absolute() {
        return match runtimes::is_executable(file) {
            true => Ok(file.to_owned()),
            false => Err(PrepareError::invalid("argv", format!("{program} is not an executable file on this runner"))),
        };
    }
    if program.contains('/') {
        return Err(PrepareError::invalid(
            "argv",
            format!("{program} is a relative path; give an absolute one, or a name found on PATH"),
        ));
    }
    runtimes::find(OsStr::new(program), path).ok_or_else(|| PrepareError::RuntimeMissing {
        what: program.to_owned(),
        hint: "install it, or name it by its absolute path".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn a_name_is_found_and_arguments_follow_verbatim() {
        let argv = strings(&["sh", "-c", "$HOME; `x`"]);
        let ready = prepare(&argv, &strings(&["--", "* "]), OsStr::new("/bin:/usr/bin")).unwrap();
        assert_eq!(ready.argv, ["/bin/sh", "-c", "$HOME; `x`", "--", "* "]);
        assert_eq!((ready.runtime, ready.version.as_str()), (Runtime::Command, VERSION));
    }

    #[test]
    fn what_cannot_be_run_is_refused_in_words() {
        let table: [(&[&str], &str); 8] = [
            (&[], "is empty"),
            (&[""], "not a program's name"),
            (&["-c"], "not a program's name"),
            (&["a\nb"], "not a program's name"),
            (&["./run"], "relative path"),
            (&["../run"], "relative path"),
            (&["/etc/passwd"], "not an executable"),
            (&["sh", "a\0b"], "zero byte"),
        ];
        for (argv, expected) in table {
            let error = prepare(&strings(argv), &[], OsStr::new("/bin")).unwrap_err();
            assert!(matches!(error, PrepareError::Invalid { field: "argv", .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{argv:?}: {error}");
        }
        let missing = prepare(&strings(&["no-such-program"]), &[], OsStr::new("/bin")).unwrap_err();
        assert!(matches!(missing, PrepareError::RuntimeMissing { .. }), "{missing:?}");
    }
}
