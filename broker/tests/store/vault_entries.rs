//! Rows of vaults: whose they are, how many, which version, and when they go.

use broker::store::{
    Founded, MAX_VAULT_ENTRIES_PER_MEMBER, Member, NewMember, NewMesh, Role, StoreError, StoredEntry, UtcMs,
    VAULT_ENTRIES_LIMIT,
};

use super::{Backend, HOSTILE, NOW, NUL, fixture};

on_both! {
    an_entry_is_kept_replaced_listed_and_removed,
    a_version_never_goes_back,
    h22_an_entry_belongs_to_its_member_alone,
    h27_hostile_keys_name_one_entry_each,
    h29_a_removed_members_vault_goes,
    h50_a_member_has_so_many_entries_and_no_more,
}

fn entry(of: &Member, key: &str, version: i64) -> StoredEntry {
    StoredEntry {
        mesh_id: of.mesh_id.clone(),
        member_id: of.id.clone(),
        key: key.to_owned(),
        entry_type: "env".to_owned(),
        mount_path: None,
        description: Some("d".to_owned()),
        version,
        sealed: format!("v1.{key}.{version}"),
        bytes: 7,
        updated_at: NOW,
    }
}

async fn second(store: &broker::store::Store, first: &Founded) -> Member {
    let new = NewMember {
        mesh_id: first.mesh.id.clone(),
        pubkey: "ab".repeat(32),
        display_name: "Ben".to_owned(),
        role: Role::Member,
        certificate: None,
    };
    store.add_member(new, NOW).await.unwrap()
}

async fn an_entry_is_kept_replaced_listed_and_removed(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, ada) = (&fixture.store, &fixture.first.owner);
    let mesh = &fixture.first.mesh.id;
    assert_eq!(store.vault_entries(mesh, &ada.id).await.unwrap(), []);
    let first = StoredEntry { mount_path: Some("/x".to_owned()), ..entry(ada, "b", 1) };
    store.put_vault_entry(first.clone()).await.unwrap();
    assert_eq!(store.vault_entry(mesh, &ada.id, "b").await.unwrap(), Some(first));
    // What the new one has not, is not there any more.
    let next = StoredEntry { description: None, updated_at: UtcMs::from_ms(9), ..entry(ada, "b", 2) };
    store.put_vault_entry(next.clone()).await.unwrap();
    assert_eq!(store.vault_entry(mesh, &ada.id, "b").await.unwrap(), Some(next));
    store.put_vault_entry(entry(ada, "a", 0)).await.unwrap();
    let listed = store.vault_entries(mesh, &ada.id).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|head| (head.key.as_str(), head.version)).collect();
    assert_eq!(listed, [("a", 0), ("b", 2)]);
    assert!(store.remove_vault_entry(mesh, &ada.id, "b").await.unwrap());
    assert!(!store.remove_vault_entry(mesh, &ada.id, "b").await.unwrap());
    assert_eq!(store.vault_entry(mesh, &ada.id, "b").await.unwrap(), None);
}

async fn a_version_never_goes_back(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, ada) = (&fixture.store, &fixture.first.owner);
    store.put_vault_entry(entry(ada, "k", 5)).await.unwrap();
    let old = async |version| {
        let refused = store.put_vault_entry(entry(ada, "k", version)).await;
        assert!(matches!(refused, Err(StoreError::Superseded { .. })), "{version}: {refused:?}");
    };
    old(5).await;
    old(4).await;
    // An old client's value has no version; what was signed before it does not come back after it.
    store.put_vault_entry(entry(ada, "k", 0)).await.unwrap();
    old(5).await;
    store.put_vault_entry(entry(ada, "k", 6)).await.unwrap();
    assert_eq!(store.vault_entry(&ada.mesh_id, &ada.id, "k").await.unwrap().unwrap().version, 6);
}

