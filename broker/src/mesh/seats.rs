//! How many connections a mesh and each of its members have: counted when they are taken, so never too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Limit;
use crate::store::MemberId;

/// The part of a mesh's connections that one member may have: a half.
const MEMBERS_SHARE: usize = 2;

/// The seats of one mesh.
#[derive(Debug, Default)]
pub struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<MemberId, usize>,
}

/// One connection's. Given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    member: MemberId,
}

impl Seats {
    /// Takes a seat of `max` for a member.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn take(self: &Arc<Self>, member: &MemberId, max: usize) -> Result<Seat, Limit> {
        let mut taken = self.lock();
        if taken.all >= max {
            return Err(Limit::ConnectionsPerMesh);
        }
        let of = taken.of.entry(member.clone()).or_default();
        // The only seat of all can be had as well.
        if *of >= (max / MEMBERS_SHARE).max(1) {
            return Err(Limit::ConnectionsPerMember);
        }
        *of += 1;
        taken.all += 1;
        Ok(Seat { seats: Arc::clone(self), member: member.clone() })
    }

    /// Seats that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(of) = taken.of.get_mut(&self.member) {
            *of = of.saturating_sub(1);
            if *of == 0 {
                taken.of.remove(&self.member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn h50_a_member_has_half_of_the_seats_and_they_come_back() {
        let seats = Arc::new(Seats::default());
        let (one, other, third) = (MemberId::new(), MemberId::new(), MemberId::new());
        let mut first: Vec<_> = (0..2).map(|_| seats.take(&one, 4).unwrap()).collect();
        assert_eq!(seats.take(&one, 4).unwrap_err(), Limit::ConnectionsPerMember);
        let _second: Vec<_> = (0..2).map(|_| seats.take(&other, 4).unwrap()).collect();
        assert_eq!(seats.take(&third, 4).unwrap_err(), Limit::ConnectionsPerMesh);
        first.pop();
        let _third = seats.take(&third, 4).unwrap();
        assert_eq!(seats.taken(), 4);
        drop(first);
        assert!(seats.take(&one, 4).is_ok());
        assert!(Arc::new(Seats::default()).take(&one, 1).is_ok());
    }
}
