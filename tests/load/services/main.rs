//! What services are to each other: a slow one beside a fast one, large results beside small ones, and an update under
//! load.
//!
//! ```text
//! load-services [--calls N] [--seconds N] [--repetitions N] [--updates N] [--json FILE] [--page FILE]
//! ```
//!
//! A `claudemesh up` of its own. A *stretch* is one peer that calls one small tool, four calls at any moment, until so many
//! calls or so many seconds are over. Each repetition has one alone, one while another peer keeps calls of a second in
//! flight at another service, and one while another peer keeps asking a third one for 10 MiB. Then a service is updated
//! again and again while two peers call it. Every answer is checked and counted: one that is none, or is missing, ends
//! the run, so no figure is one of failures.
//!
//! Tables go to standard error and, with `--page`, between the markers of that file; one JSON document goes to standard
//! output, or to the file of `--json`. The exit code is 0 when all aims are kept, 3 when one is not, and 1 when a call
//! failed or it could not be measured.
//!
//! | module | what it does |
//! |---|---|
//! | `options`, `report` | the command line; aims and tables |
//! | `stretch` | the calls that are timed |
//! | `stage` | the services, and who else calls them meanwhile |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

mod options;
mod report;
mod stage;
mod stretch;

use std::process::ExitCode;

use ::tests::harness::Mesh;
use ::tests::measure::{Interrupt, Machine, markers, program};
use options::Options;
use stage::Stage;

fn main() -> ExitCode {
    program::run("load-services", options::USAGE, Options::parse(std::env::args().skip(1)), run)
}

/// Whether all aims are kept.
fn run(options: &Options) -> Result<bool, String> {
    // Before minutes go by: what is to be written must be there.
    if let Some(file) = &options.page {
        markers::SERVICES.check(file)?;
    }
    let machine = Machine::look();
    let mut mesh = Mesh::start_alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let interrupt = Interrupt::listen(&runtime)?;
    let mut stage = Stage { mesh: &mesh, runtime, interrupt };
    let measured = stage.play(options).map_err(|error| format!("{error}\n{}", mesh.logs()))?;
    let ended = mesh.stop();
    if !ended.success() {
        return Err(format!("`up` ended with {ended}"));
    }
    let (tables, document) = (report::tables(&machine, options, &measured), report::document(&machine, &measured));
    let page = (options.page.as_deref(), markers::SERVICES);
    program::tell(page, options.json.as_deref(), &tables, &document)?;
    Ok(measured.is_kept())
}
