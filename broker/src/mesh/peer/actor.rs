//! Carries out one session's requests and holds its presence.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use protocol::link::Tool;
use protocol::wire::{
    Ack, CatalogEntry, ErrorCode, McpCatalogResult, McpDeploy, McpEvents, McpLogs, McpRegister, McpSchema,
    McpSchemaResult, McpScope, McpSealed, PeersList, ReadInbox, RunnerName, SECRETS_SEEN, ServerMessage,
};
use supervision::{ExitReason, Life, Supervised, supervised};

use super::files::{self, FileRequest};
use super::vault::{self, VaultRequest};
use super::watches::{self, WatchRequest};
use super::{Administer, Outlet, Presence, admin, deploy, history, hosting, mail, reply, runners, sealed};
use crate::mesh::MeshContext;
use crate::mesh::actor::{Enter, GetInfo, Leave, ListPresent, ReadMail, Speak};
use crate::mesh::roster::Say;
use crate::mesh::scope::{Verb, guards};
use crate::mesh::service::{Change, View};
use crate::metrics::{DeployEnd, Limit};

/// How often a session is looked after.
const TEND_EVERY: Duration = Duration::from_secs(15);
/// A client that was silent for so long, pongs included, is gone.
const SILENCE: Duration = Duration::from_secs(75);
/// When entering the mesh again did not work, it is tried again after this.
const ENTER_AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for the mesh's actor.
const MESH_WITHIN: Duration = Duration::from_secs(5);
/// Requests of one session that are carried out at a time, calls excepted.
const MAX_REQUESTS: usize = 64;
/// RFC 6455: an end for reasons of the server's.
const GOING_AWAY: u16 = 1001;

/// One session.
pub struct PeerActor {
    mesh: Arc<MeshContext>,
    presence: Arc<Presence>,
    outlet: Arc<dyn Outlet>,
    life: Life,
    /// The incarnation of the mesh's actor that knows of us.
    entered: u64,
    /// Whether the client said goodbye.
    goodbye: Arc<AtomicBool>,
    /// It takes mail for as long as it lasts.
    follows: bool,
    /// Each request that is carried out holds one of it.
    under_way: Rc<()>,
}

supervised!(PeerActor);

impl Supervised for PeerActor {}

/// A connection that the mesh's actor has let in.
#[derive(Clone)]
pub struct Seated {
    /// As what.
    pub presence: Arc<Presence>,
    /// Where its frames go.
    pub outlet: Arc<dyn Outlet>,
    /// The incarnation of the mesh's actor that let it in.
    pub entered: u64,
    /// Set when the client says goodbye.
    pub goodbye: Arc<AtomicBool>,
}

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
    /// Change a service that is there.
    Manage(String, Change),
    /// With whom a service is shared, or is to be.
    Scope(McpScope),
    /// The last lines of a service's log.
    Logs(McpLogs),
    /// What happened to a service.
    Events(McpEvents),
    /// The tools of a service.
    Schema(McpSchema),
    /// The services it may see.
    Catalog,
    /// The broker's runners.
    ListRunners,
    /// A runner is given up.
    ForgetRunner(RunnerName),
    /// The keys of the runners.
    RunnerKeys,
    /// The boxes of the member's own services.
    Sealed(McpSealed),
    /// Let others call a server of its own.
    Register(Box<McpRegister>),
    /// Do so no more.
    Unregister(String),
    /// The servers that peers host.
    ListHosted,
    /// Who is here.
    ListPeers,
    /// A session says something about itself, or about another of its member's; answered when asked for, or always.
    Say {
        /// What.
        say: Say,
        /// For which session.
        session: Option<String>,
        /// Old clients expect an answer to some of them.
        always: bool,
    },
    /// Everything that waits.
    ReadInbox(ReadInbox),
    /// What became of a message.
    MessageStatus(String),
    /// The mesh in figures.
    Info,
    /// Something about files.
    Files(FileRequest),
    /// Something about its own vault.
    Vault(VaultRequest),
    /// Something about watches.
    Watches(WatchRequest),
    /// Who belongs to the mesh.
    ListMembers,
    /// What admins change.
    Administer(Administer),
}

