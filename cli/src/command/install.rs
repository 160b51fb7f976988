//! `install` and `uninstall`: the Claude Code client knows our server, and tells us when a session works; or does not.
//!
//! `--json`: `{"changed": [paths]}`.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::claude::{self, Files};
use crate::error::CliError;

/// The words of `install` and `uninstall`.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {}

/// Runs `install`.
pub(crate) fn run(context: &Context, _args: &InstallArgs) -> Result<(), CliError> {
    let changed = claude::install(&Files::from_environment()?, &claude::own_program()?)?;
    context.printer.confirm(&json!({ "changed": changed }), |_| match changed.as_slice() {
        [] => "The client knows claudemesh already.".to_owned(),
        _ => "The client knows claudemesh from its next start on: claudemesh launch starts a session in a mesh."
            .to_owned(),
    })
}

/// Runs `uninstall`.
pub(crate) fn uninstall(context: &Context, _args: &InstallArgs) -> Result<(), CliError> {
    let changed = claude::uninstall(&Files::from_environment()?)?;
    context.printer.confirm(&json!({ "changed": changed }), |_| match changed.as_slice() {
        [] => "The client does not know claudemesh.".to_owned(),
        _ => "The client does not know claudemesh from its next start on.".to_owned(),
    })
}
