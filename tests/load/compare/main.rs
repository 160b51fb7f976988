//! The same tool of the same server, called over every path in one run: straight over stdio, through a chain without
//! logic, through a runner, and through broker and runner.
//!
//! `load-compare [--quick] [--calls N] [--seconds S] [--repetitions N] [--json FILE]`. A cell is a path, a size of text
//! and a number of calls in flight. The repetitions are interleaved: each goes through all cells before the next one
//! begins, so that what the machine does besides falls on all paths alike. A table goes to standard error, one JSON
//! document to standard output or the file. Every answer is checked, and a wrong one ends the run.
//!
//! | module | what it does |
//! |---|---|
//! | `options` | the command line |
//! | `drive` | keeps so many calls in flight on one connection, and takes their times |
//! | `speech` | how a path words a call and its answer |
//! | `path` | the processes of each path |
//! | `procfs` | processor time and memory of a process |
//! | `stats` | quantiles, medians |
//! | `plan`, `report` | the cells, and what came of them |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

mod drive;
mod options;
mod path;
mod plan;
mod procfs;
mod report;
mod speech;
mod stats;

use std::process::ExitCode;

use options::Options;
use path::Path;
use report::Measured;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("load-compare: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // The harness starts the mesh with a runtime of its own.
    let mut paths = Path::start_all(&runtime)?;
    let mut measured = Measured::default();
    for path in &paths {
        measured.memory_idle.insert(path.name(), path.memory());
    }
    let cells = plan::cells(options);
    for repetition in 1..=options.repetitions {
        for cell in &cells {
            for path in &mut paths {
                let sample =
                    runtime.block_on(path.measure(cell)).map_err(|error| format!("{}: {error}", path.name()))?;
                measured.add(path.name(), cell, sample);
            }
        }
        eprintln!("repetition {repetition} of {}", options.repetitions);
    }
    for path in &paths {
        measured.memory_after.insert(path.name(), path.memory());
    }
    for path in paths {
        path.stop(&runtime);
    }
    eprintln!("{}", report::table(&measured));
    let document = report::document(options, &measured).to_string();
    match &options.json {
        Some(file) => std::fs::write(file, document + "\n").map_err(|error| format!("{}: {error}", file.display())),
        None => {
            println!("{document}");
            Ok(())
        }
    }
}
