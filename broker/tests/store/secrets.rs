//! The at-rest key across starts.

use std::fs;

use broker::config::AT_REST_KEY_FILE;
use broker::vault::{self, Context, VaultError};

use super::{Backend, fixture};

on_both! {
    a_generated_key_opens_what_it_sealed_in_a_later_life,
    a_lost_key_is_not_replaced_by_a_new_one,
    another_key_is_told_before_the_first_secret_is_needed,
    what_is_no_key_is_refused_without_being_shown,
}

const CONFIGURED: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const PLACE: Context<'static> = Context { mesh: "m", table: "t", key: "k", version: 1 };

async fn a_generated_key_opens_what_it_sealed_in_a_later_life(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    let sealed = vault::open(None, dir, &fixture.store).await.unwrap().seal(&PLACE, b"secret");
    let again = vault::open(None, dir, &fixture.store).await.unwrap();
    assert_eq!(again.open(&PLACE, &sealed).unwrap().as_slice(), b"secret");
}

async fn a_lost_key_is_not_replaced_by_a_new_one(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    vault::open(None, dir, &fixture.store).await.unwrap();
    fs::remove_file(dir.join(AT_REST_KEY_FILE)).unwrap();
    let error = vault::open(None, dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Lost { .. }), "{error}");
    assert!(!dir.join(AT_REST_KEY_FILE).exists());
}

async fn another_key_is_told_before_the_first_secret_is_needed(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    vault::open(Some(CONFIGURED), dir, &fixture.store).await.unwrap();
    assert!(!dir.join(AT_REST_KEY_FILE).exists(), "a configured key needs no file");
    let other = CONFIGURED.replace('1', "2");
    let error = vault::open(Some(&other), dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Wrong), "{error}");
    let error = vault::open(None, dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Lost { .. }), "{error}");
    vault::open(Some(CONFIGURED), dir, &fixture.store).await.unwrap();
}

async fn what_is_no_key_is_refused_without_being_shown(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    let error = vault::open(Some("hunter2"), dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Configured(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    broker::config::secret_file(&dir.join(AT_REST_KEY_FILE), || "hunter2".into()).unwrap();
    let error = vault::open(None, dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Stored { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert_eq!(fixture.store.key_check().await.unwrap(), None, "a failed start left a trace");
}
