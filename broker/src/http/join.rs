//! `POST /join`: a new member, by an invite that the owner has signed.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use protocol::identity::{PublicKey, X25519Public};
use protocol::trust::{Invite, MemberCert, Roll};
use protocol::validate;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Http, Refused, auth};
use crate::store::{NewMember, Role, StoreError, UtcMs};

/// Largest request.
const MAX_BODY_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct Join {
    invite_token: String,
    /// The token's content, as an object or as its text.
    invite_payload: Value,
    peer_pubkey: PublicKey,
    display_name: String,
    /// What makes the joiner a member for its peers; none from an old client.
    #[serde(default)]
    certificate: Option<MemberCert>,
}

fn refuse(code: &'static str, words: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, code, words.into())
}

/// `POST /join`.
pub(super) async fn join(request: HttpRequest, mut payload: web::Payload, http: web::Data<Http>) -> HttpResponse {
    if let Some(refused) = auth::local_name(&request, &http) {
        return refused;
    }
    let body = match super::body(&mut payload, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(words) => return answer(Err(refuse("bad_request", words))),
    };
    let joined = match serde_json::from_slice::<Join>(&body) {
        Ok(join) => enter(&http, join).await,
        Err(error) => Err(refuse("bad_request", validate::cleaned(&error.to_string()))),
    };
    answer(joined)
}

fn answer(joined: Result<(String, bool), Refused>) -> HttpResponse {
    match joined {
        Ok((member, true)) => HttpResponse::Ok().json(json!({ "ok": true, "memberId": member, "alreadyMember": true })),
        Ok((member, false)) => HttpResponse::Ok().json(json!({ "ok": true, "memberId": member })),
        Err(refused) => refused.response(),
    }
}

async fn enter(http: &Http, join: Join) -> Result<(String, bool), Refused> {
    let now = UtcMs::now();
    let invite = Invite::from_token(&join.invite_token).map_err(|error| refuse("invalid_invite", error.to_string()))?;
    if !same(&invite, join.invite_payload) {
        return Err(refuse("invalid_invite", "`invite_payload` is not what `invite_token` says"));
    }
    let unknown = || refuse("invalid_invite", "there is no such invite");
    let mesh = invite.mesh_id.parse().ok().and_then(|id| http.meshes.get(&id)).ok_or_else(unknown)?;
    let members = mesh.members.now();
    let owner = members.owner.filter(|owner| *owner == invite.owner_pubkey).ok_or_else(unknown)?;
    let now_ms = u64::try_from(now.as_ms()).unwrap_or_default();
    invite.verify(now_ms).map_err(|error| refuse("invalid_invite", format!("the invite: {error}")))?;
    let role = invite.role.parse::<Role>().ok().filter(|role| *role != Role::Owner);
    let role = role.ok_or_else(|| refuse("invalid_invite", "the invite is for no role"))?;
    if let Some(certificate) = &join.certificate {
        let of_this = matches!(certificate, MemberCert::Invite { invite: same, .. } if *same == invite);
        // An invite's certificate leads to the owner by itself: nobody else's is looked at.
        let roll = Roll::new(mesh.id.as_str(), owner, &[], &[]);
        let holds = roll.check_certificate(join.peer_pubkey, certificate);
        holds.map_err(|doubt| refuse("bad_signature", format!("`certificate` does not hold: {doubt}")))?;
        if !of_this {
            return Err(refuse("bad_signature", "`certificate` is of another invite"));
        }
    }
    X25519Public::of(&join.peer_pubkey)
        .map_err(|_| refuse("bad_request", "`peer_pubkey` is no key that messages can be sealed for"))?;
    let used = mesh.store.session(&mesh.id, &join.peer_pubkey.to_string()).await.map_err(not_joined)?;
    if used.is_some() {
        return Err(refuse("bad_request", "`peer_pubkey` is a session's key"));
    }
    let display_name = validate::display_name(&join.display_name)
        .map_err(|error| refuse("bad_request", format!("`display_name`: {error}")))?;
    let certificate = join.certificate.map(|certificate| serde_json::to_string(&certificate)).transpose();
    let certificate = certificate.map_err(|error| refuse("bad_request", error.to_string()))?;
    let pubkey = join.peer_pubkey.to_string();
    let new = NewMember { mesh_id: mesh.id.clone(), pubkey, display_name, role, certificate };
    let digest = hex::encode(Sha256::digest(join.invite_token.as_bytes()));
    let joined = mesh.store.join(&digest, new, now).await.map_err(not_joined)?;
    let internal = |error| Refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", error);
    mesh.members.add(joined.member.clone()).await.map_err(internal)?;
    Ok((joined.member.id.to_string(), joined.already))
}

/// Whether the two forms of an invite say the same.
fn same(invite: &Invite, payload: Value) -> bool {
    let payload = match payload {
        Value::String(text) => serde_json::from_str(&text),
        other => serde_json::from_value(other),
    };
    payload.is_ok_and(|payload: Invite| payload == *invite)
}

fn not_joined(error: StoreError) -> Refused {
    match error {
        StoreError::Invite(refused) => Refused(StatusCode::FORBIDDEN, "invalid_invite", refused.to_string()),
        other => Refused(StatusCode::INTERNAL_SERVER_ERROR, "internal", other.to_string()),
    }
}
