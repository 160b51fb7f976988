//! The first thing that a newcomer types.

use std::process::Command;

use tests::harness::{INSTALL, Outcome, Table, programs, turn};

#[test]
fn the_demo_runs_to_its_end_and_leaves_no_process() {
    let _turn = turn::shared();
    let place = tempfile::Builder::new().prefix("cm-demo-").tempdir().unwrap();
    let mut command = Command::new(programs::project().join("scripts/demo.sh"));
    command
        .env("ONCE", "1")
        .env("TMPDIR", place.path())
        // Built already, by whoever built this test.
        .env("CLAUDEMESH_BIN", programs::claudemesh())
        .current_dir(place.path());
    let demo = Outcome::of(command, INSTALL).ok();
    for expected in [
        "$ claudemesh deploy everything --npx @modelcontextprotocol/server-everything",
        "$ claudemesh deploy time --uvx mcp-server-time",
        "$ claudemesh call everything echo",
        "Europe/Berlin",
        "running → restarting → running",
        "no process is left",
    ] {
        assert!(demo.stdout.contains(expected), "nothing about {expected:?} in {demo}");
    }
    assert!(!demo.said().contains('\u{1b}'), "colours without a terminal: {demo}");
    let left = Table::read();
    let left = left.touching(place.path());
    assert!(left.is_empty(), "{left:?}");
    let files: Vec<_> = std::fs::read_dir(place.path()).unwrap().flatten().collect();
    assert!(files.is_empty(), "the demo left {files:?}");
}

#[test]
fn a_step_of_the_demo_that_fails_is_its_exit_code() {
    let _turn = turn::shared();
    let place = tempfile::Builder::new().prefix("cm-demo-").tempdir().unwrap();
    let broken = place.path().join("claudemesh");
    std::fs::write(&broken, "#!/bin/sh\necho 'broken on purpose' >&2\nexit 7\n").unwrap();
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(programs::project().join("scripts/demo.sh"));
    command.env("ONCE", "1").env("TMPDIR", place.path()).env("CLAUDEMESH_BIN", &broken);
    let demo = Outcome::of(command, INSTALL).code_is(1);
    assert!(demo.said().contains("broken on purpose"), "{demo}");
}
