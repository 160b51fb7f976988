//! A batch: who comes, what is said, what ends, all at the cost of one commit.

use std::sync::Arc;

use broker::store::{
    DeliveryEnd, DeliveryState, Entry, HelloVerdict, MAX_BATCH_ENTRIES, MessageId, NewMessage, Session, Store,
    StoreError, Verdict,
};

use super::hellos::{entered, member};
use super::mail::{delivery, ended, entry, hello, message, named, send, session, texts, waiting, write};
use super::{Backend, HOSTILE, NOW, NUL, fixture};

on_both! {
    verdicts_stand_in_the_order_of_the_entries,
    a_batch_has_a_bound_and_may_be_empty,
    a_batch_that_fails_leaves_nothing,
    what_a_sender_repeats_is_one_message,
    repetitions_of_others_are_messages_of_their_own,
    a_delivery_ends_once,
    a_delivery_may_end_in_the_batch_that_it_came_in,
    h31_what_was_stored_is_there_after_reopening,
    numbers_go_on_after_reopening,
    a_batch_larger_than_one_statement_is_stored_whole,
    h27_hostile_texts_of_a_batch_are_only_texts,
    a_nul_costs_a_character_and_no_batch,
}

async fn verdicts_stand_in_the_order_of_the_entries(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let one = named(store, first, "one", "1");
    let entries = vec![
        ended(vec![store.number()]),
        entry(one.clone(), vec![delivery(store, "b")]),
        hello("h", session(first, "a")),
        entry(named(store, first, "one", "1"), vec![delivery(store, "b")]),
        Entry::Session(Box::new(session(first, "b"))),
        hello("h", session(first, "a")),
        entry(message(store, first, "2"), vec![delivery(store, "b")]),
    ];
    let verdicts = store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
    let [Verdict::Done, Verdict::Stored, came, again, Verdict::Done, replayed, Verdict::Stored] = &verdicts[..] else {
        panic!("{verdicts:?}")
    };
    assert_eq!(entered(came.clone()), (None, None));
    assert_eq!(*again, Verdict::Duplicate { id: one.id, digest: "digest of 1".to_owned(), ack: one.ack });
    assert_eq!(*replayed, Verdict::Hello(HelloVerdict::Replayed));
    assert_eq!(texts(store, &first.mesh.id, "b").await, ["1", "2"]);
}

async fn a_batch_has_a_bound_and_may_be_empty(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    assert_eq!(store.write_batch(mesh, &Arc::from([]), NOW).await.unwrap(), []);
    let many = vec![ended(Vec::new()); MAX_BATCH_ENTRIES];
    assert_eq!(
        store.write_batch(mesh, &many.clone().into(), NOW).await.unwrap(),
        vec![Verdict::Done; MAX_BATCH_ENTRIES]
    );
    let error = store.write_batch(mesh, &[many, vec![ended(Vec::new())]].concat().into(), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Limit { name: "MAX_BATCH_ENTRIES", .. }), "{error}");
}

async fn a_batch_that_fails_leaves_nothing(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let (kept, _) = send(store, first, "b", "kept").await;
    let sound = message(store, first, "1");
    // Two messages with one number: the broker that gave it is broken, and nothing of this may be believed.
    let broken = NewMessage { seq: sound.seq, ..message(store, first, "2") };
    let entries = vec![
        hello("h", session(first, "a")),
        entry(sound, vec![delivery(store, "b")]),
        ended(vec![kept]),
        entry(broken, vec![delivery(store, "b")]),
    ];
    let error = store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error}");
    assert_eq!(texts(store, &first.mesh.id, "b").await, ["kept"]);
    assert_eq!(store.session(&first.mesh.id, "a").await.unwrap(), None);
    // The sign-in was not used up either.
    entered(write(store, &first.mesh.id, hello("h", session(first, "a")), NOW).await);
}

async fn what_a_sender_repeats_is_one_message(backend: Backend) {
    let mut fixture = fixture(backend).await;
    let first = fixture.first.clone();
    let mesh = &first.mesh.id;
    let said = named(&fixture.store, &first, "name", "1");
    let duplicate = Verdict::Duplicate { id: said.id.clone(), digest: "digest of 1".to_owned(), ack: said.ack.clone() };
    let again = |store: &Store, text: &str| {
        entry(named(store, &first, "name", text), vec![delivery(store, "b"), delivery(store, "c")])
    };
    // In the same batch, with other words and with the same ones.
    let store = &fixture.store;
    let entries = vec![entry(said, vec![delivery(store, "b")]), again(store, "other"), again(store, "1")];
    let verdicts = store.write_batch(mesh, &entries.into(), NOW).await.unwrap();
    assert_eq!(verdicts, [Verdict::Stored, duplicate.clone(), duplicate.clone()]);
    // In a later one.
    assert_eq!(write(store, mesh, again(store, "1"), NOW).await, duplicate);
    // By another broker's life, and after the delivery ended.
    let id = waiting(store, mesh, "b").await[0].delivery;
    write(store, mesh, ended(vec![id]), NOW).await;
    fixture.store.close().await.unwrap();
    fixture.store = fixture.place.open().await.unwrap();
    let store = &fixture.store;
    assert_eq!(write(store, mesh, again(store, "other"), NOW).await, duplicate);
    assert!(texts(store, mesh, "b").await.is_empty(), "a repetition was delivered");
    assert!(texts(store, mesh, "c").await.is_empty(), "a repetition was delivered");
    assert_eq!(fixture.place.number("SELECT count(*) AS number FROM message"), 1);
}

