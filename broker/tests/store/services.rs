//! Services and their deployments.

use broker::store::{
    Comeback, DeploymentId, Desired, Document, MAX_DEPLOYMENTS_PER_SERVICE, MeshId, NewDeployment, NewMesh, Slot,
    StoreError, StoredTrial,
};

use super::{Backend, Fixture, HOSTILE, NOW, NUL, deployment, fixture};

on_both! {
    a_deployment_comes_back_as_it_was_given,
    a_redeploy_waits_beside_the_active_one_until_the_switch,
    a_deployment_that_was_superseded_does_not_become_active,
    the_active_slot_is_taken_at_once_on_request,
    a_switch_takes_the_service_to_where_it_came_up_and_what_begins_anew_ends_a_trial,
    what_was_learnt_at_ready_is_kept,
    the_quota_counts_what_exists,
    deploys_at_once_do_not_pass_the_quota_together,
    the_same_name_in_two_meshes_is_two_services,
    who_is_no_member_of_the_mesh_does_not_deploy,
    an_identifier_is_used_once_and_a_refusal_leaves_the_service_alone,
    old_deployments_go_but_never_those_in_use,
    a_removed_service_takes_its_deployments_and_secrets_along,
    h27_hostile_names_of_services_are_only_names,
    h27_a_nul_is_refused_by_the_name_of_its_field,
}

/// An earlier deployment comes back, as a rollback asks for it.
fn back(to: &DeploymentId) -> Comeback {
    Comeback { to: to.clone(), moving_to: None, rested: None }
}

const QUOTA: u32 = 20;

impl Fixture {
    async fn deploy(&self, service: &str, slot: Slot) -> DeploymentId {
        let new = NewDeployment { slot, ..deployment(&self.first, service) };
        self.store.deploy(new, QUOTA, NOW).await.unwrap().id
    }

    async fn pointers(&self, service: &str) -> (Option<DeploymentId>, Option<DeploymentId>) {
        let mesh = &self.first.mesh.id;
        let found = self.store.service_with_deployments(mesh, service).await.unwrap().unwrap();
        assert_eq!(found.active.as_ref().map(|d| &d.id), found.service.active_deployment.as_ref());
        assert_eq!(found.pending.as_ref().map(|d| &d.id), found.service.pending_deployment.as_ref());
        (found.service.active_deployment, found.service.pending_deployment)
    }
}

async fn a_deployment_comes_back_as_it_was_given(backend: Backend) {
    let fixture = fixture(backend).await;
    let new = NewDeployment {
        version: Some("1.2.3".to_owned()),
        runner: Some("r1".to_owned()),
        ..deployment(&fixture.first, "time")
    };
    let made = fixture.store.deploy(new.clone(), QUOTA, NOW).await.unwrap();
    let mesh = &fixture.first.mesh.id;
    let found = fixture.store.service_with_deployments(mesh, "time").await.unwrap().unwrap();
    assert_eq!(found.active, None);
    assert_eq!(found.pending.as_ref(), Some(&made));
    assert_eq!(made.source, new.source);
    assert_eq!(made.args.read::<Vec<String>>().unwrap(), ["--port", "1"]);
    assert_eq!(made.env_sealed, new.env_sealed);
    assert!(!made.ever_ready && made.tools.is_none());
    let service = found.service;
    assert_eq!(service.desired, Desired::Running);
    assert_eq!(service.scope, new.scope);
    assert_eq!(service.runner, new.runner);
    assert_eq!((service.created_at, service.updated_at), (NOW, NOW));
    assert_eq!(fixture.store.services_with_deployments(mesh).await.unwrap().len(), 1);
    assert_eq!(fixture.store.service_with_deployments(mesh, "Time").await.unwrap(), None);
}

