//! The socket's codec end: frames in, frames out, hello before anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use actix_http::ws::{CloseCode, CloseReason, Item};
use actix_web::web;
use actix_web_actors::ws::{self, WebsocketContext};
use bytestring::ByteString;
use protocol::wire::{self, Ack, ClientMessage, ErrorCode, Hello, HelloAck, ServerMessage, ServiceEntry, WireLimit};
use supervision::{ChildId, Slot};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::anonymous::Anonymous;
use super::calls::{self, Calls};
use super::mail;
use super::outlet::{Out, PortOutlet};
use crate::http::Http;
use crate::mesh::actor::{Acked, Enter, Fresh, Leave, Ponged};
use crate::mesh::admission::{self, Admitted, Refusal};
use crate::mesh::peer::{
    self, Administer, Ask, FileRequest, Outlet, PeerActor, Presence, Seated, VaultRequest, Wanted, WatchRequest, reply,
};
use crate::mesh::roster::{Restored, Say};
use crate::mesh::service::Change;
use crate::mesh::{MeshContext, scope::Verb};
use crate::metrics::{HelloEnd, Limit};

/// A socket that has not said hello by then is closed.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often the client is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Additions this broker understands.
const CAPABILITIES: [&str; 6] = ["deploy_progress", "call_id", "client_ack", "e2e", "inbox", "runner_keys"];

/// One socket.
pub(super) struct Port {
    http: web::Data<Http>,
    outlet: PortOutlet,
    queue: Option<mpsc::Receiver<Out>>,
    calls: Calls,
    joined: Option<Joined>,
    /// Its place among the sockets of its address, until it has said hello.
    anonymous: Option<Anonymous>,
    /// A message that arrives in fragments; bounded by the guard in front of the codec.
    fragments: Option<Fragments>,
    /// Messages in fragments that have ended.
    in_fragments: u64,
}

pub(super) struct Joined {
    pub(super) mesh: Arc<MeshContext>,
    pub(super) presence: Arc<Presence>,
    /// What runners learn of the member.
    pub(super) affinity: Arc<str>,
    slot: Slot<PeerActor>,
    goodbye: Arc<AtomicBool>,
    /// A permit for each message that has no answer yet.
    pub(super) sends: Arc<Semaphore>,
}

/// However a socket ends, its session ends: also one that was just coming up.
impl Drop for Joined {
    fn drop(&mut self) {
        if let Ok(id) = ChildId::try_from(self.presence.presence_id.as_ref()) {
            let mesh = Arc::clone(&self.mesh);
            // Ends with the session's stop, which has a deadline.
            actix_rt::spawn(async move { mesh.peers.stop(&id).await });
        }
    }
}

struct Fragments {
    text: bool,
    bytes: Vec<u8>,
}

impl Port {
    pub(super) fn new(
        http: web::Data<Http>,
        outlet: PortOutlet,
        queue: mpsc::Receiver<Out>,
        anonymous: Anonymous,
    ) -> Self {
        http.sockets.fetch_add(1, Ordering::Relaxed);
        let calls = Calls::new(outlet.clone(), &http.metrics);
        Self {
            http,
            outlet,
            queue: Some(queue),
            calls,
            joined: None,
            anonymous: Some(anonymous),
            fragments: None,
            in_fragments: 0,
        }
    }

