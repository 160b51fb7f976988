//! Meshes, members, sign-ins.

use broker::store::{MemberId, MeshId, NewMember, NewMesh, Role, Sighting, StoreError};
use futures_util::future::join_all;

use super::{Backend, HOSTILE, NOW, NUL, OWNER, ROOT, fixture};

on_both! {
    a_slug_is_taken_once_and_a_refusal_leaves_no_owner,
    a_mesh_is_found_by_slug_and_by_id,
    a_member_belongs_to_one_mesh,
    a_removed_member_is_none_and_does_not_come_back,
    h27_hostile_names_of_meshes_and_members_are_only_names,
    h27_a_nul_is_refused_by_the_name_of_its_field,
    lists_have_the_same_order_everywhere,
    a_sign_in_is_good_once_also_across_a_restart,
    of_a_sign_in_used_many_times_at_once_one_is_the_first,
}

fn mesh(slug: &str) -> NewMesh {
    NewMesh {
        id: MeshId::new(),
        slug: slug.to_owned(),
        name: slug.to_owned(),
        owner_pubkey: ROOT.to_owned(),
        member_pubkey: OWNER.to_owned(),
        certificate: None,
        owner_name: slug.to_owned(),
    }
}

fn member(mesh_id: &MeshId, pubkey: &str) -> NewMember {
    NewMember {
        mesh_id: mesh_id.clone(),
        pubkey: pubkey.to_owned(),
        display_name: pubkey.to_owned(),
        role: Role::Member,
        certificate: Some("c".to_owned()),
    }
}

async fn a_slug_is_taken_once_and_a_refusal_leaves_no_owner(backend: Backend) {
    let fixture = fixture(backend).await;
    let error = fixture.store.create_mesh_with_owner(mesh("default"), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken { what: "mesh", key } if key == "default"));
    assert_eq!(fixture.store.list_members(&fixture.first.mesh.id).await.unwrap().len(), 1);
    assert_eq!(fixture.store.list_meshes().await.unwrap().len(), 1);
}

async fn a_mesh_is_found_by_slug_and_by_id(backend: Backend) {
    let fixture = fixture(backend).await;
    let made = fixture.store.create_mesh_with_owner(mesh("other"), NOW).await.unwrap().mesh;
    assert_eq!(made.created_at, NOW);
    assert_eq!(fixture.store.mesh_by_slug("other").await.unwrap(), Some(made.clone()));
    assert_eq!(fixture.store.mesh_by_id(&made.id).await.unwrap(), Some(made));
    assert_eq!(fixture.store.mesh_by_slug("Other").await.unwrap(), None);
    assert_eq!(fixture.store.mesh_by_id(&MeshId::new()).await.unwrap(), None);
}

async fn a_member_belongs_to_one_mesh(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = &fixture.store;
    let here = fixture.first.mesh.id.clone();
    let there = store.create_mesh_with_owner(mesh("other"), NOW).await.unwrap().mesh.id;
    let bob = store.add_member(member(&here, "bob"), NOW).await.unwrap();
    assert_eq!(store.member_by_pubkey(&here, "bob").await.unwrap(), Some(bob.clone()));
    assert_eq!(store.member_by_id(&here, &bob.id).await.unwrap(), Some(bob.clone()));
    assert_eq!(store.member_by_pubkey(&there, "bob").await.unwrap(), None);
    assert_eq!(store.member_by_id(&there, &bob.id).await.unwrap(), None);
    assert!(!store.remove_member(&there, &bob.id, None, 0, NOW).await.unwrap());
    // The same key may join the other mesh, as another member.
    let other = store.add_member(member(&there, "bob"), NOW).await.unwrap();
    assert_ne!(other.id, bob.id);
    let missing = store.add_member(member(&MeshId::new(), "bob"), NOW).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { what: "mesh", .. }));
}

async fn a_removed_member_is_none_and_does_not_come_back(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, fixture.first.mesh.id.clone());
    let bob = store.add_member(member(&mesh, "bob"), NOW).await.unwrap();
    assert!(store.remove_member(&mesh, &bob.id, None, 0, NOW.plus_ms(1)).await.unwrap());
    assert!(!store.remove_member(&mesh, &bob.id, None, 0, NOW.plus_ms(2)).await.unwrap());
    assert!(!store.remove_member(&mesh, &MemberId::new(), None, 0, NOW).await.unwrap());
    assert_eq!(store.member_by_pubkey(&mesh, "bob").await.unwrap(), None);
    assert_eq!(store.list_members(&mesh).await.unwrap(), [fixture.first.owner]);
    let remembered = store.member_by_id(&mesh, &bob.id).await.unwrap().unwrap();
    assert_eq!(remembered.removed_at, Some(NOW.plus_ms(1)));
    let error = store.add_member(member(&mesh, "bob"), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken { what: "member", .. }));
}

