//! `POST /meshes`: a new mesh, for whoever operates the broker.
//!
//! The owner's keys are made on its own machine: what comes here is their public halves, and a certificate that the root
//! key has signed for the owner's member key.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use protocol::identity::PublicKey;
use protocol::trust::{MemberCert, Role, Roll};
use protocol::validate;
use serde::Deserialize;
use serde_json::json;

use super::{Http, Refused, auth};
use crate::store::{MeshId, NewMesh, StoreError};

/// Largest request.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Meshes of one broker.
const MAX_MESHES: usize = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    mesh_id: String,
    slug: String,
    #[serde(default)]
    name: Option<String>,
    owner_pubkey: PublicKey,
    member_pubkey: PublicKey,
    display_name: String,
    #[serde(default)]
    certificate: Option<MemberCert>,
}

/// `POST /meshes`.
pub(super) async fn create(request: HttpRequest, mut payload: web::Payload, http: web::Data<Http>) -> HttpResponse {
    if let Some(refused) = auth::operator(&request, &http) {
        return refused;
    }
    let bad = |words| Refused(StatusCode::BAD_REQUEST, "bad_request", words);
    let created = match super::body(&mut payload, MAX_BODY_BYTES).await {
        Err(words) => Err(bad(words)),
        Ok(body) => match serde_json::from_slice::<Create>(&body) {
            Ok(create) => found(&http, create).await,
            Err(error) => Err(bad(validate::cleaned(&error.to_string()))),
        },
    };
    match created {
        Ok((mesh, member)) => HttpResponse::Ok().json(json!({ "ok": true, "meshId": mesh, "memberId": member })),
        Err(refused) => refused.response(),
    }
}

async fn found(http: &Http, create: Create) -> Result<(String, String), Refused> {
    let bad =
        |field: &str, words: String| Refused(StatusCode::BAD_REQUEST, "bad_request", format!("`{field}`: {words}"));
    let id: MeshId = create.mesh_id.parse().map_err(|_| bad("meshId", "a UUID in lower case".to_owned()))?;
    validate::slug(&create.slug).map_err(|error| bad("slug", error.to_string()))?;
    let named = |name: &str, field| validate::display_name(name).map_err(|error| bad(field, error.to_string()));
    let name = named(create.name.as_deref().unwrap_or(&create.slug), "name")?;
    let owner_name = named(&create.display_name, "displayName")?;
    if let Some(certificate) = &create.certificate {
        let roll = Roll::new(id.as_str(), create.owner_pubkey, &[], &[]);
        let role = roll.check_certificate(create.member_pubkey, certificate);
        let role = role.map_err(|doubt| bad("certificate", doubt.to_string()))?;
        if role != Role::Owner {
            return Err(bad("certificate", "it makes no owner".to_owned()));
        }
    } else if create.member_pubkey != create.owner_pubkey {
        return Err(bad("certificate", "the owner's key has to sign for the member's".to_owned()));
    }
    if http.meshes.all().len() >= MAX_MESHES {
        let words = format!("limit: {MAX_MESHES} meshes of this broker");
        return Err(Refused(StatusCode::FORBIDDEN, "limit", words));
    }
    let certificate = create.certificate.map(|certificate| serde_json::to_string(&certificate)).transpose();
    let new = NewMesh {
        id,
        slug: create.slug,
        name,
        owner_pubkey: create.owner_pubkey.to_string(),
        member_pubkey: create.member_pubkey.to_string(),
        certificate: certificate.map_err(|error| bad("certificate", error.to_string()))?,
        owner_name,
    };
    match http.meshes.create(new).await {
        Ok(founded) => Ok((founded.mesh.id.to_string(), founded.owner.id.to_string())),
        Err(error @ StoreError::Taken { .. }) => {
            Err(Refused(StatusCode::CONFLICT, "taken", format!("{error}: choose another slug")))
        }
        Err(error) => Err(Refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())),
    }
}
