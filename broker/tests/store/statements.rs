//! What was signed about a mesh: later statements take the place of earlier ones, never the other way round.

use broker::store::{
    DEFAULT_MESSAGE_TTL_MS, Document, MAX_GROUP_LISTS_PER_MESH, Member, MemberId, MeshId, NewMember, Role, StoreError,
};

use super::{Backend, Fixture, HOSTILE, NOW, NUL, fixture};

on_both! {
    a_mesh_is_founded_as_its_owner_says,
    a_mesh_is_changed_where_it_is_asked_to,
    a_member_is_what_the_latest_statement_says,
    a_removal_is_kept_with_its_serial,
    the_latest_list_of_a_group_is_kept,
    a_mesh_has_so_many_lists_and_no_more,
    h27_hostile_names_of_groups_are_only_names,
}

async fn bob(fixture: &Fixture) -> Member {
    let new = NewMember {
        mesh_id: fixture.first.mesh.id.clone(),
        pubkey: "bob".to_owned(),
        display_name: "Bob".to_owned(),
        role: Role::Member,
        certificate: None,
    };
    fixture.store.add_member(new, NOW).await.unwrap()
}

fn superseded<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Superseded { .. }))
}

async fn a_mesh_is_founded_as_its_owner_says(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = &fixture.store;
    let new = broker::store::NewMesh {
        id: MeshId::new(),
        slug: "other".to_owned(),
        name: "Other".to_owned(),
        owner_pubkey: "root".to_owned(),
        member_pubkey: "own".to_owned(),
        certificate: Some("signed".to_owned()),
        owner_name: "Grace".to_owned(),
    };
    let made = store.create_mesh_with_owner(new.clone(), NOW).await.unwrap();
    assert_eq!((&made.mesh.id, made.mesh.owner_pubkey.as_str()), (&new.id, "root"));
    assert_eq!((made.mesh.require_proofs, made.mesh.message_ttl_ms), (false, DEFAULT_MESSAGE_TTL_MS));
    assert_eq!((made.owner.pubkey.as_str(), made.owner.role), ("own", Role::Owner));
    assert_eq!((made.owner.certificate.as_deref(), made.owner.serial), (Some("signed"), 0));
    assert_eq!(store.mesh_by_id(&new.id).await.unwrap(), Some(made.mesh));
    assert_eq!(store.member_by_pubkey(&new.id, "own").await.unwrap(), Some(made.owner));
    assert_eq!(store.member_by_pubkey(&new.id, "root").await.unwrap(), None);
    let again = broker::store::NewMesh { slug: "another".to_owned(), ..new };
    let error = store.create_mesh_with_owner(again, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken { what: "mesh", .. }), "{error}");
}

async fn a_mesh_is_changed_where_it_is_asked_to(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh);
    let changed = store.set_mesh(&mesh.id, Some(true), None, None).await.unwrap();
    assert_eq!((changed.require_proofs, changed.message_ttl_ms), (true, DEFAULT_MESSAGE_TTL_MS));
    let changed = store.set_mesh(&mesh.id, None, Some(5), None).await.unwrap();
    assert_eq!((changed.require_proofs, changed.message_ttl_ms), (true, 5));
    assert_eq!(store.mesh_by_id(&mesh.id).await.unwrap(), Some(changed));
    let error = store.set_mesh(&MeshId::new(), None, None, None).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "mesh", .. }), "{error}");
}

async fn a_member_is_what_the_latest_statement_says(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let bob = bob(&fixture).await;
    assert_eq!((bob.serial, &bob.removal), (0, &None));
    let set = async |role, serial| store.set_member(mesh, &bob.id, role, Some(format!("c{serial}")), serial).await;
    let changed = set(Role::Admin, 5).await.unwrap();
    assert_eq!(changed, Member { role: Role::Admin, certificate: Some("c5".to_owned()), serial: 5, ..bob.clone() });
    assert!(superseded(set(Role::Member, 5).await) && superseded(set(Role::Member, 4).await));
    assert_eq!(store.member_by_pubkey(mesh, "bob").await.unwrap(), Some(changed));
    let missing = [
        store.set_member(mesh, &MemberId::new(), Role::Member, None, 9).await,
        store.set_member(&MeshId::new(), &bob.id, Role::Member, None, 9).await,
    ];
    for answer in missing {
        assert!(matches!(answer, Err(StoreError::NotFound { what: "member", .. })), "{answer:?}");
    }
    store.remove_member(mesh, &bob.id, None, 0, NOW).await.unwrap();
    assert!(matches!(set(Role::Member, 9).await, Err(StoreError::NotFound { .. })), "a removed one was changed");
    let error = store.set_member(mesh, &bob.id, Role::Member, Some(NUL.to_owned()), 9).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "certificate" }), "{error}");
}

