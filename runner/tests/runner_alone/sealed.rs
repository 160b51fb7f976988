//! Boxes: what a runner gives to which process, and what of it can be seen elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::SecretString;
use protocol::identity::{MemberKey, SigningKey, X25519Public};
use protocol::link::{Outcome, ReplyOutcome, ServiceSpec, ServiceState as S, Source};
use protocol::sealed::{Asked, Binding, Contents, SealedConfig, SecretFile};
use runner::process::Level;
use serde_json::json;

use super::bench::{Broker, Runner, send_signal, spec};
use crate::levels;

const VALUE: &str = "planted-value-9f3a";
const FILE: &str = "planted-file-77c1";
/// Where the file is asked for: nothing of this name is on any machine.
const PLACE: &str = "/etc/claudemesh-test-of-secrets/key";

fn member() -> MemberKey {
    SigningKey::from_seed(&[9; 32])
}

fn contents() -> Contents {
    Contents {
        env: BTreeMap::from([("API_KEY".to_owned(), SecretString::from(VALUE))]),
        files: vec![SecretFile::new("KEY_FILE", PLACE, FILE.as_bytes())],
        git_token: None,
        refs: BTreeMap::new(),
    }
}

fn sealed_by(spec: &ServiceSpec, contents: &Contents, key: &X25519Public, demanded: Option<&str>) -> ServiceSpec {
    let spec = ServiceSpec { mesh_id: Some("mesh-1".to_owned()), ..spec.clone() };
    let binding = Binding::of(&Asked::of_load(&spec, demanded), contents);
    let sealed =
        SealedConfig::seal(&binding, contents, std::slice::from_ref(key), &member(), &mut rand::random).unwrap();
    ServiceSpec { sealed: Some(Box::new(sealed)), ..spec }
}

async fn key_of(broker: &mut Broker) -> X25519Public {
    broker.until("the runner's key", |broker| broker.box_key.clone()).await
}

fn refusal(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Error { code, message } if code == "sealed" => message,
        other => panic!("not refused: {other:?}"),
    }
}