async fn repetitions_of_others_are_messages_of_their_own(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let bob = member(&fixture, "bob").await;
    let said = |change: &dyn Fn(&mut NewMessage)| {
        let mut message = named(store, first, "name", "1");
        change(&mut message);
        entry(message, vec![delivery(store, "b")])
    };
    let entries = vec![
        said(&|_| {}),
        said(&|message| message.sender_member = Some(bob.clone())),
        said(&|message| message.sender_session_id = Some("another".to_owned())),
        said(&|message| message.client_id = Some("another".to_owned())),
        // Those that have no name cannot be told to be repetitions.
        said(&|message| message.client_id = None),
        said(&|message| message.client_id = None),
        said(&|message| message.sender_member = None),
        said(&|message| message.sender_member = None),
    ];
    let verdicts = store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
    assert_eq!(verdicts, vec![Verdict::Stored; 8]);
    assert_eq!(texts(store, &first.mesh.id, "b").await.len(), 8);
}

async fn a_delivery_ends_once(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let said = message(store, first, "1");
    let all: Vec<_> = ["a", "b", "c", "d"].iter().map(|mailbox| delivery(store, mailbox)).collect();
    let ids: Vec<i64> = all.iter().map(|delivery| delivery.id).collect();
    write(store, mesh, entry(said.clone(), all), NOW).await;
    let end = |ids: &[i64], how, reason: Option<&str>, at| Entry::End {
        ids: ids.to_vec(),
        how,
        reason: reason.map(str::to_owned),
        at: NOW.plus_ms(at),
    };
    let entries = vec![
        end(&ids[..1], DeliveryEnd::Delivered, None, 1),
        end(&ids[1..2], DeliveryEnd::Expired, None, 2),
        end(&ids[2..3], DeliveryEnd::Dropped, Some("full"), 3),
    ];
    store.write_batch(mesh, &entries.into(), NOW).await.unwrap();
    write(store, mesh, end(&ids[..3], DeliveryEnd::Dropped, Some("late"), 9), NOW).await;
    let (head, rows) = store.message_status(mesh, &said.id).await.unwrap().unwrap();
    assert_eq!((head.seq, head.target.as_str(), head.client_id), (said.seq, "@eng", None));
    let found: Vec<_> = rows.iter().map(|row| (row.id, row.state, row.reason.as_deref(), row.ended_at)).collect();
    let at = |ms| Some(NOW.plus_ms(ms));
    assert_eq!(
        found,
        [
            (ids[0], DeliveryState::Delivered, None, at(1)),
            (ids[1], DeliveryState::Expired, None, at(2)),
            (ids[2], DeliveryState::Dropped, Some("full"), at(3)),
            (ids[3], DeliveryState::Pending, None, None),
        ]
    );
    assert_eq!(waiting(store, mesh, "a").await, []);
    assert_eq!(waiting(store, mesh, "d").await.len(), 1);
}

async fn a_delivery_may_end_in_the_batch_that_it_came_in(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let (here, there) = (delivery(store, "b"), delivery(store, "c"));
    let end = ended(vec![here.id]);
    let entries = vec![end, entry(message(store, first, "1"), vec![here, there])];
    store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
    assert_eq!(waiting(store, &first.mesh.id, "b").await, []);
    assert_eq!(texts(store, &first.mesh.id, "c").await, ["1"]);
}

async fn h31_what_was_stored_is_there_after_reopening(backend: Backend) {
    let fixture = fixture(backend).await;
    let first = &fixture.first;
    let said = named(&fixture.store, first, "name", "1");
    let to = delivery(&fixture.store, "b");
    write(&fixture.store, &first.mesh.id, entry(said.clone(), vec![to.clone()]), NOW).await;
    // No word to the database of the end, as when the broker is killed.
    drop(fixture.store);
    let store = fixture.place.open().await.unwrap();
    let mut found = waiting(&store, &first.mesh.id, "b").await;
    let pending = found.pop().unwrap();
    assert!(found.is_empty());
    assert_eq!((pending.delivery, pending.wrapped_key), (to.id, to.wrapped_key));
    let kept = pending.message;
    assert_eq!(kept.mesh_id, first.mesh.id);
    let back = NewMessage {
        seq: kept.seq,
        id: kept.id,
        sender: kept.sender,
        sender_member: kept.sender_member,
        sender_session_id: kept.sender_session_id,
        client_id: kept.client_id,
        digest: kept.digest,
        target: kept.target,
        priority: kept.priority,
        nonce: kept.nonce,
        ciphertext: kept.ciphertext,
        extra: kept.extra,
        ack: kept.ack,
        created_at: kept.created_at,
        expires_at: kept.expires_at,
    };
    assert!(back == said, "{back:?} is not {said:?}");
}