async fn a_redeploy_waits_beside_the_active_one_until_the_switch(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let first = fixture.deploy("s", Slot::Pending).await;
    assert_eq!(store.set_active(mesh, "s", &first, None, NOW).await.unwrap(), None);
    store.set_desired(mesh, "s", Desired::Stopped, NOW).await.unwrap();

    let new = deployment(&fixture.first, "s");
    let second = store.deploy(new, QUOTA, NOW.plus_ms(5)).await.unwrap().id;
    assert_eq!(fixture.pointers("s").await, (Some(first.clone()), Some(second.clone())));
    let service = store.service_with_deployments(mesh, "s").await.unwrap().unwrap().service;
    assert_eq!(service.desired, Desired::Running, "to deploy is to want it running");
    assert_eq!((service.created_at, service.updated_at), (NOW, NOW.plus_ms(5)));

    let before = store.set_active(mesh, "s", &second, None, NOW).await.unwrap();
    assert_eq!(before, Some(first.clone()));
    assert_eq!(fixture.pointers("s").await, (Some(second.clone()), None));
    // The same switch again is no change and no error.
    assert_eq!(store.set_active(mesh, "s", &second, None, NOW).await.unwrap(), Some(second.clone()));

    // And back.
    store.bring_back(mesh, "s", back(&first), NOW).await.unwrap();
    assert_eq!(store.set_active(mesh, "s", &first, None, NOW).await.unwrap(), Some(second));
    assert_eq!(fixture.pointers("s").await, (Some(first), None));
}

async fn a_deployment_that_was_superseded_does_not_become_active(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let slow = fixture.deploy("s", Slot::Pending).await;
    let quick = fixture.deploy("s", Slot::Pending).await;
    let error = store.set_active(mesh, "s", &slow, None, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    assert_eq!(fixture.pointers("s").await, (None, Some(quick.clone())));

    store.drop_pending(mesh, "s", &slow, NOW).await.unwrap();
    assert_eq!(fixture.pointers("s").await, (None, Some(quick.clone())), "what came after it stays");
    store.drop_pending(mesh, "s", &quick, NOW).await.unwrap();
    let error = store.set_active(mesh, "s", &quick, None, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    assert_eq!(fixture.pointers("s").await, (None, None));
}

async fn the_active_slot_is_taken_at_once_on_request(backend: Backend) {
    let fixture = fixture(backend).await;
    let waiting = fixture.deploy("s", Slot::Pending).await;
    let at_once = fixture.deploy("s", Slot::Active).await;
    assert_eq!(fixture.pointers("s").await, (Some(at_once), None));
    let mesh = &fixture.first.mesh.id;
    assert!(fixture.store.deployment(mesh, &waiting).await.unwrap().is_some());
}

async fn a_switch_takes_the_service_to_where_it_came_up_and_what_begins_anew_ends_a_trial(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let row = async || store.service_with_deployments(mesh, "s").await.unwrap().unwrap().service;
    let on = |runner: Option<&str>, moving_to: Option<&str>| NewDeployment {
        runner: runner.map(str::to_owned),
        moving_to: moving_to.map(str::to_owned),
        ..deployment(&fixture.first, "s")
    };
    let first = store.deploy(on(Some("a"), None), QUOTA, NOW).await.unwrap().id;
    store.set_active(mesh, "s", &first, None, NOW).await.unwrap();
    let second = store.deploy(on(None, Some("b")), QUOTA, NOW).await.unwrap().id;
    let places = |row: &broker::store::Service| (row.runner.clone(), row.moving_to.clone());
    assert_eq!(places(&row().await), (Some("a".to_owned()), Some("b".to_owned())), "it stays until the switch");
    let trial = StoredTrial { before: first.clone(), ends_at: NOW.plus_ms(30_000) };
    store.set_active(mesh, "s", &second, Some(trial.clone()), NOW).await.unwrap();
    let switched = row().await;
    assert_eq!(places(&switched), (Some("b".to_owned()), None));
    assert_eq!((switched.trial_before, switched.trial_ends_at), (Some(first.clone()), Some(trial.ends_at)));

    // What is given up takes its place along.
    let third = store.deploy(on(None, Some("c")), QUOTA, NOW).await.unwrap().id;
    assert_eq!(row().await.trial_before, None, "a new deployment ends a trial");
    store.drop_pending(mesh, "s", &third, NOW).await.unwrap();
    assert_eq!(places(&row().await), (Some("b".to_owned()), None));
    let to_a = Comeback { moving_to: Some("a".to_owned()), ..back(&first) };
    store.bring_back(mesh, "s", to_a, NOW).await.unwrap();
    assert_eq!(places(&row().await), (Some("b".to_owned()), Some("a".to_owned())));
    store.set_runner(mesh, "s", "c", NOW).await.unwrap();
    assert_eq!(places(&row().await), (Some("c".to_owned()), None));
    store.set_active(mesh, "s", &first, Some(trial), NOW).await.unwrap();
    store.set_desired(mesh, "s", Desired::Running, NOW).await.unwrap();
    assert_eq!((row().await.trial_before, row().await.trial_ends_at), (None, None));
    let rested = Some(Document::of("rests").unwrap());
    store.bring_back(mesh, "s", Comeback { rested: rested.clone(), ..back(&second) }, NOW).await.unwrap();
    assert_eq!(store.deployment(mesh, &first).await.unwrap().unwrap().ended, rested);
}

async fn what_was_learnt_at_ready_is_kept(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let id = fixture.deploy("s", Slot::Pending).await;
    // Spaces, order and number forms are the server's own words.
    let tools: Document = r#"[{"name":"t",  "x":1.0}]"#.parse().unwrap();
    store.record_ready(mesh, &id, Some("2.0.1".to_owned()), tools.clone()).await.unwrap();
    store.record_ready(mesh, &id, None, tools.clone()).await.unwrap();
    let found = store.deployment(mesh, &id).await.unwrap().unwrap();
    assert!(found.ever_ready);
    assert_eq!(found.version.as_deref(), Some("2.0.1"));
    assert_eq!(found.tools, Some(tools.clone()));
    let error = store.record_ready(mesh, &DeploymentId::new(), None, tools).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "deployment", .. }));
}

