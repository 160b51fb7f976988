//! Sockets that have not said who they are, counted by the address they come from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sockets of one address that may be open before their hello.
const MAX_ANONYMOUS: usize = 1_024;

/// The sockets of every address.
#[derive(Debug, Clone, Default)]
pub struct Unknown(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Anonymous {
    all: Unknown,
    address: IpAddr,
}

impl Unknown {
    /// Takes a socket of an address in; none when it has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Anonymous> {
        let mut sockets = self.lock();
        let open = sockets.entry(address).or_default();
        if *open >= MAX_ANONYMOUS {
            return None;
        }
        *open += 1;
        Some(Anonymous { all: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Anonymous {
    fn drop(&mut self) {
        let mut sockets = self.all.lock();
        if let Some(open) = sockets.get_mut(&self.address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                sockets.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h50_one_address_cannot_take_all_sockets() {
        let (unknown, here, there) = (Unknown::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut open: Vec<_> = (0..MAX_ANONYMOUS).filter_map(|_| unknown.enter(here)).collect();
        assert_eq!(open.len(), MAX_ANONYMOUS);
        assert!(unknown.enter(here).is_none());
        assert!(unknown.enter(there).is_some());
        open.pop();
        assert!(unknown.enter(here).is_some());
    }
}