impl PeerActor {
    pub(super) fn new(mesh: Arc<MeshContext>, seated: Seated, life: Life) -> Self {
        let Seated { presence, outlet, entered, goodbye } = seated;
        Self { mesh, presence, outlet, life, entered, goodbye, follows: false, under_way: Rc::new(()) }
    }

    /// Enters the mesh again whenever its actor was restarted.
    fn stay(&mut self, ctx: &mut Context<Self>) {
        let (slot, entered) = (self.mesh.presence.clone(), self.entered);
        let restarted = async move { slot.next_after(entered).await };
        ctx.spawn(restarted.into_actor(self).map(|generation, me, ctx| {
            let enter = Enter { presence: Arc::clone(&me.presence), outlet: Arc::clone(&me.outlet), fresh: None };
            if me.mesh.presence.tell(enter).is_ok() {
                me.entered = generation;
                if me.follows {
                    me.read_inbox(&ReadInbox { follow: true }, None);
                }
                return me.stay(ctx);
            }
            // It is gone again, or flooded: a moment later.
            ctx.run_later(ENTER_AGAIN, Self::stay);
        }));
    }

    fn tend(&mut self, ctx: &mut Context<Self>) {
        if self.outlet.silence() > SILENCE {
            self.mesh.metrics.limits.count(Limit::ClientSilence);
            self.life.exit(ExitReason::Error(format!("silent for {SILENCE:?}")));
            ctx.stop();
        }
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
        let (mesh, who, outlet) =
            (Arc::clone(&self.mesh), (*self.presence.principal()).clone(), Arc::clone(&self.outlet));
        let name = deploy.server_name.clone();
        let teller = deploy::counted(deploy::teller(&self.presence, &self.outlet, &name, req_id.as_deref()), &mesh);
        let accepted = async move {
            let refused = match deploy::checked(&mesh, &who, deploy).await {
                Ok(request) => match mesh.services.deploy(&name, request, teller).await {
                    Ok(()) => return,
                    Err(refused) => {
                        mesh.pace.give_back(&who.member_id);
                        reply::refused(&refused, req_id.as_deref())
                    }
                },
                Err((code, words)) => reply::error(code, words, req_id.as_deref()),
            };
            mesh.metrics.deploys.count(DeployEnd::Refused);
            outlet.send(refused);
        };
        self.carry_out(accepted, ctx);
    }

    fn manage(&self, name: String, change: Change, req_id: Option<String>, ctx: &mut Context<Self>) {
        let (mesh, who, outlet) =
            (Arc::clone(&self.mesh), (*self.presence.principal()).clone(), Arc::clone(&self.outlet));
        let mut teller = deploy::teller(&self.presence, &self.outlet, &name, req_id.as_deref());
        let deploys = matches!(change, Change::Update(_) | Change::Rollback(_));
        if deploys {
            teller = deploy::counted(teller, &mesh);
        }
        let accepted = async move {
            let checked = || deploy::paced(&mesh, &who);
            let taken = match deploys.then(|| sealed::well_formed(&change).and_then(|()| checked())) {
                Some(Err((code, words))) => Err(reply::error(code, words, req_id.as_deref())),
                _ => {
                    let managed = mesh.services.manage(&name, who.clone(), change, teller).await;
                    if managed.is_err() && deploys {
                        mesh.pace.give_back(&who.member_id);
                    }
                    managed.map_err(|refused| reply::refused(&refused, req_id.as_deref()))
                }
            };
            if let Err(refused) = taken {
                if deploys {
                    mesh.metrics.deploys.count(DeployEnd::Refused);
                }
                outlet.send(refused);
            }
        };
        self.carry_out(accepted, ctx);
    }

    fn undeploy(&self, name: String, req_id: Option<String>, ctx: &mut Context<Self>) {
        let (mesh, who, outlet) =
            (Arc::clone(&self.mesh), (*self.presence.principal()).clone(), Arc::clone(&self.outlet));
        let teller = deploy::teller(&self.presence, &self.outlet, &name, req_id.as_deref());
        let accepted = async move {
            if let Err(refused) = mesh.services.undeploy(&name, who, teller).await {
                outlet.send(reply::refused(&refused, req_id.as_deref()));
            }
        };
        self.carry_out(accepted, ctx);
    }