async fn the_quota_counts_what_exists(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    for name in ["a", "b", "c"] {
        store.deploy(deployment(&fixture.first, name), 3, NOW).await.unwrap();
    }
    let full = store.deploy(deployment(&fixture.first, "d"), 3, NOW).await.unwrap_err();
    assert!(matches!(full, StoreError::Limit { name: "MAX_SERVICES_PER_MESH", max: 3 }));
    assert_eq!(store.services_with_deployments(mesh).await.unwrap().len(), 3);
    // Another deployment of what is there is no new service, and what stopped is still there.
    store.set_desired(mesh, "a", Desired::Stopped, NOW).await.unwrap();
    store.deploy(deployment(&fixture.first, "b"), 3, NOW).await.unwrap();
    assert!(store.deploy(deployment(&fixture.first, "d"), 3, NOW).await.is_err());
    // What is gone makes room; another mesh has its own.
    assert!(store.remove_service(mesh, "a").await.unwrap());
    store.deploy(deployment(&fixture.first, "d"), 3, NOW).await.unwrap();
    let other = other_mesh(&fixture).await;
    store.deploy(deployment(&other, "e"), 3, NOW).await.unwrap();
}

async fn deploys_at_once_do_not_pass_the_quota_together(backend: Backend) {
    let fixture = fixture(backend).await;
    let names: Vec<String> = (0..30).map(|at| format!("s{at}")).collect();
    let asked = names.iter().map(|name| fixture.store.deploy(deployment(&fixture.first, name), QUOTA, NOW));
    let done = futures_util::future::join_all(asked).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 20);
    let mesh = &fixture.first.mesh.id;
    assert_eq!(fixture.store.services_with_deployments(mesh).await.unwrap().len(), 20);
}

