//! How incarnations ended, counted for as long as the registry is there, nodes that are gone included.

use std::collections::BTreeMap;

use crate::{ExitReason, NodeState};

/// Counts by kind, which is a closed set of words, so that they do not grow with what comes and goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Restarts, by kind.
    pub restarts: BTreeMap<&'static str, u64>,
    /// Ends, by kind and by [`ExitReason::class`].
    pub exits: BTreeMap<(&'static str, &'static str), u64>,
}

impl Tally {
    /// An incarnation ended; its node is in `state` now.
    pub(super) fn ended(&mut self, kind: &'static str, exit: &ExitReason, state: NodeState) {
        *self.exits.entry((kind, exit.class())).or_default() += 1;
        if state == NodeState::Restarting {
            *self.restarts.entry(kind).or_default() += 1;
        }
    }
}