async fn h27_hostile_names_of_meshes_and_members_are_only_names(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = &fixture.store;
    for name in HOSTILE {
        let made = store.create_mesh_with_owner(mesh(name), NOW).await.unwrap();
        assert_eq!(store.mesh_by_slug(name).await.unwrap(), Some(made.mesh.clone()));
        for pubkey in HOSTILE {
            let added = store.add_member(member(&made.mesh.id, pubkey), NOW).await.unwrap();
            let found = store.member_by_pubkey(&made.mesh.id, pubkey).await.unwrap();
            assert_eq!(found, Some(added));
        }
        // Each name found itself and nothing else.
        let members = store.list_members(&made.mesh.id).await.unwrap();
        assert_eq!(members.len(), HOSTILE.len() + 1);
    }
    assert_eq!(store.list_meshes().await.unwrap().len(), HOSTILE.len() + 1);
    assert_eq!(store.list_members(&fixture.first.mesh.id).await.unwrap().len(), 1);
}

async fn a_sign_in_is_good_once_also_across_a_restart(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = &fixture.store;
    assert_eq!(store.seen_hello("k|1|s", NOW).await.unwrap(), Sighting::First);
    assert_eq!(store.seen_hello("k|1|s", NOW.plus_ms(1)).await.unwrap(), Sighting::Again);
    assert_eq!(store.seen_hello("k|2|s", NOW).await.unwrap(), Sighting::First);
    for hostile in HOSTILE {
        assert_eq!(store.seen_hello(hostile, NOW).await.unwrap(), Sighting::First);
    }
    fixture.store.close().await.unwrap();
    let store = fixture.place.open().await.unwrap();
    assert_eq!(store.seen_hello("k|1|s", NOW.plus_ms(119_999)).await.unwrap(), Sighting::Again);
    // It is kept from the first sighting: a copy does not renew it.
    assert_eq!(store.seen_hello("k|1|s", NOW.plus_ms(120_000)).await.unwrap(), Sighting::First);
}

async fn of_a_sign_in_used_many_times_at_once_one_is_the_first(backend: Backend) {
    let fixture = fixture(backend).await;
    let seen = join_all((0..50).map(|_| fixture.store.seen_hello("k", NOW))).await;
    let first = seen.into_iter().filter(|seen| matches!(seen, Ok(Sighting::First))).count();
    assert_eq!(first, 1);
}

async fn h27_a_nul_is_refused_by_the_name_of_its_field(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, here) = (&fixture.store, &fixture.first.mesh.id);
    let named = |error: StoreError| match error {
        StoreError::Nul { field } => field,
        other => panic!("{other}"),
    };
    assert_eq!(named(store.create_mesh_with_owner(mesh(NUL), NOW).await.unwrap_err()), "slug");
    let new = NewMesh { owner_name: NUL.to_owned(), ..mesh("m") };
    assert_eq!(named(store.create_mesh_with_owner(new, NOW).await.unwrap_err()), "owner_name");
    assert_eq!(named(store.mesh_by_slug(NUL).await.unwrap_err()), "slug");
    assert_eq!(named(store.add_member(member(here, NUL), NOW).await.unwrap_err()), "pubkey");
    let new = NewMember { certificate: Some(NUL.to_owned()), ..member(here, "bob") };
    assert_eq!(named(store.add_member(new, NOW).await.unwrap_err()), "certificate");
    assert_eq!(named(store.member_by_pubkey(here, NUL).await.unwrap_err()), "pubkey");
    assert_eq!(store.list_meshes().await.unwrap().len(), 1);
    assert_eq!(store.list_members(here).await.unwrap().len(), 1);
    // A sign-in is kept as its digest, so any text will do.
    assert_eq!(store.seen_hello(NUL, NOW).await.unwrap(), Sighting::First);
}

/// The order of a list is that of the bytes, whatever the server's locale says of letters.
async fn lists_have_the_same_order_everywhere(backend: Backend) {
    let fixture = fixture(backend).await;
    for slug in ["a", "B", "_", "ä", "Z", "z"] {
        fixture.store.create_mesh_with_owner(mesh(slug), NOW).await.unwrap();
    }
    let found = fixture.store.list_meshes().await.unwrap();
    let slugs: Vec<&str> = found.iter().map(|mesh| mesh.slug.as_str()).collect();
    assert_eq!(slugs, ["B", "Z", "_", "a", "default", "z", "ä"]);
}
