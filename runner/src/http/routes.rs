//! What is answered without a link.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use subtle::ConstantTimeEq as _;

use super::{Front, metrics};

/// The routes.
pub(super) fn configure(app: &mut web::ServiceConfig, front: Arc<Front>) {
    app.app_data(web::Data::from(front))
        .route("/health", web::get().to(health))
        .route("/tree", web::get().to(tree))
        .route("/metrics", web::get().to(metrics::metrics))
        .route("/link", web::get().to(link));
}

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    version: &'a str,
    pid: u32,
    uptime_s: u64,
    services: BTreeMap<&'static str, u32>,
}

/// Whether it lives: this much anybody may know.
async fn health(front: web::Data<Front>) -> HttpResponse {
    let mut services = BTreeMap::new();
    for entry in front.directory.all() {
        *services.entry(entry.state().as_str()).or_default() += 1;
    }
    HttpResponse::Ok().json(Health {
        status: "ok",
        version: &front.build,
        pid: std::process::id(),
        uptime_s: front.started.elapsed().as_secs(),
        services,
    })
}

/// The tree as it runs, for whoever has the token.
async fn tree(request: HttpRequest, front: web::Data<Front>) -> HttpResponse {
    if let Some(refused) = unauthorized(&request, &front) {
        return refused;
    }
    HttpResponse::Ok().json(front.registry.snapshot())
}

/// A broker would have asked for an upgrade.
async fn link() -> HttpResponse {
    HttpResponse::UpgradeRequired().insert_header(("upgrade", "websocket")).finish()
}

/// The answer to give to whoever has not the token.
pub(super) fn unauthorized(request: &HttpRequest, front: &Front) -> Option<HttpResponse> {
    let refusal = || HttpResponse::Unauthorized().insert_header((WWW_AUTHENTICATE, "Bearer")).finish();
    (!is_authorized(request, front.token.expose())).then(refusal)
}

fn is_authorized(request: &HttpRequest, token: &str) -> bool {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    given.is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into())
}
