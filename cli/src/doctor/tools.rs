//! The programs that services and sessions are run with.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::Check;
use crate::claude;
use crate::text;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(10);
/// The oldest Node that the packages of services are made for.
const MIN_NODE: u32 = 18;

/// Looks at all of them.
pub(crate) async fn look() -> Vec<Check> {
    let (node, uv, client) = tokio::join!(version("node"), version("uv"), version("claude"));
    let client = match client {
        Ok(version) => Check::ok("claude", version),
        Err(why) => Check::failed("claude", why, "npm install -g @anthropic-ai/claude-code"),
    };
    vec![judge_node(node), judge_uv(uv), client]
}

fn judge_node(version: Result<String, String>) -> Check {
    let remedy = format!("install Node {MIN_NODE} or newer, if npx services are to run on this machine");
    match version {
        Ok(version) if major(&version).is_some_and(|major| major >= MIN_NODE) => Check::ok("node", version),
        Ok(version) => Check::warning("node", format!("{version} is too old"), remedy),
        Err(why) => Check::warning("node", why, remedy),
    }
}

fn judge_uv(version: Result<String, String>) -> Check {
    match version {
        Ok(version) => Check::ok("uv", version),
        Err(why) => Check::warning("uv", why, "pip install uv, if uvx services are to run on this machine"),
    }
}

fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

/// What the program says to `--version`.
async fn version(name: &str) -> Result<String, String> {
    let program = claude::program(name).ok_or_else(|| format!("there is no `{name}` on PATH"))?;
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(LIMIT, command.output()).await {
        Err(_) => Err(format!("`{name} --version` said nothing for {} s", LIMIT.as_secs())),
        Ok(Err(error)) => Err(format!("`{name}` does not start: {error}")),
        Ok(Ok(output)) if !output.status.success() => Err(format!("`{name} --version` failed: {}", output.status)),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stdout);
            Ok(text::line(said.lines().next().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn an_old_node_is_told_from_a_new_one_and_from_none() {
        for (version, expected) in [
            (Ok("v20.20.2"), Verdict::Ok),
            (Ok("v16.1.0"), Verdict::Warning),
            (Ok("strange"), Verdict::Warning),
            (Err("none"), Verdict::Warning),
        ] {
            let check = judge_node(version.map(str::to_owned).map_err(str::to_owned));
            assert_eq!(check.verdict, expected, "{check:?}");
            assert_eq!(check.remedy.is_some(), expected != Verdict::Ok, "{check:?}");
        }
    }
}
