//! `scope`: with whom a service is shared. `--json`: `{"name", "scope", "guards", "deployed_by"}`; members of a scope by
//! their ids.

use std::time::Duration;

use clap::Args;
use protocol::wire::{McpScope, Scope};
use serde_json::json;

use super::{Context, catalog, values};
use crate::error::CliError;
use crate::text;

/// The words of `scope`.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// With whom to share it from now on: mesh, peer, group:G, groups:A,B, role:R, peers:X,Y
    #[arg(value_parser = values::scope)]
    scope: Option<Scope>,
    /// Refuse a scope that keeps nobody out, as an open group does
    #[arg(long)]
    strict: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// Runs `scope`.
pub(crate) async fn run(context: &Context, args: ScopeArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let changes = args.scope.is_some();
    let request = McpScope { server_name: args.name.clone(), scope: args.scope, strict: args.strict };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let answer = answer?;
    let unreadable = |error| CliError::failed(format!("the scope cannot be shown: {error}"));
    let scope = serde_json::to_value(&answer.scope).map_err(unreadable)?;
    let shown = catalog::scope(&scope, answer.guards);
    if answer.guards == Some(false) {
        context.printer.note("this scope keeps nobody out: anybody may join an open group (claudemesh group restrict)");
    }
    let deployed_by = text::line(&answer.deployed_by);
    let document = json!({"name": args.name, "scope": scope, "guards": answer.guards, "deployed_by": deployed_by});
    if changes {
        context.printer.confirm(&document, |_| format!("Scope updated to: {shown}"))
    } else {
        context.printer.result(&document, |_| format!("{}: {shown}, deployed by {deployed_by}", args.name))
    }
}
