//! What a message costs: run by hand, in a release build, with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use broker::store::{Document, Entry, NewMessage, Verdict};
use nix::sys::resource::{UsageWho, getrusage};

use super::mail::{delivery, ended, entry, named};
use super::{Backend, NOW, fixture};

/// Messages that are measured, in batches of [`BATCH`]; each batch ends the deliveries of the one before.
const MESSAGES: usize = 10_000;
const BATCH: usize = 256;
/// Characters of a body: some 150 bytes sealed, and some 700.
const BODIES: [usize; 2] = [200, 1_000];

/// What this process has used of the processor so far, in user and system mode.
fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let time = |of: nix::sys::time::TimeVal| {
        Duration::from_secs(u64::try_from(of.tv_sec()).unwrap())
            + Duration::from_micros(u64::try_from(of.tv_usec()).unwrap())
    };
    time(usage.user_time()) + time(usage.system_time())
}

async fn measure(backend: Backend, characters: usize) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let body = "b".repeat(characters);
    let mut before: Vec<i64> = Vec::new();
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    for batch in 0..MESSAGES.div_ceil(BATCH) {
        let mut entries: Vec<Entry> = Vec::new();
        let mut next = Vec::new();
        for place in 0..BATCH {
            let message = NewMessage {
                sender: "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8".to_owned(),
                digest: Some("d".repeat(64)),
                ack: Document::of(&serde_json::json!({"queued": true, "recipients": 1, "skipped": 0})).unwrap(),
                sender_session_id: Some("0199e3c1-1111-7000-8000-000000000000".to_owned()),
                ..named(store, first, &format!("0199e3c1-1111-7000-8000-{batch:06}{place:06}"), &body)
            };
            let mailbox = format!("{:064}", place % 50);
            let delivery = delivery(store, &mailbox);
            next.push(delivery.id);
            entries.push(entry(message, vec![delivery]));
        }
        for id in std::mem::replace(&mut before, next) {
            entries.push(ended(vec![id]));
        }
        let (began, used_before) = (Instant::now(), used());
        let verdicts = store.write_batch(&first.mesh.id, entries, NOW).await.unwrap();
        wall += began.elapsed();
        cpu += used() - used_before;
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Stored).count(), BATCH);
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / (MESSAGES.div_ceil(BATCH) * BATCH) as f64;
    println!(
        "{backend:?}, {characters} characters: {:.1} µs of this process's CPU a message, {:.1} µs of time",
        each(cpu),
        each(wall)
    );
}

#[actix_rt::test]
#[ignore = "measures; run by hand"]
async fn what_a_message_costs_on_sqlite() {
    for characters in BODIES {
        measure(Backend::Sqlite, characters).await;
    }
}

#[actix_rt::test]
#[ignore = "measures; run by hand"]
async fn what_a_message_costs_on_postgres() {
    for characters in BODIES {
        measure(Backend::Postgres, characters).await;
    }
}
