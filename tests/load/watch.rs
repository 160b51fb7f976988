//! What ten thousand watches cost: processor time, memory, and how late they look.
//!
//! ```text
//! load-watch [--watches N] [--interval SECONDS] [--seconds N] [--json FILE] [--page FILE]
//! ```
//!
//! A `claudemesh up` of its own, as many members as the limit of watches a member asks for, and pages of a server in this
//! program, on a hundred ports. Once every watch has looked for the first time and one interval has passed, it counts for
//! `--seconds`: looks, those that failed or were left out, how late they began, and the broker's processor time.
//! Memory is the broker's with the watches less that before them, for each watch.
//!
//! The tables go to standard error and, with `--page`, between the markers of that file; one JSON document goes to standard
//! output, or to the file of `--json`. The exit code is 0 when every look was taken, 3 when some were not, 1 when it could not
//! be measured.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ::tests::harness::peer::{Peer, converse};
use ::tests::harness::{Client, Member, Mesh, Options as MeshOptions, Owner, Session, wait_until};
use ::tests::measure::{Machine, markers, procfs, program};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const USAGE: &str = "usage: load-watch [--watches N] [--interval SECONDS] [--seconds N] [--json FILE] [--page FILE]";
/// Watches that a member may have.
const OF_A_MEMBER: usize = 100;
/// Requests of a member that are under way at a time: fewer than its session may have.
const AT_ONCE: usize = 50;
/// Ports with pages: a host and port is looked at by few at once.
const PORTS: usize = 100;
/// A page, with its head.
const PAGE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\nConnection: close\r\n\r\n{\"value\":\"heads\"}";
/// For every watch to have looked once.
const FIRST_LOOKS: Duration = Duration::from_secs(600);

struct Options {
    watches: usize,
    interval_s: u64,
    seconds: u64,
    json: Option<PathBuf>,
    page: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::run("load-watch", USAGE, options(std::env::args().skip(1)), run)
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { watches: 10_000, interval_s: 30, seconds: 60, json: None, page: None };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(format!("{flag} needs a value"))?;
        let number = || program::number(&flag, &value, 1);
        match flag.as_str() {
            "--watches" => options.watches = number()? as usize,
            "--interval" => options.interval_s = number()?.into(),
            "--seconds" => options.seconds = number()?.into(),
            "--json" => options.json = Some(PathBuf::from(value)),
            "--page" => options.page = Some(PathBuf::from(value)),
            _ => return Err(format!("{flag} is not known")),
        }
    }
    Ok(options)
}

/// Whether every look was taken.
fn run(options: &Options) -> Result<bool, String> {
    if let Some(file) = &options.page {
        markers::WATCHES.check(file)?;
    }
    let machine = Machine::look();
    let ports = serve()?;
    let variables = vec![("CLAUDEMESH_WATCH_ALLOW".to_owned(), "127.0.0.1".to_owned())];
    let mesh = Mesh::with(MeshOptions { alone: true, variables, ..MeshOptions::default() });
    let crew = Owner::of(&mesh)?.crew("w", options.watches.div_ceil(OF_A_MEMBER))?;
    let broker = mesh.broker_pid();
    let before_kib = procfs::pss_kib(broker).or_else(|| procfs::rss_kib(broker)).ok_or("the broker's memory")?;
    let began = Instant::now();
    make(&mesh, &crew, &ports, options)?;
    let made_s = began.elapsed().as_secs_f64();
    wait_until("the first looks", FIRST_LOOKS, || match Page::of(&mesh)?.looks("seen") {
        looks if looks >= options.watches as f64 => Ok(()),
        looks => Err(format!("{looks}")),
    })?;
    // Each has its own place in time from then on.
    thread::sleep(Duration::from_secs(options.interval_s));
    let (first, cpu, since) = (Page::of(&mesh)?, procfs::cpu(broker)?, Instant::now());
    thread::sleep(Duration::from_secs(options.seconds));
    let (last, used, took) = (Page::of(&mesh)?, procfs::cpu(broker)?, since.elapsed());
    let after_kib = procfs::pss_kib(broker).or_else(|| procfs::rss_kib(broker)).ok_or("the broker's memory")?;
    let looks = |end: &str| last.looks(end) - first.looks(end);
    let (taken, missing) = (looks("seen"), looks("failed") + looks("skipped"));
    let late = |share| last.quantile_ms(&first, share);
    let document = json!({
        "machine": machine.document(),
        "watches": options.watches, "interval_s": options.interval_s, "seconds": took.as_secs_f64(),
        "made_s": made_s, "looks": taken, "failed_or_left_out": missing,
        "looks_per_s": taken / took.as_secs_f64(),
        "broker_cpu_share": (used.saturating_sub(cpu)).as_secs_f64() / took.as_secs_f64(),
        "memory_per_watch_bytes": after_kib.saturating_sub(before_kib) as f64 * 1_024.0 / options.watches as f64,
        "late_ms_at_most": { "p50": late(0.5), "p99": late(0.99) },
    });
    program::tell(
        (options.page.as_deref(), markers::WATCHES),
        options.json.as_deref(),
        &table(&machine, &document),
        &document,
    )?;
    // A look that falls on an edge of the time may be missing.
    let expected = options.watches as f64 * took.as_secs_f64() / options.interval_s as f64;
    Ok(missing == 0.0 && taken >= expected * 0.95)
}

