//! `share`: lets the mesh call an MCP server that runs here, until it is stopped.
//!
//! Everybody in the mesh sees it and may call it. A lost connection is made again, and the server offered again.
//! `--json`: `{"name", "status": "shared", "tools": [...]}` each time that it is offered.

use clap::Args;
use protocol::wire::{McpRegister, McpRegisterAck, McpUnregister};
use serde_json::json;
use tokio::sync::mpsc;

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Backoff, Frame, Mesh, Pushes};
use crate::error::{CliError, Kind};
use crate::share::calls::{Calls, FORWARD_TYPE, Forward, MAX_CALLS, RESPONSE_TYPE, Response, UNREGISTER_TYPE};
use crate::share::local::Local;
use crate::text;

/// The words of `share`.
#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// What the server is called in the mesh
    #[arg(value_parser = super::service_name)]
    name: String,
    /// What it is, for people and models
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Keep the name when this ends, for the next time
    #[arg(long)]
    persistent: bool,
    /// The server and its arguments: -- PROGRAM ARG…
    #[arg(last = true, required = true, value_name = "ARGV")]
    argv: Vec<String>,
}

/// Why hosting on one connection ended.
enum End {
    /// The user stopped it.
    Stopped,
    /// The connection is gone.
    Lost,
    /// The server ended: how.
    Server(String),
}

/// Runs `share`.
pub(crate) async fn run(context: &Context, args: ShareArgs) -> Result<(), CliError> {
    let mut server = Local::start(&args.argv).await?;
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let mut backoff = Backoff::new();
    loop {
        let end = match offer(context, &mut mesh, &server, &args).await {
            Ok(()) => {
                backoff.reset();
                host(&mut mesh, &mut server, &args.name).await
            }
            Err(error) if passes(&error) => End::Lost,
            Err(error) => return Err(error),
        };
        match end {
            End::Stopped => {
                if !args.persistent {
                    let gone = McpUnregister { server_name: args.name.clone() };
                    // Its connection ends next, which says the same.
                    let _ = mesh.client.tell(UNREGISTER_TYPE, &gone).await;
                }
                mesh.close().await;
                return Ok(());
            }
            End::Server(status) => {
                mesh.close().await;
                return Err(CliError::failed(format!("the server ended: {status}")));
            }
            End::Lost => context.printer.note("the connection to the broker was lost; connecting again"),
        }
        if !reconnect(&mut mesh, &mut backoff).await? {
            return Ok(());
        }
    }
}

fn passes(error: &CliError) -> bool {
    matches!(error.kind, Kind::Unreachable | Kind::TimedOut)
}

async fn offer(context: &Context, mesh: &mut Mesh, server: &Local, args: &ShareArgs) -> Result<(), CliError> {
    let register = McpRegister {
        server_name: args.name.clone(),
        description: args.description.clone(),
        tools: server.tools().to_vec(),
        persistent: args.persistent,
    };
    let McpRegisterAck { tool_count, .. } = mesh.client.request(&register, ANSWER_TIMEOUT).await?;
    let names: Vec<_> = server.tools().iter().map(|tool| text::line(&tool.name)).collect();
    let document = json!({"name": args.name, "status": "shared", "tools": names});
    context
        .printer
        .next_result(&document, |_| format!("{} is shared, {tool_count} tools; Ctrl-C ends it", args.name))?;
    Ok(())
}

/// Carries calls out until one of the three is gone.
async fn host(mesh: &mut Mesh, server: &mut Local, name: &str) -> End {
    let (answers, mut answered) = mpsc::channel(MAX_CALLS);
    let calls = Calls::of(server);
    loop {
        tokio::select! {
            stopped = stop() => return stopped,
            status = server.ended() => return End::Server(status),
            frame = mesh.client.push_or_end() => match frame {
                None => return End::Lost,
                Some(frame) => take(&frame, name, &calls, &answers),
            },
            Some(response) = answered.recv() => {
                if mesh.client.tell(RESPONSE_TYPE, &response).await.is_err() {
                    return End::Lost;
                }
            }
        }
    }
}

async fn stop() -> End {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut term) => tokio::select! {
            _ = tokio::signal::ctrl_c() => End::Stopped,
            _ = term.recv() => End::Stopped,
        },
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
            End::Stopped
        }
    }
}

/// Begins a call beside all others; its answer goes the way of all answers.
fn take(frame: &Frame, name: &str, calls: &Calls, answers: &mpsc::Sender<Response>) {
    if frame.kind() != FORWARD_TYPE {
        return;
    }
    let Ok(forward) = frame.read::<Forward>() else { return };
    let answers = answers.clone();
    // Nobody takes an answer when the connection was lost meanwhile: the broker has answered the call then.
    if forward.server_name == name {
        let answer = calls.begin(forward);
        tokio::spawn(async move { drop(answers.send(answer.await).await) });
    } else {
        let answer = forward.answered(Err("this session does not host it".to_owned()));
        tokio::spawn(async move { drop(answers.send(answer).await) });
    }
}

/// Connects again, with waits that grow; false when the user stops it meanwhile.
async fn reconnect(mesh: &mut Mesh, backoff: &mut Backoff) -> Result<bool, CliError> {
    loop {
        tokio::select! {
            _ = stop() => return Ok(false),
            () = tokio::time::sleep(backoff.next()) => {}
        }
        match mesh.reconnect().await {
            Ok(()) => return Ok(true),
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error),
        }
    }
}
