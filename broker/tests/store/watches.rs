//! Watches: what is kept of them, and that a value and its message are one.

use std::sync::Arc;

use broker::store::{
    Document, Entry, Founded, MAX_WATCH_CHANGES, MAX_WATCHES_PER_MEMBER, MessageId, NewDelivery, NewMessage, Store,
    StoreError, Verdict, Watch, WatchCommit,
};

use super::{Backend, NOW, OWNER, fixture};

on_both! {
    a_watch_is_kept_found_and_removed_by_its_owner_alone,
    h36_a_value_and_its_message_are_stored_together_or_not_at_all,
    h50_watches_and_their_history_are_bounded,
    h29_a_removed_members_watches_go,
    h27_hostile_texts_are_texts,
}

pub(super) fn watch(of: &Founded, id: &str) -> Watch {
    Watch {
        mesh_id: of.mesh.id.clone(),
        id: id.to_owned(),
        member_id: of.owner.id.clone(),
        url: "http://example.com/".to_owned(),
        mode: "json".to_owned(),
        extract: Some("value".to_owned()),
        interval_ms: 30_000,
        notify: "change".to_owned(),
        headers_sealed: None,
        label: None,
        priority: 1,
        fail_after: 3,
        settle: 1,
        version: 0,
        value: None,
        hash: None,
        failing: false,
        created_at: NOW,
    }
}

fn commit(id: &str, expected: i64, value: &str) -> WatchCommit {
    WatchCommit {
        watch: id.to_owned(),
        expected,
        value: Some(value.to_owned()),
        hash: Some(format!("hash of {} bytes", value.len())),
        failing: false,
        kind: "changed",
        old_value: None,
        new_value: Some(value.to_owned()),
        at: NOW,
    }
}

fn word(store: &Store) -> (Box<NewMessage>, Vec<NewDelivery>) {
    let message = NewMessage {
        seq: store.number(),
        id: MessageId::new(),
        sender: "system".to_owned(),
        sender_member: None,
        sender_session_id: None,
        client_id: None,
        digest: None,
        target: OWNER.to_owned(),
        priority: 1,
        nonce: String::new(),
        ciphertext: String::new(),
        extra: None,
        ack: Document::of(&()).unwrap(),
        created_at: NOW,
        expires_at: NOW.plus_ms(1_000),
    };
    let delivery =
        NewDelivery { id: store.number(), mailbox: OWNER.to_owned(), of_member: true, bytes: 512, wrapped_key: None };
    (Box::new(message), vec![delivery])
}

async fn write(store: &Store, of: &Founded, entries: Vec<Entry>) -> Result<Vec<Verdict>, StoreError> {
    store.write_batch(&of.mesh.id, &Arc::from(entries), NOW).await
}

async fn a_watch_is_kept_found_and_removed_by_its_owner_alone(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let row = watch(first, "w_00000001");
    store.add_watch(row.clone()).await.unwrap();
    assert!(matches!(store.add_watch(row.clone()).await, Err(StoreError::Taken { .. })));
    assert_eq!(store.watches(mesh).await.unwrap(), std::slice::from_ref(&row));
    assert_eq!(store.watch(mesh, &row.id).await.unwrap(), Some(row.clone()));
    assert_eq!(store.watch(&broker::store::MeshId::new(), &row.id).await.unwrap(), None);
    let other = broker::store::MemberId::new();
    assert!(!store.remove_watch(mesh, &other, &row.id).await.unwrap());
    assert!(store.remove_watch(mesh, &first.owner.id, &row.id).await.unwrap());
    assert_eq!(store.watches(mesh).await.unwrap(), []);
    let nobodys = Watch { member_id: other, ..row };
    assert!(matches!(store.add_watch(nobodys).await, Err(StoreError::NotFound { .. })));
}

