//! Every target with its seeds, with all that was ever found, and with some thousand mutations of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fuzz::TARGETS;
use fuzz::mutate::Mutations;
use protocol::wire;

/// Mutations for each target; twenty times as many under `SOAK=1`.
const MUTATIONS: usize = 20_000;
const SOAK: usize = 20;
const SEED: u64 = 5;

fn mutations() -> usize {
    if std::env::var("SOAK").is_ok_and(|value| value == "1") { MUTATIONS * SOAK } else { MUTATIONS }
}

/// What a target found before, by the files' names.
fn found(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn every_target_holds_with_its_corpus_and_what_is_made_of_it() {
    for target in TARGETS {
        let corpus = [(target.seeds)(), found(target.name)].concat();
        assert!(!(target.seeds)().is_empty(), "{}", target.name);
        let inputs = corpus.iter().cloned().chain(Mutations::of(&corpus, SEED).take(mutations()));
        for input in inputs {
            let held = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
            assert!(held.is_ok(), "{} does not hold with {:?}", target.name, String::from_utf8_lossy(&input));
        }
    }
}

/// A target that only ever sees what is refused at the first look proves little.
#[test]
fn mutations_get_past_the_first_look() {
    let target = &TARGETS[0];
    assert_eq!(target.name, "wire");
    let seeds = (target.seeds)();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for input in Mutations::of(&seeds, SEED).take(MUTATIONS) {
        let Ok(text) = String::from_utf8(input) else { continue };
        let word = wire::parse(&text).map_or_else(|error| error.code.to_string(), |_| "read".to_owned());
        *seen.entry(word).or_default() += 1;
    }
    for word in ["read", "bad_json", "bad_request", "unknown_type", "malformed"] {
        assert!(seen.get(word).is_some_and(|count| *count >= 50), "{word}: {seen:?}");
    }
}
