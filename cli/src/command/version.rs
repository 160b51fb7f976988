//! `version`: what this program is. `--json`: `{"version", "link": {"major", "minor"}}`.

use serde_json::json;

use super::Context;
use crate::error::CliError;

/// Runs `version`.
pub(crate) fn run(context: &Context) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let document = json!({
        "version": version,
        "link": {"major": protocol::link::LINK_MAJOR, "minor": protocol::link::LINK_MINOR},
    });
    context.printer.result(&document, |_| format!("claudemesh {version}"))
}
