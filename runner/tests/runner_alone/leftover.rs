//! What is left of what came before: of builds by a killed runner.

use std::fs;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::bench::{Runner, SOON};

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
