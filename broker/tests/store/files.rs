//! Rows of files: room, what names them, and their age.

use broker::store::{
    Document, FileId, FileRemoval, Founded, MAX_FILE_BYTES_PER_MEMBER, NewDeployment, StoreError, StoredFile, UtcMs,
};

use super::{Backend, NOW, deployment, fixture};

on_both! {
    a_file_is_recorded_found_and_removed,
    h50_a_member_has_half_of_the_meshs_room_and_no_more,
    what_a_deployment_names_stays,
    what_is_old_goes_unless_it_is_to_stay,
}

fn file(of: &Founded, bytes: u64) -> StoredFile {
    StoredFile {
        id: FileId::new(),
        mesh_id: of.mesh.id.clone(),
        member_id: of.owner.id.clone(),
        name: "'; DROP TABLE file; --.zip".to_owned(),
        sha256: "ab".repeat(32),
        bytes: i64::try_from(bytes).unwrap(),
        tags: Document::of(&["a", "b"]).unwrap(),
        persistent: false,
        created_at: NOW,
    }
}

async fn a_file_is_recorded_found_and_removed(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let (one, two) = (file(first, 7), StoredFile { created_at: NOW.plus_ms(1), ..file(first, 8) });
    store.add_file(one.clone()).await.unwrap();
    store.add_file(two.clone()).await.unwrap();
    let mesh = &first.mesh.id;
    assert_eq!(store.files(mesh).await.unwrap(), [two.clone(), one.clone()], "the newest first");
    assert_eq!(store.file(mesh, &one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.file_of_any_mesh(&one.id).await.unwrap(), Some(one.clone()));
    let elsewhere = broker::store::MeshId::new();
    assert_eq!(store.file(&elsewhere, &one.id).await.unwrap(), None, "of this mesh only");
    assert_eq!(store.remove_file(&elsewhere, &one.id).await.unwrap(), FileRemoval::Missing);
    assert_eq!(store.remove_file(mesh, &one.id).await.unwrap(), FileRemoval::Removed);
    assert_eq!(store.remove_file(mesh, &one.id).await.unwrap(), FileRemoval::Missing);
    assert_eq!(store.all_files().await.unwrap(), [two]);
    let nul = StoredFile { name: "a\0b".to_owned(), ..file(first, 1) };
    assert!(matches!(store.add_file(nul).await, Err(StoreError::Nul { .. })));
}

async fn h50_a_member_has_half_of_the_meshs_room_and_no_more(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let (mesh, member) = (&first.mesh.id, &first.owner.id);
    store.add_file(file(first, MAX_FILE_BYTES_PER_MEMBER - 10)).await.unwrap();
    store.room_for_file(mesh, member, 10).await.unwrap();
    let refused = [store.room_for_file(mesh, member, 11).await, store.add_file(file(first, 11)).await];
    for refused in refused {
        let Err(StoreError::Limit { name, max }) = refused else { panic!("{refused:?}") };
        assert_eq!((name, max), ("file_bytes_per_member", MAX_FILE_BYTES_PER_MEMBER));
    }
    store.add_file(file(first, 10)).await.unwrap();
    assert_eq!(store.files(mesh).await.unwrap().len(), 2);
}

async fn what_a_deployment_names_stays(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let (mesh, named) = (&first.mesh.id, file(first, 7));
    let of = |id: &FileId| NewDeployment { file_id: Some(id.clone()), ..deployment(first, "zipped") };
    let missing = store.deploy(of(&named.id), 20, NOW).await;
    assert!(matches!(missing, Err(StoreError::NotFound { what: "file", .. })), "{missing:?}");
    store.add_file(named.clone()).await.unwrap();
    let deployed = store.deploy(of(&named.id), 20, NOW).await.unwrap();
    assert_eq!(deployed.file_id, Some(named.id.clone()));
    assert_eq!(store.remove_file(mesh, &named.id).await.unwrap(), FileRemoval::Named("zipped".to_owned()));
    assert_eq!(store.expire_files(NOW).await.unwrap(), []);
    store.remove_service(mesh, "zipped").await.unwrap();
    assert_eq!(store.remove_file(mesh, &named.id).await.unwrap(), FileRemoval::Removed);
}

async fn what_is_old_goes_unless_it_is_to_stay(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, first) = (&fixture.store, &fixture.first);
    let at = |ms| UtcMs::from_ms(NOW.as_ms() + ms);
    let old = file(first, 1);
    let kept = StoredFile { persistent: true, ..file(first, 1) };
    let young = StoredFile { created_at: at(2), ..file(first, 1) };
    for row in [&old, &kept, &young] {
        store.add_file(row.clone()).await.unwrap();
    }
    assert_eq!(store.expire_files(at(1)).await.unwrap(), [(first.mesh.id.clone(), old.id)]);
    assert_eq!(store.files(&first.mesh.id).await.unwrap().len(), 2);
}
