//! Secrets that our client seals: who gets them, who does not, and what becomes of them.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::harness::peer::{Peer, converse};
use tests::harness::{Client, Mesh, Owner, SETTLE, Secrets, Session, levels, processes, programs};

const PLANTED: &str = "planted-s3cret-5b1e";

/// What the process has in a variable.
pub(super) fn variable(mesh: &Mesh, service: &str, name: &str) -> Result<String, String> {
    let said = mesh.cli(&["call", service, "env", &format!("name={name}")]);
    if said.code != Some(0) {
        return Err(said.said());
    }
    serde_json::from_str(said.stdout.trim()).map_err(|error| format!("{error}: {said}"))
}

fn has_it(mesh: &Mesh) {
    let seen = mesh.wait("a call that is answered", SETTLE, || variable(mesh, "boxed", "API_KEY"));
    assert_eq!(seen, PLANTED);
}

fn nowhere(mesh: &Mesh, when: &str) {
    let planted = Secrets::of(&[("it", PLANTED)]);
    assert_eq!(planted.in_folder(&mesh.data()), Vec::<String>::new(), "{when}");
    assert!(!mesh.logs().contains(PLANTED), "{when}");
}

#[test]
fn h24_a_sealed_variable_reaches_its_process_at_every_start_and_nobody_else() {
    for level in levels() {
        let mut mesh = Mesh::alone_at(level);
        let env = format!("API_KEY={PLANTED}");
        let _ = mesh.deploy_fixture("boxed", &["--env", &env], &[]).ok();
        has_it(&mesh);
        nowhere(&mesh, "after the deploy");

        let pid = mesh.kill_service("boxed");
        mesh.wait("another process", SETTLE, || {
            mesh.service("boxed").ok_or("not listed")?;
            variable(&mesh, "boxed", "API_KEY").map(drop)?;
            if mesh.pid("boxed") == pid { Err("the same".to_owned()) } else { Ok(()) }
        });
        has_it(&mesh);

        let below = mesh.kill_runner();
        mesh.wait_gone("what ran below the runner", &below, SETTLE);
        mesh.wait_for_status("boxed", "running", SETTLE);
        has_it(&mesh);

        mesh.kill_broker();
        mesh.start_up();
        mesh.wait_for_status("boxed", "running", SETTLE);
        has_it(&mesh);

        let runner = mesh.runner_pid();
        mesh.kill_broker();
        processes::send(runner, Signal::SIGKILL);
        mesh.start_up();
        mesh.wait_for_status("boxed", "running", SETTLE);
        has_it(&mesh);
        nowhere(&mesh, "while it runs");

        let _ = mesh.cli_within(SETTLE, &["undeploy", "boxed"]).ok();
        nowhere(&mesh, "after it is gone");
        assert!(mesh.stop().success());
    }
}

#[test]
fn h24_a_runner_with_another_key_gets_nothing_until_a_person_accepts_it() {
    let mut mesh = Mesh::start_alone();
    let env = format!("API_KEY={PLANTED}");
    let first = mesh.deploy_fixture("boxed", &["--env", &env], &[]).ok();
    assert!(first.stderr.contains("first use of the runner"), "{first}");
    let key = mesh.data().join("runner");
    let shown = |mesh: &Mesh| -> Value {
        let dir = key.to_str().expect("a plain path");
        mesh.cli(&["runner", "key", "--data-dir", dir, "--json"]).ok().json()
    };
    let before = shown(&mesh);
    assert!(first.stderr.contains(before["fingerprint"].as_str().expect("text")), "{first}");
    assert!(mesh.stop().success());
    std::fs::remove_file(key.join("runner_key")).expect("the key is there");
    mesh.start_up();

    // What was sealed for the old key opens no more, and says so.
    mesh.wait_for_status("boxed", "failed", SETTLE);
    let after = shown(&mesh);
    assert_ne!(before["kid"], after["kid"]);
    let stopped = mesh.deploy_fixture("second", &["--env", &env], &[]).code_is(4);
    let kid = after["kid"].as_str().expect("text");
    assert!(stopped.said().contains(&format!("claudemesh runner accept {kid}")), "{stopped}");
    assert!(mesh.service("second").is_none(), "nothing was sent");

    let _ = mesh.cli(&["runner", "accept", "0000000000000000"]).code_is(1);
    let _ = mesh.cli(&["runner", "accept", kid]).ok();
    let _ = mesh.deploy_fixture("boxed", &["--env", &env], &[]).ok();
    has_it(&mesh);
    nowhere(&mesh, "under the new key");
}

#[test]
fn h24_a_box_is_given_back_to_its_deployer_and_to_nobody_else() {
    let mesh = Mesh::start();
    let env = format!("API_KEY={PLANTED}");
    let _ = mesh.deploy_fixture("boxed", &["--env", &env, "--scope", "mesh"], &[]).ok();
    let owner = Owner::of(&mesh).expect("the owner's keys");
    let asked = json!({ "type": "mcp_sealed", "server_name": "boxed" });
    let own = owner.ask(asked.clone()).expect("an answer");
    assert_eq!(own["services"][0]["sealed"]["to"].as_array().map(Vec::len), Some(2), "the runner, and oneself: {own}");
    assert!(!own.to_string().contains(PLANTED));
    for role in ["member", "admin"] {
        let member = owner.invite(role, 1).and_then(|invite| invite.join(role)).expect("a member");
        let session = Session::new(&member);
        let question = asked.clone();
        let answer = converse(async {
            let mut peer = Peer::enter(mesh.port(), &session, Client::Command).await?;
            peer.ask(question).await
        });
        let answer = answer.expect("an answer");
        assert_eq!(answer["code"], "not_found", "{role}: {answer}");
    }
}

