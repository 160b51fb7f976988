//! `GET /files/<id>?t=<token>`: the bytes of a file, for whoever was given the way to it.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::{Http, auth};
use crate::files::Token;
use crate::store::{StoredFile, UtcMs};

/// What stands behind the `?`.
#[derive(Deserialize)]
pub(super) struct Query {
    t: String,
}

/// `GET /files/<id>`. One answer for no file and no right to it: who knocks learns nothing.
pub(super) async fn fetch(
    request: HttpRequest,
    id: web::Path<String>,
    query: Option<web::Query<Query>>,
    http: web::Data<Http>,
) -> HttpResponse {
    if let Some(refused) = auth::local_name(&request, &http) {
        return refused;
    }
    let file = match query {
        Some(query) => granted(&http, &id, &query.t).await,
        None => None,
    };
    let Some(file) = file else { return HttpResponse::NotFound().finish() };
    match http.meshes.files().bytes(&file).await {
        Ok(bytes) => HttpResponse::Ok()
            .content_type("application/octet-stream")
            .insert_header((CONTENT_DISPOSITION, "attachment"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((CACHE_CONTROL, "private, no-store"))
            .body(bytes),
        Err(error) => {
            tracing::error!(file = %file.id, %error, "a file cannot be read");
            HttpResponse::InternalServerError().finish()
        }
    }
}

/// The file, if the token is one for it.
async fn granted(http: &Http, id: &str, token: &str) -> Option<StoredFile> {
    let (id, token) = (id.parse().ok()?, token.parse::<Token>().ok()?);
    let file = http.meshes.store().file_of_any_mesh(&id).await.ok()??;
    http.meshes.files().tokens().holds(&token, &file, UtcMs::now()).then_some(file)
}
