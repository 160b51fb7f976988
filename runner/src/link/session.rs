//! One broker's session: handshake, then frames in, frames out and reports, all in one supervised task.

use std::sync::Arc;
use std::time::Duration;

use actix_http::ws::{Frame, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use protocol::link::mux::Delivered;
use protocol::link::{CallHeader, FailCode, Header, RetryKind};
use supervision::{ExitReason, Life};
use tokio::time::timeout;

use super::Desk;
use super::commands::{self, Order};
use super::hello::{self, Admitted, Handshake};
use super::port::Port;
use super::report;
use super::socket::{Connection, Socket};
use crate::instance::rpc;
use crate::metrics::Limit;
use crate::service::gate::{Answer, Event, Origin, Submit};
use crate::service::{Callers as _, Key};

/// A broker pings more often than this.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Runs a session to its end.
pub(super) async fn run(life: Life, desk: Arc<Desk>, number: u64, connection: Option<Connection>) -> ExitReason {
    let Some(connection) = connection else { return ExitReason::Normal };
    let mut socket = connection.into_socket(desk.metrics.limits.clone());
    life.condition(Some("handshake"));
    let handshake = tokio::select! {
        () = life.stopping() => return ExitReason::Shutdown,
        handshake = hello::shake_hands(&mut socket, &desk) => handshake,
    };
    match handshake {
        Handshake::Admitted(broker) => {
            life.condition(None::<&str>);
            life.fact("store", broker.store.clone());
            life.fact("epoch", broker.epoch);
            life.fact("build", broker.build.clone());
            serve(&life, &desk, number, socket, &broker).await
        }
        Handshake::Refused { code, reason } => {
            desk.metrics.links.refused.count(code);
            tracing::warn!(session = number, reason, "a broker was refused");
            ExitReason::Error(reason)
        }
        Handshake::StopAll { code, cmd } => {
            desk.metrics.links.refused.count(code);
            tracing::info!(session = number, cmd, "a broker that was refused orders an end");
            commands::stop_all(&desk, None, cmd);
            ExitReason::Normal
        }
    }
}

async fn serve(life: &Life, desk: &Arc<Desk>, number: u64, socket: Socket, broker: &Admitted) -> ExitReason {
    let port = Arc::new(Port::new(desk.metrics.links.clone()));
    let session = Session { desk: Arc::clone(desk), port: Arc::clone(&port), number };
    let _opened = desk.ports.open(number, &port);
    if broker.seals {
        port.send(&Header::RunnerKey { pubkey: hex::encode(desk.identity.key.as_bytes()) }, hello::NO_BODY);
    }
    let (mut sink, mut stream) = socket.split();
    tracing::info!(session = number, store = broker.store, epoch = broker.epoch, "a broker is linked");
    let end = tokio::select! {
        () = life.stopping() => {
            // What was answered until now still goes out.
            tokio::select! {
                _ = port.pump(&mut sink) => {}
                () = port.flushed(FAREWELL) => {}
            }
            return ExitReason::Shutdown;
        }
        end = session.listen(&mut stream) => end,
        end = port.pump(&mut sink) => end,
        () = report::report(desk, &port) => "reports ended".to_owned(),
    };
    tracing::info!(session = number, reason = end, "a broker's link ended");
    ExitReason::Error(end)
}

/// How long the last answers may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);

struct Session {
    desk: Arc<Desk>,
    port: Arc<Port>,
    number: u64,
}

impl Drop for Session {
    fn drop(&mut self) {
        for entry in self.desk.directory.all() {
            entry.gate(Event::SessionGone { session: self.number });
        }
    }
}

impl Session {
    /// Takes frames until the connection ends, which it says in words.
    async fn listen(&self, stream: &mut SplitStream<Socket>) -> String {
        loop {
            let frame = match timeout(SILENCE_MAX, stream.next()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return error.to_string(),
                Ok(None) => return "the broker hung up".to_owned(),
                Err(_) => {
                    self.desk.metrics.limits.count(Limit::BrokerSilence);
                    return format!("the broker was silent for {} s", SILENCE_MAX.as_secs());
                }
            };
            match frame {
                Frame::Binary(message) => match self.port.receive(message) {
                    Ok(Some(delivered)) => {
                        if let Err(problem) = self.take(delivered) {
                            return problem;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => return error.to_string(),
                },
                Frame::Ping(data) => self.port.control(Message::Pong(data)),
                Frame::Pong(_) => {}
                Frame::Close(_) => return "the broker closed the link".to_owned(),
                Frame::Text(_) | Frame::Continuation(_) => return "not a binary message".to_owned(),
            }
        }
    }

    fn take(&self, delivered: Delivered) -> Result<(), String> {
        let order = |cmd, fence, mesh, service, order| {
            commands::order(&self.desk, &self.port, cmd, fence, mesh, service, order);
        };
        match delivered.header {
            Header::Call(call) => self.call(call, delivered.body),
            Header::Cancel { id, reason } => self.cancel(id, reason),
            Header::Load { cmd, fence, spec } => {
                order(cmd, fence, spec.mesh.clone(), spec.service.clone(), Order::Load(spec));
            }
            Header::File { cmd, fence, sha256 } => {
                commands::file(&self.desk, &self.port, cmd, fence, sha256, delivered.body);
            }
            Header::Unload { cmd, fence, mesh, service } => order(cmd, fence, mesh, service, Order::Unload),
            Header::Restart { cmd, fence, mesh, service } => order(cmd, fence, mesh, service, Order::Restart),
            Header::Logs { cmd, mesh, service, lines, after } => {
                commands::logs(&self.desk, &self.port, cmd, &mesh, &service, (lines, after));
            }
            Header::StopAll { cmd } => commands::stop_all(&self.desk, Some(&self.port), cmd),
            // Nothing here asks a broker or tells a server yet: no answer is expected, and none is due.
            Header::Reply { .. } | Header::Progress { .. } | Header::Notify { .. } => {}
            Header::LinkHello(_)
            | Header::LinkProof { .. }
            | Header::LinkRefused { .. }
            | Header::RunnerKey { .. }
            | Header::Done { .. }
            | Header::LogsResult { .. }
            | Header::Report(_)
            | Header::Chunk { .. }
            | Header::Credit { .. } => return Err("a frame that a broker does not send here".to_owned()),
        }
        Ok(())
    }

    fn call(&self, call: CallHeader, params: Bytes) {
        self.desk.metrics.calls.started.increment(1);
        let origin = Origin { session: self.number, id: call.id };
        let key = Key { mesh: call.mesh, service: call.service, deployment: call.deployment };
        let Some(entry) = self.desk.directory.get(&key) else {
            let answer = Answer::failed(FailCode::NotFound, format!("{key} is not loaded here"));
            return self.turn_away(origin, answer, call.attempts_before);
        };
        if !params.is_empty() && !rpc::is_json(&params) {
            let error = Bytes::from_static(br#"{"code":-32602,"message":"the parameters are not one JSON value"}"#);
            return self.turn_away(origin, Answer::Error(error), call.attempts_before);
        }
        entry.gate(Event::Submit(Submit {
            origin,
            method: call.method,
            params,
            timeout: Duration::from_millis(call.timeout_ms),
            retry: call.retry == RetryKind::Auto && entry.spec.policy.retry == RetryKind::Auto,
            attempts_before: call.attempts_before,
            member: call.affinity.map(Into::into),
            tells: call.progress,
            whole_time: call.whole_time,
        }));
    }

    /// Answers a call that no gate has seen.
    fn turn_away(&self, origin: Origin, answer: Answer, attempts: u8) {
        self.desk.metrics.calls.answered(&answer);
        self.desk.ports.reply(origin, answer, attempts);
    }

    /// The call's service is not named: whoever has it answers.
    fn cancel(&self, id: u64, reason: Option<String>) {
        let origin = Origin { session: self.number, id };
        for entry in self.desk.directory.all() {
            entry.gate(Event::Cancel { origin, reason: reason.clone() });
        }
    }
}
