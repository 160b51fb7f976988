//! The level of isolation is the one that was asked for, and the tree says which it is.

use std::fs;
use std::path::PathBuf;

use tests::harness::{Level, Mesh, Options, levels};

/// The pid namespace that a process is in, as the kernel names it.
fn pid_namespace(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap()
}

#[test]
fn h12_the_level_that_is_shown_is_the_one_that_was_forced() {
    for level in levels() {
        let mesh = Mesh::at(level);
        let _ = mesh.deploy_fixture("held", &[], &[]).ok();
        mesh.check_level("held");
        // And the kernel agrees with what is shown.
        let own = pid_namespace(mesh.pid("held")) != pid_namespace(mesh.runner_pid());
        assert_eq!(own, level == Level::Namespace, "{level}: whether it has a pid namespace of its own");
    }
}

/// What a runner that outlives its broker would keep, for whoever may look at it.
#[test]
fn h12_the_runner_gets_none_of_the_brokers_secrets() {
    let key = "5e".repeat(32);
    let secrets = [
        ("BROKER_ENCRYPTION_KEY", key.as_str()),
        ("CLAUDEMESH_OPERATOR_TOKEN", "an-operators-own-token-of-32-characters"),
        ("DATABASE_URL", "postgres://mesh:a-password@192.0.2.1/mesh"),
    ];
    let variables = secrets.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mesh = Mesh::with(Options { variables, ..Options::default() });
    let environment = std::fs::read(format!("/proc/{}/environ", mesh.runner_pid())).expect("an own process");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("PATH="), "{environment}");
    for (name, value) in secrets {
        assert!(!environment.contains(value), "{name} is in the runner's environment");
    }
}
