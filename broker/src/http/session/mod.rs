//! One socket: a thin port between frames and the mesh.
//!
//! Owns the codec, the frame limit, the close codes and the bounded queue to its client; presence and
//! requests belong to the peer's actor under the mesh, which also ends a socket that no longer moves
//! (the port itself is polled only while its client reads). A call goes from here straight to the
//! service's desk.

mod anonymous;
mod calls;
mod guard;
mod mail;
mod outlet;
mod port;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use futures_util::StreamExt as _;
use serde_json::json;

use super::{Http, auth, serve};
use crate::metrics::{Limit, whole};
pub use anonymous::Unknown;
use guard::FrameGuard;
use outlet::PortOutlet;
use port::Port;

/// Sockets this broker serves, of all meshes and before hello.
const MAX_SOCKETS: usize = 10_000;
/// Room for a fragmented message's frames and for control frames beside the limit of one message.
const FRAME_ROOM: usize = 128;

/// `GET /ws`: becomes a socket.
pub(super) async fn upgrade(
    request: HttpRequest,
    payload: web::Payload,
    http: web::Data<Http>,
) -> Result<HttpResponse, actix_web::Error> {
    if let Some(refused) = auth::local_name(&request, &http) {
        return Ok(refused);
    }
    if http.draining.load(Ordering::Acquire) {
        let body = json!({ "error": "draining", "message": "the broker is stopping" });
        return Ok(HttpResponse::ServiceUnavailable().json(body));
    }
    if http.sockets.load(Ordering::Relaxed) >= MAX_SOCKETS {
        http.metrics.limits.count(Limit::Sockets);
        let body = json!({ "error": "capacity", "message": "MAX_SOCKETS is reached" });
        return Ok(HttpResponse::ServiceUnavailable().json(body));
    }
    // Behind a proxy all come from its address: it counts them itself.
    let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let Some(anonymous) = http.unknown.enter(address) else {
        http.metrics.limits.count(Limit::AnonymousSockets);
        let body =
            json!({ "error": "capacity", "message": "MAX_ANONYMOUS is reached: say hello on those that are open" });
        return Ok(HttpResponse::ServiceUnavailable().json(body));
    };
    http.metrics.sockets.opened.increment(1);
    let received = http.metrics.sockets.received_bytes.clone();
    let (outlet, queue) = PortOutlet::new(serve::connection());
    let mut guard = FrameGuard::new(http.max_message_bytes);
    let told = outlet.clone();
    let filtered = payload.map(move |chunk| {
        chunk.map(|bytes| {
            received.increment(whole(bytes.len()));
            let passed = guard.pass(bytes);
            told.discarded(passed.too_large, passed.cut);
            passed.bytes
        })
    });
    let frame_size = http.max_message_bytes + FRAME_ROOM;
    ws::WsResponseBuilder::new(Port::new(http, outlet, queue, anonymous), &request, filtered)
        .frame_size(frame_size)
        .start()
}