#[test]
fn h25_an_entry_of_the_vault_reaches_its_process_as_variable_and_as_file() {
    for level in levels() {
        let mut mesh = Mesh::alone_at(level);
        let file = mesh.root().join("key.pem");
        std::fs::write(&file, PLANTED).expect("a file");
        let file = file.to_str().expect("a plain path");
        let _ = mesh.cli(&["vault", "set", "token", PLANTED]).ok();
        let _ = mesh.cli(&["vault", "set", "pem", "--type", "file", file]).ok();
        let both = ["--env", "API_KEY=$vault:token", "--env", "PEM=$vault:pem:file:/etc/boxed/key.pem"];
        let _ = mesh.deploy_fixture("boxed", &both, &[]).ok();
        let has_both = |mesh: &Mesh| {
            has_it(mesh);
            let path = variable(mesh, "boxed", "PEM").expect("its path");
            let held = mesh.cli(&["call", "boxed", "cat", &format!("path={path}")]).ok();
            assert_eq!(held.stdout.trim_end(), PLANTED, "{path}");
        };
        has_both(&mesh);
        let pid = mesh.kill_service("boxed");
        mesh.wait("another process", SETTLE, || {
            variable(&mesh, "boxed", "API_KEY")?;
            if mesh.pid("boxed") == pid { Err("the same".to_owned()) } else { Ok(()) }
        });
        has_both(&mesh);
        let below = mesh.kill_runner();
        mesh.wait_gone("what ran below the runner", &below, SETTLE);
        mesh.wait_for_status("boxed", "running", SETTLE);
        has_both(&mesh);
        let _ = mesh.cli_within(SETTLE, &["undeploy", "boxed"]).ok();
        nowhere(&mesh, "after it is gone");
        assert!(mesh.stop().success());
    }
}

#[test]
fn h24_an_entry_that_is_older_than_one_that_was_seen_is_given_to_no_process() {
    let mesh = Mesh::start();
    let owner = Owner::of(&mesh).expect("the owner's keys");
    let _ = mesh.cli(&["vault", "set", "token", "the first value"]).ok();
    let kept = owner.ask(json!({ "type": "vault_get", "keys": ["token"] })).expect("an answer");
    let _ = mesh.cli(&["vault", "set", "token", "the second value"]).ok();
    assert_eq!(mesh.cli(&["vault", "get", "token"]).ok().stdout, "the second value");
    // As a broker could that kept what it was given before.
    let _ = mesh.cli(&["vault", "delete", "token"]).ok();
    let mut back = kept["entries"][0].clone();
    back["type"] = "vault_set".into();
    let stored = owner.ask(back).expect("an answer");
    assert_eq!(stored["action"], "stored", "{stored}");
    let refused = mesh.deploy_fixture("boxed", &["--env", "API_KEY=$vault:token"], &[]).code_is(4);
    assert!(refused.said().contains("`token` is not opened"), "{refused}");
    assert!(mesh.service("boxed").is_none(), "nothing was sent");
}

/// As an old client deploys `plain`: what `API_KEY` is, the broker reads.
pub(super) fn in_clear(value: &str) -> Value {
    json!({
        "type": "mcp_deploy",
        "server_name": "plain",
        "source": { "type": "command", "argv": [programs::fixture().to_str().expect("a plain path")] },
        "config": { "env": { "API_KEY": value } },
    })
}

#[test]
fn h24_a_mesh_that_takes_nothing_in_clear_takes_what_is_sealed() {
    let mesh = Mesh::start();
    let _ = mesh.cli(&["mesh", "plain-env", "off"]).ok();
    let membership = mesh.membership();
    let refused =
        converse(async { Peer::connect(&membership).await?.ask(in_clear(PLANTED)).await }).expect("an answer");
    assert_eq!(refused["code"], "forbidden", "{refused}");
    assert!(mesh.service("plain").is_none() && !refused.to_string().contains(PLANTED), "{refused}");
    let env = format!("API_KEY={PLANTED}");
    let _ = mesh.deploy_fixture("boxed", &["--env", &env], &[]).ok();
    has_it(&mesh);
    assert_eq!(mesh.service("boxed").expect("it is listed")["secrets"], Value::Null, "the broker has not seen it");
    nowhere(&mesh, "in a mesh that takes nothing in clear");
}

#[test]
fn h25_a_missing_entry_of_the_vault_fails_the_deploy_by_its_name() {
    let mesh = Mesh::start();
    let refused = mesh.deploy_fixture("boxed", &["--env", "A=$vault:no-such-entry"], &[]);
    assert_ne!(refused.code, Some(0), "{refused}");
    assert!(mesh.service("boxed").is_none(), "nothing was sent");
}
