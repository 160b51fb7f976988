//! `fixture-mcp`: an MCP server on standard input and output that is quick,
//! and misbehaves in exactly the ways it is told to.
//!
//! It speaks the protocol's revisions with `initialize`, one JSON message a
//! line. Its tools let a test see the process from inside (`env`, `pid`),
//! count what really ran (`count`), and break it by a call (`crash`, `orphan`);
//! its flags break it by themselves (`options`). Everything it has to say to
//! people goes to standard error and begins with `fixture-mcp:`.
//!
//! | file | holds |
//! |---|---|
//! | `options` | the flags |
//! | `session` | what a message leads to: no threads, no clock |
//! | `tools` | the tools |
//! | `effects` | carrying it out: output, delays, exits |
//! | `orphan` | the process that flees |

mod effects;
mod options;
mod orphan;
mod session;
mod tools;

use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use options::Options;

fn main() -> ExitCode {
    if let Some(ended) = orphan::stage() {
        return ended;
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("fixture-mcp: {why}");
            return ExitCode::from(2);
        }
    };
    // Before any thread exists, so that none of them takes the signal.
    if options.ignore_term
        && let Err(error) = ignore(Signal::SIGTERM)
    {
        eprintln!("fixture-mcp: cannot ignore SIGTERM: {error}");
        return ExitCode::from(2);
    }
    if let Some(token) = &options.orphan
        && let Err(error) = orphan::leave(token)
    {
        eprintln!("fixture-mcp: cannot leave an orphan: {error}");
        return ExitCode::from(2);
    }
    std::thread::sleep(Duration::from_millis(options.start_delay_ms));
    if let Some(code) = options.exit_at_start {
        eprintln!("fixture-mcp: exiting at the start with code {code} (--exit-at-start)");
        return ExitCode::from(code);
    }
    if options.flood_stderr {
        effects::flood_stderr();
    }
    effects::serve(options)
}

/// Blocked for good, a signal is as good as ignored, and so it stays in every
/// process that is started from here.
fn ignore(signal: Signal) -> nix::Result<()> {
    let mut set = SigSet::empty();
    set.add(signal);
    set.thread_block()
}
