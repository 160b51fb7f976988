//! `GET /tree?path=&depth=`: the tree that runs, or a part of it.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{Http, auth};

/// Which part of the tree.
#[derive(Deserialize)]
pub(super) struct Query {
    path: Option<String>,
    depth: Option<usize>,
}

/// The snapshot, with its sequence number.
pub(super) async fn tree(request: HttpRequest, http: web::Data<Http>, query: web::Query<Query>) -> HttpResponse {
    if let Some(refused) = auth::operator(&request, &http) {
        return refused;
    }
    let depth = query.depth.unwrap_or(usize::MAX);
    let mut snapshot = http.registry.snapshot();
    match query.path.as_deref().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        None => snapshot.roots = snapshot.roots.into_iter().map(|root| root.pruned(depth)).collect(),
        Some(path) => match http.registry.view(path, depth) {
            Some(node) => snapshot.roots = vec![node],
            None => {
                let message = format!("no node `{path}`");
                return HttpResponse::NotFound().json(json!({ "error": "not_found", "message": message }));
            }
        },
    }
    HttpResponse::Ok().json(snapshot)
}
