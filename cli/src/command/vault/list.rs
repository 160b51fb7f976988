//! `vault list`: what there is, without the values, and which services have it.

use protocol::wire::VaultListing;
use serde_json::json;

use super::look;
use crate::client::Pushes;
use crate::command::Context;
use crate::error::CliError;
use crate::output::table;
use crate::text;
use crate::vault::uses::Use;

/// Runs `vault list`.
pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let rows = look::used(&mut mesh).await;
    mesh.close().await;
    let rows = rows?;
    let documents: Vec<_> = rows.iter().map(document).collect();
    context.printer.result(&json!({ "entries": documents }), |style| {
        if rows.is_empty() {
            return "Your vault is empty.".to_owned();
        }
        let headings = ["key", "type", "path", "updated", "signed", "used by", "description"];
        table::render(style, &headings, rows.iter().map(cells).collect())
    })
}

fn document((entry, uses): &(VaultListing, Vec<Use>)) -> serde_json::Value {
    let mut document = json!({ "key": entry.key, "type": entry.entry_type, "updatedAt": entry.updated_at });
    let mut put = |name: &str, value: Option<serde_json::Value>| {
        if let (Some(value), Some(fields)) = (value, document.as_object_mut()) {
            fields.insert(name.to_owned(), value);
        }
    };
    put("mountPath", entry.mount_path.as_deref().map(Into::into));
    put("description", entry.description.as_deref().map(Into::into));
    put("version", entry.version.map(Into::into));
    put("uses", (!uses.is_empty()).then(|| json!(uses)));
    document
}

fn cells((entry, uses): &(VaultListing, Vec<Use>)) -> Vec<String> {
    let or_nothing = |text: &Option<String>| text.as_deref().map_or_else(|| table::NOTHING.to_owned(), text::line);
    vec![
        text::line(&entry.key),
        entry.entry_type.as_str().to_owned(),
        or_nothing(&entry.mount_path),
        text::line(&entry.updated_at),
        if entry.version.is_some() { "yes" } else { "unsigned" }.to_owned(),
        look::users(uses),
        or_nothing(&entry.description),
    ]
}
