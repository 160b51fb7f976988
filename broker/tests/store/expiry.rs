//! What time does: deliveries expire, bodies are forgotten, rows go, each when it may and not before.

use broker::store::{
    DeliveryState, Expired, IDEMPOTENCY_KEPT_MS, MeshId, NewDelivery, NewMessage, Session, UtcMs, Verdict,
};

use super::mail::{NEXT, TTL_MS, delivery, ended, entry, message, named, send, session, texts, waiting, write};
use super::{Backend, Fixture, NOW, fixture};

on_both! {
    what_is_over_expires_and_nothing_else,
    a_sweep_is_bounded_and_the_next_one_goes_on,
    a_clock_that_goes_back_hides_nothing_from_a_sweep,
    a_message_is_known_for_a_day_after_it_expired,
    what_waits_is_not_pruned,
    the_newest_message_is_kept_so_that_numbers_never_go_back,
    bodies_are_forgotten_when_nobody_waits_for_them,
    bodies_are_forgotten_in_steps,
    old_sessions_go_unless_they_are_here_or_have_mail,
}

/// When the messages of these tests are over.
const OVER: UtcMs = NOW.plus_ms(TTL_MS);

async fn at(fixture: &Fixture, text: &str, expires_at: UtcMs, mailboxes: &[&str]) -> (NewMessage, Vec<NewDelivery>) {
    let (store, first) = (&fixture.store, &fixture.first);
    let said = NewMessage { expires_at, ..message(store, first, text) };
    let to: Vec<_> = mailboxes.iter().map(|mailbox| delivery(store, mailbox)).collect();
    let verdict = write(store, &first.mesh.id, entry(said.clone(), to.clone()), NOW).await;
    assert_eq!(verdict, Verdict::Stored);
    (said, to)
}

async fn what_is_over_expires_and_nothing_else(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let (said, to) = at(&fixture, "over", OVER, &["b", "c"]).await;
    at(&fixture, "later", OVER.plus_ms(1), &["b"]).await;
    write(store, mesh, ended(vec![to[1].id]), NOW).await;
    assert_eq!(store.expire(mesh, OVER.plus_ms(-1), 10).await.unwrap(), []);
    assert_eq!(store.expire(&MeshId::new(), OVER, 10).await.unwrap(), [], "another mesh's");
    let expected = Expired {
        delivery: to[0].id,
        message_seq: said.seq,
        message: said.id.clone(),
        mailbox: "b".to_owned(),
        of_member: false,
        bytes: 10,
        priority: NEXT,
        sender: "sender".to_owned(),
        sender_member: Some(first.owner.id.clone()),
        target: "@eng".to_owned(),
    };
    assert_eq!(store.expire(mesh, OVER, 10).await.unwrap(), [expected]);
    assert_eq!(store.expire(mesh, OVER, 10).await.unwrap(), [], "told twice");
    assert_eq!(texts(store, mesh, "b").await, ["later"]);
    let (_, rows) = store.message_status(mesh, &said.id).await.unwrap().unwrap();
    assert_eq!((rows[0].state, rows[0].ended_at), (DeliveryState::Expired, Some(OVER)));
    assert_eq!(rows[1].state, DeliveryState::Delivered);
}

async fn a_sweep_is_bounded_and_the_next_one_goes_on(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    for (text, late) in [("3", 3), ("1", 1), ("2", 2)] {
        at(&fixture, text, NOW.plus_ms(late), &["b", "c"]).await;
    }
    let mut told = Vec::new();
    for expected in [4, 2, 0] {
        let some = store.expire(mesh, OVER, 4).await.unwrap();
        assert_eq!(some.len(), expected);
        told.extend(some.into_iter().map(|expired| (expired.message_seq, expired.mailbox)));
    }
    // The one that is over for longest comes first; numbers were given in the order 3, 1, 2.
    let seqs: Vec<i64> = told.iter().step_by(2).map(|(seq, _)| *seq).collect();
    assert!(seqs[0] < seqs[1] && seqs[2] < seqs[0], "{told:?}");
    assert_eq!(store.mailboxes(mesh).await.unwrap(), []);
}

