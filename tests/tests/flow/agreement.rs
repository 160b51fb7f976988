//! The tree, health and the catalog are one truth, and it is the kernel's.

use tests::harness::{Mesh, SETTLE, processes, scaled};

#[test]
fn h06_tree_health_and_catalog_agree_with_the_process_table() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("truth", &[], &[]).ok();
    let tree = mesh.tree().unwrap();
    let node = tree.process("truth").unwrap_or_else(|| panic!("no process node: {}", tree.drawing()));
    let pid = node.number("pid").expect("a process node has a pid");
    let entry = processes::entry(pid).expect("the pid is a process");
    assert!(entry.argv[0].ends_with("fixture-mcp"), "it is the server itself: {entry:?}");
    assert_eq!(node.state, "running");
    assert_eq!(mesh.status("truth"), "running");
    assert_eq!(mesh.get(&format!("/health/{}", node.id)).unwrap().status, 200);
    assert_eq!(mesh.get("/health/no/such/node").unwrap().status, 404);
    let later = mesh.tree().unwrap();
    assert!(later.seq >= tree.seq, "the sequence fell from {} to {}", tree.seq, later.seq);
}

/// How long the fixture waits before it reads anything, so that its restart can be looked at from all sides.
const SLOW_START: &[&str] = &["--start-delay-ms", "2000"];

/// How soon it is seen is measured by `load-recovery`; here, that all views say the same once one says it.
#[test]
fn h06_a_dead_process_is_not_shown_as_running() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("mortal", &["--max-restarts", "1000"], SLOW_START).ok();
    for _ in 0..scaled(20, 2) {
        let pid = mesh.kill_service("mortal");
        mesh.wait("the tree to notice", SETTLE, || match mesh.tree()?.process("mortal") {
            Some(node) if node.number("pid") == Some(pid) && node.state == "running" => {
                Err(format!("pid {pid} is dead and shown as running"))
            }
            _ => Ok(()),
        });
        let tree = mesh.tree().unwrap();
        let runners = tree.runner_service("mortal").unwrap_or_else(|| panic!("no node: {}", tree.drawing()));
        assert_eq!(runners.state, "restarting", "the runner's node: {}", tree.drawing());
        let brokers = tree.node("meshes/default/services/mortal").unwrap();
        assert_eq!(brokers.state, "restarting", "the broker's node: {}", tree.drawing());
        assert_eq!(mesh.status("mortal"), "restarting", "the catalog");
        assert_eq!(mesh.get("/health/meshes/default/services/mortal").unwrap().status, 503);
        mesh.wait_for_status("mortal", "running", SETTLE);
        assert_eq!(mesh.get("/health/meshes/default/services/mortal").unwrap().status, 200);
    }
}

#[test]
fn the_operators_views_need_the_token() {
    let mesh = Mesh::start();
    let without = |path: &str| tests::harness::http::get(mesh.port(), path, None).unwrap().status;
    assert_eq!(without("/health"), 200, "liveness is for everyone");
    assert_eq!(without("/tree"), 401);
    assert_eq!(tests::harness::http::get(mesh.port(), "/tree", Some("wrong")).unwrap().status, 401);
    assert_eq!(mesh.get("/tree").unwrap().status, 200);
}
