//! What `list` and `doctor` look at: the entries, and the services that have them.

use std::collections::BTreeSet;

use protocol::vault::{Authenticity, Opened};
use protocol::wire::VaultListing;

use super::fetch;
use crate::client::{ANSWER_TIMEOUT, Mesh};
use crate::error::{CliError, Kind};
use crate::output::table;
use crate::text;
use crate::vault::boxes::{self, OwnBox};
use crate::vault::findings::{Entry, Standing};
use crate::vault::uses::{self, Use};
use crate::wire::mesh::VaultList;

/// The cell that says who has an entry.
pub(super) fn users(uses: &[Use]) -> String {
    match uses {
        [] => table::NOTHING.to_owned(),
        uses => uses.iter().map(Use::shown).collect::<Vec<_>>().join(", "),
    }
}

/// The list of the vault, each entry with who has it. Only entries that somebody has are opened.
pub(super) async fn used(mesh: &mut Mesh) -> Result<Vec<(VaultListing, Vec<Use>)>, CliError> {
    let entries = mesh.client.request(&VaultList {}, ANSWER_TIMEOUT).await?.entries;
    let boxes = boxes::own(mesh).await?;
    let names: BTreeSet<String> = uses::entries(&boxes).into_iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for entry in entries {
        let uses = if names.contains(&entry.key) { opened(mesh, &entry.key, &boxes).await?.uses } else { Vec::new() };
        rows.push((entry, uses));
    }
    Ok(rows)
}

/// Every entry, opened, with who has it. One at a time: together they could be more than an answer brings.
pub(super) async fn entries(mesh: &mut Mesh, boxes: &[OwnBox]) -> Result<Vec<(VaultListing, Entry)>, CliError> {
    let mut all = Vec::new();
    for listing in mesh.client.request(&VaultList {}, ANSWER_TIMEOUT).await?.entries {
        let entry = opened(mesh, &listing.key, boxes).await?;
        all.push((listing, entry));
    }
    Ok(all)
}

async fn opened(mesh: &mut Mesh, key: &str, boxes: &[OwnBox]) -> Result<Entry, CliError> {
    let entry =
        |standing, value: Option<&[u8]>| Entry { key: key.to_owned(), standing, uses: uses::of(boxes, key, value) };
    match fetch(mesh, key).await {
        Ok((_, Opened { plain, authenticity })) => {
            let standing = match authenticity {
                Authenticity::Signed(version) => Standing::Signed(version),
                Authenticity::Unsigned => Standing::Unsigned,
            };
            Ok(entry(standing, Some(&plain)))
        }
        Err(refused) if refused.kind == Kind::Refused && refused.code.is_none() => {
            Ok(entry(Standing::Refused(text::line(&refused.message)), None))
        }
        Err(error) => Err(error),
    }
}
