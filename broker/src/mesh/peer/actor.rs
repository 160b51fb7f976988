//! Carries out one session's requests and holds its presence.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use protocol::link::{LogLine, LogStream};
use protocol::wire::{
    CatalogEntry, ErrorCode, McpCatalogResult, McpDeploy, McpLogs, McpLogsResult, McpSchema, McpSchemaResult, Peer,
    PeerStatus, PeersList, ServerMessage,
};
use supervision::{ExitReason, Life, Supervised, supervised};

use super::{Outlet, Presence, deploy, reply};
use crate::mesh::MeshContext;
use crate::mesh::presence::{Enter, Leave, ListPresent};
use crate::mesh::scope::Verb;
use crate::mesh::service::View;
use crate::metrics::{DeployEnd, Limit};
use crate::runners::ServiceKey;
use crate::store::UtcMs;

/// How often a session is looked after.
const TEND_EVERY: Duration = Duration::from_secs(15);
/// A client that was silent for so long, pongs included, is gone.
const SILENCE: Duration = Duration::from_secs(75);
/// Longest wait for the mesh's actor.
const MESH_WITHIN: Duration = Duration::from_secs(5);
/// Requests of one session that are carried out at a time, calls excepted.
const MAX_REQUESTS: usize = 64;
/// RFC 6455: an end for reasons of the server's.
const GOING_AWAY: u16 = 1001;

/// One session.
pub struct PeerActor {
    mesh: Arc<MeshContext>,
    presence: Presence,
    outlet: Arc<dyn Outlet>,
    life: Life,
    /// The incarnation of the mesh's actor that knows of us.
    entered: Option<u64>,
    /// Each request that is carried out holds one of it.
    under_way: Rc<()>,
}

supervised!(PeerActor);

impl Supervised for PeerActor {}

/// A request of the session's client, calls excepted.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// Echoed on the answer.
    pub req_id: Option<String>,
    /// What it wants.
    pub wanted: Wanted,
}

/// What a client can want.
pub enum Wanted {
    /// Install, start and share a service.
    Deploy(Box<McpDeploy>),
    /// Stop and remove a service.
    Undeploy(String),
    /// The last lines of a service's log.
    Logs(McpLogs),
    /// The tools of a service.
    Schema(McpSchema),
    /// The services it may see.
    Catalog,
    /// Who is here.
    ListPeers,
}

impl PeerActor {
    pub(super) fn new(mesh: Arc<MeshContext>, presence: Presence, outlet: Arc<dyn Outlet>, life: Life) -> Self {
        Self { mesh, presence, outlet, life, entered: None, under_way: Rc::new(()) }
    }

    /// Enters the mesh, again when its actor was restarted.
    fn enter(&mut self) {
        let generation = self.mesh.presence.generation();
        if self.entered == Some(generation) {
            return;
        }
        let enter = Enter { presence: self.presence.clone(), outlet: Arc::clone(&self.outlet) };
        if self.mesh.presence.tell(enter).is_ok() {
            self.entered = Some(generation);
        }
    }

    fn tend(&mut self, ctx: &mut Context<Self>) {
        if self.outlet.silence() > SILENCE {
            self.mesh.metrics.limits.count(Limit::ClientSilence);
            self.life.exit(ExitReason::Error(format!("silent for {SILENCE:?}")));
            return ctx.stop();
        }
        self.enter();
    }

    fn send(&self, message: ServerMessage<'_>, req_id: Option<&str>) {
        self.outlet.send(reply::frame(message, req_id));
    }

    /// Beside the mailbox, at most [`MAX_REQUESTS`] at a time.
    fn carry_out(&self, work: impl Future<Output = ()> + 'static, ctx: &mut Context<Self>) {
        let place = Rc::clone(&self.under_way);
        let work = async move {
            work.await;
            drop(place);
        };
        ctx.spawn(work.into_actor(self));
    }

