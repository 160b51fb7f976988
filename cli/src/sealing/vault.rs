//! The entries of the person's vault that a deploy names.

use std::collections::BTreeMap;

use protocol::SecretString;
use protocol::vault::Authenticity;
use protocol::wire::VaultKeys;
use zeroize::Zeroizing;

use crate::client::{ANSWER_TIMEOUT, Mesh};
use crate::command::Context;
use crate::error::CliError;
use crate::text;

/// Opened entries, by their keys.
#[derive(Default)]
pub(super) struct Values(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl Values {
    pub(super) fn bytes(&self, entry: &str) -> Result<&[u8], CliError> {
        self.0.get(entry).map(|bytes| bytes.as_slice()).ok_or_else(|| missing(entry))
    }

    pub(super) fn text(&self, entry: &str) -> Result<SecretString, CliError> {
        let text = std::str::from_utf8(self.bytes(entry)?).map_err(|_| {
            CliError::usage(format!("the vault's entry {} is no text", text::line(entry)))
                .hint("give it to the process as a file: K=$vault:key:file:/path")
        })?;
        Ok(SecretString::from(text))
    }
}

fn missing(entry: &str) -> CliError {
    let entry = text::line(entry);
    CliError::failed(format!("your vault has no entry `{entry}`; nothing was deployed"))
        .hint(format!("claudemesh vault set {entry} …"))
}

/// Fetches and opens what is referred to; the first that is missing is named.
pub(super) async fn values(
    context: &Context,
    mesh: &mut Mesh,
    refs: &BTreeMap<String, String>,
) -> Result<Values, CliError> {
    let mut keys: Vec<String> = refs.values().cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(Values::default());
    }
    let answer = mesh.client.request(&VaultKeys { keys: keys.clone() }, ANSWER_TIMEOUT).await?;
    let mut values = Values::default();
    for key in keys {
        let entry = answer.entries.iter().find(|entry| entry.key == key).ok_or_else(|| missing(&key))?;
        let opened = crate::vault::opened(mesh, &key, entry)?;
        if opened.authenticity == Authenticity::Unsigned {
            context
                .printer
                .warning(&format!("the vault's entry {} is unsigned: the broker could have made it", text::line(&key)));
        }
        values.0.insert(key, opened.plain);
    }
    Ok(values)
}