    fn text(&mut self, text: &str, ctx: &mut WebsocketContext<Self>) {
        let request = match wire::parse(text) {
            Ok(request) => request,
            Err(error) => {
                self.count_limit(error.limit);
                let message = ServerMessage::Error(error.to_message());
                self.outlet.send(reply::frame(message, error.req_id.as_deref()));
                return;
            }
        };
        let req_id = request.req_id.as_deref();
        match (&self.joined, request.message) {
            (None, ClientMessage::Hello(hello)) => self.hello(*hello, req_id.map(str::to_owned), ctx),
            (None, _) => self.refuse(ErrorCode::NoHello, "say hello first", req_id),
            (Some(_), ClientMessage::Hello(_)) => self.refuse(ErrorCode::BadRequest, "hello was said already", req_id),
            (Some(_), _) if self.http.draining.load(Ordering::Acquire) => {
                self.refuse(ErrorCode::Draining, "the broker is stopping", req_id);
            }
            (Some(joined), ClientMessage::McpCall(call)) => {
                self.calls.call(joined, call, req_id);
            }
            (Some(joined), ClientMessage::McpCallResponse(response)) => {
                if !joined.mesh.hosted.answered(&joined.presence.presence_id, &response) {
                    self.refuse(ErrorCode::NotFound, "`callId`: no such call waits for this session", req_id);
                } else if req_id.is_some() {
                    let ack = Ack { queued: true, ..Ack::default() };
                    self.outlet.send(reply::frame(ServerMessage::Ack(Box::new(ack)), req_id));
                }
            }
            (Some(_), ClientMessage::McpCancel(cancel)) => self.calls.cancel(&cancel.call_id),
            (Some(joined), ClientMessage::Send(send)) => {
                let given = mail::send(joined, &self.outlet, *send, req_id);
                self.insist(given, ctx);
            }
            (Some(joined), ClientMessage::ClientAck(ack)) => {
                let presence = Arc::clone(&joined.presence.presence_id);
                let acked = Acked { presence, messages: Arc::new(ack.message_ids) };
                let given = mail::give(&joined.mesh, acked);
                self.insist(given, ctx);
            }
            (Some(joined), other) => match wanted(other) {
                Some(wanted) => self.ask(joined, wanted, req_id),
                None => self.refuse(ErrorCode::UnknownType, "no such message", req_id),
            },
        }
    }

    /// What the mesh cannot take at once keeps this socket from being read further.
    fn insist(&self, given: Option<mail::Giving>, ctx: &mut WebsocketContext<Self>) {
        if let Some(giving) = given {
            ctx.wait(giving.into_actor(self).map(|(), _, _| ()));
        }
    }

    fn ask(&self, joined: &Joined, wanted: Wanted, req_id: Option<&str>) {
        if let Err(error) = joined.slot.tell(Ask { req_id: req_id.map(str::to_owned), wanted }) {
            self.http.metrics.limits.count(Limit::SessionMailbox);
            self.refuse(ErrorCode::Overloaded, &format!("this session's requests are not taken: {error}"), req_id);
        }
    }

    fn refuse(&self, code: ErrorCode, words: &str, req_id: Option<&str>) {
        self.outlet.send(reply::error(code, words, req_id));
    }

    fn count_limit(&self, limit: Option<WireLimit>) {
        match limit {
            Some(WireLimit::Depth) => self.http.metrics.limits.count(Limit::MessageDepth),
            Some(WireLimit::ReqIdBytes) => self.http.metrics.limits.count(Limit::RequestIdBytes),
            None => {}
        }
    }

    /// Frames that follow a hello wait for its outcome.
    fn hello(&mut self, hello: Hello, req_id: Option<String>, ctx: &mut WebsocketContext<Self>) {
        let http = self.http.clone();
        let outlet: Arc<dyn Outlet> = Arc::new(self.outlet.clone());
        let asked = req_id.clone();
        let entered = async move {
            let admitted = admission::admit(&http.meshes, hello, http.max_connections_per_mesh)?;
            enter(&http, admitted, outlet, asked).await
        };
        ctx.wait(entered.into_actor(self).map(move |entered, me, _| match entered {
            Ok(joined) => {
                me.joined = Some(joined);
                me.anonymous = None;
                me.http.metrics.hellos.count(HelloEnd::Accepted);
            }
            Err(Refusal { code, message }) => {
                me.http.metrics.hellos.count(code.into());
                me.outlet.send(reply::error(code, message, req_id.as_deref()));
                me.outlet.close(CloseCode::Policy.into(), code.as_str());
            }
        }));
    }

    fn fragment(&mut self, item: Item, ctx: &mut WebsocketContext<Self>) {
        match item {
            Item::FirstText(bytes) => self.fragments = Some(Fragments { text: true, bytes: bytes.to_vec() }),
            Item::FirstBinary(bytes) => self.fragments = Some(Fragments { text: false, bytes: bytes.to_vec() }),
            Item::Continue(bytes) => {
                if let Some(fragments) = &mut self.fragments {
                    fragments.bytes.extend_from_slice(&bytes);
                }
            }
            Item::Last(bytes) => {
                let number = self.in_fragments;
                self.in_fragments += 1;
                let Some(Fragments { text, bytes: mut whole }) = self.fragments.take() else {
                    return;
                };
                // The end that the guard set for a message that was too large is not a message.
                if self.outlet.take_cut(number) {
                    return;
                }
                whole.extend_from_slice(&bytes);
                match String::from_utf8(whole) {
                    Ok(whole) if text => self.text(&whole, ctx),
                    _ => self.refuse(ErrorCode::BadJson, "a frame must be text", None),
                }
            }
        }
    }

