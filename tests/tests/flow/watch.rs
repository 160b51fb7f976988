//! A person watches the tree while things die.

use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::harness::tree::Tree;
use tests::harness::{BOOT, Mesh, SETTLE};

/// `tree --watch --json`, read as it comes.
struct Watch {
    child: Child,
    trees: mpsc::Receiver<Tree>,
}

impl Watch {
    fn start(mesh: &Mesh) -> Self {
        let mut child = mesh.start_cli(&["tree", "--watch", "--json"]);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, trees) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A test that is over does not listen.
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, trees }
    }

    /// The first tree from now on of which it is true.
    fn until(&self, what: &str, deadline: std::time::Duration, wanted: impl Fn(&Tree) -> bool) -> Tree {
        let mut last = None;
        loop {
            match self.trees.recv_timeout(deadline) {
                Ok(tree) if wanted(&tree) => return tree,
                Ok(tree) => last = Some(tree.drawing()),
                Err(error) => panic!("{what} was not told: {error}; last was {last:?}"),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn h06_who_watches_the_tree_is_told_of_a_death_and_of_a_broker_that_comes_back() {
    let mut mesh = Mesh::start();
    let _ = mesh.deploy_fixture("mortal", &[], &[]).ok();
    let mut watch = Watch::start(&mesh);
    let pid = mesh.pid("mortal");
    watch.until("the first tree", SETTLE, |tree| tree.pid("mortal") == Some(pid));
    assert_eq!(mesh.kill_service("mortal"), pid);
    let running = |tree: &Tree| tree.process("mortal").is_some_and(|node| node.state == "running");
    let again = |tree: &Tree| running(tree) && tree.pid("mortal") != Some(pid);
    let next = watch.until("the next process", SETTLE, again);
    let restarts = |tree: &Tree| {
        let service = tree.runner_service("mortal").map(|service| service.children.as_slice()).unwrap_or_default();
        service.iter().map(|part| part.restarts.total).max()
    };
    assert_eq!(restarts(&next), Some(1), "{}", next.drawing());

    let before = mesh.broker_pid();
    mesh.kill_broker();
    mesh.start_up();
    assert_ne!(mesh.broker_pid(), before);
    let back = watch.until("the broker that came back", BOOT, running);
    assert_eq!(back.pid("mortal"), next.pid("mortal"), "the service never noticed");

    kill(Pid::from_raw(watch.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}