/// Every file below a folder that holds one of the planted texts.
fn holds_a_secret(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(holds_a_secret(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            if holds(VALUE) || holds(FILE) {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn h24_swapped_source_gets_no_secret() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let key = key_of(&mut broker).await;
    let sealed = sealed_by(&spec("boxed", &["--die-after-ms", "3600000"]), &contents(), &key, None);
    type Case = (&'static str, fn(&mut ServiceSpec));
    let cases: [Case; 7] = [
        ("source", |s| s.source = Source::Command { argv: vec!["/usr/bin/env".to_owned()] }),
        ("source", |s| s.source = Source::Npx { package: "prints-its-env".to_owned() }),
        ("args", |s| s.args.push("--print-env".to_owned())),
        ("env", |s| drop(s.env.insert("LD_PRELOAD".to_owned(), "/evil.so".into()))),
        ("env", |s| drop(s.env.insert("KEY_FILE".to_owned(), "/elsewhere".into()))),
        ("service", |s| s.service = "other".to_owned()),
        ("mesh", |s| s.mesh_id = Some("mesh-2".to_owned())),
    ];
    for (field, swap) in cases {
        let mut swapped = sealed.clone();
        swap(&mut swapped);
        let outcome = broker.load(&swapped).await;
        assert_eq!(refusal(&outcome), format!("sealed_for_other: {field}"));
    }
    // A file's path is only in the box: a box that names another one is another box, and is not the deployer's.
    let mut bytes = sealed.clone();
    let text = &mut bytes.sealed.as_mut().unwrap().ciphertext;
    let first = if text.starts_with('A') { "B" } else { "A" };
    text.replace_range(0..1, first);
    assert_eq!(refusal(&broker.load(&bytes).await), "the sealed secrets do not open");
    assert_eq!(broker.load(&sealed).await, Outcome::Ok);
    assert_eq!(holds_a_secret(runner.dir.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn h24_a_box_for_another_runner_or_a_weaker_isolation_is_refused() {
    let runner = Runner::at(Level::Guard, &[]).await;
    let mut broker = runner.broker(1).await;
    let key = key_of(&mut broker).await;
    let other = protocol::identity::X25519Secret::from_bytes(&[3; 32]).public();
    let strange = sealed_by(&spec("strange", &[]), &contents(), &other, None);
    assert_eq!(refusal(&broker.load(&strange).await), "the secrets were sealed for another key");
    let strict = sealed_by(&spec("strict", &[]), &contents(), &key, Some("namespace"));
    assert_eq!(refusal(&broker.load(&strict).await), "sealed_for_other: isolation");
    let content = sealed_by(&spec("content", &[]), &contents(), &key, Some("guard"));
    broker.run(&content).await;
}

#[tokio::test]
async fn h25_a_process_has_its_variable_and_its_file_at_every_start_and_nothing_stays() {
    for level in levels::levels() {
        let forced = format!("level={level}");
        let mut runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let key = key_of(&mut broker).await;
        let sealed = sealed_by(&spec("boxed", &[]), &contents(), &key, None);
        broker.run(&sealed).await;
        sees_them(&mut broker, &sealed, level).await;

        let pid = broker.pid(&sealed);
        send_signal(pid, nix::sys::signal::Signal::SIGKILL);
        broker.in_another_process(&sealed, pid).await;
        sees_them(&mut broker, &sealed, level).await;

        // Killed while the process has its files, and started again on the same folder.
        runner.child.kill().await.unwrap();
        let dir = std::mem::replace(&mut runner.dir, tempfile::tempdir().unwrap());
        let runner = Runner::start_in(dir, &[&forced]).await;
        let nothing = Vec::<std::path::PathBuf>::new();
        assert_eq!(holds_a_secret(runner.dir.path()), nothing, "{level}: swept");
        let mut broker = runner.broker(1).await;
        assert_eq!(key_of(&mut broker).await, key, "the key is the same");
        broker.run(&sealed).await;
        sees_them(&mut broker, &sealed, level).await;

        assert_eq!(broker.unload(&sealed).await, Outcome::Ok);
        assert_eq!(holds_a_secret(runner.dir.path()), nothing, "{level}: unloaded");
        assert!(!Path::new(PLACE).exists(), "{level}: the machine's folder is untouched");
    }
}

async fn sees_them(broker: &mut Broker, spec: &ServiceSpec, level: Level) {
    assert_eq!(broker.text(spec, "env", json!({ "name": "API_KEY" })).await, format!("\"{VALUE}\""));
    let path: String = serde_json::from_str(&broker.text(spec, "env", json!({ "name": "KEY_FILE" })).await).unwrap();
    assert_eq!(path == PLACE, level == Level::Namespace, "{level}: {path}");
    assert_eq!(broker.text(spec, "cat", json!({ "path": path })).await, FILE);
    if level == Level::Namespace {
        // What was there before is still there.
        assert!(!broker.text(spec, "cat", json!({ "path": "/etc/passwd" })).await.is_empty());
    }
}

#[tokio::test]
async fn h26_its_log_and_errors_show_no_secret_and_its_results_are_untouched() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let key = key_of(&mut broker).await;
    let sealed = sealed_by(&spec("loud", &[]), &contents(), &key, None);
    broker.run(&sealed).await;
    let said = format!("my key is {VALUE}, my file {FILE}");
    assert_eq!(broker.text(&sealed, "tell", json!({ "text": said })).await, "told");
    let mut log = Vec::new();
    while !log.iter().any(|line: &String| line.contains("my key")) {
        log = broker.logs("loud").await;
    }
    assert!(log.iter().any(|line| line == "my key is [secret], my file [secret]"), "{log:?}");
    let (outcome, body, _) = broker.call(&sealed, "refuse", json!({ "text": said })).await;
    assert_eq!(outcome, ReplyOutcome::Error);
    let words = String::from_utf8(body.to_vec()).unwrap();
    assert!(!words.contains(VALUE) && words.contains("my key is [secret], my file [secret]"), "{words}");
    assert_eq!(broker.text(&sealed, "echo", json!({ "text": said })).await, said);
}

#[tokio::test]
async fn h26_the_reason_of_a_failure_shows_no_secret() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let key = key_of(&mut broker).await;
    let argv = ["/bin/sh", "-c", "echo \"no: $API_KEY\" >&2; exit 3"];
    let source = Source::Command { argv: argv.map(str::to_owned).to_vec() };
    let sealed = sealed_by(&ServiceSpec { source, ..spec("failing", &[]) }, &contents(), &key, None);
    assert_eq!(broker.load(&sealed).await, Outcome::Ok);
    let report = broker.in_state(&sealed, S::Failed).await;
    let failure = report.failure.clone().unwrap();
    assert!(failure.log.iter().any(|line| line == "no: [secret]"), "{failure:?}");
    let all = serde_json::to_string(&report).unwrap() + &serde_json::to_string(&broker.tree).unwrap();
    assert!(!all.contains(VALUE));
}

#[tokio::test]
async fn h24_what_runs_without_a_box_has_another_home() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let key = key_of(&mut broker).await;
    let plain = ServiceSpec { deployment: "0190bbbb-plain".to_owned(), ..spec("homely", &[]) };
    broker.run(&plain).await;
    let home = broker.text(&plain, "env", json!({ "name": "HOME" })).await;
    let sealed = sealed_by(&spec("homely", &[]), &contents(), &key, None);
    broker.run(&sealed).await;
    let other = broker.text(&sealed, "env", json!({ "name": "HOME" })).await;
    assert_ne!(home, other);
    assert_eq!(broker.restart(&sealed).await, Outcome::Ok);
    broker.in_state(&sealed, S::Running).await;
    assert_eq!(broker.text(&sealed, "env", json!({ "name": "HOME" })).await, other, "and keeps it");
}
