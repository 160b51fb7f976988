//! Servers of this machine that the session lets the mesh call, until it ends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::wire::{McpRegister, McpUnregister};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::services::{Named, checked};
use super::{Link, Say, Session};
use crate::client::{ANSWER_TIMEOUT, Frame, Mesh};
use crate::error::CliError;
use crate::share::calls::{Calls, Forward, MAX_CALLS, RESPONSE_TYPE, UNREGISTER_TYPE};
use crate::share::local::Local;
use crate::text;
use crate::wire::mesh::McpList;

/// Servers of a session; a broker lets a member have as many.
const MAX_SERVERS: usize = 20;

#[derive(Deserialize)]
pub(super) struct Register {
    server_name: String,
    command: Vec<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    persistent: bool,
}

/// What is hosted, by name.
#[derive(Default)]
pub(super) struct Hosted(Mutex<HashMap<String, Server>>);

struct Server {
    offer: McpRegister,
    calls: mpsc::Sender<Forward>,
    task: AbortHandle,
}

impl Hosted {
    /// A new connection knows nothing of them.
    pub(super) async fn offer_again(&self, mesh: &Mesh) {
        let offers: Vec<McpRegister> = self.servers(|servers| servers.values().map(|s| s.offer.clone()).collect());
        for offer in offers {
            if let Err(error) = mesh.client.request(&offer, ANSWER_TIMEOUT).await {
                tracing::warn!(server = offer.server_name, %error, "a server of this session is not offered any more");
            }
        }
    }

    /// A call for one of them.
    pub(super) fn forwarded(&self, frame: &Frame) {
        let Ok(forward) = frame.read::<Forward>() else { return };
        self.servers(|servers| {
            // A call that finds no place, or no server, ends at the broker by its time.
            if let Some(server) = servers.get(&forward.server_name) {
                let _ = server.calls.try_send(forward);
            }
        });
    }

    /// Stops all.
    pub(super) fn clear(&self) {
        self.servers(|servers| servers.drain().for_each(|(_, server)| server.task.abort()));
    }

    fn servers<T>(&self, ask: impl FnOnce(&mut HashMap<String, Server>) -> T) -> T {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_, server| !server.task.is_finished());
        ask(&mut servers)
    }
}

impl Session {
    pub(super) async fn register(&self, wanted: Register, say: &Say) -> Result<String, CliError> {
        checked(&wanted.server_name)?;
        let (name, mesh) = (wanted.server_name, self.mesh(say).await?);
        let is_ours = self.hosted.servers(|servers| servers.contains_key(&name));
        if is_ours || self.hosted.servers(|servers| servers.len() >= MAX_SERVERS) {
            let why =
                if is_ours { "this session hosts one of that name" } else { "this session hosts too many servers" };
            return Err(CliError::usage(why).hint("mesh_mcp_remove stops one"));
        }
        let server = Local::start(&wanted.command).await?;
        let offer = McpRegister {
            server_name: name.clone(),
            description: wanted.description,
            tools: server.tools().to_vec(),
            persistent: wanted.persistent,
        };
        let count = mesh.client.request(&offer, ANSWER_TIMEOUT).await?.tool_count;
        let (calls, forwards) = mpsc::channel(MAX_CALLS);
        let task = tokio::spawn(host(server, self.link.clone(), name.clone(), forwards)).abort_handle();
        self.hosted.servers(|servers| servers.insert(name.clone(), Server { offer, calls, task }));
        Ok(format!("The mesh can call \"{name}\" ({count} tools) while this session lives."))
    }

    pub(super) async fn remove(&self, Named { server_name }: Named, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let server = self.hosted.servers(|servers| servers.remove(&server_name));
        let shown = text::line(&server_name);
        let Some(server) = server else {
            return Err(CliError::failed(format!("this session hosts no \"{shown}\"")));
        };
        server.task.abort();
        mesh.client.tell(UNREGISTER_TYPE, &McpUnregister { server_name }).await?;
        Ok(format!("\"{shown}\" is not hosted any more."))
    }

    pub(super) async fn list_hosted(&self, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let servers = mesh.client.request(&McpList {}, ANSWER_TIMEOUT).await?.servers;
        if servers.is_empty() {
            return Ok("No peer hosts a server.".to_owned());
        }
        let lines = servers.iter().map(|server| {
            let here = if server.online { "" } else { " (away)" };
            let (name, by) = (text::line(&server.name), text::line(&server.hosted_by));
            format!("{name}{here} · {} tools · by {by} · \"{}\"", server.tools.len(), text::line(&server.description))
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Carries calls out until the server ends, which then takes its name back.
async fn host(mut server: Local, link: Link, name: String, mut forwards: mpsc::Receiver<Forward>) {
    let calls = Calls::of(&server);
    loop {
        let forward = tokio::select! {
            status = server.ended() => {
                tracing::warn!(server = name, status, "a server of this session has ended");
                break;
            }
            forward = forwards.recv() => match forward {
                Some(forward) => forward,
                None => return,
            },
        };
        let (answer, link) = (calls.begin(forward), link.clone());
        tokio::spawn(async move {
            let answer = answer.await;
            // A connection that was lost has ended the call at the broker.
            if let Some(mesh) = link.now() {
                let _ = mesh.client.tell(RESPONSE_TYPE, &answer).await;
            }
        });
    }
    if let Some(mesh) = link.now() {
        let _ = mesh.client.tell(UNREGISTER_TYPE, &McpUnregister { server_name: name }).await;
    }
}