    /// The answer to a ping behind pushes; one to a plain ping says nothing.
    fn pong(&self, mark: &[u8], ctx: &mut WebsocketContext<Self>) {
        if let (Some(joined), Ok(mark)) = (&self.joined, <[u8; 8]>::try_from(mark)) {
            let presence = Arc::clone(&joined.presence.presence_id);
            let given = mail::give(&joined.mesh, Ponged { presence, mark: u64::from_be_bytes(mark) });
            self.insist(given, ctx);
        }
    }

    fn close(code: u16, reason: String, ctx: &mut WebsocketContext<Self>) {
        ctx.close(Some(CloseReason { code: code.into(), description: Some(reason) }));
        ctx.stop();
    }
}

/// Lets the session in: written down and known to the mesh first, then with an actor of its own.
async fn enter(
    http: &web::Data<Http>,
    admitted: Admitted,
    outlet: Arc<dyn Outlet>,
    req_id: Option<String>,
) -> Result<Joined, Refusal> {
    let Admitted { mesh, presence, replay_key } = admitted;
    let internal = |message: String| Refusal { code: ErrorCode::Internal, message };
    let greeting = {
        let (http, mesh, presence) = (http.clone(), Arc::clone(&mesh), Arc::clone(&presence));
        let greeting = move |restored: Option<&Restored>| {
            let ack = ServerMessage::HelloAck(Box::new(ack(&http, &mesh, &presence, restored)));
            reply::frame(ack, req_id.as_deref())
        };
        Box::new(greeting)
    };
    mesh.presence.up(HELLO_WITHIN).await.map_err(|error| internal(format!("the mesh is not up: {error}")))?;
    let entered = mesh.presence.generation();
    let (answer, answered) = oneshot::channel();
    let fresh = Some(Fresh { replay_key, greeting, answer });
    let enter = Enter { presence: Arc::clone(&presence), outlet: Arc::clone(&outlet), fresh };
    mesh.presence.tell(enter).map_err(|error| internal(format!("the mesh takes nobody in: {error}")))?;
    match tokio::time::timeout(HELLO_WITHIN, answered).await {
        Ok(Ok(verdict)) => verdict?,
        Ok(Err(_)) => return Err(internal("the mesh is starting again: try again".to_owned())),
        Err(_) => return Err(internal("the mesh does not answer: try again".to_owned())),
    }
    let goodbye = Arc::new(AtomicBool::new(false));
    let seated = Seated { presence: Arc::clone(&presence), outlet, entered, goodbye: Arc::clone(&goodbye) };
    let sends = Arc::new(Semaphore::new(mail::MAX_SENDS));
    let affinity = calls::affinity(&mesh, presence.member.as_str());
    let joined = Joined { mesh, presence, affinity, slot: Slot::new(), goodbye, sends };
    let child = peer::child(&joined.mesh, seated, &joined.slot);
    if let Err(error) = joined.mesh.peers.start_ready(child, HELLO_WITHIN).await {
        let presence = Arc::clone(&joined.presence.presence_id);
        let _ = joined.mesh.presence.tell(Leave { presence, goodbye: false });
        return Err(internal(format!("the session could not be started: {error}")));
    }
    Ok(joined)
}

fn ack(http: &Http, mesh: &MeshContext, presence: &Presence, restored: Option<&Restored>) -> HelloAck {
    let who = presence.principal();
    let services = mesh
        .services
        .seen_by(&who)
        .into_iter()
        .filter(|(cell, _)| cell.view_for(&who, Verb::Call).is_some())
        .map(|(cell, view)| ServiceEntry {
            name: cell.name.clone(),
            description: view.description.clone(),
            status: view.state,
            tools: view.tools.to_vec(),
            deployed_by: view.deployed_by_name.clone(),
        })
        .collect();
    HelloAck {
        presence_id: presence.presence_id.to_string(),
        member_display_name: presence.name.clone(),
        restored: restored.map(|_| true),
        last_summary: restored.and_then(|restored| restored.summary.clone()),
        last_seen_at: restored.map(|restored| restored.last_seen.to_string()),
        restored_groups: restored.map(|restored| restored.groups.clone()),
        restored_stats: restored.and_then(|restored| restored.stats.clone()),
        services: Some(services),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        server_version: Some(http.build.clone()),
    }
}