fn table(machine: &Machine, document: &Value) -> String {
    let number = |name: &str| document[name].as_f64().unwrap_or_default();
    let how = format!(
        " {} watches, one look in {} s, {:.0} s.",
        document["watches"],
        document["interval_s"],
        number("seconds"),
    );
    let mut text = machine.introduction(&how) + "\n| | |\n|---|---|\n";
    let late =
        |share: &str| document["late_ms_at_most"][share].as_f64().map_or("?".to_owned(), |ms| format!("{ms} ms"));
    for (what, value) in [
        ("looks/s", format!("{:.0}", number("looks_per_s"))),
        ("failed or left out", format!("{:.0}", number("failed_or_left_out"))),
        ("the broker's processor time, of one core", format!("{:.1} %", number("broker_cpu_share") * 100.0)),
        ("memory of a watch", format!("{:.1} KiB", number("memory_per_watch_bytes") / 1_024.0)),
        ("late, p50 at most", late("p50")),
        ("late, p99 at most", late("p99")),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text
}

/// Watches for every member, as many as each may have.
fn make(mesh: &Mesh, crew: &[Arc<Member>], ports: &[u16], options: &Options) -> Result<(), String> {
    let mut left = options.watches;
    for (at, member) in crew.iter().enumerate() {
        let some = left.min(OF_A_MEMBER);
        left -= some;
        converse(async {
            let mut peer = Peer::enter(mesh.port(), &Session::new(member), Client::Old).await?;
            let mut asked = 0;
            while asked < some {
                let until = some.min(asked + AT_ONCE);
                for n in asked..until {
                    let port = ports[(at * OF_A_MEMBER + n) % ports.len()];
                    let url = format!("http://127.0.0.1:{port}/{n}");
                    let watch =
                        json!({ "type": "watch", "url": url, "extract": "value", "interval": options.interval_s });
                    peer.send(watch).await?;
                }
                while asked < until {
                    let answer = peer.next().await?;
                    match answer["type"].as_str() {
                        Some("watch_ack") => asked += 1,
                        Some("push") => {}
                        _ => return Err(format!("watch was answered with {answer}")),
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Serves the page on many ports, on a thread of its own; the ports.
fn serve() -> Result<Vec<u16>, String> {
    let words = |error: std::io::Error| format!("the pages: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(words)?;
    let listeners = runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..PORTS {
            all.push(TcpListener::bind(("127.0.0.1", 0)).await.map_err(words)?);
        }
        Ok::<_, String>(all)
    })?;
    let ports =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.port()).collect();
    thread::spawn(move || {
        runtime.block_on(async {
            for listener in listeners {
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer(stream));
                    }
                });
            }
            std::future::pending::<()>().await;
        });
    });
    Ok(ports)
}

async fn answer(mut stream: TcpStream) {
    let mut head = [0; 2_048];
    let mut read = 0;
    while !head[..read].ends_with(b"\r\n\r\n") && read < head.len() {
        match stream.read(&mut head[read..]).await {
            Ok(more) if more > 0 => read += more,
            _ => return,
        }
    }
    let _ = stream.write_all(PAGE).await;
}

/// The broker's metrics.
struct Page(String);

impl Page {
    fn of(mesh: &Mesh) -> Result<Self, String> {
        Ok(Self(mesh.get("/metrics")?.body))
    }

    fn number(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    }

    fn looks(&self, end: &str) -> f64 {
        self.number(&format!("claudemesh_broker_watch_looks_total{{outcome=\"{end}\"}}"))
    }

    /// The upper end of the step in which this share of the looks since `before` lies.
    fn quantile_ms(&self, before: &Self, share: f64) -> Option<f64> {
        const NAME: &str = "claudemesh_broker_watch_look_lateness_seconds";
        let all = self.number(&format!("{NAME}_count")) - before.number(&format!("{NAME}_count"));
        let prefix = format!("{NAME}_bucket{{le=\"");
        let ends = self.0.lines().filter_map(|line| line.strip_prefix(&prefix)?.split('"').next());
        let found = ends.filter(|end| {
            let series = format!("{prefix}{end}\"}}");
            self.number(&series) - before.number(&series) >= all * share
        });
        found.filter_map(|end| end.parse::<f64>().ok()).map(|seconds| seconds * 1_000.0).reduce(f64::min)
    }
}
