//! What messages, broadcasts and joins cost: run by hand, in a release build, with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use broker::store::{Document, Entry, NewMessage, Verdict};
use nix::sys::resource::{UsageWho, getrusage};

use super::mail::{delivery, ended, entry, hello, message, named, session};
use super::{Backend, NOW, fixture};

/// Messages that are measured, in batches of [`BATCH`]; each batch ends the deliveries of the one before.
const MESSAGES: usize = 10_000;
const BATCH: usize = 256;
/// Characters of a body: some 150 bytes sealed, and some 700.
const BODIES: [usize; 2] = [200, 1_000];

/// Broadcasts that are measured, one a batch, each to so many.
const BROADCASTS: usize = 100;
const RECIPIENTS: usize = 99;
/// Sessions that come at once.
const JOINS: usize = 1_000;

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
        let verdicts = store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
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

async fn measure_broadcasts(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mut all: Vec<Duration> = Vec::new();
    for _ in 0..BROADCASTS {
        let to_all = (0..RECIPIENTS).map(|place| delivery(store, &format!("{place:064}"))).collect();
        let entries = vec![entry(message(store, first, "to all"), to_all)];
        let began = Instant::now();
        let verdicts = store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
        all.push(began.elapsed());
        assert_eq!(verdicts, [Verdict::Stored]);
    }
    all.sort_unstable();
    println!(
        "{backend:?}, a broadcast to {RECIPIENTS}: {:.2?} (median), {:.2?} (longest)",
        all[all.len() / 2],
        all[all.len() - 1]
    );
}

async fn measure_joins(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    for time in ["first", "second"] {
        let come = |place| hello(&format!("{time} {place}"), session(first, &format!("{place:064}")));
        let entries: Vec<Entry> = (0..JOINS).map(come).collect();
        let began = Instant::now();
        store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
        println!("{backend:?}, {JOINS} sessions come for the {time} time: {:.1?}", began.elapsed());
    }
}

#[actix_rt::test]
#[ignore = "measures; run by hand"]
async fn what_broadcasts_and_joins_cost_on_sqlite() {
    measure_broadcasts(Backend::Sqlite).await;
    measure_joins(Backend::Sqlite).await;
}

#[actix_rt::test]
#[ignore = "measures; run by hand"]
async fn what_broadcasts_and_joins_cost_on_postgres() {
    measure_broadcasts(Backend::Postgres).await;
    measure_joins(Backend::Postgres).await;
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
