//! How long a killed service is away, against the time that its own start takes.
//!
//! `load-recovery [--kills N] [--fixture]` deploys `server-everything` (or the fixture), kills its process N times, and
//! measures from each kill to the next answered call. Between two kills it starts the very same program itself, and
//! measures from the spawn to its first answered call over stdio. What the mesh adds is the difference of the medians.
//! Then it kills N times more, and measures from the moment the process table no longer has the process until the
//! broker's tree no longer shows it as running.
//! A table goes to standard error and one JSON document to standard output.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{INSTALL, Mesh, SETTLE, processes, programs};
use tests::measure;
use tokio::time::timeout;

/// How many kills make a median.
const KILLS: usize = 20;
/// How far the tree may be behind the process table.
const BEHIND_MS: f64 = 20.0;
/// What the mesh may add to a server's own start.
const PROMISE_MS: f64 = 50.0;
/// After this long ready the next restart is the first one again, and so without a delay.
const STABLE: Duration = Duration::from_millis(1_000);
/// Beyond `STABLE`, for the clocks of the parts.
const MARGIN: Duration = Duration::from_millis(300);

/// What is killed.
struct Subject {
    name: &'static str,
    source: Value,
    tool: &'static str,
    arguments: Value,
}

fn main() -> ExitCode {
    let (kills, subject) = arguments();
    let mesh = Mesh::start_alone();
    deploy(&mesh, &subject);
    let argv = argv(mesh.pid(subject.name));
    let scratch = tempfile::tempdir().expect("a temporary directory");

    let (mut own, mut recovery) = (Vec::new(), Vec::new());
    for round in 1..=kills {
        own.push(own_start(&argv, scratch.path(), &subject));
        thread::sleep(STABLE + MARGIN);
        recovery.push(recover(&mesh, &subject));
        eprintln!(
            "{round:>4} of {kills}   own start {:7.1} ms   recovery {:7.1} ms",
            millis(own[own.len() - 1]),
            millis(recovery[recovery.len() - 1])
        );
    }
    let behind: Vec<Duration> = (0..kills).map(|_| notice(&mesh, &subject)).collect();
    // Returned and not exited with: the mesh must be taken down on the way out.
    report(&subject, &own, &recovery, &behind)
}

fn arguments() -> (usize, Subject) {
    let mut kills = KILLS;
    let mut subject = Subject {
        name: "everything",
        source: json!({ "type": "npx", "package": "@modelcontextprotocol/server-everything" }),
        tool: "echo",
        arguments: json!({ "message": "x" }),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--kills" => {
                kills = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).unwrap_or_else(|| usage());
            }
            "--fixture" => {
                subject = Subject {
                    name: "fixture",
                    source: json!({ "type": "command", "argv": [programs::fixture()] }),
                    tool: "echo",
                    arguments: json!({ "text": "x" }),
                };
            }
            _ => usage(),
        }
    }
    (kills, subject)
}

fn usage() -> ! {
    eprintln!("usage: load-recovery [--kills N] [--fixture]");
    std::process::exit(2)
}

/// Deploys it with a short stable time, so that every kill meets the first, immediate restart.
fn deploy(mesh: &Mesh, subject: &Subject) {
    let policy = json!({ "max_restarts": 1_000, "stable_ms": STABLE.as_millis() as u64 });
    let message = json!({
        "type": "mcp_deploy",
        "server_name": subject.name,
        "source": subject.source,
        "config": { "env": {}, "policy": policy },
        "scope": "peer",
    });
    let membership = mesh.membership();
    let deployed = converse(async {
        let mut peer = Peer::connect(&membership).await?;
        let id = peer.send(message).await?;
        loop {
            let status =
                timeout(INSTALL, peer.reply_to(&id)).await.map_err(|_| "no end of the deploy".to_owned())??;
            match status["status"].as_str() {
                Some("running") => return Ok(()),
                Some("queued" | "building" | "starting") => {}
                _ => return Err(status.to_string()),
            }
        }
    });
    deployed.unwrap_or_else(|error| panic!("the deploy failed: {error}\n{}", mesh.logs()));
}

/// The arguments of a running process.
fn argv(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).expect("the service's process runs");
    let argv = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    argv.map(|word| String::from_utf8(word.to_vec()).expect("plain arguments")).collect()
}

/// From the kill to the next answered call; a call that the kill caught is repeated at once, as a client would.
fn recover(mesh: &Mesh, subject: &Subject) -> Duration {
    let membership = mesh.membership();
    let message = call(subject.name, subject.tool, &subject.arguments);
    let recovered = converse(async {
        let mut peer = Peer::connect(&membership).await?;
        let warm = peer.ask(message.clone()).await?;
        if verdict(&warm) != "ok" {
            return Err(format!("not well before the kill: {warm}"));
        }
        let _ = mesh.kill_service(subject.name);
        let killed = Instant::now();
        let answered = async {
            loop {
                let reply = peer.ask(message.clone()).await?;
                match verdict(&reply).as_str() {
                    "ok" => return Ok(killed.elapsed()),
                    "outcome_unknown" => {}
                    _ => return Err(format!("after the kill: {reply}")),
                }
            }
        };
        timeout(SETTLE, answered).await.map_err(|_| "no answer after the kill".to_owned())?
    });
    recovered.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()))
}