async fn a_clock_that_goes_back_hides_nothing_from_a_sweep(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let year = 365 * 24 * 3_600_000;
    assert_eq!(store.expire(mesh, OVER.plus_ms(year), 10).await.unwrap(), []);
    at(&fixture, "1", OVER, &["b"]).await;
    assert_eq!(store.expire(mesh, OVER, 10).await.unwrap().len(), 1, "the year ahead hid it");
    // Nor what was committed while the last sweep ran.
    at(&fixture, "2", OVER.plus_ms(-1), &["b"]).await;
    assert_eq!(store.expire(mesh, OVER.plus_ms(1), 10).await.unwrap().len(), 1);
}

async fn a_message_is_known_for_a_day_after_it_expired(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let said = || entry(named(store, first, "name", "1"), vec![delivery(store, "b")]);
    write(store, mesh, said(), NOW).await;
    // A later one, so that the number of the one before may go.
    at(&fixture, "later", OVER.plus_ms(IDEMPOTENCY_KEPT_MS), &[]).await;
    store.expire(mesh, OVER, 10).await.unwrap();
    let last_day = OVER.plus_ms(IDEMPOTENCY_KEPT_MS - 1);
    assert_eq!(store.prune(mesh, last_day, 10).await.unwrap(), 0);
    assert!(matches!(write(store, mesh, said(), last_day).await, Verdict::Duplicate { .. }));
    let gone = OVER.plus_ms(IDEMPOTENCY_KEPT_MS);
    assert_eq!(store.prune(&MeshId::new(), gone, 10).await.unwrap(), 0, "another mesh's");
    assert_eq!(store.prune(mesh, gone, 10).await.unwrap(), 1);
    assert_eq!(store.prune(mesh, gone, 10).await.unwrap(), 0);
    assert_eq!(fixture.place.number("SELECT count(*) AS number FROM delivery"), 0, "its delivery stayed");
    assert_eq!(write(store, mesh, said(), gone).await, Verdict::Stored);
}

async fn what_waits_is_not_pruned(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    send(store, first, "b", "1").await;
    send(store, first, "b", "2").await;
    at(&fixture, "newest", OVER, &[]).await;
    let gone = OVER.plus_ms(IDEMPOTENCY_KEPT_MS);
    assert_eq!(store.prune(mesh, gone, 10).await.unwrap(), 0);
    // Its sender is told first.
    assert_eq!(store.expire(mesh, gone, 10).await.unwrap().len(), 2);
    assert_eq!(store.prune(mesh, gone, 1).await.unwrap(), 1);
    assert_eq!(store.prune(mesh, gone, 1).await.unwrap(), 1);
    assert_eq!(store.prune(mesh, gone, 1).await.unwrap(), 0);
}

async fn the_newest_message_is_kept_so_that_numbers_never_go_back(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    send(store, first, "b", "1").await;
    let (id, _) = send(store, first, "b", "2").await;
    let gone = OVER.plus_ms(IDEMPOTENCY_KEPT_MS);
    store.expire(&first.mesh.id, gone, 10).await.unwrap();
    assert_eq!(store.prune(&first.mesh.id, gone, 10).await.unwrap(), 1);
    fixture.store.close().await.unwrap();
    assert_eq!(fixture.place.open().await.unwrap().number(), id + 1);
}

/// Whether the body of the message of that number is there.
fn body(fixture: &Fixture, seq: i64) -> &'static str {
    let kept = format!("SELECT count(*) AS number FROM message WHERE seq = {seq}");
    assert_eq!(fixture.place.number(&kept), 1, "the row went with its body");
    let whole = format!("{kept} AND nonce = 'nonce' AND ciphertext <> '' AND extra IS NOT NULL");
    let empty = format!("{kept} AND nonce = '' AND ciphertext = '' AND extra IS NULL");
    match (fixture.place.number(&whole), fixture.place.number(&empty)) {
        (1, 0) => "whole",
        (0, 1) => "empty",
        other => panic!("{other:?}"),
    }
}

