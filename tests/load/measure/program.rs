//! What programs that measure do at their begin and their end.
#![allow(clippy::print_stdout, reason = "the document is their result")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use super::markers::Markers;

/// The exit code of a program that measured, when an aim is not kept.
pub const BROKEN: u8 = 3;

/// Runs a program to its exit code: 0 when `run` says that all aims are kept, 3 when not, 1 when it could not measure, and
/// 2 for options that are none. `name` begins what is said of a failure.
pub fn run<O>(
    name: &str,
    usage: &str,
    options: Result<O, String>,
    run: impl FnOnce(&O) -> Result<bool, String>,
) -> ExitCode {
    let options = match options {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{name}: {error}\n{usage}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The number behind a flag, of at least `least`.
///
/// # Errors
/// The flag, and what it needs.
pub fn number(flag: &str, text: &str, least: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| *number >= least);
    number.ok_or(format!("{flag} needs a number of at least {least}, not {text:?}"))
}

/// Tells what was measured: tables to standard error and between the markers of `page`, the document to `json` or to
/// standard output.
///
/// # Errors
/// What is missing, or the system's words.
pub fn tell(
    (page, markers): (Option<&Path>, Markers),
    json: Option<&Path>,
    tables: &str,
    document: &Value,
) -> Result<(), String> {
    eprintln!("\n{tables}");
    if let Some(file) = page {
        markers.write(file, tables)?;
    }
    match json {
        Some(file) => fs::write(file, format!("{document}\n")).map_err(|error| format!("{}: {error}", file.display())),
        None => {
            println!("{document}");
            Ok(())
        }
    }
}