async fn other_mesh(fixture: &Fixture) -> broker::store::Founded {
    let new = NewMesh {
        id: MeshId::new(),
        slug: "other".to_owned(),
        name: "Other".to_owned(),
        owner_pubkey: "k".to_owned(),
        member_pubkey: "k".to_owned(),
        certificate: None,
        owner_name: "Grace".to_owned(),
    };
    fixture.store.create_mesh_with_owner(new, NOW).await.unwrap()
}

async fn the_same_name_in_two_meshes_is_two_services(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, here) = (&fixture.store, &fixture.first.mesh.id);
    let other = other_mesh(&fixture).await;
    let there = &other.mesh.id;
    let mine = fixture.deploy("s", Slot::Pending).await;
    let theirs = store.deploy(deployment(&other, "s"), QUOTA, NOW).await.unwrap().id;

    let error = store.set_active(here, "s", &theirs, None, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    let error = store.bring_back(here, "s", back(&theirs), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "deployment", .. }), "{error}");
    assert_eq!(store.deployment(here, &theirs).await.unwrap(), None);
    let tools = Document::of(&[0_u8; 0]).unwrap();
    assert!(store.record_ready(here, &theirs, None, tools).await.is_err());

    store.set_active(there, "s", &theirs, None, NOW).await.unwrap();
    store.set_desired(there, "s", Desired::Stopped, NOW).await.unwrap();
    assert_eq!(fixture.pointers("s").await, (None, Some(mine)));
    assert!(store.remove_service(there, "s").await.unwrap());
    let mine = store.service_with_deployments(here, "s").await.unwrap().unwrap();
    assert_eq!(mine.service.desired, Desired::Running);
    assert!(mine.pending.is_some());
}

async fn who_is_no_member_of_the_mesh_does_not_deploy(backend: Backend) {
    let fixture = fixture(backend).await;
    let other = other_mesh(&fixture).await;
    let mut new = deployment(&fixture.first, "s");
    new.created_by = other.owner.id.clone();
    let error = fixture.store.deploy(new, QUOTA, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "member", .. }), "{error}");

    fixture.store.remove_member(&other.mesh.id, &other.owner.id, None, 0, NOW).await.unwrap();
    let error = fixture.store.deploy(deployment(&other, "s"), QUOTA, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "member", .. }), "{error}");
}

async fn an_identifier_is_used_once_and_a_refusal_leaves_the_service_alone(backend: Backend) {
    let fixture = fixture(backend).await;
    let new = deployment(&fixture.first, "s");
    fixture.store.deploy(new.clone(), QUOTA, NOW).await.unwrap();
    let again = NewDeployment { description: "other".to_owned(), ..new.clone() };
    let error = fixture.store.deploy(again, QUOTA, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken { what: "deployment", .. }), "{error}");
    let mesh = &fixture.first.mesh.id;
    let found = fixture.store.service_with_deployments(mesh, "s").await.unwrap().unwrap();
    assert_eq!(found.service.description, new.description);
}

async fn old_deployments_go_but_never_those_in_use(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let active = fixture.deploy("s", Slot::Active).await;
    let other = fixture.deploy("other", Slot::Active).await;
    let kept = usize::try_from(MAX_DEPLOYMENTS_PER_SERVICE).unwrap();
    let mut last = active.clone();
    for at in 1..=MAX_DEPLOYMENTS_PER_SERVICE + 5 {
        let new = deployment(&fixture.first, "s");
        last = store.deploy(new, QUOTA, NOW.plus_ms(at)).await.unwrap().id;
    }
    let found = store.deployments(mesh, "s").await.unwrap();
    assert_eq!(found.len(), kept + 1, "the newest and the active one");
    assert_eq!(found.first().unwrap().id, last);
    assert_eq!(found.last().unwrap().id, active);
    assert_eq!(fixture.pointers("s").await, (Some(active), Some(last)));
    assert!(store.deployment(mesh, &other).await.unwrap().is_some());
}

