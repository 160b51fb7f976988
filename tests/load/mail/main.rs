//! What messages between peers cost: bursts, a steady stream, broadcasts, a backlog, and peers that are only there.
//!
//! ```text
//! load-mail [--members N] [--share N] [--backend sqlite|postgres|both] [--repetitions N] [--backlog N] [--peers N]
//!           [--json FILE] [--page FILE]
//! ```
//!
//! A `claudemesh up` of its own for each backend, a hundred members that join by one invite, a session each. Every message
//! is accounted for: one that is missing, twice, out of order or refused ends the run. What the broker does not
//! look into is made up: ciphertexts, sealed keys, and the signatures of messages.
//!
//! The steps: as many frames through a bare echo; a burst of 100 messages a peer; one of 1,000; 500 a second; broadcasts, and
//! as many frames that a bare server sends to as many sockets;
//! the first burst again with 100,000 messages waiting for members that are away; 1,000 idle peers, and a SIGKILL of their
//! broker. `--share N` divides every number of messages.
//!
//! Tables go to standard error and, with `--page`, between the markers of that file; one JSON document goes to standard
//! output, or to the file of `--json`. The exit code is 0 when all aims are kept, 3 when one is not, and 1 when a message
//! went wrong or it could not be measured.
//!
//! | module | what it does |
//! |---|---|
//! | `options`, `report` | the command line; aims and tables |
//! | `seat`, `crowd` | one session's socket; all of them |
//! | `board`, `purse` | what is due and what came; how much a member may still send |
//! | `phases`, `echo`, `idle` | what is measured |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

mod board;
mod crowd;
mod echo;
mod idle;
mod options;
mod phases;
mod purse;
mod report;
mod seat;
#[cfg(test)]
mod standin;

use std::process::ExitCode;
use std::time::Duration;

use ::tests::harness::postgres::{Database, Server};
use ::tests::harness::{Backend, Mesh, Options as MeshOptions, Owner};
use ::tests::measure::{Interrupt, Machine, markers, procfs, program};
use crowd::Crowd;
use options::Options;
use phases::Stage;
use report::Measured;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// Messages of each in the two bursts.
const BURST_EACH: u32 = 100;
const LONG_EACH: u32 = 1_000;
/// Messages of a paced run: five seconds of it.
const PACED: u32 = 2_500;
/// Broadcasts of a repetition.
const BROADCASTS: u32 = 10;
/// Messages for each member that is away: below what a mailbox holds.
const MAILBOX: u32 = 8_000;
fn main() -> ExitCode {
    program::run("load-mail", options::USAGE, Options::parse(std::env::args().skip(1)), run)
}

/// Whether all aims are kept.
fn run(options: &Options) -> Result<bool, String> {
    // Before minutes go by: what is to be written must be there.
    if let Some(file) = &options.page {
        markers::MESSAGES.check(file)?;
    }
    let machine = Machine::look();
    let mut measured = Vec::new();
    for backend in &options.backends {
        measured.push(on(*backend, options).map_err(|error| format!("{backend:?}: {error}"))?);
    }
    let tables = report::tables(&machine, options, &measured);
    let document = report::document(&machine, options, &measured);
    let page = (options.page.as_deref(), markers::MESSAGES);
    program::tell(page, options.json.as_deref(), &tables, &document)?;
    Ok(report::are_kept(&measured))
}

/// A server of this run alone that keeps what it promises: the tests' servers do not write to the disk.
fn durable_server() -> (Server, Database) {
    let server = Server::start();
    let database = Database::create_on(server.url());
    for setting in ["fsync", "full_page_writes"] {
        let _ = database.rows(&format!("ALTER SYSTEM SET {setting} = on"));
    }
    let _ = database.rows("SELECT pg_reload_conf()");
    (server, database)
}

