//! `POST /upload`: a file for a mesh, signed by the member that sends it.
//!
//! **Contract.** Everything that the headers say is judged before the body is read: who, when, whether it was said before,
//! how long it is and whether there is room. The body goes to the disk as it comes; it becomes a file when all of it is
//! there and has the SHA-256 that was signed. Whatever ends it before leaves nothing.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use object_store::{MultipartUpload, PutPayload};
use protocol::identity::{TrustError, UploadClaim};
use protocol::validate;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Http, Refused, auth};
use crate::files::{MAX_FILE_BYTES, NoSeat, Seat};
use crate::mesh::MeshContext;
use crate::metrics::Limit;
use crate::store::{Document, FILE_LIMITS, FileId, MemberId, Sighting, StoreError, StoredFile, UtcMs};

/// The whole of one upload.
const UPLOAD_WITHIN: Duration = Duration::from_secs(10 * 60);
/// Longest wait for its next bytes.
const NEXT_WITHIN: Duration = Duration::from_secs(30);
/// Written to the disk at a time.
const PIECE_BYTES: usize = 1024 * 1024;
/// Longest name, as it stands in the header and as it is kept.
const MAX_NAME_BYTES: usize = 512;
/// Tags of a file, and the longest of them.
const MAX_TAGS: usize = 16;
const MAX_TAG_CHARS: usize = 64;

/// What the headers say.
struct Head {
    mesh_id: String,
    member_id: String,
    /// As it stands there, which is what was signed.
    file_name: String,
    timestamp_ms: u64,
    sha256: String,
    signature: String,
    bytes: u64,
    tags: Vec<String>,
    persistent: bool,
}

/// An upload that may come.
struct Admitted {
    mesh: Arc<MeshContext>,
    member: MemberId,
    _seat: Seat,
}

fn refuse(status: StatusCode, code: &'static str, words: impl Into<String>) -> Refused {
    Refused(status, code, words.into())
}

fn bad(words: impl Into<String>) -> Refused {
    refuse(StatusCode::BAD_REQUEST, "bad_request", words)
}

/// `POST /upload`.
pub(super) async fn upload(request: HttpRequest, payload: web::Payload, http: web::Data<Http>) -> HttpResponse {
    if let Some(refused) = auth::local_name(&request, &http) {
        return refused;
    }
    match taken(&request, payload, &http).await {
        Ok(id) => HttpResponse::Ok().json(json!({ "ok": true, "fileId": id.as_str() })),
        Err(refused) => {
            let mut response = refused.response();
            // What still comes of the body is not read.
            response.head_mut().set_connection_type(actix_http::ConnectionType::Close);
            response
        }
    }
}

async fn taken(request: &HttpRequest, payload: web::Payload, http: &Http) -> Result<FileId, Refused> {
    let head = Head::of(request)?;
    let admitted = admit(http, &head).await?;
    let (mesh, id) = (&admitted.mesh, FileId::new());
    let mut receiving = mesh.files.receive(&mesh.id, &id).await.map_err(|error| internal(&error))?;
    let received = receive(http, payload, &head, receiving.as_mut()).await;
    if let Err(refused) = received {
        abandon(receiving.as_mut()).await;
        return Err(refused);
    }
    receiving.complete().await.map_err(|error| internal(&error))?;
    let row = StoredFile {
        id: id.clone(),
        mesh_id: mesh.id.clone(),
        member_id: admitted.member.clone(),
        name: shown_name(&head.file_name),
        sha256: head.sha256,
        bytes: i64::try_from(head.bytes).unwrap_or(i64::MAX),
        tags: Document::of(&head.tags).map_err(|error| internal(&error))?,
        persistent: head.persistent,
        created_at: UtcMs::now(),
    };
    if let Err(error) = mesh.store.add_file(row).await {
        mesh.files.remove(&mesh.id, &id).await;
        return Err(no_room(http, &error));
    }
    Ok(id)
}

