//! The broker's front: one listener, one file per endpoint.
//!
//! Owns the port and the connections. Parent: the root, child `http`. Connections are served on the
//! arbiter where meshes and links live, so that a call never changes threads. A restart closes every
//! connection; clients come back by themselves.

mod auth;
mod files;
mod health;
mod join;
mod meshes;
mod metrics;
mod serve;
pub mod session;
mod spec;
mod tree;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use futures_util::StreamExt as _;
use protocol::SecretString;
use serde_json::json;
use supervision::Registry;

use crate::mesh::Meshes;
use crate::metrics::Metrics;
use crate::runners::Runners;

pub use metrics::Gauges;
pub use spec::child;

/// What the endpoints need.
pub struct Http {
    /// Where the listener is bound.
    pub address: SocketAddr,
    /// What operators prove themselves with.
    pub operator_token: SecretString,
    /// The tree.
    pub registry: Registry,
    /// The meshes.
    pub meshes: Meshes,
    /// The runners.
    pub runners: Runners,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is read when somebody asks for the metrics.
    pub gauges: Gauges,
    /// Requests for the tree that wait for a change.
    pub tree_waiters: Arc<AtomicUsize>,
    /// Largest frame of a peer, bytes.
    pub max_message_bytes: usize,
    /// Sockets a mesh may have.
    pub max_connections_per_mesh: usize,
    /// True behind a proxy that ends TLS and checks the names.
    pub behind_proxy: bool,
    /// Whether whoever started the broker was told that it is up.
    pub announced: AtomicBool,
    /// True from the moment the broker begins to end: no new work.
    pub draining: Arc<AtomicBool>,
    /// Sockets that are open.
    pub sockets: AtomicUsize,
    /// Sockets that have not said hello.
    pub unknown: session::Unknown,
    /// When the broker started.
    pub started: Instant,
    /// Version, shown.
    pub build: String,
}

/// Every route. The room for the next endpoint is a file beside the others and a line here.
fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/health", web::get().to(health::live))
        .route("/health/ready", web::get().to(health::ready))
        .route("/health/{path:.*}", web::get().to(health::node))
        .route("/tree", web::get().to(tree::tree))
        .route("/join", web::post().to(join::join))
        .route("/upload", web::post().to(upload::upload))
        .route("/files/{id}", web::get().to(files::fetch))
        .route("/meshes", web::post().to(meshes::create))
        .route("/metrics", web::get().to(metrics::metrics))
        .route("/ws", web::get().to(session::upgrade));
}

/// Why a `POST` was not carried out: status, code for a program, words for a person.
struct Refused(StatusCode, &'static str, String);

impl Refused {
    fn response(self) -> HttpResponse {
        let Self(status, code, words) = self;
        HttpResponse::build(status).json(json!({ "ok": false, "error": words, "code": code }))
    }
}

/// A request's body of at most `max` bytes.
async fn body(payload: &mut web::Payload, max: usize) -> Result<web::BytesMut, String> {
    let mut body = web::BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        if body.len() + chunk.len() > max {
            return Err(format!("the request is larger than {max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
