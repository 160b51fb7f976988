//! Mailboxes read: in order, by priority, cut to size, and without looking at those of others.

use broker::store::{DeliveryState, MAX_PENDING_READ, MailboxLoad, MessageId, NewMesh, NewMessage, StoreError};

use super::mail::{NEXT, delivery, entry, message, send, texts, waiting, write};
use super::{Backend, HOSTILE, NOW, NUL, fixture};

on_both! {
    h31_a_mailbox_is_read_in_the_order_of_its_messages,
    a_read_is_cut_by_number_and_by_size_but_never_to_nothing,
    priorities_are_read_apart,
    a_mailbox_belongs_to_a_mesh,
    mailboxes_say_what_waits,
    a_dropped_mailbox_is_empty_and_says_what_was_in_it,
    what_became_of_a_message_is_told_in_its_mesh_only,
    h27_hostile_names_of_mailboxes_are_only_names,
}

async fn h31_a_mailbox_is_read_in_the_order_of_its_messages(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    // Numbers that were given first and written last; and the clock stood still.
    let (early, late) = (message(store, first, "1"), message(store, first, "2"));
    let seqs = (early.seq, late.seq);
    write(store, mesh, entry(late, vec![delivery(store, "b")]), NOW).await;
    write(store, mesh, entry(early, vec![delivery(store, "b")]), NOW).await;
    send(store, first, "b", "3").await;
    assert_eq!(texts(store, mesh, "b").await, ["1", "2", "3"]);
    let behind = store.pending(mesh, "b", NEXT, seqs.0, 10, u64::MAX).await.unwrap();
    assert_eq!(behind.iter().map(|pending| &pending.message.ciphertext).collect::<Vec<_>>(), ["2", "3"]);
    let behind = store.pending(mesh, "b", NEXT, seqs.1, 10, u64::MAX).await.unwrap();
    assert_eq!(behind.len(), 1);
}

async fn a_read_is_cut_by_number_and_by_size_but_never_to_nothing(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    for text in ["1", "2", "3"] {
        send(store, first, "b", text).await;
    }
    for (limit, max_bytes, expected) in
        [(3, 30, 3), (u32::MAX, u64::MAX, 3), (2, 30, 2), (3, 29, 2), (3, 20, 2), (3, 19, 1), (3, 0, 1), (0, 30, 0)]
    {
        let found = store.pending(&first.mesh.id, "b", NEXT, 0, limit, max_bytes).await.unwrap();
        assert_eq!(found.len(), expected, "limit {limit}, {max_bytes} bytes");
        assert!(found.iter().map(|pending| &pending.message.ciphertext).eq(["1", "2", "3"].iter().take(expected)));
    }
    const { assert!(MAX_PENDING_READ >= 10_000, "a full mailbox is read at once") }
}

async fn priorities_are_read_apart(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    for priority in [2, 0, 1, 2] {
        let said = NewMessage { priority, ..message(store, first, &format!("at {priority}")) };
        write(store, &first.mesh.id, entry(said, vec![delivery(store, "b")]), NOW).await;
    }
    for (priority, expected) in [(0, 1), (1, 1), (2, 2), (3, 0)] {
        let found = store.pending(&first.mesh.id, "b", priority, 0, 10, u64::MAX).await.unwrap();
        assert_eq!(found.len(), expected, "priority {priority}");
        assert!(found.iter().all(|pending| pending.message.ciphertext == format!("at {priority}")));
    }
}

async fn a_mailbox_belongs_to_a_mesh(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let new = NewMesh {
        id: broker::store::MeshId::new(),
        slug: "other".to_owned(),
        name: "Other".to_owned(),
        owner_pubkey: "k".to_owned(),
        member_pubkey: "k".to_owned(),
        certificate: None,
        owner_name: "Grace".to_owned(),
    };
    let other = store.create_mesh_with_owner(new, NOW).await.unwrap();
    send(store, first, "b", "here").await;
    send(store, &other, "b", "there").await;
    assert_eq!(texts(store, &first.mesh.id, "b").await, ["here"]);
    assert_eq!(texts(store, &other.mesh.id, "b").await, ["there"]);
    assert_eq!(store.mailboxes(&other.mesh.id).await.unwrap().len(), 1);
    // The same name of the same words, by another mesh's member: no repetition.
    assert_eq!(store.drop_mailbox(&other.mesh.id, "b", "gone", NOW).await.unwrap().len(), 1);
    assert_eq!(texts(store, &first.mesh.id, "b").await, ["here"]);
}

