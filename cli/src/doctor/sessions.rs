//! The client's files, and what sessions left behind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::Check;
use crate::claude::{self, Files, Found, Here, Standing};
use crate::error::CliError;
use crate::profile::Profile;
use crate::text;

/// More processes than this are not named.
const NAMED: usize = 8;
/// What clears things away.
const TIDY: &str = "claudemesh doctor --tidy clears them away; so does the next launch";

/// Looks at all of it.
pub(crate) fn look() -> Vec<Check> {
    let looked = Files::from_environment().and_then(|files| {
        let profile = Profile::from_environment()?;
        Ok(vec![installed(&files)?, entries(&files)?, directories(&profile), proxies()])
    });
    looked.unwrap_or_else(|error| {
        let remedy = error.hint.as_deref().unwrap_or("restore a copy of the file");
        vec![Check::failed("client", text::line(&error.message), text::line(remedy))]
    })
}

/// Clears away what sessions left behind.
pub(crate) fn tidy() -> Result<(), CliError> {
    claude::sweep(&Files::from_environment()?.state)?;
    Profile::from_environment()?.sweep_launched(&Here::now());
    Ok(())
}

fn installed(files: &Files) -> Result<Check, CliError> {
    let path = files.state.display();
    Ok(if claude::is_installed(files)? {
        Check::ok("installed", format!("{path} names the server `claudemesh`"))
    } else {
        Check::warning("installed", format!("{path} does not name the server `claudemesh`"), "claudemesh install")
    })
}

fn entries(files: &Files) -> Result<Check, CliError> {
    let here = Here::now();
    let (gone, live): (Vec<_>, Vec<_>) =
        Found::all(&files.state)?.into_iter().partition(|found| here.standing(&found.launcher) == Standing::Gone);
    Ok(if gone.is_empty() {
        Check::ok("entries", format!("{} of sessions that run, none left behind", live.len()))
    } else {
        let services: Vec<_> = gone.iter().take(NAMED).map(|found| text::line(&found.service)).collect();
        Check::failed("entries", format!("{} left behind: {}", gone.len(), services.join(", ")), TIDY)
    })
}

fn directories(profile: &Profile) -> Check {
    match profile.left_behind(&Here::now()).len() {
        0 => Check::ok("directories", "no session left one behind"),
        several => Check::failed("directories", format!("{several} left behind, with a copy of your keys"), TIDY),
    }
}

/// Servers of a single service whose session is gone. They end with whoever started them, so there is something wrong
/// with one that has not.
fn proxies() -> Check {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let dead: Vec<_> = processes.filter_map(|entry| dead_proxy(&entry.path())).take(NAMED).collect();
    if dead.is_empty() {
        Check::ok("proxies", "none outlived its session")
    } else {
        let pids = dead.join(" ");
        Check::failed("proxies", format!("outlived their sessions: {pids}"), format!("kill {pids}"))
    }
}

/// The number of a process that is a proxy and whose session's directory is gone.
fn dead_proxy(process: &Path) -> Option<String> {
    let pid = process.file_name()?.to_str()?.parse::<u32>().ok()?;
    let words = fs::read(process.join("cmdline")).ok()?;
    let variables = fs::read(process.join("environ")).ok()?;
    session_directory(&words, &variables).filter(|directory| !directory.exists()).map(|_| pid.to_string())
}

/// Where the session of a process lies, if it is a proxy of a launched one.
fn session_directory(words: &[u8], variables: &[u8]) -> Option<PathBuf> {
    let mut words = words.split(|&byte| byte == 0).skip(1);
    if words.next()? != b"mcp" || words.next()? != b"--service" {
        return None;
    }
    let named = variables.split(|&byte| byte == 0).find_map(|pair| pair.strip_prefix(b"CLAUDEMESH_CONFIG_DIR="))?;
    Some(PathBuf::from(OsStr::from_bytes(named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_words() {
        let variables = b"A=b\0CLAUDEMESH_CONFIG_DIR=/c/launched/1\0";
        let found = session_directory(b"/bin/claudemesh\0mcp\0--service\0time\0", variables);
        assert_eq!(found, Some(PathBuf::from("/c/launched/1")));
        for words in [&b"/bin/claudemesh\0mcp\0"[..], b"vi\0mcp\0x\0", b"", b"claudemesh\0call\0--service\0"] {
            assert_eq!(session_directory(words, variables), None);
        }
        assert_eq!(session_directory(b"c\0mcp\0--service\0t\0", b"A=b\0"), None);
    }
}
