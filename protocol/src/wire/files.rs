//! Files of a mesh. They come by HTTP (`POST /upload`); what is said about them comes here.

use serde::{Deserialize, Serialize};

use super::null_is_default;

/// A message about a file that says no more than its id: `get_file`, `delete_file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileId {
    /// The id that the upload returned.
    pub file_id: String,
}

/// `file_url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileUrl {
    /// The file.
    pub file_id: String,
    /// Where it can be fetched for a few minutes, seen from the broker's own address; whoever has it needs nothing else.
    pub url: String,
    /// What its uploader called it.
    pub name: String,
    /// Whether it is sealed. The broker seals nothing: what was sealed before it came is for its uploader to say.
    pub encrypted: bool,
    /// The key of a sealed file, sealed for the member that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_key: Option<String>,
}

/// `file_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// All files of the mesh, the newest first.
    pub files: Vec<FileEntry>,
}

/// A file of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Its id.
    pub id: String,
    /// What its uploader called it.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What its uploader filed it under.
    #[serde(default, deserialize_with = "null_is_default")]
    pub tags: Vec<String>,
    /// Whether it stays until it is deleted.
    pub persistent: bool,
    /// The member's name; empty for one that is gone.
    pub uploaded_by: String,
    /// ISO 8601.
    pub uploaded_at: String,
}
