//! Servers that peers run themselves and let the mesh call.
//!
//! Owns who hosts what, and the calls that wait for a host's answer; `state` decides. Shared by all sockets like a
//! service's desk: taking a call in, forwarding it and answering it never wait. The mesh's child `hosted` ends what time
//! ends: calls without an answer, and names whose host did not come back. A restart of it loses nothing; a restart of the
//! broker loses the registrations, and hosts register again. Everybody in the mesh may see and call what is hosted: the
//! host is told who calls, and decides for itself.

pub mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use meter::Counters;
use protocol::link::{FailCode, ReplyOutcome, Tool};
use protocol::wire::{HostedServer, McpCall, McpCallForward, McpCallResponse, ServerMessage};
use serde_json::json;
use supervision::{ExitReason, Life};

use super::MeshContext;
use super::actor::Announce;
use super::mail::PresenceId;
use super::peer::{Outlet, Presence, reply};
use crate::metrics::Limit;
use crate::runners::link::{CallOutcome, CallSink, failed};
use crate::store::UtcMs;
use state::{CallError, CallId, Caller, Ended, Host, Offer, RegisterError, Registered, Server, State};

/// How long a host may take for a call that names no time, and the longest time that one may name.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How often it is looked for what time has ended.
const TICK: Duration = Duration::from_millis(250);
/// Bytes of tools in one list of what is hosted. Those that find no room are asked for server by server.
const MAX_LISTED_BYTES: usize = 4 * 1024 * 1024;
/// The code of a host's error that names none: JSON-RPC's "internal error".
const INTERNAL_ERROR: i64 = -32_603;

/// See the module.
pub struct Hosted {
    inner: Mutex<Inner>,
    limits: Counters<Limit>,
}

#[derive(Default)]
struct Inner {
    state: State,
    /// Where the frames of those who host go.
    outlets: HashMap<PresenceId, Arc<dyn Outlet>>,
    sinks: HashMap<CallId, CallSink>,
}

impl Hosted {
    pub(super) fn new(limits: Counters<Limit>) -> Self {
        Self { inner: Mutex::default(), limits }
    }

