//! One directory, one broker.

use tests::harness::{ASK, Mesh};

#[test]
fn a_second_up_on_the_same_directory_says_that_one_is_running() {
    let mesh = Mesh::start();
    let second = mesh.cli_within(ASK, &["up", "--listen", "127.0.0.1:0"]);
    assert_ne!(second.code, Some(0), "{second}");
    assert!(second.stderr.contains("running"), "{second}");
    let _ = mesh.cli(&["health"]).ok();
    assert_eq!(mesh.runner_pid(), mesh.runner_pid(), "the first one's runner is as it was");
}

#[test]
fn commands_without_a_broker_say_how_to_start_one() {
    let mut mesh = Mesh::start();
    let _ = mesh.stop();
    let outcome = mesh.cli(&["catalog"]).code_is(3);
    assert!(outcome.stderr.contains("claudemesh up"), "{outcome}");
}

#[test]
fn an_up_whose_configuration_was_deleted_is_ready_again() {
    let mut mesh = Mesh::start();
    let _ = mesh.stop();
    std::fs::remove_dir_all(mesh.config()).expect("the configuration directory");
    mesh.start_up();
    assert!(mesh.config().is_dir());
}