/// Everything on one backend.
fn on(backend: Backend, options: &Options) -> Result<Measured, String> {
    // Dropped in this order: the mesh before its database, that before its server.
    let (server, database) = match backend {
        Backend::Sqlite => (None, None),
        Backend::Postgres => {
            let (server, database) = durable_server();
            (Some(server), Some(database))
        }
    };
    let words = database.iter().flat_map(|database| ["--database-url".to_owned(), database.url().to_owned()]).collect();
    let mut mesh = Mesh::with(MeshOptions { words, alone: true, ..MeshOptions::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut theatre = Theatre { interrupt: Interrupt::listen(&runtime)?, runtime, local: LocalSet::new() };
    let played = theatre.play(&mut mesh, options);
    let measured = played.map_err(|error| format!("{error}\n{}", mesh.logs()))?;
    let ended = mesh.stop();
    drop((mesh, database, server));
    if ended.success() { Ok(Measured { backend, ..measured }) } else { Err(format!("`up` ended with {ended}")) }
}

/// Where the phases run: one thread.
struct Theatre {
    runtime: Runtime,
    local: LocalSet,
    interrupt: Interrupt,
}

impl Theatre {
    fn run<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.runtime.block_on(self.local.run_until(self.interrupt.or(work)))
    }

    fn play(&mut self, mesh: &mut Mesh, options: &Options) -> Result<Measured, String> {
        let owner = Owner::of(mesh)?;
        let peers = options.members as usize;
        let members = owner.crew("peer", peers)?;
        let mut sealed_for: Vec<String> = members.iter().map(|member| member.address()).collect();
        sealed_for.push(owner.member.address());
        let (crowd, _) = self.run(Crowd::enter(mesh.port(), &members, peers, false))?;
        let mut stage = Stage::new(crowd, sealed_for);
        let mut measured = Measured { peers, ..Measured::default() };

        self.bursts(mesh, &mut stage, options, &mut measured)?;
        if options.backlog > 0 {
            let away = owner.crew("away", options.backlog.div_ceil(MAILBOX) as usize)?;
            let keys: Vec<String> = away.iter().map(|member| member.address()).collect();
            self.run(stage.pile_up(&keys, options.backlog))?;
            measured.backlog.0 = options.backlog;
            let each = measured.burst.0;
            for _ in 0..options.repetitions {
                measured.backlog.1.push(millis(self.run(stage.burst(each))?));
            }
            eprintln!("burst beside {} that wait: {:?} ms", options.backlog, measured.backlog.1);
        }
        drop(stage);
        if options.peers > 0 {
            let peers = options.peers as usize;
            // A broker without a past, so that its memory is that of the peers.
            mesh.kill_broker();
            mesh.start_up();
            measured.idle = Some(self.run(idle::measure(mesh, &members, peers))?);
            eprintln!("idle: {:?}", measured.idle);
        }
        Ok(measured)
    }

    fn bursts(
        &mut self,
        mesh: &Mesh,
        stage: &mut Stage,
        options: &Options,
        measured: &mut Measured,
    ) -> Result<(), String> {
        let (burst, long) = (options.shared(BURST_EACH), options.shared(LONG_EACH));
        (measured.burst.0, measured.long.0) = (burst, long);
        measured.frame_bytes = stage.frame_bytes();
        for _ in 0..options.repetitions {
            let echoed = echo::measure(measured.peers, burst as usize, measured.frame_bytes);
            measured.echo.push(millis(self.run(echoed)?));
            measured.burst.1.push(millis(self.run(stage.burst(burst))?));
        }
        eprintln!("echo: {:?} ms, burst: {:?} ms", measured.echo, measured.burst.1);

        let cpu = || procfs::cpu(mesh.broker_pid());
        let before = cpu()?;
        measured.long.1.push(millis(self.run(stage.burst(long))?));
        let between = cpu()?;
        let paced = options.shared(PACED);
        let at = cpu()?;
        measured.paced_ns = self.run(stage.paced(paced))?;
        let (long_cpu, paced_cpu) = (between.saturating_sub(before), cpu()?.saturating_sub(at));
        let (many, few) = (f64::from(long) * measured.peers as f64, f64::from(paced));
        let each = |time: Duration, messages: f64| time.as_secs_f64() * 1e6 / messages;
        measured.cpu_us = [each(long_cpu, many), each(paced_cpu, few), each(long_cpu + paced_cpu, many + few)];
        eprintln!("long burst: {:?} ms, CPU a message: {:?} µs", measured.long.1, measured.cpu_us);

        let broadcasts = options.shared(BROADCASTS);
        for _ in 0..options.repetitions {
            let bare = echo::fan_out(measured.peers, broadcasts as usize, measured.frame_bytes);
            measured.fan_out.extend(self.run(bare)?.into_iter().map(millis));
            for _ in 0..broadcasts {
                measured.broadcast.push(millis(self.run(stage.broadcast())?));
            }
        }
        eprintln!("bare fan-out: {:?} ms, broadcasts: {:?} ms", measured.fan_out, measured.broadcast);
        Ok(())
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
