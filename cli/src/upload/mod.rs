//! Sends a file to a mesh's broker, signed by the member.

mod pack;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use protocol::identity::UploadClaim;
use sha2::{Digest as _, Sha256};

use crate::command::Context;
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::operator::Operator;
use crate::output::age;
use crate::profile::Profile;
use crate::text;

/// Largest file that a broker takes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Longest wait for the broker to have it.
const WITHIN: Duration = Duration::from_secs(10 * 60);
/// What a zip archive begins with; an empty one with the second.
const ZIP_MARKS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// A file that the broker has.
pub(crate) struct Uploaded {
    /// The id that it has there.
    pub(crate) id: String,
    /// What was sent, 64 hex digits.
    pub(crate) sha256: String,
}

/// Uploads an archive, or a folder packed into one.
pub(crate) async fn archive(context: &Context, path: &Path) -> Result<Uploaded, CliError> {
    let mut progress = context.printer.progress();
    let shown = text::line(&path.display().to_string());
    let (name, bytes) = if path.is_dir() {
        progress.update("packing", &shown);
        (format!("{}.zip", name_of(path)), pack::folder(path, MAX_BYTES)?)
    } else {
        (name_of(path), read(path)?)
    };
    progress.update("uploading", &format!("{} ({})", text::line(&name), size(bytes.len())));
    let id = send(context, &name, bytes).await;
    progress.clear();
    id
}

fn name_of(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    full.file_name().map_or_else(|| "archive".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{} MiB", bytes.div_ceil(1_048_576)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let shown = text::line(&path.display().to_string());
    let cannot = |error: std::io::Error| CliError::usage(format!("cannot read {shown}: {error}"));
    let mut bytes = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(too_large(&shown));
    }
    if !ZIP_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(CliError::usage(format!("{shown} is no zip archive")).hint("name a .zip, or the project's folder"));
    }
    Ok(bytes)
}

fn too_large(shown: &str) -> CliError {
    CliError::usage(format!("{shown} is larger than {} MiB, which is the limit", MAX_BYTES / 1_048_576))
        .hint("leave out what the build makes or fetches anew; or deploy it from a repository: --git URL")
}

async fn send(context: &Context, name: &str, bytes: Vec<u8>) -> Result<Uploaded, CliError> {
    let membership = Profile::from_environment()?.membership(context.mesh.as_deref())?;
    let mesh = &membership.mesh;
    let failed = |error: &dyn std::fmt::Display| CliError::failed(text::line(&error.to_string()));
    let key = mesh.member_key().map_err(|error| failed(&error))?;
    let file_name = header_text(name);
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let claim = UploadClaim {
        mesh_id: &mesh.mesh_id,
        member_id: &mesh.member_id,
        file_name: &file_name,
        timestamp_ms: age::now_ms(),
        sha256: &sha256,
    };
    let signature = claim.sign(&key).map_err(|error| failed(&error))?;
    let headers = [
        ("X-Mesh-Id", mesh.mesh_id.clone()),
        ("X-Member-Id", mesh.member_id.clone()),
        ("X-File-Name", file_name.clone()),
        ("X-Timestamp", claim.timestamp_ms.to_string()),
        ("X-Content-Sha256", claim.sha256.to_owned()),
        ("X-Signature", signature.to_string()),
    ];
    let broker = Operator::stranger(Endpoint::parse(&mesh.broker_url)?)?;
    let answer = broker.post_file("upload", &headers, bytes, WITHIN).await.map_err(explained)?;
    let id = answer.get("fileId").and_then(serde_json::Value::as_str);
    match id {
        Some(id) => Ok(Uploaded { id: id.to_owned(), sha256 }),
        None => Err(CliError::failed("the broker took the file and named no id")),
    }
}

/// A name as a header can carry it: all but plain letters, digits and `._-` percent-encoded.
fn header_text(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What the broker refused, with what to do.
fn explained(error: CliError) -> CliError {
    let hint = match error.code.as_deref() {
        Some("limit") => "delete files that nothing is built from, or undeploy what is not needed, and try again",
        Some("storage_full") => "ask the broker's operator to make room",
        Some("timestamp_skew") => "set this machine's clock",
        Some("unauthorized" | "bad_signature") => "are you still a member? claudemesh peers",
        _ => return error,
    };
    if error.hint.is_none() { error.hint(hint) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes() {
        assert_eq!(header_text("a b|ü.zip"), "a%20b%7C%C3%BC.zip");
        for (bytes, shown) in [(7, "7 bytes"), (1_024, "1 KiB"), (1_025, "2 KiB"), (3_000_000, "3 MiB")] {
            assert_eq!(size(bytes), shown);
        }
    }
}