/// From the moment the process table no longer has the process until the broker's tree says something other than
/// running, one look after the other.
fn notice(mesh: &Mesh, subject: &Subject) -> Duration {
    let pid = mesh.kill_service(subject.name);
    // The kernel takes its time to tear a large process down, thread by thread; the tree cannot be behind what has not
    // happened.
    while processes::entry(pid).is_some() {
        thread::yield_now();
    }
    let dead = Instant::now();
    let shown_as_running = || {
        let tree = mesh.tree().expect("the broker shows its tree");
        tree.process(subject.name).is_some_and(|node| node.number("pid") == Some(pid) && node.state == "running")
    };
    // Without a pause between two looks: it would be measured as well.
    while shown_as_running() {
        assert!(dead.elapsed() < SETTLE, "pid {pid} is dead and shown as running\n{}", mesh.logs());
    }
    let noticed = dead.elapsed();
    mesh.wait_for_status(subject.name, "running", SETTLE);
    thread::sleep(STABLE + MARGIN);
    noticed
}

/// From the spawn to the first answered call, without anything of ours between.
fn own_start(argv: &[String], scratch: &Path, subject: &Subject) -> Duration {
    let started = Instant::now();
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", scratch)
        .current_dir(scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the service's program starts");
    converse_over_stdio(&mut child, subject);
    let took = started.elapsed();
    // Fails only when it has ended already.
    let _ = child.kill();
    child.wait().expect("an own child can be waited for");
    took
}

/// The same conversation that a runner has: handshake, tool list, one call.
fn converse_over_stdio(child: &mut Child, subject: &Subject) {
    let mut stdin = child.stdin.take().expect("piped above");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped above"));
    let client = json!({ "name": "load-recovery", "version": env!("CARGO_PKG_VERSION") });
    let greeting = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client });
    request(&mut stdin, &mut stdout, 1, "initialize", &greeting);
    send(&mut stdin, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    request(&mut stdin, &mut stdout, 2, "tools/list", &json!({}));
    let wanted = json!({ "name": subject.tool, "arguments": subject.arguments });
    request(&mut stdin, &mut stdout, 3, "tools/call", &wanted);
}

fn send(stdin: &mut impl Write, message: &Value) {
    writeln!(stdin, "{message}").and_then(|()| stdin.flush()).expect("the server reads its input");
}

fn request(stdin: &mut impl Write, stdout: &mut impl BufRead, id: u64, method: &str, params: &Value) {
    send(stdin, &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    for line in stdout.lines() {
        let line = line.expect("the server writes text");
        // Notifications and log lines come in between.
        if serde_json::from_str::<Value>(&line).is_ok_and(|message| message["id"] == id && message["method"].is_null())
        {
            return;
        }
    }
    panic!("the server ended without an answer to {method}");
}

fn report(subject: &Subject, own: &[Duration], recovery: &[Duration], behind: &[Duration]) -> ExitCode {
    let added = quantile(recovery, 0.5) - quantile(own, 0.5);
    eprintln!("\n{:<12} {:>10} {:>10} {:>10} {:>10}", subject.name, "min", "median", "p90", "max");
    for (name, samples) in [("own start", own), ("recovery", recovery), ("tree behind", behind)] {
        let at = |share| quantile(samples, share);
        eprintln!("{name:<12} {:>7.1} ms {:>7.1} ms {:>7.1} ms {:>7.1} ms", at(0.0), at(0.5), at(0.9), at(1.0));
    }
    let late = quantile(behind, 0.5);
    let word = |kept| if kept { "kept" } else { "BROKEN" };
    let (recovers, notices) = (added <= PROMISE_MS, late <= BEHIND_MS);
    eprintln!("added by the mesh: {added:.1} ms (promise: at most {PROMISE_MS} ms, {})", word(recovers));
    eprintln!("tree behind the process table: {late:.1} ms (promise: at most {BEHIND_MS} ms, {})", word(notices));
    let kept = recovers && notices;
    let all = |samples: &[Duration]| samples.iter().copied().map(millis).collect::<Vec<_>>();
    let document = json!({
        "service": subject.name,
        "kills": recovery.len(),
        "own_start_ms": { "median": quantile(own, 0.5), "all": all(own) },
        "recovery_ms": { "median": quantile(recovery, 0.5), "all": all(recovery) },
        "added_ms": added,
        "promise_ms": PROMISE_MS,
        "tree_behind_ms": { "median": late, "all": all(behind), "promise": BEHIND_MS },
        "kept": kept,
    });
    println!("{document}");
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sample below which this share lies, in milliseconds.
fn quantile(samples: &[Duration], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort();
    millis(measure::quantile(&sorted, share).expect("samples"))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
