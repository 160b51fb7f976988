#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::time::Duration;

fn fixture() -> (tempfile::TempDir, Cache, Key) {
    let root = tempfile::tempdir().unwrap();
    let cache = Cache::new(root.path().join("cache"));
    let key = Key::new(Kind::Npx, &["@scope/pkg"]);
    (root, cache, key)
}

/// Builds what a tool would have built; not yet published.
fn build(cache: &Cache, key: &Key, content: &str) -> Stage {
    let lock = lock::try_lock(&cache.place("locks", key)).unwrap().unwrap();
    let stage = cache.stage(key, lock).unwrap();
    create(&stage.package()).unwrap();
    fs::write(stage.package().join("cli.js"), content).unwrap();
    stage
}

fn receipt(version: &str) -> Receipt {
    Receipt::new(version.to_owned(), "cli.js".into(), Start::Node { flags: vec![] })
}

#[test]
fn keys_are_file_names_and_differ() {
    let names = [
        Key::new(Kind::Npx, &["@a/b"]),
        Key::new(Kind::Npx, &["a-b"]),
        Key::new(Kind::Uvx, &["pkg", "x", "y"]),
        Key::new(Kind::Uvx, &["pkg", "x-y"]),
    ]
    .map(|key| key.name);
    assert_eq!(names, ["@a+b", "a-b", "pkg+x+y", "pkg+x-y"]);
}

#[test]
fn versions_that_are_not_plain_are_refused() {
    for good in ["1.2.3", "1.0.0-rc.1+b", "1!2.0", "2025.9.25", "v1_0"] {
        assert!(is_plain_version(good), "{good}");
    }
    let long = "1".repeat(MAX_VERSION_BYTES + 1);
    for bad in ["", "..", "../x", "1..2", "/etc", "1/2", "-1", ".1", "1 2", "1\n", "1@x", long.as_str()] {
        assert!(!is_plain_version(bad), "{bad:?}");
    }
}

#[test]
fn a_package_is_found_only_after_it_was_published() {
    let (_root, cache, key) = fixture();
    let stage = build(&cache, &key, "one");
    assert_eq!(cache.find(&key, "1.0.0"), None);
    let published = cache.publish(&stage, &key, receipt("1.0.0")).unwrap();
    assert_eq!(cache.find(&key, "1.0.0"), Some(published.clone()));
    assert_eq!(fs::read_to_string(published.directory.join("cli.js")).unwrap(), "one");
    let root = stage.root().to_owned();
    stage.remove();
    assert!(!root.exists());
}

#[test]
fn an_interrupted_build_is_neither_found_nor_kept() {
    let (_root, cache, key) = fixture();
    let stage = build(&cache, &key, "half");
    // As after a crash: the lock is gone, the directory is not.
    write_durably(&stage.package().join(RECEIPT), &receipt("1.0.0")).unwrap();
    let left = stage.root().to_owned();
    let mut stage = std::mem::ManuallyDrop::new(stage);
    drop(take_lock(&mut stage));
    assert!(left.exists());
    assert_eq!(cache.find(&key, "1.0.0"), None);

    let next = build(&cache, &key, "whole");
    assert!(!left.exists(), "the next build clears what the last one left");
    cache.publish(&next, &key, receipt("1.0.0")).unwrap();
    let installed = cache.find(&key, "1.0.0").unwrap();
    assert_eq!(fs::read_to_string(installed.directory.join("cli.js")).unwrap(), "whole");
}

/// What the kernel does when a builder dies.
fn take_lock(stage: &mut Stage) -> Option<Lock> {
    stage.take_lock_for_test()
}

#[test]
fn a_sweep_spares_running_builds() {
    let (_root, cache, key) = fixture();
    let other = Key::new(Kind::Uvx, &["other"]);
    let running = build(&cache, &key, "x");
    let dead = build(&cache, &other, "x");
    let left = dead.root().to_owned();
    let mut dead = std::mem::ManuallyDrop::new(dead);
    drop(take_lock(&mut dead));
    cache.sweep();
    assert!(running.root().exists());
    assert!(!left.exists());
}