impl Head {
    fn of(request: &HttpRequest) -> Result<Self, Refused> {
        let text = |name: &'static str| match request.headers().get(name).map(|value| value.to_str()) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.to_owned())),
            Some(Err(_)) => Err(bad(format!("`{name}` has other than printable ASCII: percent-encode it"))),
        };
        let must = |name: &'static str| text(name)?.ok_or_else(|| bad(format!("`{name}` is missing")));
        let sha256 = must("X-Content-Sha256")?;
        if sha256.len() != 64 || !sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("`X-Content-Sha256` is 64 lower-case hex digits"));
        }
        let file_name = must("X-File-Name")?;
        if file_name.is_empty() || file_name.len() > MAX_NAME_BYTES {
            return Err(bad(format!("`X-File-Name` has 1 to {MAX_NAME_BYTES} bytes")));
        }
        let timestamp = must("X-Timestamp")?;
        Ok(Self {
            mesh_id: must("X-Mesh-Id")?,
            member_id: must("X-Member-Id")?,
            file_name,
            timestamp_ms: timestamp.parse().map_err(|_| bad("`X-Timestamp` is a number of milliseconds"))?,
            sha256,
            signature: must("X-Signature")?,
            bytes: length(request)?,
            tags: tags(&text("X-Tags")?.unwrap_or_default())?,
            persistent: text("X-Persistent")?.is_some_and(|word| matches!(word.as_str(), "1" | "true")),
        })
    }
}

fn length(request: &HttpRequest) -> Result<u64, Refused> {
    let given = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    given.ok_or_else(|| refuse(StatusCode::LENGTH_REQUIRED, "bad_request", "`Content-Length` is missing"))
}

/// `a, b`, or the JSON list of them.
fn tags(text: &str) -> Result<Vec<String>, Refused> {
    let tags: Vec<String> = match text.starts_with('[') {
        true => serde_json::from_str(text).map_err(|_| bad("`X-Tags` is a list with commas, or one of JSON"))?,
        false => text.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect(),
    };
    if tags.len() > MAX_TAGS || tags.iter().any(|tag| tag.chars().count() > MAX_TAG_CHARS) {
        return Err(bad(format!("`X-Tags` has at most {MAX_TAGS} tags of at most {MAX_TAG_CHARS} characters")));
    }
    Ok(tags.iter().map(|tag| validate::cleaned(tag)).collect())
}

/// The name for people: percent-encoding undone, nothing hostile in it.
fn shown_name(header: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(header).decode_utf8_lossy();
    let cleaned = validate::cleaned(&decoded);
    let name = cleaned.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default();
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

/// Every check that needs no body.
async fn admit(http: &Http, head: &Head) -> Result<Admitted, Refused> {
    if http.draining.load(std::sync::atomic::Ordering::Acquire) {
        return Err(refuse(StatusCode::SERVICE_UNAVAILABLE, "draining", "the broker is stopping"));
    }
    let now = UtcMs::now();
    let (mesh, member) = signed(http, head, now)?;
    if head.bytes > MAX_FILE_BYTES {
        http.metrics.limits.count(Limit::FileBytes);
        let words = format!("a file has at most {MAX_FILE_BYTES} bytes, this one has {}", head.bytes);
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "too_large", words));
    }
    let seat = mesh.files.seat(&mesh.id, &member).map_err(|none: NoSeat| {
        http.metrics.limits.count(Limit::Uploads);
        refuse(StatusCode::TOO_MANY_REQUESTS, "limit", none.to_string())
    })?;
    if !mesh.files.disk_has_room(head.bytes) {
        http.metrics.limits.count(Limit::FreeDisk);
        let words = "the broker's disk is nearly full: its operator has to make room";
        return Err(refuse(StatusCode::INSUFFICIENT_STORAGE, "storage_full", words));
    }
    // Before it is asked for room: what is too old makes some.
    mesh.files.expire(&mesh.store, now).await.map_err(|error| internal(&error))?;
    let bytes = i64::try_from(head.bytes).unwrap_or(i64::MAX);
    mesh.store.room_for_file(&mesh.id, &member, bytes).await.map_err(|error| no_room(http, &error))?;
    let text = claim(head).text().map_err(|error| bad(error.to_string()))?;
    match mesh.store.seen_hello(&text, now).await.map_err(|error| internal(&error))? {
        Sighting::First => Ok(Admitted { mesh, member, _seat: seat }),
        Sighting::Again => Err(refuse(StatusCode::CONFLICT, "replayed", "this upload was seen before: sign it anew")),
    }
}

