//! The tasks of a service that are not its instance's.

use std::sync::Arc;
use std::time::Duration;

use protocol::link::{LogStream, Source};
use supervision::{ExitReason, Life};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::entry::Entry;
use super::gate::Event;
use super::sealed::Unlocked;
use super::spec::SharedMeans;
use crate::prepare::{Patience, Wanted};

/// Strikes the gate's clock, and shows how many of several instances are ready.
pub(super) async fn calls(life: Life, entry: Arc<Entry>) -> ExitReason {
    loop {
        let (ready, of) = entry.instances();
        if of > 1 {
            life.fact("instances", format!("{ready} of {of} ready"));
        }
        let due = entry.arm();
        tokio::select! {
            () = life.stopping() => return ExitReason::Shutdown,
            () = entry.rung() => {}
            () = at(&entry, due) => entry.gate(Event::Tick),
        }
    }
}

async fn at(entry: &Entry, due: Option<Duration>) {
    match due {
        Some(due) => sleep_until(entry.board().instant(due)).await,
        None => std::future::pending().await,
    }
}

/// Turns the source into a program, then ends. Asked to stop during that, it ends when nothing of the build is left.
pub(super) async fn prepare(life: Life, entry: Arc<Entry>, means: SharedMeans) -> ExitReason {
    let spec = &entry.spec;
    let limit = Duration::from_millis(spec.policy.build_timeout_ms);
    let unlocked = match means.unlock(spec) {
        Ok(unlocked) => unlocked,
        Err(error) => return ExitReason::error(&error),
    };
    let known = trusted_version(&entry, &means, unlocked.as_ref());
    let mut source = spec.source.clone();
    if let Some(token) = unlocked.as_ref().and_then(|unlocked| unlocked.contents.git_token.clone()) {
        source.put_token(Some(token));
    }
    let mut on_line = |line: &str| entry.progress(line);
    let (give_up, given_up) = watch::channel(false);
    let patience = Patience::new(limit, given_up);
    let wanted = Wanted { source: &source, runtime: spec.runtime, deployment: &spec.deployment };
    let preparing = means.preparer.prepare(wanted, known.as_deref(), &spec.args, patience, &mut on_line);
    tokio::pin!(preparing);
    let prepared = tokio::select! {
        () = life.stopping() => {
            give_up.send_replace(true);
            // Whatever came of it, nobody wants it.
            drop(preparing.await);
            return ExitReason::Shutdown;
        }
        prepared = &mut preparing => prepared,
    };
    match prepared {
        Ok(prepared) => {
            life.fact("version", prepared.version.clone());
            if let (None, Some(unlocked)) = (&known, &unlocked)
                && let Err(error) = means.versions.keep(&unlocked.source_digest(), &prepared.version)
            {
                tracing::warn!(service = %entry.key, %error, "a version that was found cannot be kept");
            }
            entry.set_prepared(prepared);
            life.ready();
            ExitReason::Normal
        }
        Err(error) => ExitReason::error(&error),
    }
}

/// The exact version to prepare. A broker's word for it counts, unless secrets go to what is built: then only a version
/// that was found here, or the digest that the box itself names.
fn trusted_version(entry: &Entry, means: &SharedMeans, unlocked: Option<&Unlocked>) -> Option<String> {
    let known = entry.known_version()?;
    let Some(unlocked) = unlocked else { return Some(known) };
    let is_bound = matches!(entry.spec.source, Source::Zip { .. } | Source::Command { .. });
    if is_bound || entry.prepared().is_some() || means.versions.knows(&unlocked.source_digest(), &known) {
        return Some(known);
    }
    let words = format!("version {known} was not found by this runner: it is found out anew, since secrets go to it");
    entry.say(LogStream::System, &words);
    None
}