async fn bodies_are_forgotten_when_nobody_waits_for_them(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let (said, to) = at(&fixture, "1", OVER, &["b", "c"]).await;
    let (none, _) = at(&fixture, "2", OVER, &[]).await;
    let (outside, _) = at(&fixture, "3", OVER, &[]).await;
    let sweep = async || store.forget_bodies(mesh, 0, none.seq, 100).await.unwrap();
    write(store, mesh, ended(vec![to[0].id]), NOW).await;
    assert_eq!(sweep().await, None);
    assert_eq!(body(&fixture, said.seq), "whole", "one still waits");
    assert_eq!(body(&fixture, none.seq), "empty");
    assert_eq!(body(&fixture, outside.seq), "whole");
    write(store, mesh, ended(vec![to[1].id]), NOW).await;
    assert_eq!(store.forget_bodies(&MeshId::new(), 0, none.seq, 100).await.unwrap(), None);
    assert_eq!(body(&fixture, said.seq), "whole", "another mesh's sweep took it");
    assert_eq!(sweep().await, None);
    assert_eq!(body(&fixture, said.seq), "empty");
    // What a repetition is told stays.
    assert_eq!(store.message_status(mesh, &said.id).await.unwrap().unwrap().1.len(), 2);
}

async fn bodies_are_forgotten_in_steps(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let mut seqs = Vec::new();
    for text in ["1", "2", "3", "4"] {
        seqs.push(at(&fixture, text, OVER, &[]).await.0.seq);
    }
    let step = store.forget_bodies(mesh, 0, i64::MAX, 3).await.unwrap();
    assert_eq!(step, Some(seqs[3]));
    assert_eq!(body(&fixture, seqs[2]), "empty");
    assert_eq!(body(&fixture, seqs[3]), "whole");
    assert_eq!(store.forget_bodies(mesh, seqs[3], i64::MAX, 3).await.unwrap(), None);
    assert_eq!(body(&fixture, seqs[3]), "empty");
}

async fn old_sessions_go_unless_they_are_here_or_have_mail(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let row = |key: &str, present: bool, seen: i64| Session {
        present,
        last_seen_at: NOW.plus_ms(seen),
        ..session(first, key)
    };
    let rows = [
        row("here", true, 1),
        row("mail", false, 2),
        row("old", false, 3),
        row("older", false, 1),
        row("new", false, 9),
    ];
    for row in rows {
        write(store, mesh, broker::store::Entry::Session(Box::new(row)), NOW).await;
    }
    let (id, _) = send(store, first, "mail", "1").await;
    let keys = async || {
        let found = store.sessions(mesh, UtcMs::from_ms(0), 10).await.unwrap();
        found.into_iter().map(|row| row.pubkey).collect::<Vec<_>>()
    };
    assert_eq!(keys().await, ["new", "old", "mail", "here", "older"]);
    assert_eq!(store.prune_sessions(&MeshId::new(), NOW.plus_ms(9), 10).await.unwrap(), 0);
    assert_eq!(store.prune_sessions(mesh, NOW.plus_ms(9), 1).await.unwrap(), 1);
    assert_eq!(keys().await, ["new", "old", "mail", "here"]);
    assert_eq!(store.prune_sessions(mesh, NOW.plus_ms(9), 10).await.unwrap(), 1);
    assert_eq!(keys().await, ["new", "mail", "here"]);
    assert_eq!(waiting(store, mesh, "mail").await.len(), 1);
    write(store, mesh, ended(vec![id]), NOW).await;
    assert_eq!(store.prune_sessions(mesh, NOW.plus_ms(9), 10).await.unwrap(), 1);
    assert_eq!(keys().await, ["new", "here"]);
    // And the lists of sessions, as they are read.
    let since = store.sessions(mesh, NOW.plus_ms(9), 10).await.unwrap();
    assert_eq!(since, [row("new", false, 9)]);
    assert_eq!(store.sessions(mesh, UtcMs::from_ms(0), 1).await.unwrap(), since);
    assert_eq!(store.present_sessions(mesh).await.unwrap(), [row("here", true, 1)]);
}
