//! `/health` (the process lives), `/health/ready` (it can do its work), `/health/<node>` (one node).

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;
use supervision::NodeView;

use super::{Http, auth};

/// Whether a node's state is no cause for worry: it runs, or did what it was there for.
fn is_well(node: &NodeView) -> bool {
    let finished = node.last_exit.as_ref().is_some_and(|exit| exit.reason == "normal");
    match node.state.as_str() {
        "running" | "queued" => true,
        "stopped" => finished,
        _ => false,
    }
}

/// Answers as long as the process does.
pub(super) async fn live(http: web::Data<Http>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "ok",
        "version": http.build,
        "uptime_s": http.started.elapsed().as_secs(),
    }))
}

/// 200 once every fixed part of the tree runs, every link is up, and whoever started the broker was told; else 503 and
/// what it waits for.
pub(super) async fn ready(http: web::Data<Http>) -> HttpResponse {
    let mut waiting: Vec<String> = Vec::new();
    for root in http.registry.snapshot().roots {
        waiting.extend(root.children.iter().filter(|part| part.state != "running").map(|part| part.id.clone()));
    }
    waiting.extend(http.runners.all().filter(|link| !link.is_up()).map(|link| format!("runners/link:{}", link.name())));
    if !http.announced.load(Ordering::Acquire) {
        waiting.push("up".to_owned());
    }
    let draining = http.draining.load(Ordering::Acquire);
    let body = json!({ "ready": waiting.is_empty() && !draining, "draining": draining, "waiting_for": waiting });
    if waiting.is_empty() && !draining {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// One node and what stands below it: 200 when all of it is well, 503 when not.
pub(super) async fn node(request: HttpRequest, http: web::Data<Http>, path: web::Path<String>) -> HttpResponse {
    if let Some(refused) = auth::operator(&request, &http) {
        return refused;
    }
    let Some(node) = http.registry.view(path.trim_matches('/'), usize::MAX) else {
        return HttpResponse::NotFound().json(json!({ "error": "not_found", "message": format!("no node `{path}`") }));
    };
    let ill = ill(&node);
    let body = json!({ "healthy": ill.is_empty(), "ill": ill, "node": node.pruned(1) });
    if ill.is_empty() { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

fn ill(node: &NodeView) -> Vec<String> {
    let mut found = Vec::new();
    if !is_well(node) {
        found.push(format!("{}: {}", node.id, node.state));
    }
    node.children.iter().for_each(|child| found.extend(ill(child)));
    found
}
