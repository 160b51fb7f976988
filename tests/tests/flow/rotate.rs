//! A vault whose values change under services that run, and what its doctor finds.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use tests::harness::load::Plan;
use tests::harness::peer::converse;
use tests::harness::{Load, Mesh, Outcome, Owner, Peer, SETTLE, programs};

use super::sealed::variable;

/// Several services come up, one after another.
const ALL: Duration = Duration::from_secs(120);
/// Results before and after each change.
const SOME: u64 = 20;

fn rotate(mesh: &Mesh, words: &[&str]) -> Outcome {
    mesh.cli_within(ALL, &[&["vault", "rotate", "--json"], words].concat())
}

/// Each service with what became of it.
fn outcomes(rotated: &Outcome) -> Vec<(String, String)> {
    let document = rotated.clone().json();
    let services = document["services"].as_array().unwrap_or_else(|| panic!("{rotated}"));
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    services.iter().map(|one| (word(&one["service"]), word(&one["outcome"]))).collect()
}

fn are(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(service, outcome)| ((*service).to_owned(), (*outcome).to_owned())).collect()
}

/// What the doctor finds, by kind and by what it is about.
fn findings(doctor: &Outcome) -> BTreeSet<(String, String)> {
    let document = doctor.clone().json();
    let found = document["findings"].as_array().unwrap_or_else(|| panic!("{doctor}"));
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    assert!(found.iter().all(|one| !word(&one["remedy"]).is_empty()), "{doctor}");
    found.iter().map(|one| (word(&one["kind"]), word(&one["about"]))).collect()
}

fn doctor(mesh: &Mesh) -> Outcome {
    mesh.cli(&["vault", "doctor", "--json"])
}