    fn deploy(&self, deploy: McpDeploy, req_id: Option<String>, ctx: &mut Context<Self>) {
        let (mesh, who, outlet) = (Arc::clone(&self.mesh), self.presence.principal.clone(), Arc::clone(&self.outlet));
        let name = deploy.server_name.clone();
        let teller = deploy::counted(deploy::teller(&self.presence, &self.outlet, &name, req_id.as_deref()), &mesh);
        let accepted = async move {
            let refused = match deploy::checked(&mesh, &who, deploy).await {
                Ok(request) => match mesh.services.deploy(&name, request, teller).await {
                    Ok(()) => return,
                    Err(refused) => reply::refused(&refused, req_id.as_deref()),
                },
                Err((code, words)) => reply::error(code, words, req_id.as_deref()),
            };
            mesh.metrics.deploys.count(DeployEnd::Refused);
            outlet.send(refused);
        };
        self.carry_out(accepted, ctx);
    }

    fn undeploy(&self, name: String, req_id: Option<String>, ctx: &mut Context<Self>) {
        let (mesh, who, outlet) = (Arc::clone(&self.mesh), self.presence.principal.clone(), Arc::clone(&self.outlet));
        let teller = deploy::teller(&self.presence, &self.outlet, &name, req_id.as_deref());
        let accepted = async move {
            if let Err(refused) = mesh.services.undeploy(&name, who, teller).await {
                outlet.send(reply::refused(&refused, req_id.as_deref()));
            }
        };
        self.carry_out(accepted, ctx);
    }

    fn logs(&self, wanted: McpLogs, req_id: Option<String>, ctx: &mut Context<Self>) {
        let view = match self.mesh.services.find(&wanted.server_name, &self.presence.principal, Verb::ReadLogs) {
            Ok((_, view)) => view,
            Err(refused) => {
                self.outlet.send(reply::refused(&refused, req_id.as_deref()));
                return;
            }
        };
        let link = view.runner.as_deref().and_then(|name| self.mesh.runners.get(name)).cloned();
        let (slug, outlet) = (self.mesh.slug.clone(), Arc::clone(&self.outlet));
        let read = async move {
            let lines = match link {
                None => Err("the service has no runner".to_owned()),
                Some(link) => {
                    let key = ServiceKey::new(slug, wanted.server_name.clone());
                    link.logs(&key, wanted.wanted()).await.map_err(|error| error.to_string())
                }
            };
            outlet.send(match lines {
                Ok(lines) => {
                    let lines = lines.iter().map(line).collect();
                    let result = McpLogsResult { server_name: wanted.server_name, lines };
                    reply::frame(ServerMessage::McpLogsResult(result), req_id.as_deref())
                }
                Err(words) => reply::error(ErrorCode::Unreachable, words, req_id.as_deref()),
            });
        };
        self.carry_out(read, ctx);
    }

    fn schema(&self, wanted: McpSchema, req_id: Option<&str>) {
        let found = self.mesh.services.find(&wanted.server_name, &self.presence.principal, Verb::See);
        let (_, view) = match found {
            Ok(found) => found,
            Err(refused) => {
                self.outlet.send(reply::refused(&refused, req_id));
                return;
            }
        };
        let asked = |name: &str| wanted.tool_name.as_deref().is_none_or(|tool| tool == name);
        let tools: Vec<_> = view.tools.iter().filter(|tool| asked(&tool.name)).cloned().collect();
        if let (Some(tool), true) = (&wanted.tool_name, tools.is_empty()) {
            let words = format!("service \"{}\" has no tool \"{tool}\"", wanted.server_name);
            self.outlet.send(reply::error(ErrorCode::NotFound, words, req_id));
            return;
        }
        let result = McpSchemaResult { server_name: wanted.server_name, tools };
        self.send(ServerMessage::McpSchemaResult(result), req_id);
    }

