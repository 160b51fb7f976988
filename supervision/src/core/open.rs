//! Which children of a static supervisor need a look, so that an event costs what it concerns and not the number
//! of children.

use std::collections::BTreeSet;

use super::member::{Member, Status};

/// Children by their place, in start order.
pub(super) struct Open {
    /// Neither up nor over.
    pub(super) unsettled: BTreeSet<usize>,
    /// Starting or stopping: only these have deadlines.
    pub(super) moving: BTreeSet<usize>,
    /// To be stopped, when their turn comes.
    pub(super) doomed: BTreeSet<usize>,
}

impl Open {
    /// Of so many children that have not begun.
    pub(super) fn of(children: usize) -> Self {
        Self { unsettled: (0..children).collect(), moving: BTreeSet::new(), doomed: BTreeSet::new() }
    }

    /// Brings it up to date with one child.
    pub(super) fn note(&mut self, index: usize, member: &Member, doomed: bool) {
        let settled = member.is_up() || member.status == Status::Over;
        keep(&mut self.unsettled, index, !settled);
        keep(&mut self.moving, index, member.is_alive() && !settled);
        keep(&mut self.doomed, index, doomed);
    }
}

fn keep(set: &mut BTreeSet<usize>, index: usize, wanted: bool) {
    if wanted {
        set.insert(index);
    } else {
        set.remove(&index);
    }
}