/// What a message asks of the session's actor; none of those that never come here.
fn wanted(message: ClientMessage<'_>) -> Option<Wanted> {
    let say = |say, session, always| Some(Wanted::Say { say, session, always });
    let manage = |name, change| Some(Wanted::Manage(name, change));
    let administer = |wanted| Some(Wanted::Administer(wanted));
    match message {
        ClientMessage::McpDeploy(deploy) => Some(Wanted::Deploy(deploy)),
        ClientMessage::McpUndeploy(named) => Some(Wanted::Undeploy(named.server_name)),
        ClientMessage::McpUpdate(named) => manage(named.server_name, Change::Update(named.sealed)),
        ClientMessage::McpRollback(wanted) => manage(wanted.server_name, Change::Rollback(wanted.deployment)),
        ClientMessage::McpRestart(named) => manage(named.server_name, Change::Restart),
        ClientMessage::McpStop(named) => manage(named.server_name, Change::Stop),
        ClientMessage::McpStart(named) => manage(named.server_name, Change::Start),
        ClientMessage::McpScope(wanted) => Some(Wanted::Scope(wanted)),
        ClientMessage::McpLogs(wanted) => Some(Wanted::Logs(wanted)),
        ClientMessage::McpEvents(wanted) => Some(Wanted::Events(wanted)),
        ClientMessage::McpSchema(wanted) => Some(Wanted::Schema(wanted)),
        ClientMessage::McpRegister(wanted) => Some(Wanted::Register(wanted)),
        ClientMessage::McpUnregister(named) => Some(Wanted::Unregister(named.server_name)),
        ClientMessage::RunnerList => Some(Wanted::ListRunners),
        ClientMessage::RunnerForget(named) => Some(Wanted::ForgetRunner(named)),
        ClientMessage::RunnerKeys => Some(Wanted::RunnerKeys),
        ClientMessage::McpSealed(wanted) => Some(Wanted::Sealed(wanted)),
        ClientMessage::McpList => Some(Wanted::ListHosted),
        ClientMessage::McpCatalog => Some(Wanted::Catalog),
        ClientMessage::ListPeers => Some(Wanted::ListPeers),
        ClientMessage::SetSummary(change) => say(Say::Summary(change.to.summary), change.session, false),
        ClientMessage::SetStatus(change) => say(Say::Status(change.to.status), change.session, false),
        ClientMessage::JoinGroup(change) => say(Say::Join(change.to), change.session, false),
        ClientMessage::LeaveGroup(change) => say(Say::Leave(change.to.name), change.session, false),
        ClientMessage::SetStats(change) => say(Say::Stats(change.to.stats), change.session, false),
        ClientMessage::SetVisible(change) => say(Say::Visible(change.to.visible), change.session, true),
        ClientMessage::SetProfile(change) => say(Say::Profile(change.to), change.session, true),
        ClientMessage::ReadInbox(wanted) => Some(Wanted::ReadInbox(wanted)),
        ClientMessage::MessageStatus(wanted) => Some(Wanted::MessageStatus(wanted.message_id)),
        ClientMessage::MeshInfo => Some(Wanted::Info),
        ClientMessage::GetFile(file) => Some(Wanted::Files(FileRequest::Get(file.file_id))),
        ClientMessage::ListFiles => Some(Wanted::Files(FileRequest::List)),
        ClientMessage::DeleteFile(file) => Some(Wanted::Files(FileRequest::Delete(file.file_id))),
        ClientMessage::VaultSet(entry) => Some(Wanted::Vault(VaultRequest::Set(entry))),
        ClientMessage::VaultList => Some(Wanted::Vault(VaultRequest::List)),
        ClientMessage::VaultGet(wanted) => Some(Wanted::Vault(VaultRequest::Get(wanted.keys))),
        ClientMessage::VaultDelete(wanted) => Some(Wanted::Vault(VaultRequest::Delete(wanted.key))),
        ClientMessage::Watch(watch) => Some(Wanted::Watches(WatchRequest::Add(watch))),
        ClientMessage::Unwatch(named) => Some(Wanted::Watches(WatchRequest::Remove(named.watch_id))),
        ClientMessage::WatchList => Some(Wanted::Watches(WatchRequest::List)),
        ClientMessage::WatchHistory(wanted) => Some(Wanted::Watches(WatchRequest::History(wanted))),
        ClientMessage::WatchTest(watch) => Some(Wanted::Watches(WatchRequest::Test(watch))),
        ClientMessage::ListMembers => Some(Wanted::ListMembers),
        ClientMessage::MemberSet(set) => administer(Administer::SetMember(set)),
        ClientMessage::MemberRemove(remove) => administer(Administer::RemoveMember(remove)),
        ClientMessage::GroupSet(set) => administer(Administer::SetGroup(set)),
        ClientMessage::InviteCreate(new) => administer(Administer::CreateInvite(new)),
        ClientMessage::InviteList => administer(Administer::ListInvites),
        ClientMessage::InviteRevoke(revoke) => administer(Administer::RevokeInvite(revoke)),
        ClientMessage::MeshSet(set) => administer(Administer::SetMesh(set)),
        ClientMessage::Hello(_)
        | ClientMessage::Send(_)
        | ClientMessage::ClientAck(_)
        | ClientMessage::McpCall(_)
        | ClientMessage::McpCallResponse(_)
        | ClientMessage::McpCancel(_) => None,
    }
}

