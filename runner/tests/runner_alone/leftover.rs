//! What is left of what came before: of builds by a killed runner, and of a service that had the name.

use std::fs;
use std::time::Duration;

use protocol::link::{Outcome, ServiceSpec, ServiceState as S};
use tokio::time::{sleep, timeout};

use super::bench::{Runner, SOON, spec};

#[tokio::test]
async fn h12_a_token_that_a_killed_build_left_goes_when_a_runner_starts() {
    let dir = tempfile::tempdir().unwrap();
    let cache = runner::prepare::Stock::place(dir.path());
    let staging = cache.join("staging/git/project");
    fs::create_dir_all(staging.join("1-0/git")).unwrap();
    fs::write(staging.join("1-0/git/.git-credentials"), "https://x-access-token:planted@host.test").unwrap();
    let _runner = Runner::start_in(dir, &[]).await;
    // Nothing is built, nor is anybody there who could ask for it.
    let gone = timeout(SOON, async {
        while staging.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(gone.await.is_ok(), "it is still there");
}

#[tokio::test]
async fn h12_a_failure_shows_nothing_of_who_had_the_name_before() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let first = spec("early", &["--exit-at-start", "3"]);
    assert_eq!(broker.load(&first).await, Outcome::Ok);
    broker.in_state(&first, S::Failed).await;
    assert_eq!(broker.unload(&first).await, Outcome::Ok);
    let before = broker.logs("early").await.len();
    assert!(before > 0);

    let second = spec("early", &["--exit-at-start", "4"]);
    let second = ServiceSpec { deployment: "0190bbbb-later".to_owned(), ..second };
    assert_eq!(broker.load(&second).await, Outcome::Ok);
    let failure = broker.in_state(&second, S::Failed).await.failure.unwrap();
    assert!(!failure.log.is_empty(), "its own last words are there");
    assert_eq!(failure.log, broker.logs("early").await[before..]);
}