    /// The catalog takes each state from the snapshot that the tree and the health endpoints are read from.
    fn catalog(&self, req_id: Option<&str>) {
        let nodes = self
            .life
            .path()
            .parent()
            .and_then(|peers| peers.parent())
            .and_then(|mesh| self.life.registry().view(&format!("{}/services", mesh.as_str()), 1))
            .map(|services| services.children)
            .unwrap_or_default();
        let entry = |name: &str, view: &View| {
            let node = nodes.iter().find(|node| node.name() == name);
            let status = node.and_then(|node| serde_json::from_value(node.state.clone().into()).ok());
            CatalogEntry {
                name: name.to_owned(),
                r#type: "mcp".to_owned(),
                description: view.description.clone(),
                // An actor that itself restarts has no state to show: what it last said may be past.
                status: status.unwrap_or(protocol::link::ServiceState::Unreachable),
                tool_count: u32::try_from(view.tools.len()).unwrap_or(u32::MAX),
                deployed_by: view.deployed_by_name.clone(),
                scope: view.scope.clone(),
                source_type: view.source_type.to_owned(),
                runtime: None,
                created_at: view.created_at.to_string(),
                version: view.version.clone(),
                since_ms: node.map(|node| node.since_ms),
                cause: Some(view.cause.clone()),
            }
        };
        let seen = self.mesh.services.seen_by(&self.presence.principal);
        let services = seen.iter().map(|(cell, view)| entry(&cell.name, view)).collect();
        self.send(ServerMessage::McpCatalogResult(McpCatalogResult { services }), req_id);
    }

    fn list_peers(&self, req_id: Option<String>, ctx: &mut Context<Self>) {
        let (presence, outlet) = (self.mesh.presence.clone(), Arc::clone(&self.outlet));
        let listed = async move {
            outlet.send(match presence.call(ListPresent, MESH_WITHIN).await {
                Ok(present) => {
                    let list = PeersList { peers: present.into_iter().map(peer).collect() };
                    reply::frame(ServerMessage::PeersList(list), req_id.as_deref())
                }
                Err(error) => {
                    let words = format!("the mesh cannot say who is here: {error}");
                    reply::error(ErrorCode::Internal, words, req_id.as_deref())
                }
            });
        };
        self.carry_out(listed, ctx);
    }
}

fn peer(presence: Presence) -> Peer {
    let about = &presence.about;
    Peer {
        pubkey: presence.address,
        display_name: presence.principal.display_name,
        status: PeerStatus::Idle,
        summary: None,
        groups: about.groups.clone(),
        session_id: presence.session_id,
        connected_at: about.connected_at.to_string(),
        cwd: Some(about.cwd.clone()),
        hostname: about.hostname.clone(),
        peer_type: about.peer_type,
        channel: about.channel.clone(),
        model: about.model.clone(),
        stats: None,
        visible: None,
        profile: None,
        member_pubkey: Some(about.member),
        session_cert: about.session_cert,
        online: None,
    }
}

fn line(line: &LogLine) -> String {
    let stream = match line.stream {
        LogStream::Install => "install",
        LogStream::Stderr => "stderr",
        LogStream::Stdout => "stdout",
        LogStream::System => "system",
    };
    let at = UtcMs::from_ms(i64::try_from(line.at_ms).unwrap_or(i64::MAX));
    format!("{at} {stream} {}", line.text)
}

impl Actor for PeerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.fact("member", self.presence.principal.display_name.clone());
        self.enter();
        ctx.run_interval(TEND_EVERY, Self::tend);
    }
}

/// Whatever ends the session, its presence and its socket end too.
impl Drop for PeerActor {
    fn drop(&mut self) {
        // A mesh actor that is down has forgotten everybody anyway.
        let _ = self.mesh.presence.tell(Leave { presence_id: self.presence.presence_id.clone() });
        self.outlet.close(GOING_AWAY, "the session ended");
    }
}

impl Handler<Ask> for PeerActor {
    type Result = ();

    fn handle(&mut self, Ask { req_id, wanted }: Ask, ctx: &mut Self::Context) {
        if Rc::strong_count(&self.under_way) > MAX_REQUESTS {
            self.mesh.metrics.limits.count(Limit::SessionRequests);
            let words = format!("limit: {MAX_REQUESTS} requests of this session are under way");
            self.outlet.send(reply::error(ErrorCode::Limit, words, req_id.as_deref()));
            return;
        }
        match wanted {
            Wanted::Deploy(deploy) => self.deploy(*deploy, req_id, ctx),
            Wanted::Undeploy(name) => self.undeploy(name, req_id, ctx),
            Wanted::Logs(wanted) => self.logs(wanted, req_id, ctx),
            Wanted::Schema(wanted) => self.schema(wanted, req_id.as_deref()),
            Wanted::Catalog => self.catalog(req_id.as_deref()),
            Wanted::ListPeers => self.list_peers(req_id, ctx),
        }
    }
}
