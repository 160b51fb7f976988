//! A database on a server: it goes away, it comes back, and a second broker wants it.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::postgres::{Database, Server};
use tests::harness::{ASK, Mesh, Options, SETTLE, processes, wait_until};

fn on(database: &Database) -> Options {
    let words = vec!["--database-url".to_owned(), database.url().to_owned()];
    Options { words, alone: true, ..Options::default() }
}

/// What the tree says of the store: its state, and the reason if it gives one.
fn store(mesh: &Mesh) -> Result<(String, String), String> {
    let tree = mesh.tree()?;
    let node = tree.node("store").ok_or("there is no node `store`")?;
    let reason = node.facts.get("reason").and_then(|reason| reason.as_str()).unwrap_or_default();
    Ok((node.state.clone(), reason.to_owned()))
}

#[test]
fn a_server_that_goes_away_stops_no_service_and_is_shown_until_it_is_back() {
    let server = Server::start();
    let database = Database::create_on(server.url());
    let mut mesh = Mesh::with(on(&database));
    let _ = mesh.deploy_fixture("before", &[], &[]).ok();
    assert!(!mesh.data().join("claudemesh.db").exists(), "everything is on the server");
    assert_eq!(database.rows("SELECT name FROM service").concat(), [Some("before".to_owned())]);

    let membership = mesh.membership();
    converse(async {
        let mut peer = Peer::connect(&membership).await?;
        for (text, change) in
            [("up", None), ("down", Some(Server::kill as fn(&Server))), ("again", Some(Server::restart))]
        {
            change.inspect(|change| change(&server));
            let reply = peer.ask(call("before", "echo", &json!({ "text": text }))).await?;
            assert_eq!(verdict(&reply), "ok", "a call needs no database: {reply}");
            if text == "down" {
                // What needs one says so, and why.
                let outcome = mesh.deploy_fixture("meanwhile", &[], &[]);
                assert_ne!(outcome.code, Some(0), "{outcome}");
                mesh.wait("the store to be shown as degraded", SETTLE, || match store(&mesh)? {
                    (state, reason) if state == "degraded" && reason.contains("not reachable") => Ok(()),
                    other => Err(format!("{other:?}")),
                });
            }
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));

    mesh.wait("the store to be well", SETTLE, || match store(&mesh)? {
        (state, _) if state == "running" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let _ = mesh.deploy_fixture("after", &[], &[]).ok();
    assert!(mesh.stop().success());
    // Another life finds both, and nothing of what was refused.
    mesh.start_up();
    for name in ["before", "after"] {
        mesh.wait_for_status(name, "running", SETTLE);
    }
    assert_eq!(mesh.status("meanwhile"), "absent");
}

#[test]
fn h48_a_second_up_on_the_same_database_is_refused_and_the_first_does_not_notice() {
    let database = Database::create();
    let mesh = Mesh::with(on(&database));
    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().to_str().unwrap();
    let second =
        mesh.cli_within(ASK, &["up", "--listen", "127.0.0.1:0", "--data-dir", data, "--database-url", database.url()]);
    let second = second.code_is(1);
    assert!(second.stderr.contains("in use by another broker"), "{second}");
    assert!(second.stderr.contains(&format!("process {}", mesh.broker_pid())), "{second}");
    let _ = mesh.cli(&["health"]).ok();
}

#[test]
fn h14_a_broker_that_lost_its_database_to_another_ends_and_takes_its_services_along() {
    let database = Database::create();
    // What is sealed in the database opens on either machine.
    let variables = vec![("BROKER_ENCRYPTION_KEY".to_owned(), "7e".repeat(32))];
    let mut first = Mesh::with(Options { variables, ..on(&database) });
    let _ = first.deploy_fixture("moves", &[], &[]).ok();
    let pid = first.pid("moves");

    // As a machine that was away for a while: its session is given up, and somebody else is put in its place.
    processes::send(first.broker_pid(), Signal::SIGSTOP);
    assert!(database.end_sessions() > 0);
    let second = first.beside(first.options().clone());
    let tree = || second.tree().and_then(|tree| tree.pid("moves").ok_or_else(|| tree.drawing()));
    let there = wait_until("the service on the second broker's runner", SETTLE, tree);
    assert_ne!(there.unwrap_or_else(|error| panic!("{error}\n{}", second.logs())), pid);

    processes::send(first.broker_pid(), Signal::SIGCONT);
    let status = first.wait_for_end(SETTLE * 2);
    assert_eq!(status.code(), Some(1), "{}", first.logs());
    let logs = first.logs();
    assert!(logs.contains("another broker has lived on the database"), "{logs}");
    assert!(processes::entry(pid).is_none_or(|entry| entry.is_zombie()), "its service runs beside the second one's");
    assert_eq!(second.tree().unwrap().node("store").unwrap().state, "running");
}
