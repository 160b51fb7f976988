//! Carries out what the session decided: one thread reads and answers, others
//! only wait for their moment.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::options::Options;
use crate::session::{Effect, Session};

/// Answers that may be delayed at a time; more are given at once.
const MAX_DELAYED: usize = 512;

/// What the threads share. The count of its holders is the count of threads.
type Shared = Arc<Mutex<Session>>;

/// Serves until the input ends.
pub(crate) fn serve(options: Options) -> ExitCode {
    let session: Shared = Arc::new(Mutex::new(Session::new(options)));
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => return ExitCode::SUCCESS,
            Ok(_) => {}
            Err(error) => {
                eprintln!("fixture-mcp: cannot read: {error}");
                return ExitCode::FAILURE;
            }
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if !text.is_empty() {
            let effects = lock(&session).on(text);
            perform(&session, effects);
        }
    }
}

fn perform(session: &Shared, effects: Vec<Effect>) {
    for effect in effects {
        match effect {
            Effect::Send(line) => write_line(line.into_bytes()),
            Effect::SendLater { after_ms, line } => later(session, after_ms, move |_| write_line(line.into_bytes())),
            Effect::Noise(bytes) => {
                let mut noise = bytes.clone();
                noise.push(b'\n');
                // Nobody reading the noise is no fault of the server's.
                let _ = io::stderr().write_all(&noise);
                write_line(bytes);
            }
            Effect::LongLine(bytes) => write_line(vec![b'x'; bytes]),
            Effect::ChangeToolsAfter(after_ms) => later(session, after_ms, |session| {
                let effects = lock(session).change_tools();
                perform(session, effects);
            }),
            Effect::DieAfter { after_ms: 0, code } => die(code),
            Effect::DieAfter { after_ms, code } => later(session, after_ms, move |_| die(code)),
        }
    }
}

fn die(code: i32) -> ! {
    eprintln!("fixture-mcp: dying with code {code}, as told");
    std::process::exit(code)
}

/// Does something after a while, beside everything else.
fn later(session: &Shared, after_ms: u64, act: impl FnOnce(&Shared) + Send + 'static) {
    if Arc::strong_count(session) > MAX_DELAYED {
        return act(session);
    }
    let session = Arc::clone(session);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(after_ms));
        act(&session);
    });
}

/// Writes one whole line. A reader that is gone is the end.
fn write_line(mut line: Vec<u8>) {
    line.push(b'\n');
    let mut output = io::stdout().lock();
    if output.write_all(&line).and_then(|()| output.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes to standard error as fast as it is read, for ever.
pub(crate) fn flood_stderr() {
    thread::spawn(|| {
        let lines = "fixture-mcp: flooding standard error, as told\n".repeat(100);
        while io::stderr().write_all(lines.as_bytes()).is_ok() {}
    });
}

/// A thread that panicked has said so; the session is still the only one.
fn lock(session: &Shared) -> std::sync::MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
