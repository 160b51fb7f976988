//! The handle: many callers, callers that go away, closing.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::store::{MeshId, NewMesh, Store, StoreError};
use futures_util::future::join_all;
use futures_util::poll;

use super::{Backend, NOW, event, fixture};

on_both! {
    a_hundred_writers_on_four_threads_all_get_their_turn,
    a_caller_that_goes_away_does_not_take_its_operation_along,
    an_arbiter_that_stops_takes_no_connection_along,
    a_failed_operation_leaves_nothing_behind,
    a_closed_store_has_finished_what_it_took_and_takes_no_more,
    the_last_handle_may_go_anywhere,
}

/// Longer than any of this takes; reached only when something is stuck.
const DEADLINE: Duration = Duration::from_secs(20);

fn new_mesh(slug: &str) -> NewMesh {
    NewMesh {
        id: MeshId::new(),
        slug: slug.to_owned(),
        name: slug.to_owned(),
        owner_pubkey: "k".to_owned(),
        member_pubkey: "k".to_owned(),
        certificate: None,
        owner_name: "n".to_owned(),
    }
}

async fn until_mesh(store: &Store, slug: &str) {
    let appeared = async {
        while store.mesh_by_slug(slug).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, appeared).await.expect("the mesh never appeared");
}

async fn a_hundred_writers_on_four_threads_all_get_their_turn(backend: Backend) {
    let fixture = fixture(backend).await;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (store, first) = (fixture.store.clone(), fixture.first.clone());
            std::thread::spawn(move || {
                actix_rt::System::new().block_on(join_all((0..25).map(|task| {
                    let (store, first) = (store.clone(), first.clone());
                    async move {
                        let number = thread * 25 + task;
                        store.append_event(event(&first, "s", number)).await.unwrap();
                        store.next_epoch().await.unwrap()
                    }
                })))
            })
        })
        .collect();
    let epochs: BTreeSet<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(epochs, (1..=100).collect());
    let events = fixture.store.events(&fixture.first.mesh.id, "s", 1_000).await.unwrap();
    let numbers: BTreeSet<i64> = events.iter().map(|event| event.at.as_ms()).collect();
    assert_eq!(numbers, (0..100).collect());
    assert!(events.is_sorted_by(|newer, older| newer.seq > older.seq));
}

async fn a_caller_that_goes_away_does_not_take_its_operation_along(backend: Backend) {
    let fixture = fixture(backend).await;
    let mut in_the_middle = 0;
    for at in 0..50 {
        let slug = format!("m{at}");
        let mut asked = Box::pin(fixture.store.create_mesh_with_owner(new_mesh(&slug), NOW));
        in_the_middle += usize::from(poll!(&mut asked).is_pending());
        drop(asked);
        until_mesh(&fixture.store, &slug).await;
    }
    // On a busy machine the store may be done before it is asked how far it is, but hardly ever.
    assert!(in_the_middle > 0);
    let meshes = fixture.store.list_meshes().await.unwrap();
    for mesh in meshes.iter().filter(|mesh| mesh.slug != "default") {
        let members = fixture.store.list_members(&mesh.id).await.unwrap();
        assert_eq!(members.len(), 1, "{} is half a mesh", mesh.slug);
    }
}

async fn an_arbiter_that_stops_takes_no_connection_along(backend: Backend) {
    let fixture = fixture(backend).await;
    let arbiter = actix_rt::Arbiter::new();
    let (store, first) = (fixture.store.clone(), fixture.first.clone());
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    arbiter.spawn(async move {
        // As above: one that is not done yet.
        let mut at = 0;
        let asked = loop {
            at += 1;
            let mut asked = Box::pin(store.append_event(event(&first, "s", at)));
            if poll!(&mut asked).is_pending() {
                break asked;
            }
            assert!(at < 50);
        };
        begun.send(()).unwrap();
        asked.await.unwrap();
    });
    tokio::time::timeout(DEADLINE, has_begun).await.unwrap().unwrap();
    arbiter.stop();
    let join = tokio::task::spawn_blocking(move || arbiter.join());
    tokio::time::timeout(DEADLINE, join).await.unwrap().unwrap().unwrap();
    // The one writer is free: this would otherwise wait for it in vain.
    tokio::time::timeout(DEADLINE, fixture.store.next_epoch()).await.unwrap().unwrap();
}

async fn a_failed_operation_leaves_nothing_behind(backend: Backend) {
    let fixture = fixture(backend).await;
    let mut events = vec![event(&fixture.first, "s", 1), event(&fixture.first, "s", 2)];
    // The second names a mesh that does not exist.
    events[1].mesh_id = broker::store::MeshId::new();
    let error = fixture.store.append_events(events).await.unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error:?}");
    assert_eq!(error.to_string(), "could not record what happened to services");
    assert_eq!(fixture.store.events(&fixture.first.mesh.id, "s", 10).await.unwrap(), []);
    fixture.store.append_event(event(&fixture.first, "s", 3)).await.unwrap();
}

async fn a_closed_store_has_finished_what_it_took_and_takes_no_more(backend: Backend) {
    let fixture = fixture(backend).await;
    let asked: Vec<_> = (0..20)
        .map(|at| {
            let (store, first) = (fixture.store.clone(), fixture.first.clone());
            actix_rt::spawn(async move { store.append_event(event(&first, "s", at)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let other = fixture.store.clone();
    fixture.store.close().await.unwrap();
    let mut done = 0;
    for task in asked {
        done += usize::from(task.await.unwrap().is_ok());
    }
    assert!(matches!(other.next_epoch().await, Err(StoreError::Closed)));
    assert!(matches!(other.clone().close().await, Err(StoreError::Closed)));
    drop(other);
    let again = fixture.place.open().await.unwrap();
    let found = again.events(&fixture.first.mesh.id, "s", 100).await.unwrap();
    assert_eq!(found.len(), done, "what was answered and what is there differ");
}

async fn the_last_handle_may_go_anywhere(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = fixture.store;
    drop(fixture.place.lock);
    std::thread::spawn(move || drop(store)).join().unwrap();
    let freed = async {
        while broker::store::DirLock::acquire(fixture.place.dir.path()).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, freed).await.expect("the directory stayed locked");
}
