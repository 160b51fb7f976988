//! The process that flees: forked twice, in a session of its own, deaf to
//! SIGTERM, with a token among its arguments by which a test finds it, and
//! holding the server's output pipes open.
//!
//! Each step is this program started anew in another role, which needs no
//! `fork` of our own.

use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

/// The first child's role. Its token comes by the environment: a process that
/// is gone a moment later should not be found by its arguments.
const MIDDLE: &str = "__orphan-middle";
/// The grandchild's role; its token is the next argument.
const ORPHAN: &str = "__orphan";
const TOKEN_VARIABLE: &str = "FIXTURE_MCP_ORPHAN_TOKEN";
/// When nobody kills it, the orphan goes by itself, to spare the machine.
const LIFETIME: Duration = Duration::from_secs(900);

/// Leaves an orphan and returns once it runs.
pub(crate) fn leave(token: &str) -> io::Result<()> {
    let mut middle = Command::new(std::env::current_exe()?);
    middle.arg(MIDDLE).env(TOKEN_VARIABLE, token).stdin(Stdio::null());
    match middle.status()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(format!("the process in between ended with {status}"))),
    }
}

/// Plays the role this process was started in, if it is one of the two.
pub(crate) fn stage() -> Option<ExitCode> {
    let role = std::env::args().nth(1)?;
    let played = match role.as_str() {
        MIDDLE => flee(),
        ORPHAN => wait(),
        _ => return None,
    };
    Some(match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fixture-mcp: orphan: {error}");
            ExitCode::FAILURE
        }
    })
}

fn flee() -> io::Result<()> {
    let token = std::env::var(TOKEN_VARIABLE).map_err(io::Error::other)?;
    nix::unistd::setsid()?;
    // Blocked signals stay blocked in what is started here.
    super::ignore(Signal::SIGTERM)?;
    let mut orphan = Command::new(std::env::current_exe()?);
    orphan.args([ORPHAN, &token]).env_remove(TOKEN_VARIABLE).stdin(Stdio::null()).spawn()?;
    Ok(())
}

fn wait() -> io::Result<()> {
    super::ignore(Signal::SIGTERM)?;
    std::thread::sleep(LIFETIME);
    Ok(())
}