async fn h22_an_entry_belongs_to_its_member_alone(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, ada) = (&fixture.store, &fixture.first.owner);
    let ben = second(store, &fixture.first).await;
    let elsewhere = NewMesh {
        id: broker::store::MeshId::new(),
        slug: "other".to_owned(),
        name: "Other".to_owned(),
        owner_pubkey: super::ROOT.to_owned(),
        member_pubkey: super::OWNER.to_owned(),
        certificate: None,
        owner_name: "Ada".to_owned(),
    };
    let elsewhere = store.create_mesh_with_owner(elsewhere, NOW).await.unwrap().owner;
    store.put_vault_entry(entry(ada, "k", 1)).await.unwrap();
    for stranger in [&ben, &elsewhere] {
        let (mesh, member) = (&stranger.mesh_id, &stranger.id);
        assert_eq!(store.vault_entries(mesh, member).await.unwrap(), []);
        assert_eq!(store.vault_entry(mesh, member, "k").await.unwrap(), None);
        assert!(!store.remove_vault_entry(mesh, member, "k").await.unwrap());
        // The same name is another entry.
        store.put_vault_entry(StoredEntry { bytes: 99, ..entry(stranger, "k", 1) }).await.unwrap();
        assert!(store.remove_vault_entry(mesh, member, "k").await.unwrap());
    }
    // A member of one mesh has nothing in another.
    let crossed = StoredEntry { mesh_id: elsewhere.mesh_id.clone(), ..entry(ada, "k", 9) };
    let refused = store.put_vault_entry(crossed).await;
    assert!(matches!(refused, Err(StoreError::NotFound { what: "member", .. })), "{refused:?}");
    assert_eq!(store.vault_entry(&elsewhere.mesh_id, &ada.id, "k").await.unwrap(), None);
    assert_eq!(store.vault_entry(&ada.mesh_id, &ada.id, "k").await.unwrap(), Some(entry(ada, "k", 1)));
}

async fn h27_hostile_keys_name_one_entry_each(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, ada) = (&fixture.store, &fixture.first.owner);
    let mesh = &fixture.first.mesh.id;
    let hostile = |key: &str| StoredEntry {
        mount_path: Some(key.to_owned()),
        description: Some(key.to_owned()),
        ..entry(ada, key, 1)
    };
    for key in HOSTILE {
        store.put_vault_entry(hostile(key)).await.unwrap();
    }
    assert_eq!(store.vault_entries(mesh, &ada.id).await.unwrap().len(), HOSTILE.len());
    for (done, key) in HOSTILE.iter().enumerate() {
        assert_eq!(store.vault_entry(mesh, &ada.id, key).await.unwrap(), Some(hostile(key)), "{key:?}");
        assert!(store.remove_vault_entry(mesh, &ada.id, key).await.unwrap(), "{key:?}");
        assert_eq!(store.vault_entries(mesh, &ada.id).await.unwrap().len(), HOSTILE.len() - done - 1, "{key:?}");
    }
    assert!(matches!(store.put_vault_entry(hostile(NUL)).await, Err(StoreError::Nul { field: "key" })));
    assert!(matches!(store.vault_entry(mesh, &ada.id, NUL).await, Err(StoreError::Nul { .. })));
    assert!(matches!(store.remove_vault_entry(mesh, &ada.id, NUL).await, Err(StoreError::Nul { .. })));
}

async fn h29_a_removed_members_vault_goes(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, ada) = (&fixture.store, &fixture.first.owner);
    let mesh = &fixture.first.mesh.id;
    let ben = second(store, &fixture.first).await;
    store.put_vault_entry(entry(ada, "k", 1)).await.unwrap();
    store.put_vault_entry(entry(&ben, "k", 1)).await.unwrap();
    assert!(store.remove_member(mesh, &ben.id, None, 0, NOW).await.unwrap());
    let rows = fixture.place.number("SELECT count(*) AS number FROM vault_entry");
    assert_eq!(rows, 1, "only the entry of who is still there");
    assert!(store.vault_entry(mesh, &ada.id, "k").await.unwrap().is_some());
    // One that was on its way does not come after the end.
    let late = store.put_vault_entry(entry(&ben, "late", 1)).await;
    assert!(matches!(late, Err(StoreError::NotFound { what: "member", .. })), "{late:?}");
}

async fn h50_a_member_has_so_many_entries_and_no_more(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, ada) = (&fixture.store, &fixture.first.owner);
    let ben = second(store, &fixture.first).await;
    for at in 0..MAX_VAULT_ENTRIES_PER_MEMBER {
        store.put_vault_entry(entry(ada, &format!("k{at}"), 1)).await.unwrap();
    }
    let refused = store.put_vault_entry(entry(ada, "one more", 1)).await;
    let Err(StoreError::Limit { name, max }) = refused else { panic!("{refused:?}") };
    assert_eq!((name, max), (VAULT_ENTRIES_LIMIT, 500));
    store.put_vault_entry(entry(ada, "k0", 2)).await.unwrap();
    store.put_vault_entry(entry(&ben, "one more", 1)).await.unwrap();
    store.remove_vault_entry(&ada.mesh_id, &ada.id, "k0").await.unwrap();
    store.put_vault_entry(entry(ada, "one more", 1)).await.unwrap();
}
