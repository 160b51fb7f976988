//! How soon a mesh is ready that was there before, and how large broker and runner are then, without any service.
//!
//! A start is counted from the spawn of `claudemesh up` to the first 200 of `/health/ready`, which needs the link to the
//! runner. It is taken after an orderly end of everything, where the runner is started as well, and after a SIGKILL of the
//! broker alone, where the runner that is left is adopted.

use std::thread;
use std::time::{Duration, Instant};

use ::tests::harness::{BOOT, Mesh};
use ::tests::measure::procfs;

/// Between two looks; so exact is what is measured.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// What came of it; one entry a start.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    /// Milliseconds to ready after an orderly end.
    pub(crate) stopped_ms: Vec<f64>,
    /// Milliseconds to ready after the broker was killed.
    pub(crate) killed_ms: Vec<f64>,
    /// KiB of the broker, once ready.
    pub(crate) broker_kib: Vec<f64>,
    /// KiB of the runner, once ready.
    pub(crate) runner_kib: Vec<f64>,
}

/// So many of each kind, on one directory. `check` may end it between two.
pub(crate) fn measure(times: u32, mut check: impl FnMut() -> Result<(), String>) -> Result<Starts, String> {
    let mut starts = Starts::default();
    let mut mesh = Mesh::start_alone();
    for _ in 0..times {
        check()?;
        let ended = mesh.stop();
        if !ended.success() {
            return Err(format!("`up` ended with {ended}\n{}", mesh.logs()));
        }
        starts.stopped_ms.push(start(&mut mesh)?);
        let kib = |pid, name: &str| {
            let kib = procfs::pss_kib(pid).ok_or(format!("the memory of the {name} may not be looked at"))?;
            Ok::<_, String>(kib as f64)
        };
        starts.broker_kib.push(kib(mesh.broker_pid(), "broker")?);
        starts.runner_kib.push(kib(mesh.runner_pid(), "runner")?);
    }
    for _ in 0..times {
        check()?;
        mesh.kill_broker();
        starts.killed_ms.push(start(&mut mesh)?);
    }
    eprintln!("starts: {times} after an orderly end, {times} after a kill");
    Ok(starts)
}

fn start(mesh: &mut Mesh) -> Result<f64, String> {
    let begun = Instant::now();
    mesh.launch_up();
    while !mesh.get("/health/ready").is_ok_and(|response| response.status == 200) {
        if begun.elapsed() > BOOT {
            return Err(format!("not ready within {BOOT:?}\n{}", mesh.logs()));
        }
        thread::sleep(LOOK_EVERY);
    }
    let took = begun.elapsed();
    mesh.look();
    Ok(took.as_secs_f64() * 1_000.0)
}