    fn schema(&self, wanted: McpSchema, req_id: Option<&str>) {
        let found = self.mesh.services.find(&wanted.server_name, &self.presence.principal(), Verb::See);
        let asked = |tool: &&Tool| wanted.tool_name.as_deref().is_none_or(|name| name == tool.name);
        let listed = match found {
            Ok((_, view)) => Ok(view.tools.iter().filter(asked).cloned().collect()),
            Err(refused) => self.mesh.hosted.tools(&wanted.server_name, asked).ok_or(refused),
        };
        let tools: Vec<Tool> = match listed {
            Ok(tools) => tools,
            Err(refused) => {
                self.outlet.send(reply::refused(&refused, req_id));
                return;
            }
        };
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
        let members = self.mesh.members.now();
        let lists = &members.lists;
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
                runtime: view.runtime.clone(),
                created_at: view.created_at.to_string(),
                version: view.version.clone(),
                since_ms: node.map(|node| node.since_ms),
                cause: Some(view.cause.clone()),
                guards: Some(guards(&view.scope, lists)),
                restarts: view.restarts,
                deployment: view.deployment.clone(),
                runner: view.runner.clone(),
                level: view.level.clone(),
                instances: u32::try_from(view.instances).ok(),
                secrets: view.secrets_seen.then(|| SECRETS_SEEN.to_owned()),
            }
        };
        let seen = self.mesh.services.seen_by(&self.presence.principal());
        let services = seen.iter().map(|(cell, view)| entry(&cell.name, view)).collect();
        self.send(ServerMessage::McpCatalogResult(McpCatalogResult { services }), req_id);
    }

    fn list_peers(&self, req_id: Option<String>, ctx: &mut Context<Self>) {
        let viewer = self.presence.member.clone();
        let slot = self.mesh.presence.clone();
        let listed = async move {
            match slot.call(ListPresent { viewer }, MESH_WITHIN).await {
                Ok(peers) => reply::frame(ServerMessage::PeersList(PeersList { peers }), req_id.as_deref()),
                Err(error) => reply::mesh_down(&error, req_id.as_deref()),
            }
        };
        self.answer(listed, ctx);
    }

    fn info(&self, req_id: Option<String>, ctx: &mut Context<Self>) {
        let presence = Arc::clone(&self.presence.presence_id);
        let slot = self.mesh.presence.clone();
        let told = async move {
            match slot.call(GetInfo { presence }, MESH_WITHIN).await {
                Ok(info) => reply::frame(ServerMessage::MeshInfoResult(Box::new(info)), req_id.as_deref()),
                Err(error) => reply::mesh_down(&error, req_id.as_deref()),
            }
        };
        self.answer(told, ctx);
    }

    fn say(&self, say: Say, session: Option<String>, always: bool, req_id: Option<String>, ctx: &mut Context<Self>) {
        let presence = Arc::clone(&self.presence.presence_id);
        let (slot, outlet) = (self.mesh.presence.clone(), Arc::clone(&self.outlet));
        let said = async move {
            let frame = match slot.call(Speak { presence, session, say }, MESH_WITHIN).await {
                Ok(Ok(())) if !always && req_id.is_none() => return,
                Ok(Ok(())) => {
                    let ack = Ack { queued: true, ..Ack::default() };
                    reply::frame(ServerMessage::Ack(Box::new(ack)), req_id.as_deref())
                }
                Ok(Err(error)) => reply::error(reply::code_of(&error), error.to_string(), req_id.as_deref()),
                Err(error) => reply::mesh_down(&error, req_id.as_deref()),
            };
            outlet.send(frame);
        };
        self.carry_out(said, ctx);
    }

    fn read_inbox(&self, wanted: &ReadInbox, req_id: Option<String>) {
        let presence = Arc::clone(&self.presence.presence_id);
        let read = ReadMail { presence, follow: wanted.follow, req_id: req_id.clone() };
        if let Err(error) = self.mesh.presence.tell(read) {
            self.outlet.send(reply::error(ErrorCode::Overloaded, error.to_string(), req_id.as_deref()));
        }
    }

    /// Work whose only end is a frame.
    fn answer(&self, work: impl Future<Output = String> + 'static, ctx: &mut Context<Self>) {
        let outlet = Arc::clone(&self.outlet);
        self.carry_out(
            async move {
                outlet.send(work.await);
            },
            ctx,
        );
    }

    fn administer(&self, wanted: Administer, req_id: Option<String>, ctx: &mut Context<Self>) {
        let (mesh, presence) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
        let outlet = Arc::clone(&self.outlet);
        let done = async move { admin::carry_out(&mesh, &presence, &outlet, wanted, req_id.as_deref()).await };
        self.carry_out(done, ctx);
    }
}