async fn h36_a_value_and_its_message_are_stored_together_or_not_at_all(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    store.add_watch(watch(first, "w_1")).await.unwrap();
    let waiting = async || store.mailboxes(mesh).await.unwrap().iter().map(|load| load.count).sum::<i64>();
    let said = word(store);
    let id = said.0.id.clone();
    let entries = vec![Entry::Watch(Box::new(commit("w_1", 0, "a")), Some(said))];
    assert_eq!(write(store, first, entries).await.unwrap(), [Verdict::Stored]);
    let stored = store.watch(mesh, "w_1").await.unwrap().unwrap();
    assert_eq!((stored.version, stored.value.as_deref()), (1, Some("a")));
    assert_eq!(waiting().await, 1);
    let changes = store.watch_changes(mesh, "w_1", 10).await.unwrap();
    assert_eq!((changes.len(), changes[0].number, &changes[0].message_id), (1, 1, &Some(id)));
    // Believed to be otherwise, or gone: neither of the two.
    let entries = vec![
        Entry::Watch(Box::new(commit("w_1", 0, "b")), Some(word(store))),
        Entry::Watch(Box::new(commit("w_2", 0, "b")), Some(word(store))),
        Entry::Watch(Box::new(commit("w_1", 1, "c")), None),
    ];
    let verdicts = write(store, first, entries).await.unwrap();
    assert_eq!(verdicts, [Verdict::Superseded, Verdict::Superseded, Verdict::Stored]);
    assert_eq!(waiting().await, 1);
    assert_eq!(store.watch(mesh, "w_1").await.unwrap().unwrap().value.as_deref(), Some("c"));
    // A batch that fails takes the value back with the rest of it.
    let (mut broken, to) = word(store);
    broken.seq = stored_seq(store, first).await;
    let entries = vec![Entry::Watch(Box::new(commit("w_1", 2, "d")), Some((broken, to)))];
    assert!(write(store, first, entries).await.is_err());
    assert_eq!(store.watch(mesh, "w_1").await.unwrap().unwrap().value.as_deref(), Some("c"));
}

/// The number of a message that is there.
async fn stored_seq(store: &Store, of: &Founded) -> i64 {
    let pending = store.pending(&of.mesh.id, OWNER, 1, 0, 10, 1_000_000).await.unwrap();
    pending[0].message.seq
}

async fn h50_watches_and_their_history_are_bounded(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    for n in 0..MAX_WATCHES_PER_MEMBER {
        store.add_watch(watch(first, &format!("w_{n}"))).await.unwrap();
    }
    let refused = store.add_watch(watch(first, "w_more")).await;
    assert!(matches!(refused, Err(StoreError::Limit { name: "watches_per_member", .. })), "{refused:?}");
    let entries = (0..MAX_WATCH_CHANGES + 7).map(|n| Entry::Watch(Box::new(commit("w_1", n, &n.to_string())), None));
    let verdicts = write(store, first, entries.collect()).await.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Stored));
    let changes = store.watch_changes(&first.mesh.id, "w_1", 1_000).await.unwrap();
    let numbers: Vec<i64> = changes.iter().map(|change| change.number).collect();
    assert_eq!(numbers, (8..=MAX_WATCH_CHANGES + 7).collect::<Vec<_>>());
}

async fn h29_a_removed_members_watches_go(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    store.add_watch(watch(first, "w_1")).await.unwrap();
    write(store, first, vec![Entry::Watch(Box::new(commit("w_1", 0, "a")), None)]).await.unwrap();
    store.remove_member(&first.mesh.id, &first.owner.id, None, 0, NOW).await.unwrap();
    assert_eq!(store.watches(&first.mesh.id).await.unwrap(), []);
    assert_eq!(store.watch_changes(&first.mesh.id, "w_1", 10).await.unwrap(), []);
    assert!(matches!(store.add_watch(watch(first, "w_2")).await, Err(StoreError::NotFound { .. })));
}

async fn h27_hostile_texts_are_texts(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let hostile = "'; DROP TABLE watch; --";
    let row = Watch { label: Some(hostile.to_owned()), notify: format!("match:{hostile}"), ..watch(first, hostile) };
    store.add_watch(row.clone()).await.unwrap();
    let entries = vec![Entry::Watch(Box::new(commit(hostile, 0, "a\0b'")), None)];
    write(store, first, entries).await.unwrap();
    let stored = store.watch(&first.mesh.id, hostile).await.unwrap().unwrap();
    assert_eq!((stored.label, stored.value.as_deref()), (row.label, Some("a\u{fffd}b'")));
    let nul = Watch { url: "a\0".to_owned(), ..watch(first, "w_nul") };
    assert!(matches!(store.add_watch(nul).await, Err(StoreError::Nul { .. })));
}
