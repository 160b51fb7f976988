//! `mcp`: an MCP server on standard input and output, for a model's client. What it says there is the protocol, and nothing
//! else; words for people go to standard error.

use clap::Args;

use super::Context;
use crate::error::CliError;
use crate::mcp;

/// The words of `mcp`.
#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    /// Serve the tools of this service alone, as they are
    #[arg(long, value_name = "SERVICE", value_parser = super::service_name)]
    service: Option<String>,
}

/// Runs `mcp`. Its runtime is its own: one that waits for its input at the end would wait for a launcher that is gone.
pub(crate) fn run(context: &Context, args: McpArgs) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    let mesh = context.mesh.clone();
    let served = match args.service {
        Some(service) => runtime.block_on(mcp::serve_service(context.printer, mesh, service)),
        None => runtime.block_on(mcp::serve_session(context.printer, mesh)),
    };
    runtime.shutdown_background();
    served
}
