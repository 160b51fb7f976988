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

use std::process::ExitCode;

use ::tests::measure::{Interrupt, Machine, markers, program};
use measured::Measured;
use options::Options;
use path::Path;
use report::{Report, page};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    program::run("load-compare", options::USAGE, Options::parse(std::env::args().skip(1)), run)
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

    let page = (options.page.as_deref(), markers::CALLS);
    program::tell(page, options.json.as_deref(), &page::tables(&report), &report::document(&report))?;
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