async fn mailboxes_say_what_waits(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    assert_eq!(store.mailboxes(mesh).await.unwrap(), []);
    let mut of_member = delivery(store, "m");
    of_member.of_member = true;
    of_member.bytes = i32::MAX;
    for text in ["1", "2"] {
        let again = broker::store::NewDelivery { id: store.number(), ..of_member.clone() };
        write(store, mesh, entry(message(store, first, text), vec![delivery(store, "b"), again]), NOW).await;
    }
    let (ended, _) = send(store, first, "b", "3").await;
    write(store, mesh, super::mail::ended(vec![ended]), NOW).await;
    let load =
        |mailbox: &str, of_member, count, bytes| MailboxLoad { mailbox: mailbox.to_owned(), of_member, count, bytes };
    let expected = [load("b", false, 2, 20), load("m", true, 2, 2 * i64::from(i32::MAX))];
    assert_eq!(store.mailboxes(mesh).await.unwrap(), expected);
}

async fn a_dropped_mailbox_is_empty_and_says_what_was_in_it(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let said = message(store, first, "1");
    let (here, there) = (delivery(store, "b"), delivery(store, "c"));
    let one = here.id;
    write(store, mesh, entry(said.clone(), vec![here, there]), NOW).await;
    let (two, _) = send(store, first, "b", "2").await;
    let (ended, _) = send(store, first, "b", "3").await;
    write(store, mesh, super::mail::ended(vec![ended]), NOW).await;
    assert_eq!(store.drop_mailbox(mesh, "b", "member removed", NOW.plus_ms(9)).await.unwrap(), [one, two]);
    assert_eq!(store.drop_mailbox(mesh, "b", "again", NOW).await.unwrap(), Vec::<i64>::new());
    assert_eq!(waiting(store, mesh, "b").await, []);
    assert_eq!(texts(store, mesh, "c").await, ["1"]);
    let (_, rows) = store.message_status(mesh, &said.id).await.unwrap().unwrap();
    assert_eq!((rows[0].state, rows[0].reason.as_deref()), (DeliveryState::Dropped, Some("member removed")));
    assert_eq!(rows[0].ended_at, Some(NOW.plus_ms(9)));
    assert_eq!((rows[1].state, rows[1].mailbox.as_str(), rows[1].of_member), (DeliveryState::Pending, "c", false));
}

async fn what_became_of_a_message_is_told_in_its_mesh_only(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let said = message(store, first, "1");
    write(store, &first.mesh.id, entry(said.clone(), Vec::new()), NOW).await;
    let (head, rows) = store.message_status(&first.mesh.id, &said.id).await.unwrap().unwrap();
    assert_eq!(
        (head.id, head.sender, head.expires_at, rows),
        (said.id.clone(), said.sender, said.expires_at, Vec::new())
    );
    assert_eq!(store.message_status(&first.mesh.id, &MessageId::new()).await.unwrap(), None);
    assert_eq!(store.message_status(&broker::store::MeshId::new(), &said.id).await.unwrap(), None);
}

async fn h27_hostile_names_of_mailboxes_are_only_names(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    for name in HOSTILE {
        send(store, first, name, name).await;
    }
    for name in HOSTILE {
        assert_eq!(texts(store, mesh, name).await, [name]);
        assert_eq!(store.drop_mailbox(mesh, name, name, NOW).await.unwrap().len(), 1, "{name:?}");
    }
    let error = store.pending(mesh, NUL, NEXT, 0, 1, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "mailbox" }), "{error}");
    let error = store.drop_mailbox(mesh, "b", NUL, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "reason" }), "{error}");
    let error = store.session(mesh, NUL).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "pubkey" }), "{error}");
}