async fn a_removed_service_takes_its_deployments_and_secrets_along(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let first = fixture.deploy("s", Slot::Active).await;
    fixture.deploy("s", Slot::Pending).await;
    assert!(store.remove_service(mesh, "s").await.unwrap());
    assert!(!store.remove_service(mesh, "s").await.unwrap());
    assert_eq!(store.deployments(mesh, "s").await.unwrap(), []);
    assert_eq!(store.deployment(mesh, &first).await.unwrap(), None);
    for missing in [
        store.set_active(mesh, "s", &first, None, NOW).await.map(drop),
        store.set_desired(mesh, "s", Desired::Running, NOW).await,
        store.set_runner(mesh, "s", "r", NOW).await,
    ] {
        assert!(matches!(missing, Err(StoreError::NotFound { what: "service", .. })));
    }
}

async fn h27_hostile_names_of_services_are_only_names(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    for name in HOSTILE {
        let mut new = deployment(&fixture.first, name);
        new.description = name.to_owned();
        new.runner = Some(name.to_owned());
        new.env_sealed = Some(name.to_owned());
        new.scope = Document::of(&serde_json::json!({"group": name})).unwrap();
        let id = store.deploy(new, QUOTA, NOW).await.unwrap().id;
        store.set_active(mesh, name, &id, None, NOW).await.unwrap();
    }
    let all = store.services_with_deployments(mesh).await.unwrap();
    assert_eq!(all.len(), HOSTILE.len());
    for name in HOSTILE {
        store.set_desired(mesh, name, Desired::Stopped, NOW).await.unwrap();
        let found = store.service_with_deployments(mesh, name).await.unwrap().unwrap();
        assert_eq!(found.service.name, name);
        assert_eq!(found.service.runner.as_deref(), Some(name));
        assert_eq!(found.service.scope.read::<serde_json::Value>().unwrap()["group"], name);
        assert_eq!(found.active.unwrap().env_sealed.as_deref(), Some(name));
        let running = store.services_with_deployments(mesh).await.unwrap();
        let stopped = running.iter().filter(|s| s.service.desired == Desired::Stopped).count();
        assert_eq!(stopped, 1, "{name:?} reached more than itself");
        assert!(store.remove_service(mesh, name).await.unwrap());
        store.deploy(deployment(&fixture.first, name), QUOTA, NOW).await.unwrap();
    }
    assert_eq!(store.services_with_deployments(mesh).await.unwrap().len(), HOSTILE.len());
}

async fn h27_a_nul_is_refused_by_the_name_of_its_field(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let named = |error: StoreError| match error {
        StoreError::Nul { field } => field,
        other => panic!("{other}"),
    };
    let asked = |change: fn(&mut NewDeployment)| {
        let mut new = deployment(&fixture.first, "s");
        change(&mut new);
        store.deploy(new, QUOTA, NOW)
    };
    assert_eq!(named(asked(|new| new.service = NUL.to_owned()).await.unwrap_err()), "service");
    assert_eq!(named(asked(|new| new.description = NUL.to_owned()).await.unwrap_err()), "description");
    assert_eq!(named(asked(|new| new.runner = Some(NUL.to_owned())).await.unwrap_err()), "runner");
    assert_eq!(named(asked(|new| new.env_sealed = Some(NUL.to_owned())).await.unwrap_err()), "env_sealed");
    assert_eq!(named(store.service_with_deployments(mesh, NUL).await.unwrap_err()), "service");
    assert_eq!(named(store.remove_service(mesh, NUL).await.unwrap_err()), "service");
    assert_eq!(store.services_with_deployments(mesh).await.unwrap(), []);
    // In JSON it is written as an escape, which is text like any other.
    let source = Document::of(&serde_json::json!({ "path": NUL })).unwrap();
    let id = store.deploy(NewDeployment { source: source.clone(), ..deployment(&fixture.first, "s") }, QUOTA, NOW);
    let id = id.await.unwrap().id;
    assert_eq!(store.deployment(mesh, &id).await.unwrap().unwrap().source, source);
    let version = Some(NUL.to_owned());
    assert_eq!(named(store.record_ready(mesh, &id, version, source).await.unwrap_err()), "version");
}
