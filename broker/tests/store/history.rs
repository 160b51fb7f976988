//! Service events: order, bounds.

use broker::store::{MAX_EVENT_BATCH, MAX_EVENTS_PER_MESH, MAX_EVENTS_PER_SERVICE, StoreError};

use super::{Backend, Fixture, HOSTILE, NUL, event, fixture};

on_both! {
    events_come_back_newest_first_in_the_order_of_recording,
    a_service_keeps_its_last_thousand_events,
    names_that_come_and_go_do_not_fill_the_disk,
    a_batch_has_a_bound,
    events_outlive_their_service,
    h27_hostile_causes_are_only_text,
    a_cause_keeps_its_words_but_for_what_no_backend_takes,
    h27_a_nul_is_refused_by_the_name_of_its_field,
}

impl Fixture {
    fn rows(&self, service: &str) -> i64 {
        self.place.number(&format!("SELECT count(*) AS number FROM service_event WHERE service LIKE '{service}'"))
    }
}

async fn events_come_back_newest_first_in_the_order_of_recording(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    // A clock that went back.
    let times = [50, 40, 60, 40];
    store.append_events(times.map(|at| event(first, "s", at)).into()).await.unwrap();
    let found = store.events(&first.mesh.id, "s", 3).await.unwrap();
    let order: Vec<i64> = found.iter().map(|event| event.at.as_ms()).collect();
    assert_eq!(order, [40, 60, 40]);
    assert_eq!(found[1].cause, "event 60");
    assert_eq!(found[1].from_state.as_deref(), Some("starting"));
    store.append_events(Vec::new()).await.unwrap();
    assert_eq!(store.events(&first.mesh.id, "other", 3).await.unwrap(), []);
}

async fn a_service_keeps_its_last_thousand_events(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    store.append_event(event(first, "quiet", 0)).await.unwrap();
    let all: Vec<_> = (0..MAX_EVENTS_PER_SERVICE + 250).map(|at| event(first, "s", at)).collect();
    for batch in all.chunks(500) {
        store.append_events(batch.to_vec()).await.unwrap();
    }
    let found = store.events(&first.mesh.id, "s", u32::MAX).await.unwrap();
    assert_eq!(i64::try_from(found.len()).unwrap(), MAX_EVENTS_PER_SERVICE);
    assert_eq!(found.last().unwrap().cause, "event 250");
    assert_eq!(fixture.rows("s"), MAX_EVENTS_PER_SERVICE);
    assert_eq!(store.events(&first.mesh.id, "quiet", 10).await.unwrap().len(), 1);
}

async fn names_that_come_and_go_do_not_fill_the_disk(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    fixture.place.change(&format!(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {}) \
         INSERT INTO service_event (id, mesh_id, service, to_state, cause, at) \
         SELECT 'id' || x, '{}', 'gone' || (x / 100), 'stopped', '', x FROM n",
        MAX_EVENTS_PER_MESH + 500,
        first.mesh.id,
    ));
    store.append_event(event(first, "last", 1)).await.unwrap();
    store.remove_service(&first.mesh.id, "last").await.unwrap();
    assert_eq!(fixture.rows("%"), MAX_EVENTS_PER_MESH);
    assert_eq!(fixture.rows("last"), 1, "the newest went instead of the oldest");
}

async fn a_batch_has_a_bound(backend: Backend) {
    let fixture = fixture(backend).await;
    let all = vec![event(&fixture.first, "s", 1); MAX_EVENT_BATCH + 1];
    let error = fixture.store.append_events(all).await.unwrap_err();
    assert!(matches!(error, StoreError::Limit { name: "MAX_EVENT_BATCH", .. }));
    assert_eq!(fixture.store.events(&fixture.first.mesh.id, "s", 1).await.unwrap(), []);
}

async fn events_outlive_their_service(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let new = super::deployment(first, "s");
    let id = store.deploy(new, 20, super::NOW).await.unwrap().id;
    let mut last = event(first, "s", 1);
    last.deployment = Some(id);
    store.append_event(last).await.unwrap();
    store.remove_service(&first.mesh.id, "s").await.unwrap();
    assert_eq!(store.events(&first.mesh.id, "s", 10).await.unwrap().len(), 1);
}

async fn h27_hostile_causes_are_only_text(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    for text in HOSTILE {
        let mut hostile = event(first, text, 1);
        hostile.cause = text.to_owned();
        hostile.to_state = text.to_owned();
        store.append_event(hostile).await.unwrap();
    }
    for text in HOSTILE {
        let found = store.events(&first.mesh.id, text, 10).await.unwrap();
        assert_eq!(found.len(), 1, "{text:?}");
        assert_eq!(found[0].cause, text);
        assert_eq!(found[0].to_state, text);
    }
}

async fn a_cause_keeps_its_words_but_for_what_no_backend_takes(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let mut said = event(first, "s", 1);
    said.cause = format!("exit 1: {NUL}");
    // One program's words must not cost the others their history.
    store.append_events(vec![said, event(first, "other", 2)]).await.unwrap();
    assert_eq!(store.events(&first.mesh.id, "s", 1).await.unwrap()[0].cause, "exit 1: a\u{fffd}b");
    assert_eq!(store.events(&first.mesh.id, "other", 1).await.unwrap().len(), 1);
}

async fn h27_a_nul_is_refused_by_the_name_of_its_field(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let error = store.append_event(event(&fixture.first, NUL, 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "service" }), "{error}");
    let error = store.events(mesh, NUL, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "service" }), "{error}");
}