impl Actor for PeerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.life.fact("member", self.presence.name.clone());
        self.stay(ctx);
        ctx.run_interval(TEND_EVERY, Self::tend);
    }
}

/// Whatever ends the session, its presence and its socket end too.
impl Drop for PeerActor {
    fn drop(&mut self) {
        // A mesh actor that is down has forgotten everybody; one that is flooded notices that the socket is over.
        let goodbye = self.goodbye.load(Ordering::Acquire);
        let _ = self.mesh.presence.tell(Leave { presence: Arc::clone(&self.presence.presence_id), goodbye });
        self.mesh.hosted.left(&self.mesh, &self.presence.presence_id, goodbye);
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
            Wanted::Manage(name, change) => self.manage(name, change, req_id, ctx),
            Wanted::Scope(wanted) => {
                let (mesh, who) = (Arc::clone(&self.mesh), self.presence.principal());
                self.answer(async move { deploy::scope(&mesh, &who, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::Logs(wanted) => {
                let (mesh, who) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
                self.answer(async move { history::logs(&mesh, &who, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::Events(wanted) => {
                let (mesh, who) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
                self.answer(async move { history::events(&mesh, &who, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::Schema(wanted) => self.schema(wanted, req_id.as_deref()),
            Wanted::Catalog => self.catalog(req_id.as_deref()),
            Wanted::Register(wanted) => {
                let req_id = req_id.as_deref();
                self.outlet.send(hosting::register(&self.mesh, &self.presence, &self.outlet, *wanted, req_id));
            }
            Wanted::Unregister(name) => {
                let answer = hosting::unregister(&self.mesh, &self.presence, &name, req_id.as_deref());
                if let Some(frame) = answer {
                    self.outlet.send(frame);
                }
            }
            Wanted::ListHosted => {
                self.outlet.send(hosting::list(&self.mesh, req_id.as_deref()));
            }
            Wanted::ListRunners => {
                self.outlet.send(runners::list(&self.mesh, &self.presence.principal(), req_id.as_deref()));
            }
            Wanted::ForgetRunner(wanted) => {
                let (mesh, who) = (Arc::clone(&self.mesh), self.presence.principal());
                self.answer(async move { runners::forget(&mesh, &who, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::RunnerKeys => {
                self.outlet.send(sealed::keys(&self.mesh, req_id.as_deref()));
            }
            Wanted::Sealed(wanted) => {
                let (mesh, who) = (Arc::clone(&self.mesh), self.presence.principal());
                self.answer(async move { sealed::boxes(&mesh, &who, &wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::ListPeers => self.list_peers(req_id, ctx),
            Wanted::Say { say, session, always } => self.say(say, session, always, req_id, ctx),
            Wanted::ReadInbox(wanted) => {
                self.follows |= wanted.follow;
                self.read_inbox(&wanted, req_id);
            }
            Wanted::MessageStatus(id) => {
                let (mesh, presence) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
                self.answer(async move { mail::status(&mesh, &presence, &id, req_id.as_deref()).await }, ctx);
            }
            Wanted::Info => self.info(req_id, ctx),
            Wanted::Files(wanted) => {
                let (mesh, presence) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
                self.answer(async move { files::answer(&mesh, &presence, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::Vault(wanted) => {
                let (mesh, presence) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
                self.answer(async move { vault::answer(&mesh, &presence, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::Watches(wanted) => {
                let (mesh, presence) = (Arc::clone(&self.mesh), Arc::clone(&self.presence));
                self.answer(async move { watches::answer(&mesh, &presence, wanted, req_id.as_deref()).await }, ctx);
            }
            Wanted::ListMembers => {
                self.send(ServerMessage::MembersList(admin::members(&self.mesh)), req_id.as_deref());
            }
            Wanted::Administer(wanted) => self.administer(wanted, req_id, ctx),
        }
    }
}