fn file(mesh: &Mesh, text: &str) -> String {
    let path = mesh.root().join("key.pem");
    fs::write(&path, text).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

/// What the file holds that a variable names.
fn held(mesh: &Mesh, service: &str, name: &str) -> String {
    let path = variable(mesh, service, name).expect("its path");
    mesh.cli(&["call", service, "cat", &format!("path={path}")]).ok().stdout.trim_end().to_owned()
}

#[test]
fn h25_a_rotation_reaches_its_services_while_every_call_is_answered() {
    let mesh = Mesh::start();
    let pem = file(&mesh, "pem-number-one");
    let _ = mesh.cli(&["vault", "set", "token", "token-one"]).ok();
    let _ = mesh.cli(&["vault", "set", "pem", "--type", "file", "--description", "of the robot", &pem]).ok();
    let both = ["--env", "API_KEY=$vault:token", "--env", "PEM=$vault:pem:file:/etc/boxed/key.pem"];
    let _ = mesh.deploy_fixture("boxed", &both, &[]).ok();
    let _ = mesh.deploy_fixture("second", &["--env", "TOKEN=$vault:token", "--env", "OWN=mine"], &[]).ok();
    let _ = mesh.deploy_fixture("other", &["--env", "API_KEY=token-one"], &[]).ok();
    let (boxed, other) = (mesh.pid("boxed"), mesh.pid("other"));
    let plan = Plan {
        service: "boxed".to_owned(),
        tool: "echo".to_owned(),
        arguments: json!({ "text": "steady" }),
        in_flight: 4,
        pause: Duration::from_millis(1),
    };
    let load = Load::start(&mesh, plan);
    load.wait_for_more(&mesh, SOME, SETTLE);

    // Without --restart the services go on as they are, and are marked.
    let left = rotate(&mesh, &["token", "token-two"]).ok();
    assert_eq!(outcomes(&left), are(&[("boxed", "older"), ("second", "older")]));
    assert_eq!(variable(&mesh, "boxed", "API_KEY").as_deref(), Ok("token-one"));
    assert_eq!(mesh.pid("boxed"), boxed);
    let list = mesh.cli(&["vault", "list"]).ok();
    assert!(list.stdout.contains("boxed (API_KEY): older than the vault"), "{list}");
    assert!(list.stdout.contains("boxed (PEM)") && !list.stdout.contains("(PEM): older"), "{list}");
    assert_eq!(findings(&doctor(&mesh).code_is(1)), BTreeSet::from([("older".to_owned(), "token".to_owned())]));

    let renewed = rotate(&mesh, &["token", "token-three", "--restart"]).ok();
    assert_eq!(outcomes(&renewed), are(&[("boxed", "renewed"), ("second", "renewed")]));
    load.wait_for_more(&mesh, SOME, SETTLE);
    assert_eq!(variable(&mesh, "boxed", "API_KEY").as_deref(), Ok("token-three"));
    assert_eq!(variable(&mesh, "second", "TOKEN").as_deref(), Ok("token-three"));
    assert_eq!(variable(&mesh, "second", "OWN").as_deref(), Ok("mine"), "what is no entry stays");
    assert_eq!(held(&mesh, "boxed", "PEM"), "pem-number-one", "so does another entry");

    let pem = file(&mesh, "pem-number-two");
    assert_eq!(outcomes(&rotate(&mesh, &["pem", &pem, "--restart"]).ok()), are(&[("boxed", "renewed")]));
    assert_eq!(held(&mesh, "boxed", "PEM"), "pem-number-two");
    let document = mesh.cli(&["vault", "list", "--json"]).ok().json();
    assert_eq!(document["entries"][0]["description"], "of the robot", "the entry stays what it was");
    load.wait_for_more(&mesh, SOME, SETTLE);
    let report = load.stop();
    assert!(report.errors.is_empty() && report.lost == 0 && report.unanswered == 0, "{report:?}");
    assert_eq!(mesh.pid("other"), other, "a service that does not use it is left alone");
    assert_eq!(doctor(&mesh).ok().json()["healthy"], true);
}

#[test]
fn h25_a_service_that_cannot_live_with_the_new_value_keeps_the_old_one_and_is_named() {
    let mesh = Mesh::start();
    let program = mesh.root().join("picky.sh");
    let fixture = programs::fixture();
    let text = format!("#!/bin/sh\n[ \"$API_KEY\" = spoilt-value ] && exit 3\nexec {} \"$@\"\n", fixture.display());
    fs::write(&program, text).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    let _ = mesh.cli(&["vault", "set", "token", "first-value"]).ok();
    let env = ["--env", "API_KEY=$vault:token"];
    let _ = mesh.deploy_program("picky", &program, &env, &[]).ok();
    let _ = mesh.deploy_fixture("willing", &env, &[]).ok();
    let _ = mesh.deploy_fixture("asleep", &env, &[]).ok();
    let _ = mesh.cli_within(SETTLE, &["stop", "asleep"]).ok();

    let rotated = rotate(&mesh, &["token", "spoilt-value", "--restart"]).code_is(1);
    assert_eq!(outcomes(&rotated), are(&[("asleep", "stopped"), ("picky", "failed"), ("willing", "renewed")]));
    assert!(rotated.stderr.contains("picky"), "{rotated}");
    assert_eq!(variable(&mesh, "picky", "API_KEY").as_deref(), Ok("first-value"), "the old one serves on");
    assert_eq!(variable(&mesh, "willing", "API_KEY").as_deref(), Ok("spoilt-value"));
    assert_eq!(mesh.status("asleep"), "stopped", "who is stopped is not started by that");

    let good = rotate(&mesh, &["token", "third-value", "--restart"]).ok();
    assert_eq!(outcomes(&good), are(&[("asleep", "stopped"), ("picky", "renewed"), ("willing", "renewed")]));
    assert_eq!(variable(&mesh, "picky", "API_KEY").as_deref(), Ok("third-value"));
    // An entry that nobody has, and one that there is not.
    let _ = mesh.cli(&["vault", "set", "lonely", "value-of-none"]).ok();
    assert_eq!(outcomes(&rotate(&mesh, &["lonely", "another", "--restart"]).ok()), []);
    let _ = rotate(&mesh, &["no-such-entry", "x"]).code_is(1);
}

/// Puts an entry into the vault as its broker, or an old client, could: without version and signature.
fn unsigned(owner: &Owner, of: &str, as_key: &str) {
    let kept = owner.ask(json!({ "type": "vault_get", "keys": [of] })).expect("an answer");
    let mut entry = kept["entries"][0].clone();
    let fields = entry.as_object_mut().expect("an entry");
    fields.retain(|name, _| name != "version" && name != "sig");
    fields.insert("key".to_owned(), as_key.into());
    fields.insert("type".to_owned(), "vault_set".into());
    assert_eq!(owner.ask(entry).expect("an answer")["action"], "stored");
}

/// Puts the box of one service beside another one.
fn swapped(mesh: &Mesh, owner: &Owner, of: &str, to: &str) {
    let boxes = owner.ask(json!({ "type": "mcp_sealed", "server_name": of })).expect("an answer");
    let deploy = json!({
        "type": "mcp_deploy",
        "server_name": to,
        "source": { "type": "command", "argv": [programs::fixture().to_str().expect("a plain path")] },
        "config": { "sealed": boxes["services"][0]["sealed"] },
    });
    let ended = converse(async { Peer::connect(&mesh.membership()).await?.settle(deploy).await });
    let ended = ended.expect("an answer");
    assert_eq!(ended["status"], "failed", "{ended}");
    assert!(ended["error"].as_str().is_some_and(|why| why.contains("sealed_for_other")), "{ended}");
}

#[test]
fn h25_the_doctor_names_each_thing_that_is_wrong() {
    let mut mesh = Mesh::start();
    let owner = Owner::of(&mesh).expect("the owner's keys");
    for key in ["token", "gone", "back"] {
        let _ = mesh.cli(&["vault", "set", key, "first-value"]).ok();
    }
    let env = ["--env", "API_KEY=$vault:token", "--env", "GONE=$vault:gone"];
    let _ = mesh.deploy_fixture("boxed", &env, &[]).ok();
    let well = doctor(&mesh).ok().json();
    assert_eq!((&well["healthy"], &well["findings"]), (&json!(true), &json!([])));
    assert_eq!(well["entries"][2]["uses"], json!([{ "service": "boxed", "variable": "API_KEY", "held": "current" }]));

    let _ = mesh.cli(&["vault", "delete", "gone"]).ok();
    unsigned(&owner, "token", "loose");
    let kept = owner.ask(json!({ "type": "vault_get", "keys": ["back"] })).expect("an answer");
    let _ = mesh.cli(&["vault", "set", "back", "second-value"]).ok();
    let _ = mesh.cli(&["vault", "delete", "back"]).ok();
    let mut back = kept["entries"][0].clone();
    back["type"] = "vault_set".into();
    assert_eq!(owner.ask(back).expect("an answer")["action"], "stored");
    let _ = mesh.cli(&["vault", "set", "token", "second-value"]).ok();
    swapped(&mesh, &owner, "boxed", "odd");
    assert!(mesh.stop().success());
    fs::remove_file(mesh.data().join("runner/runner_key")).expect("the key is there");
    mesh.start_up();
    mesh.wait_for_status("boxed", "failed", SETTLE);

    let found = findings(&doctor(&mesh).code_is(1));
    let expected = [
        ("missing", "gone"),
        ("unsigned", "loose"),
        ("refused", "back"),
        ("older", "token"),
        ("not_yours", "odd"),
        ("key_gone", "boxed"),
        ("key_gone", "odd"),
    ];
    assert_eq!(found, expected.map(|(kind, about)| (kind.to_owned(), about.to_owned())).into());
    let table = mesh.cli(&["vault", "doctor"]).code_is(1);
    for (_, about) in expected {
        assert!(table.stdout.contains(about), "{about}: {table}");
    }
    // What was sealed for a key that is gone is sealed for no other by a rotation: a person deploys it again.
    let refused = rotate(&mesh, &["token", "third-value", "--restart"]).code_is(1);
    assert_eq!(outcomes(&refused), are(&[("boxed", "failed")]));
}
