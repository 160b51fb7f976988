//! What an actor holds while it does nothing, from the resident set of the process.

use actix::prelude::Actor;

use crate::actors::{Ask, Bare, Grove, alone};

/// Enough of them to tell their pages from noise.
const ACTORS: u64 = 10_000;

/// Bytes for each actor: bare, supervised.
pub fn measure() -> (u64, u64) {
    alone(async {
        // What is needed once is not counted: a tree, and the first actors of each kind.
        let (_first, _slots) = Grove::of(100).await;
        let _first_bare: Vec<_> = (0..100).map(|_| Bare.start()).collect();
        let before = resident();
        let bare: Vec<_> = (0..ACTORS).map(|_| Bare.start()).collect();
        for addr in &bare {
            addr.send(Ask).await.unwrap();
        }
        let between = resident();
        let _many = Grove::of(usize::try_from(ACTORS).unwrap()).await;
        let after = resident();
        ((between - before) / ACTORS, (after - between) / ACTORS)
    })
}

/// Bytes of the resident set.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}
