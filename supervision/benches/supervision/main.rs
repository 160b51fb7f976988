#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "benchmarks"
)]
//! What supervision costs, against bare actors in the same run: `cargo bench -p supervision [NAME]`.

mod actors;
mod calls;
mod memory;
mod report;
mod scale;
mod spawn;

use std::{path::Path, time::Duration};

use criterion::Criterion;

fn main() {
    let memory = memory::measure();
    // Children panic here by the million; what they say is known.
    std::panic::set_hook(Box::new(|_| {}));
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion");
    let short = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    let mut criterion = short.output_directory(&results).configure_from_args();
    spawn::benches(&mut criterion);
    calls::benches(&mut criterion);
    scale::benches(&mut criterion);
    criterion.final_summary();
    report::print(&results, memory);
}
