//! The tree, health and the catalog are one truth, and it is the kernel's.

use std::time::{Duration, Instant};

use tests::harness::{Mesh, SETTLE, processes, scaled};

/// How far what is shown may be behind the process table.
const BEHIND: Duration = Duration::from_millis(20);

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

#[test]
fn h06_a_dead_process_is_not_shown_as_running() {
    let mesh = Mesh::start_alone();
    let _ = mesh.deploy_fixture("mortal", &["--max-restarts", "1000"], &[]).ok();
    let mut behind: Vec<Duration> = (0..scaled(20, 3))
        .map(|_| {
            let pid = mesh.kill_service("mortal");
            let killed = Instant::now();
            mesh.wait("the tree to notice", SETTLE, || match mesh.tree()?.process("mortal") {
                Some(node) if node.number("pid") == Some(pid) && node.state == "running" => {
                    Err(format!("pid {pid} is dead and shown as running"))
                }
                _ => Ok(()),
            });
            let noticed = killed.elapsed();
            mesh.wait_for_status("mortal", "running", SETTLE);
            noticed
        })
        .collect();
    behind.sort();
    let median = behind[behind.len() / 2];
    assert!(median <= BEHIND, "median {median:?} of {behind:?}");
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
