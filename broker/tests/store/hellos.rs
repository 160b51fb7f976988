//! Who comes: hellos and sessions of a batch.

use broker::store::{Entry, HELLO_WINDOW_MS, HelloVerdict, MemberId, MeshId, NewMember, Role, Session, Verdict};

use super::mail::{hello, session, write};
use super::{Backend, Fixture, NOW, fixture};

on_both! {
    a_hello_says_how_the_session_was_before,
    a_hello_is_good_once_also_in_one_batch_and_after_a_restart,
    h22_a_session_key_belongs_to_the_first_member_that_used_it,
    a_session_is_in_the_end_as_it_was_last_said,
    a_session_is_written_in_its_batchs_mesh,
}

pub(crate) fn entered(verdict: Verdict) -> (Option<Session>, Option<Session>) {
    match verdict {
        Verdict::Hello(HelloVerdict::Entered { before, of_id }) => (before.map(|row| *row), of_id.map(|row| *row)),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn member(fixture: &Fixture, pubkey: &str) -> MemberId {
    let new = NewMember {
        mesh_id: fixture.first.mesh.id.clone(),
        pubkey: pubkey.to_owned(),
        display_name: pubkey.to_owned(),
        role: Role::Member,
        certificate: None,
    };
    fixture.store.add_member(new, NOW).await.unwrap().id
}

async fn a_hello_says_how_the_session_was_before(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let mut at_first = session(first, "a");
    at_first.summary = Some("works".to_owned());
    at_first.profile = Some(r#"{"bio":"b"}"#.parse().unwrap());
    assert_eq!(entered(write(store, mesh, hello("1", at_first.clone()), NOW).await), (None, None));
    assert_eq!(store.session(mesh, "a").await.unwrap(), Some(at_first.clone()));

    let mut again = session(first, "a");
    (again.first_seen_at, again.last_seen_at) = (NOW.plus_ms(7), NOW.plus_ms(7));
    again.stats = None;
    assert_eq!(entered(write(store, mesh, hello("2", again.clone()), NOW).await), (Some(at_first), None));
    again.first_seen_at = NOW;
    assert_eq!(store.session(mesh, "a").await.unwrap(), Some(again.clone()));

    // Another key goes on under its session id; and a third one finds the later of the two.
    let of_id = |key: &str| Session { session_id: again.session_id.clone(), ..session(first, key) };
    let mut second = of_id("b");
    second.last_seen_at = NOW.plus_ms(8);
    assert_eq!(entered(write(store, mesh, hello("3", second.clone()), NOW).await), (None, Some(again.clone())));
    assert_eq!(entered(write(store, mesh, hello("4", of_id("c")), NOW).await), (None, Some(second)));
    // A member's session ids are its own.
    let mut others = of_id("d");
    others.member_id = member(&fixture, "bob").await;
    assert_eq!(entered(write(store, mesh, hello("5", others), NOW).await), (None, None));
}

async fn a_hello_is_good_once_also_in_one_batch_and_after_a_restart(backend: Backend) {
    let fixture = fixture(backend).await;
    let mesh = fixture.first.mesh.id.clone();
    let said = |key: &str, pubkey: &str| hello(key, session(&fixture.first, pubkey));
    let both = fixture.store.write_batch(&mesh, &vec![said("k", "a"), said("k", "b")].into(), NOW).await.unwrap();
    assert_eq!(both[1], Verdict::Hello(HelloVerdict::Replayed));
    assert_eq!(fixture.store.session(&mesh, "b").await.unwrap(), None, "a replayed hello was written");
    fixture.store.close().await.unwrap();
    let store = fixture.place.open().await.unwrap();
    let late = NOW.plus_ms(HELLO_WINDOW_MS - 1);
    assert_eq!(write(&store, &mesh, said("k", "b"), late).await, Verdict::Hello(HelloVerdict::Replayed));
    // What is refused for its age by then need not be remembered.
    entered(write(&store, &mesh, said("k", "b"), NOW.plus_ms(HELLO_WINDOW_MS)).await);
    assert_eq!(fixture.place.number("SELECT count(*) AS number FROM replay"), 1);
}

async fn h22_a_session_key_belongs_to_the_first_member_that_used_it(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let mut own = session(&fixture.first, "a");
    own.present = false;
    entered(write(store, mesh, hello("1", own.clone()), NOW).await);
    let thief = Session { member_id: member(&fixture, "eve").await, ..own.clone() };
    assert_eq!(write(store, mesh, hello("2", thief), NOW).await, Verdict::Hello(HelloVerdict::Taken));
    assert_eq!(store.session(mesh, "a").await.unwrap(), Some(own.clone()));
    // A refused one has not used up its sign-in.
    entered(write(store, mesh, hello("2", own), NOW).await);
}

async fn a_session_is_in_the_end_as_it_was_last_said(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let row = |key: &str, summary: &str| Session { summary: Some(summary.to_owned()), ..session(first, key) };
    let entries = vec![
        Entry::Session(Box::new(row("a", "1"))),
        Entry::Session(Box::new(row("b", "1"))),
        Entry::Session(Box::new(row("a", "2"))),
        hello("1", row("a", "3")),
        Entry::Session(Box::new(row("b", "2"))),
        Entry::Session(Box::new(row("a", "4"))),
        Entry::Session(Box::new(row("b", "3"))),
    ];
    let verdicts = store.write_batch(&first.mesh.id, &entries.into(), NOW).await.unwrap();
    assert_eq!(entered(verdicts[3].clone()), (Some(row("a", "2")), None));
    assert_eq!(store.session(&first.mesh.id, "a").await.unwrap(), Some(row("a", "4")));
    assert_eq!(store.session(&first.mesh.id, "b").await.unwrap(), Some(row("b", "3")));
}

async fn a_session_is_written_in_its_batchs_mesh(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let strayed = Session { mesh_id: MeshId::new(), ..session(first, "a") };
    write(store, &first.mesh.id, Entry::Session(Box::new(strayed.clone())), NOW).await;
    assert_eq!(store.session(&first.mesh.id, "a").await.unwrap(), Some(session(first, "a")));
    assert_eq!(store.session(&strayed.mesh_id, "a").await.unwrap(), None);
}
