//! The socket's codec end: frames in, frames out, hello before anything else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;
use actix_http::ws::{CloseCode, CloseReason, Item};
use actix_web::web;
use actix_web_actors::ws::{self, WebsocketContext};
use bytestring::ByteString;
use protocol::wire::{self, ClientMessage, ErrorCode, Hello, HelloAck, ServerMessage, ServiceEntry, WireLimit};
use supervision::{ChildId, Slot};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::calls::Calls;
use super::outlet::{Out, PortOutlet};
use crate::http::Http;
use crate::mesh::admission::{self, Admitted, Refusal};
use crate::mesh::peer::{self, Ask, Outlet, PeerActor, Presence, Wanted, reply};
use crate::mesh::{MeshContext, scope::Verb};
use crate::metrics::{HelloEnd, Limit};

/// A socket that has not said hello by then is closed.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often the client is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Additions this broker understands.
const CAPABILITIES: [&str; 2] = ["deploy_progress", "call_id"];

/// One socket.
pub(super) struct Port {
    http: web::Data<Http>,
    outlet: PortOutlet,
    queue: Option<mpsc::Receiver<Out>>,
    calls: Calls,
    joined: Option<Joined>,
    /// A message that arrives in fragments; bounded by the guard in front of the codec.
    fragments: Option<Fragments>,
    /// Messages in fragments that have ended.
    in_fragments: u64,
}

struct Joined {
    mesh: Arc<MeshContext>,
    presence: Presence,
    slot: Slot<PeerActor>,
}

/// However a socket ends, its session ends: also one that was just coming up.
impl Drop for Joined {
    fn drop(&mut self) {
        if let Ok(id) = ChildId::try_from(self.presence.presence_id.as_str()) {
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
    pub(super) fn new(http: web::Data<Http>, outlet: PortOutlet, queue: mpsc::Receiver<Out>) -> Self {
        http.sockets.fetch_add(1, Ordering::Relaxed);
        let calls = Calls::new(outlet.clone(), &http.metrics);
        Self { http, outlet, queue: Some(queue), calls, joined: None, fragments: None, in_fragments: 0 }
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
                self.calls.call(&joined.mesh, &joined.presence.principal, call, req_id);
            }
            (Some(_), ClientMessage::McpCancel(cancel)) => self.calls.cancel(&cancel.call_id),
            (Some(joined), ClientMessage::McpDeploy(deploy)) => self.ask(joined, Wanted::Deploy(deploy), req_id),
            (Some(joined), ClientMessage::McpUndeploy(named)) => {
                self.ask(joined, Wanted::Undeploy(named.server_name), req_id);
            }
            (Some(joined), ClientMessage::McpLogs(wanted)) => self.ask(joined, Wanted::Logs(wanted), req_id),
            (Some(joined), ClientMessage::McpSchema(wanted)) => self.ask(joined, Wanted::Schema(wanted), req_id),
            (Some(joined), ClientMessage::McpCatalog) => self.ask(joined, Wanted::Catalog, req_id),
            (Some(joined), ClientMessage::ListPeers) => self.ask(joined, Wanted::ListPeers, req_id),
            (Some(_), other) => {
                self.refuse(ErrorCode::UnknownType, &format!("`{}` is not taken yet", other.kind()), req_id);
            }
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
        let entered = async move {
            let admitted = admission::admit(&http.meshes, hello, http.max_connections_per_mesh).await?;
            enter(admitted, outlet).await
        };
        ctx.wait(entered.into_actor(self).map(move |entered, me, _| match entered {
            Ok(joined) => {
                let ack = ServerMessage::HelloAck(Box::new(me.ack(&joined)));
                me.joined = Some(joined);
                me.http.metrics.hellos.count(HelloEnd::Accepted);
                me.outlet.send(reply::frame(ack, req_id.as_deref()));
            }
            Err(Refusal { code, message }) => {
                me.http.metrics.hellos.count(code.into());
                me.outlet.send(reply::error(code, message, req_id.as_deref()));
                me.outlet.close(CloseCode::Policy.into(), code.as_str());
            }
        }));
    }

    fn ack(&self, joined: &Joined) -> HelloAck {
        let callable = joined.mesh.services.seen_by(&joined.presence.principal);
        let services = callable
            .into_iter()
            .filter(|(cell, _)| cell.view_for(&joined.presence.principal, Verb::Call).is_some())
            .map(|(cell, view)| ServiceEntry {
                name: cell.name.clone(),
                description: view.description.clone(),
                status: view.state,
                tools: view.tools.to_vec(),
                deployed_by: view.deployed_by_name.clone(),
            })
            .collect();
        HelloAck {
            presence_id: joined.presence.presence_id.clone(),
            member_display_name: joined.presence.principal.display_name.clone(),
            services: Some(services),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            server_version: Some(self.http.build.clone()),
            ..HelloAck::default()
        }
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

    fn close(code: u16, reason: String, ctx: &mut WebsocketContext<Self>) {
        ctx.close(Some(CloseReason { code: code.into(), description: Some(reason) }));
        ctx.stop();
    }
}

/// Starts the session's actor.
async fn enter(Admitted { mesh, presence }: Admitted, outlet: Arc<dyn Outlet>) -> Result<Joined, Refusal> {
    let joined = Joined { mesh, presence, slot: Slot::new() };
    let child = peer::child(&joined.mesh, joined.presence.clone(), outlet, &joined.slot);
    joined.mesh.peers.start_ready(child, HELLO_WITHIN).await.map_err(|error| Refusal {
        code: ErrorCode::Internal,
        message: format!("the session could not be started: {error}"),
    })?;
    Ok(joined)
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
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(_)) => Self::close(CloseCode::Normal.into(), String::new(), ctx),
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
            Out::Close(code, reason) => Self::close(code, reason, ctx),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}