#[test]
fn what_cannot_start_any_more_is_not_found_and_can_be_replaced() {
    let (_root, cache, key) = fixture();
    let stage = build(&cache, &key, "one");
    let installed = cache.publish(&stage, &key, receipt("1.0.0")).unwrap();
    stage.remove();
    fs::remove_file(installed.directory.join("cli.js")).unwrap();
    assert_eq!(cache.find(&key, "1.0.0"), None);

    let stage = build(&cache, &key, "two");
    cache.publish(&stage, &key, receipt("1.0.0")).unwrap();
    stage.remove();
    let installed = cache.find(&key, "1.0.0").unwrap();
    assert_eq!(fs::read_to_string(installed.directory.join("cli.js")).unwrap(), "two");
}

#[test]
fn a_damaged_or_foreign_receipt_vouches_for_nothing() {
    let (_root, cache, key) = fixture();
    let stage = build(&cache, &key, "one");
    let installed = cache.publish(&stage, &key, receipt("1.0.0")).unwrap();
    let file = installed.directory.join(RECEIPT);
    let other_format = serde_json::to_string(&Receipt { format: RECEIPT_FORMAT + 1, ..receipt("1.0.0") }).unwrap();
    let other_version = serde_json::to_string(&receipt("2.0.0")).unwrap();
    for damaged in ["", "{}", "{\"format\":1", &other_format, &other_version] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(cache.find(&key, "1.0.0"), None, "{damaged}");
    }
}

#[test]
fn an_environment_without_its_python_is_not_usable() {
    let (_root, cache, _) = fixture();
    let key = Key::new(Kind::Uvx, &["pkg"]);
    let stage = build(&cache, &key, "script");
    create(&stage.package().join("bin")).unwrap();
    std::os::unix::fs::symlink("/no/such/python", stage.package().join(VENV_PYTHON)).unwrap();
    let receipt = Receipt::new("1".to_owned(), "cli.js".into(), Start::Python);
    cache.publish(&stage, &key, receipt).unwrap();
    assert_eq!(cache.find(&key, "1"), None);
}

#[test]
fn the_index_remembers_the_latest_and_is_bounded() {
    let (_root, cache, key) = fixture();
    assert_eq!(cache.resolved(&key, "pkg"), None);
    cache.remember(&key, "pkg", "1.0.0").unwrap();
    cache.remember(&key, "pkg@^1", "1.0.0").unwrap();
    cache.remember(&key, "pkg", "2.0.0").unwrap();
    assert_eq!(cache.resolved(&key, "pkg").as_deref(), Some("2.0.0"));
    assert_eq!(cache.resolved(&key, "pkg@^1").as_deref(), Some("1.0.0"));
    for n in 0..MAX_FOR_TEST {
        cache.remember(&key, &format!("pkg@{n}"), "1.0.0").unwrap();
    }
    assert_eq!(cache.resolved(&key, "pkg"), None, "the oldest gave way");
    assert!(cache.resolved(&key, &format!("pkg@{}", MAX_FOR_TEST - 1)).is_some());

    fs::write(
        cache.place("resolved", &key).with_extension("json"),
        r#"{"entries":[{"spec":"pkg","version":"../../x"}]}"#,
    )
    .unwrap();
    assert_eq!(cache.resolved(&key, "pkg"), None, "a path is not a version");
}

const MAX_FOR_TEST: usize = 64;

#[tokio::test]
async fn one_holder_at_a_time() {
    let (_root, cache, key) = fixture();
    let first = cache.lock(&key).await.unwrap();
    let second = cache.lock(&key);
    tokio::pin!(second);
    let waited = tokio::time::timeout(Duration::from_millis(120), &mut second).await;
    assert!(waited.is_err(), "the second got the lock while the first held it");
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), second).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_given_up_build_is_cleaned_and_its_lock_freed() {
    let (_root, cache, key) = fixture();
    let stage = build(&cache, &key, "half");
    let root = stage.root().to_owned();
    drop(stage);
    let lock = tokio::time::timeout(Duration::from_secs(5), cache.lock(&key)).await;
    lock.unwrap().unwrap();
    assert!(!root.exists(), "the lock is free only after the directory is gone");
}