impl Actor for Port {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(queue) = self.queue.take() {
            ctx.add_stream(ReceiverStream::new(queue));
        }
        ctx.run_later(HELLO_WITHIN, |me, _| {
            if me.joined.is_none() {
                me.http.metrics.hellos.count(HelloEnd::NoHello);
                me.http.metrics.limits.count(Limit::HelloTime);
                me.refuse(ErrorCode::NoHello, "no hello within 10 s", None);
                me.outlet.close(CloseCode::Policy.into(), "no_hello");
            }
        });
        ctx.spawn(self.outlet.ending().into_actor(self).map(|(), me, _| {
            me.outlet.close(CloseCode::Away.into(), "the broker is stopping");
        }));
        ctx.run_interval(PING_EVERY, |_, ctx| ctx.ping(b""));
    }
}

/// However the socket ends, its calls end, and its session with what joined it.
impl Drop for Port {
    fn drop(&mut self) {
        self.http.sockets.fetch_sub(1, Ordering::Relaxed);
        self.outlet.port_is_gone();
        self.calls.cancel_all();
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Port {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        self.outlet.heard();
        self.http.metrics.sockets.received.increment(1);
        match message {
            Ok(ws::Message::Text(text)) => self.text(&text, ctx),
            Ok(ws::Message::Binary(_)) => self.refuse(ErrorCode::BadJson, "a frame must be text", None),
            Ok(ws::Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(ws::Message::Ping(bytes)) => ctx.pong(&bytes),
            Ok(ws::Message::Pong(mark)) => self.pong(&mark, ctx),
            Ok(ws::Message::Nop) => {}
            Ok(ws::Message::Close(reason)) => {
                // 1001 is said by what goes away under its session: a suspended machine, a proxy.
                let goodbye = reason.is_none_or(|reason| reason.code == CloseCode::Normal);
                if let Some(joined) = &self.joined {
                    joined.goodbye.store(goodbye, Ordering::Release);
                }
                Self::close(CloseCode::Normal.into(), String::new(), ctx);
            }
            Err(error) => Self::close(CloseCode::Protocol.into(), error.to_string(), ctx),
        }
    }
}

impl StreamHandler<Out> for Port {
    fn handle(&mut self, out: Out, ctx: &mut Self::Context) {
        match out {
            Out::Text(text) => {
                self.outlet.taken(text.len());
                self.http.metrics.sockets.sent(text.len());
                ctx.text(ByteString::from(text));
            }
            Out::TooLarge => {
                self.http.metrics.limits.count(Limit::MessageBytes);
                let words = format!("a message is larger than {} bytes and was skipped", self.http.max_message_bytes);
                ctx.text(reply::error(ErrorCode::TooLarge, words, None));
            }
            Out::Ping(mark) => ctx.ping(&mark.to_be_bytes()),
            Out::Close(code, reason) => Self::close(code, reason, ctx),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
