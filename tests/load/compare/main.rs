//! The same tool of the same server, called over every path in one run: straight over stdio, through a chain without
//! logic, through a runner, and through broker and runner. And what a mesh costs before it is called at all.
//!
//! ```text
//! load-compare [--quick] [--calls N] [--seconds S] [--mib N] [--repetitions N] [--starts N]
//!              [--json FILE] [--page FILE] [--recovery FILE]
//! ```
//!
//! A *cell* is a path, a size of text and a number of calls in flight. The repetitions are interleaved: each goes through
//! all cells before the next one begins, so that what the machine does besides falls on all paths alike. Every answer is
//! checked, and a wrong one ends the run.
//!
//! Tables go to standard error and, with `--page`, between the markers of that file; one JSON document goes to standard
//! output, or to the file of `--json`. The document that `load-recovery` printed is taken in with `--recovery`. The exit
//! code is 0 when all aims are kept, 3 when one is not, and 1 when it could not be measured.
//!
//! | module | what it does |
//! |---|---|
//! | `options`, `plan` | the command line, and the cells that follow from it |
//! | `path` | the processes of each path |
//! | `speech` | how a path words a call and its answer |
//! | `drive` | keeps so many calls in flight on one connection, and takes their times |
//! | `starts` | how soon a mesh is ready, and how large it is then |
//! | `measured`, `report` | what is kept of a run, and how it is told |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

mod drive;
mod measured;
mod options;
mod path;
mod plan;
mod report;
mod speech;
mod starts;

use std::fs;
use std::process::ExitCode;

use ::tests::measure::{Interrupt, Machine, markers};
use measured::Measured;
use options::Options;
use path::Path;
use report::{Report, page};
use tokio::runtime::Runtime;

/// It was measured, and an aim is not kept.
const BROKEN: u8 = 3;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("load-compare: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            eprintln!("load-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all aims are kept.
fn run(options: &Options) -> Result<bool, String> {
    // Before minutes go by: what is to be read and written must be there.
    let recovery = options.recovery.as_deref().map(report::read_recovery).transpose()?;
    if let Some(file) = &options.page {
        markers::CALLS.check(file)?;
    }
    let machine = Machine::look();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut interrupt = Interrupt::listen(&runtime)?;

    let starts = starts::measure(options.starts, || interrupt.check(&runtime))?;
    let measured = compare(options, &runtime, &mut interrupt)?;
    let report = Report { options, machine, starts, measured, recovery };

    let tables = page::tables(&report);
    eprintln!("\n{tables}");
    if let Some(file) = &options.page {
        markers::CALLS.write(file, &tables)?;
    }
    let document = report::document(&report).to_string();
    match &options.json {
        Some(file) => fs::write(file, document + "\n").map_err(|error| format!("{}: {error}", file.display()))?,
        None => println!("{document}"),
    }
    Ok(report.aims().iter().all(|aim| aim.is_kept()))
}

fn compare(options: &Options, runtime: &Runtime, interrupt: &mut Interrupt) -> Result<Measured, String> {
    let mut paths = Path::start_all(runtime)?;
    let mut measured = Measured::default();
    for path in &paths {
        measured.memory_idle.insert(path.name(), path.memory());
    }
    let cells = plan::cells(options);
    for repetition in 1..=options.repetitions {
        for cell in &cells {
            for path in &mut paths {
                let name = path.name();
                let sample = runtime.block_on(interrupt.or(path.measure(cell)));
                let words = |error| format!("{name}, {} in flight, text of {}: {error}", cell.in_flight, cell.size());
                measured.add(name, cell, sample.map_err(words)?);
            }
        }
        eprintln!("calls: repetition {repetition} of {}", options.repetitions);
    }
    for path in &paths {
        measured.memory_after.insert(path.name(), path.memory());
    }
    for path in paths {
        let name = path.name();
        path.stop(runtime).map_err(|error| format!("the end of {name}: {error}"))?;
    }
    Ok(measured)
}