fn claim(head: &Head) -> UploadClaim<'_> {
    UploadClaim {
        mesh_id: &head.mesh_id,
        member_id: &head.member_id,
        file_name: &head.file_name,
        timestamp_ms: head.timestamp_ms,
        sha256: &head.sha256,
    }
}

/// Who says so. One answer for no mesh and no member: who knocks learns nothing.
fn signed(http: &Http, head: &Head, now: UtcMs) -> Result<(Arc<MeshContext>, MemberId), Refused> {
    let stranger = || refuse(StatusCode::UNAUTHORIZED, "unauthorized", "not a member of this mesh");
    let mesh = head.mesh_id.parse().ok().and_then(|id| http.meshes.get(&id)).ok_or_else(stranger)?;
    let members = mesh.members.now();
    let member: MemberId = head.member_id.parse().map_err(|_| stranger())?;
    let key = members.key_of(&member).ok_or_else(stranger)?;
    let signature = head.signature.parse().map_err(|_| bad("`X-Signature` is 128 hex digits"))?;
    let now_ms = u64::try_from(now.as_ms()).unwrap_or_default();
    claim(head).verify(&key, &signature, now_ms).map_err(|error| {
        let code = match error {
            TrustError::Skew { .. } => "timestamp_skew",
            TrustError::BadSignature => "bad_signature",
            TrustError::Expired { .. } | TrustError::Period | TrustError::Separator(_) => "bad_request",
        };
        refuse(StatusCode::UNAUTHORIZED, code, error.to_string())
    })?;
    Ok((mesh, member))
}

/// Takes the body to the disk, and checks that it is what was signed.
async fn receive(
    http: &Http,
    mut payload: web::Payload,
    head: &Head,
    receiving: &mut dyn MultipartUpload,
) -> Result<(), Refused> {
    let until = Instant::now() + UPLOAD_WITHIN;
    let late = |_| {
        http.metrics.limits.count(Limit::UploadTime);
        refuse(StatusCode::REQUEST_TIMEOUT, "timeout", "the file did not come in time")
    };
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0_u64, BytesMut::new());
    loop {
        let next = timeout_at(until, timeout(NEXT_WITHIN, payload.next())).await.map_err(late)?.map_err(late)?;
        let Some(chunk) = next else { break };
        let chunk: Bytes = chunk.map_err(|error| bad(format!("the body broke off: {error}")))?;
        bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if bytes > head.bytes {
            return Err(bad("the body is longer than `Content-Length`"));
        }
        hash.update(&chunk);
        piece.extend_from_slice(&chunk);
        if piece.len() >= PIECE_BYTES {
            put(receiving, piece.split().freeze()).await?;
        }
    }
    if bytes != head.bytes {
        return Err(bad("the body is shorter than `Content-Length`"));
    }
    if hex::encode(hash.finalize()) != head.sha256 {
        return Err(bad("the body does not have the SHA-256 of `X-Content-Sha256`"));
    }
    put(receiving, piece.freeze()).await
}

async fn put(receiving: &mut dyn MultipartUpload, piece: Bytes) -> Result<(), Refused> {
    receiving.put_part(PutPayload::from(piece)).await.map_err(|error| internal(&error))
}

/// Removes what came.
async fn abandon(receiving: &mut dyn MultipartUpload) {
    if let Err(error) = receiving.abort().await {
        tracing::warn!(%error, "half an upload stays until the next start");
    }
}

fn no_room(http: &Http, error: &StoreError) -> Refused {
    let StoreError::Limit { name, .. } = error else { return internal(error) };
    let limits = [Limit::FilesPerMesh, Limit::FileBytesPerMesh, Limit::FileBytesPerMember];
    if let Some((_, limit)) = FILE_LIMITS.into_iter().zip(limits).find(|(limit, _)| limit == name) {
        http.metrics.limits.count(limit);
    }
    refuse(StatusCode::TOO_MANY_REQUESTS, "limit", error.to_string())
}

fn internal(error: &dyn std::fmt::Display) -> Refused {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
}
