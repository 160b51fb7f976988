//! The level of isolation is the one that was asked for, and the tree says which it is.

use std::fs;
use std::path::PathBuf;

use tests::harness::{Level, Mesh, levels};

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