async fn numbers_go_on_after_reopening(backend: Backend) {
    let fixture = fixture(backend).await;
    assert_eq!((fixture.store.number(), fixture.store.number()), (1, 2));
    let (id, seq) = send(&fixture.store, &fixture.first, "b", "1").await;
    assert_eq!((seq, id), (3, 4));
    fixture.store.close().await.unwrap();
    let store = fixture.place.open().await.unwrap();
    assert_eq!(store.number(), 5, "a delivery's number was given again");
    let late = message(&store, &fixture.first, "2");
    let seq = late.seq;
    write(&store, &fixture.first.mesh.id, entry(late, Vec::new()), NOW).await;
    store.close().await.unwrap();
    let store = fixture.place.open().await.unwrap();
    assert_eq!(store.number(), seq + 1, "a message's number was given again");
}

async fn a_batch_larger_than_one_statement_is_stored_whole(backend: Backend) {
    /// Beyond every chunk, and 9 values a row beyond what any statement binds.
    const MANY: usize = 9_000;
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let mut entries: Vec<Entry> =
        (0..2_000).map(|place| entry(message(store, first, &place.to_string()), vec![delivery(store, "b")])).collect();
    let said = message(store, first, "to all");
    let to_all: Vec<_> = (0..MANY).map(|place| delivery(store, &format!("mailbox {place}"))).collect();
    let ids = to_all.iter().map(|delivery| delivery.id).collect();
    entries.push(entry(said.clone(), to_all));
    store.write_batch(mesh, &entries.into(), NOW).await.unwrap();
    let expected: Vec<String> = (0..2_000).map(|place| place.to_string()).collect();
    assert_eq!(texts(store, mesh, "b").await, expected);
    assert_eq!(store.mailboxes(mesh).await.unwrap().len(), MANY + 1);
    write(store, mesh, ended(ids), NOW).await;
    assert_eq!(store.mailboxes(mesh).await.unwrap().len(), 1);
}

async fn h27_hostile_texts_of_a_batch_are_only_texts(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    for text in HOSTILE {
        let hostile = Session {
            pubkey: text.to_owned(),
            session_id: text.to_owned(),
            display_name: text.to_owned(),
            summary: Some(text.to_owned()),
            ..session(first, "")
        };
        write(store, mesh, hello(text, hostile.clone()), NOW).await;
        assert_eq!(store.session(mesh, text).await.unwrap(), Some(hostile));
        let said = NewMessage {
            sender: text.to_owned(),
            sender_session_id: Some(text.to_owned()),
            target: text.to_owned(),
            nonce: text.to_owned(),
            digest: Some(text.to_owned()),
            ..named(store, first, text, text)
        };
        let again = NewMessage { seq: store.number(), id: MessageId::new(), ..said.clone() };
        assert_eq!(write(store, mesh, entry(said, vec![delivery(store, text)]), NOW).await, Verdict::Stored);
        let again = write(store, mesh, entry(again, vec![delivery(store, text)]), NOW).await;
        assert!(matches!(&again, Verdict::Duplicate { digest, .. } if digest == text), "{again:?}");
        let id = waiting(store, mesh, text).await[0].delivery;
        write(
            store,
            mesh,
            Entry::End { ids: vec![id], how: DeliveryEnd::Dropped, reason: Some(text.to_owned()), at: NOW },
            NOW,
        )
        .await;
        send(store, first, text, text).await;
    }
    for text in HOSTILE {
        assert_eq!(texts(store, mesh, text).await, [text]);
    }
    assert_eq!(store.mailboxes(mesh).await.unwrap().len(), HOSTILE.len());
}

async fn a_nul_costs_a_character_and_no_batch(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let hostile = Session {
        session_id: NUL.to_owned(),
        display_name: NUL.to_owned(),
        summary: Some(NUL.to_owned()),
        ..session(first, "a")
    };
    let said = NewMessage {
        sender: NUL.to_owned(),
        sender_session_id: Some(NUL.to_owned()),
        target: NUL.to_owned(),
        nonce: NUL.to_owned(),
        digest: Some(NUL.to_owned()),
        ..named(store, first, NUL, NUL)
    };
    let mut to = delivery(store, "b");
    to.wrapped_key = Some(NUL.to_owned());
    let end = Entry::End { ids: vec![to.id], how: DeliveryEnd::Dropped, reason: Some(NUL.to_owned()), at: NOW };
    let id = said.id.clone();
    let entries = vec![
        hello(NUL, hostile),
        entry(said, vec![to]),
        end,
        entry(message(store, first, "another's"), vec![delivery(store, "b")]),
    ];
    store.write_batch(mesh, &entries.into(), NOW).await.unwrap();
    assert_eq!(store.session(mesh, "a").await.unwrap().unwrap().summary.unwrap(), "a\u{fffd}b");
    let (_, rows) = store.message_status(mesh, &id).await.unwrap().unwrap();
    assert_eq!(rows[0].reason.as_deref(), Some("a\u{fffd}b"));
    assert_eq!(texts(store, mesh, "b").await, ["another's"]);
}
