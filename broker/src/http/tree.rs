//! `GET /tree?path=&depth=&after=&wait=`: the tree that runs, or a part of it; with `after` as soon as it is another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::{Http, auth, serve};
use crate::metrics::Limit;

/// Longest wait for a change, and the wait of a request that names none.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Requests that wait at a time.
const MAX_WAITERS: usize = 64;
/// Changes that follow each other within this are one answer.
const SETTLE: Duration = Duration::from_millis(10);

/// Which part of the tree, and when.
#[derive(Deserialize)]
pub(super) struct Query {
    path: Option<String>,
    depth: Option<usize>,
    /// The sequence number of the snapshot that the asker has.
    after: Option<u64>,
    /// How long to wait for another one, seconds.
    wait: Option<u64>,
}

/// The snapshot, with its sequence number.
pub(super) async fn tree(request: HttpRequest, http: web::Data<Http>, query: web::Query<Query>) -> HttpResponse {
    if let Some(refused) = auth::operator(&request, &http) {
        return refused;
    }
    if let Some(after) = query.after
        && let Some(instead) = unchanged(&http, after, query.wait).await
    {
        return instead;
    }
    let depth = query.depth.unwrap_or(usize::MAX);
    let mut snapshot = http.registry.snapshot();
    match query.path.as_deref().map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        None => snapshot.roots = snapshot.roots.into_iter().map(|root| root.pruned(depth)).collect(),
        Some(path) => match http.registry.view(path, depth) {
            Some(node) => snapshot.roots = vec![node],
            None => {
                let message = format!("no node `{path}`");
                let body = json!({ "error": "not_found", "message": message, "seq": snapshot.seq });
                return HttpResponse::NotFound().json(body);
            }
        },
    }
    HttpResponse::Ok().json(snapshot)
}

/// Waits until the registry's number is another than `after`. The answer to give in place of the tree: that nothing has
/// changed, or that it cannot be waited for.
async fn unchanged(http: &Http, after: u64, wait: Option<u64>) -> Option<HttpResponse> {
    let mut changes = http.registry.changes();
    if *changes.borrow() != after {
        return None;
    }
    let Some(_waiter) = Waiter::enter(&http.tree_waiters) else {
        http.metrics.limits.count(Limit::TreeWaiters);
        let body = json!({ "error": "limit", "message": format!("{MAX_WAITERS} requests wait for a change already") });
        return Some(HttpResponse::ServiceUnavailable().json(body));
    };
    let wait = wait.map_or(MAX_WAIT, Duration::from_secs).min(MAX_WAIT);
    // What it resolves to borrows the number, and whoever changes the tree waits for that: let go at once.
    let changed = async { drop(changes.wait_for(|seq| *seq != after).await) };
    tokio::select! {
        changed = tokio::time::timeout(wait, changed) => match changed {
            Ok(()) => tokio::time::sleep(SETTLE).await,
            Err(_) => return Some(HttpResponse::NoContent().finish()),
        },
        () = serve::connection().ending.cancelled_owned() => {
            let body = json!({ "error": "draining", "message": "the broker is stopping" });
            return Some(HttpResponse::ServiceUnavailable().json(body));
        }
    }
    None
}

/// One of the requests that wait.
struct Waiter(Arc<AtomicUsize>);

impl Waiter {
    /// `None` when there are as many as there may be.
    fn enter(count: &Arc<AtomicUsize>) -> Option<Self> {
        let waiter = Self(Arc::clone(count));
        // What is counted here is given back when the waiter is dropped, also now.
        (count.fetch_add(1, Ordering::Relaxed) < MAX_WAITERS).then_some(waiter)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
