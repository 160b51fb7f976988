//! Who runs beside whom: most stories share the machine, those that measure or press hard have it alone.
//!
//! A [`Mesh`](super::Mesh) holds its turn as long as it lives. A story that has one turn must not ask for another:
//! someone who wants to be alone may be waiting in between, for both.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// A turn, held until it is dropped.
#[derive(Debug)]
pub enum Turn {
    /// Beside others of this kind.
    Shared(RwLockReadGuard<'static, ()>),
    /// Beside nobody.
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Waits while somebody is alone. A story that failed while it was does not stop the others.
#[must_use]
pub fn shared() -> Turn {
    Turn::Shared(MACHINE.read().unwrap_or_else(PoisonError::into_inner))
}

/// Waits until nobody else has a turn.
#[must_use]
pub fn alone() -> Turn {
    Turn::Alone(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
}
