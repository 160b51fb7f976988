//! `fuzz-seeds TARGET FOLDER` writes what a target begins with, a file each.
#![allow(clippy::expect_used, reason = "a program of the tests")]

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let target = words.first().and_then(|name| fuzz::TARGETS.iter().find(|target| target.name == name));
    let (Some(target), Some(folder)) = (target, words.get(1).map(PathBuf::from)) else {
        eprintln!("usage: fuzz-seeds TARGET FOLDER");
        return ExitCode::from(2);
    };
    for (at, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{at}")), seed).expect("the folder can be written to");
    }
    ExitCode::SUCCESS
}