async fn a_removal_is_kept_with_its_serial(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let bob = bob(&fixture).await;
    store.set_member(mesh, &bob.id, Role::Admin, None, 5).await.unwrap();
    let remove = async |removal: Option<&str>, serial, at| {
        store.remove_member(mesh, &bob.id, removal.map(str::to_owned), serial, NOW.plus_ms(at)).await
    };
    assert!(superseded(remove(Some("late"), 4, 1).await));
    assert!(store.member_by_pubkey(mesh, "bob").await.unwrap().is_some(), "a late removal removed");
    // Without a statement there is no serial; the statement may follow, and is the same removal.
    assert!(remove(None, 0, 2).await.unwrap());
    assert!(!remove(Some("signed"), 6, 3).await.unwrap());
    assert!(!remove(None, 0, 4).await.unwrap());
    assert!(superseded(remove(Some("late"), 6, 5).await));
    let all = store.list_all_members(mesh).await.unwrap();
    let expected = Member {
        role: Role::Admin,
        serial: 6,
        removal: Some("signed".to_owned()),
        removed_at: Some(NOW.plus_ms(2)),
        ..bob.clone()
    };
    // Both joined in their own milliseconds, the owner first or last.
    assert_eq!(all.len(), 2);
    assert!(all.contains(&expected), "{all:?}");
    assert_eq!(store.list_members(mesh).await.unwrap(), std::slice::from_ref(&fixture.first.owner));
    assert!(!store.remove_member(&MeshId::new(), &fixture.first.owner.id, None, 0, NOW).await.unwrap());
}

async fn the_latest_list_of_a_group_is_kept(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let put = async |name: &str, serial| store.put_group_list(mesh, name, serial, Document::of(&serial).unwrap()).await;
    put("ops", 3).await.unwrap();
    put("dev", 1).await.unwrap();
    assert!(superseded(put("ops", 3).await) && superseded(put("ops", 2).await));
    put("ops", 4).await.unwrap();
    let found = store.group_lists(mesh).await.unwrap();
    let found: Vec<_> = found.iter().map(|list| (list.name.as_str(), list.serial, list.statement.as_str())).collect();
    assert_eq!(found, [("dev", 1, "1"), ("ops", 4, "4")]);
    assert_eq!(store.group_lists(&MeshId::new()).await.unwrap(), []);
}

async fn a_mesh_has_so_many_lists_and_no_more(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    fixture.place.change(&format!(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {MAX_GROUP_LISTS_PER_MESH}) \
         INSERT INTO group_list (mesh_id, name, serial, statement) SELECT '{mesh}', 'group ' || x, 1, '1' FROM n"
    ));
    let statement = Document::of(&2).unwrap();
    let error = store.put_group_list(mesh, "more", 2, statement.clone()).await.unwrap_err();
    assert!(matches!(error, StoreError::Limit { name: "MAX_GROUP_LISTS_PER_MESH", .. }), "{error}");
    store.put_group_list(mesh, "group 1", 2, statement).await.unwrap();
}

async fn h27_hostile_names_of_groups_are_only_names(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    for name in HOSTILE {
        store.put_group_list(mesh, name, 1, Document::of(name).unwrap()).await.unwrap();
    }
    let found = store.group_lists(mesh).await.unwrap();
    assert_eq!(found.len(), HOSTILE.len());
    assert!(found.iter().all(|list| list.statement.read::<String>().unwrap() == list.name));
    let error = store.put_group_list(mesh, NUL, 1, Document::of("").unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::Nul { field: "group" }), "{error}");
}