    /// Whether a peer hosts a server of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.lock().state.server(name).is_some()
    }

    /// Those of the tools that a hosted server offers that are asked for; `None` when nobody hosts it.
    #[must_use]
    pub fn tools(&self, name: &str, asked: impl Fn(&&Tool) -> bool) -> Option<Vec<Tool>> {
        self.lock().state.server(name).map(|server| server.offer.tools.iter().filter(asked).cloned().collect())
    }

    /// Everything that is hosted; tools as long as there is room for them.
    #[must_use]
    pub fn list(&self) -> Vec<HostedServer> {
        let mut room = MAX_LISTED_BYTES;
        let shown = |(name, server): (&String, &Server)| {
            let left = room.checked_sub(server.offer.tools_bytes);
            room = left.unwrap_or(room);
            HostedServer {
                name: name.clone(),
                description: server.offer.description.clone(),
                hosted_by: server.host.name.clone(),
                tools: if left.is_some() { server.offer.tools.clone() } else { Vec::new() },
                tools_omitted: left.is_none(),
                online: server.offline_since.is_none(),
                offline_since: server.offline_since.map(|since| since.to_string()),
            }
        };
        self.lock().state.servers().map(shown).collect()
    }

    /// A peer offers a server, whose name no service has.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn register(
        &self,
        mesh: &MeshContext,
        host: &Presence,
        outlet: &Arc<dyn Outlet>,
        name: &str,
        offer: Offer,
    ) -> Result<(), RegisterError> {
        let (description, count) = (offer.description.clone(), offer.tools.len());
        let host_of =
            Host { presence: Arc::clone(&host.presence_id), member: host.member.to_string(), name: host.name.clone() };
        let registered = {
            let mut inner = self.lock();
            let registered = inner.state.register(name, host_of, offer);
            if registered.is_ok() {
                inner.outlets.insert(Arc::clone(&host.presence_id), Arc::clone(outlet));
            }
            registered
        };
        if matches!(registered, Err(RegisterError::Member | RegisterError::Mesh)) {
            self.limits.count(Limit::HostedServers);
        }
        let event = match registered? {
            // Said again by whoever said it: news to nobody.
            Registered::Renewed => return Ok(()),
            Registered::Restored => "mcp_restored",
            Registered::New => "mcp_registered",
        };
        let data = json!({ "serverName": name, "description": description, "hostedBy": host.name,
            "tool_count": count });
        tell(mesh, event, data);
        Ok(())
    }

    /// A peer gives a server of its own up; false when it has none of that name.
    pub fn unregister(&self, mesh: &MeshContext, host: &PresenceId, name: &str) -> bool {
        let ended = self.lock().state.unregister(name, host);
        ended.map(|ended| self.ended(mesh, ended, "its host gave the server up")).is_some()
    }

    /// Forwards a call; the sink gets its one answer. `id` is what the host is told, new for each call.
    pub fn call(&self, id: CallId, caller: &Presence, call: &McpCall<'_>, sink: CallSink) {
        let limit = call.timeout_ms.map_or(CALL_TIMEOUT, Duration::from_millis).min(MAX_TIMEOUT);
        let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        let deadline = UtcMs::from_ms(UtcMs::now().as_ms().saturating_add(limit_ms));
        let forward = ServerMessage::McpCallForward(McpCallForward {
            call_id: id.clone(),
            server_name: call.server_name.clone(),
            tool_name: call.tool_name.clone(),
            args: call.args,
            caller_name: caller.name.clone(),
            member_pubkey: Some(caller.about.member),
            session_cert: caller.about.session_cert,
        });
        let frame = reply::frame(forward, None);
        let whose = Caller { presence: Arc::clone(&caller.presence_id), member: caller.member.to_string() };
        let outlet = {
            let mut inner = self.lock();
            let asked = inner.state.call(&call.server_name, id.clone(), whose, deadline);
            let outlet = asked.map(|host| inner.outlets.get(&host).cloned());
            match outlet {
                Ok(Some(outlet)) => {
                    inner.sinks.insert(id.clone(), sink);
                    outlet
                }
                Ok(None) => {
                    inner.state.cancelled(&id);
                    drop(inner);
                    return sink(failed(FailCode::Unreachable, CallError::Away.to_string(), 0));
                }
                Err(error) => {
                    drop(inner);
                    return self.refused(error, sink);
                }
            }
        };
        if !outlet.send(frame) {
            self.answer(&id, || failed(FailCode::Unreachable, CallError::Away.to_string(), 0));
        }
    }

    fn refused(&self, error: CallError, sink: CallSink) {
        let code = match error {
            CallError::Unknown => FailCode::NotFound,
            CallError::Away => FailCode::Unreachable,
            CallError::Caller | CallError::Member | CallError::Mesh => {
                self.limits.count(Limit::HostedCalls);
                FailCode::Overloaded
            }
        };
        sink(failed(code, error.to_string(), 0));
    }

    /// The caller gives its call up. Its host may still work on it, and nobody hears of that.
    pub fn cancel(&self, id: &str, reason: &str) {
        self.answer(id, || failed(FailCode::Cancelled, reason, 1));
    }

    /// Answers a call that is not answered yet.
    fn answer(&self, id: &str, outcome: impl FnOnce() -> CallOutcome) {
        let sink = {
            let mut inner = self.lock();
            inner.state.cancelled(id);
            inner.sinks.remove(id)
        };
        if let Some(sink) = sink {
            sink(outcome());
        }
    }

    /// A peer answers a call; false unless it is the one that was asked and has not answered yet.
    pub fn answered(&self, by: &PresenceId, response: &McpCallResponse<'_>) -> bool {
        let sink = {
            let mut inner = self.lock();
            if !inner.state.answered(&response.call_id, by) {
                return false;
            }
            inner.sinks.remove(&response.call_id)
        };
        if let Some(sink) = sink {
            sink(outcome(response));
        }
        true
    }

    /// A connection is gone.
    pub fn left(&self, mesh: &MeshContext, presence: &PresenceId, goodbye: bool) {
        let ended = {
            let mut inner = self.lock();
            inner.outlets.remove(presence);
            inner.state.left(presence, goodbye, UtcMs::now())
        };
        self.ended(mesh, ended, "the peer that hosts the server left while the call was under way");
    }

    /// A member is one no more.
    pub fn removed(&self, mesh: &MeshContext, member: &str) {
        let ended = self.lock().state.removed(member);
        self.ended(mesh, ended, "its host is no member any more");
    }

    /// Answers the calls whose outcome nobody will tell, and tells which servers are gone.
    fn ended(&self, mesh: &MeshContext, ended: Ended, why: &str) {
        for id in &ended.calls {
            self.answer(id, || failed(FailCode::OutcomeUnknown, why, 1));
        }
        for (name, server) in ended.servers {
            tell(mesh, "mcp_unregistered", json!({ "serverName": name, "hostedBy": server.host.name }));
        }
    }

    fn tick(&self, mesh: &MeshContext) {
        let Ended { calls, servers } = self.lock().state.tick(UtcMs::now());
        for id in &calls {
            self.answer(id, || failed(FailCode::Timeout, "the peer did not answer in time", 1));
        }
        self.ended(mesh, Ended { calls: Vec::new(), servers }, "its host did not come back");
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain data: a panic elsewhere leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(mesh: &MeshContext, event: &'static str, data: serde_json::Value) {
    // Presence events are never durable: a mesh actor that is down or full misses this one.
    let _ = mesh.presence.tell(Announce { event, data, audience: None, unless: None });
}

/// A host's answer as a server's: its errors have the words that users know, and a code.
fn outcome(response: &McpCallResponse<'_>) -> CallOutcome {
    if let Some(result) = response.result {
        let body = Bytes::copy_from_slice(result.get().as_bytes());
        return CallOutcome { outcome: ReplyOutcome::Result, body, attempts: 1 };
    }
    let message = response.error.as_deref().unwrap_or("the peer answered with neither a result nor an error");
    let named = message.strip_prefix("MCP error ").and_then(|rest| rest.split(':').next()?.parse().ok());
    let body = json!({ "code": named.unwrap_or(INTERNAL_ERROR), "message": message }).to_string();
    CallOutcome { outcome: ReplyOutcome::Error, body: body.into(), attempts: 1 }
}

/// The life of the mesh's child `hosted`.
pub(super) async fn run(mesh: Arc<MeshContext>, life: Life) -> ExitReason {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = ticks.tick() => mesh.hosted.tick(&mesh),
            () = life.stopping() => return ExitReason::Shutdown,
        }
    }
}
