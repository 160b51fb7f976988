//! What people do with services that are there: update, roll back, stop, start, restart, share with others, look back.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::harness::command::Outcome;
use tests::harness::{ASK, Mesh, SETTLE, programs};

/// The mesh beside the first one, at the same broker and runner.
pub(super) const BESIDE: &str = "beside";

/// Two meshes of one broker, and a member of the first with whom nothing is shared.
pub(super) fn two_meshes() -> (Mesh, Other) {
    let mesh = Mesh::start();
    let broker = format!("ws://127.0.0.1:{}/ws", mesh.port());
    let _ = mesh.cli(&["mesh", "create", BESIDE, "--broker", &broker]).ok();
    let outsider = Other::joins(&mesh, "otto");
    (mesh, outsider)
}

/// Another member, on a machine of its own as far as the mesh can tell.
pub(super) struct Other {
    config: PathBuf,
}

impl Other {
    pub(super) fn joins(mesh: &Mesh, name: &str) -> Self {
        let invite = mesh.cli(&["invite", "create", "--json"]).ok().json();
        let other = Self { config: mesh.root().join(name) };
        let link = invite["verifiedLink"].as_str().expect("the link has its key");
        let _ = other.cli(&["join", link, "--name", name]).ok();
        other
    }

    /// Makes a mesh of its own on the same broker, which is its only one.
    fn founds(mesh: &Mesh, slug: &str) -> Self {
        let other = Self { config: mesh.root().join(slug) };
        let url = format!("ws://127.0.0.1:{}/ws", mesh.port());
        let data = mesh.data();
        let _ =
            other.cli(&["mesh", "create", slug, "--broker", &url, "--data-dir", data.to_str().expect("plain")]).ok();
        other
    }

    /// Shares a service of that name, which answers.
    fn deploys(&self, service: &str, options: &[&str]) {
        let fixture = programs::fixture();
        let program = ["--command", "--", fixture.to_str().expect("a plain path")];
        let _ = self.cli(&[&["deploy", service], options, &program].concat()).ok();
    }

    pub(super) fn cli(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(programs::claudemesh());
        command.env("CLAUDEMESH_CONFIG_DIR", &self.config).env("NO_COLOR", "1").env_remove("CLAUDEMESH_SESSION_ID");
        command.args(words);
        Outcome::of(command, ASK)
    }

    /// Sees and gets the service, or nothing at all of it.
    #[track_caller]
    pub(super) fn sees(&self, service: &str, sees: bool) {
        let catalog = self.cli(&["catalog", "--json"]).ok().json();
        let listed = catalog["services"].as_array().is_some_and(|all| all.iter().any(|row| row["name"] == service));
        assert_eq!(listed, sees, "{catalog}");
        for words in [
            vec!["call", service, "echo", "text=x"],
            vec!["schema", service],
            vec!["logs", service],
            vec!["events", service],
            vec!["scope", service],
        ] {
            let outcome = self.cli(&words);
            assert_eq!(outcome.code == Some(0), sees, "{outcome}");
            assert_eq!(outcome.stderr.contains("not found in mesh"), !sees, "{outcome}");
        }
        for verb in ["update", "rollback", "restart", "stop", "start", "undeploy"] {
            let outcome = self.cli(&[verb, service]);
            assert_ne!(outcome.code, Some(0), "{outcome}");
            assert_eq!(outcome.stderr.contains("not found in mesh"), !sees, "{outcome}");
        }
    }
}

fn called(mesh: &Mesh, service: &str) -> Outcome {
    mesh.cli(&["call", service, "echo", "text=hello"])
}

#[test]
fn t06_scope_read_t07_scope_to_a_group_t08_scope_back() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("tool", &["--scope", "mesh"], &[]).ok();
    let (inside, outside) = (Other::joins(&mesh, "ines"), Other::joins(&mesh, "otto"));
    // Another mesh with the same names: neither is changed by what happens in the other.
    let founder = Other::founds(&mesh, "second");
    founder.deploys("tool", &["--scope", "group:eng"]);
    let apart = || {
        let read = founder.cli(&["scope", "tool", "--json"]).ok().json();
        assert_eq!((&read["scope"], &read["guards"]), (&json!({ "group": "eng" }), &json!(false)), "the other mesh's");
        let catalog = founder.cli(&["catalog", "--json"]).ok().json();
        assert_eq!(catalog["services"].as_array().map(Vec::len), Some(1), "{catalog}");
        let _ = founder.cli(&["call", "tool", "echo", "text=x"]).ok();
    };
    apart();
    let read = mesh.cli(&["scope", "tool", "--json"]).ok().json();
    assert_eq!((&read["scope"], &read["guards"]), (&json!("mesh"), &json!(true)));
    inside.sees("tool", true);
    outside.sees("tool", true);

    // A group that anybody joins keeps nobody out, and says so wherever it is shown.
    let open = mesh.cli(&["scope", "tool", "group:eng", "--json"]).ok().json();
    assert_eq!((&open["scope"], &open["guards"]), (&json!({ "group": "eng" }), &json!(false)));
    assert!(mesh.cli(&["catalog"]).ok().stdout.contains("group:eng (open)"));
    let _ = mesh.cli(&["scope", "tool", "group:eng", "--strict"]).code_is(4);
    // A restricted one does, whatever a session says of itself.
    let _ = mesh.cli(&["group", "restrict", "eng", "--members", "ines"]).ok();
    let guarded = mesh.cli(&["scope", "tool", "group:eng", "--strict", "--json"]).ok().json();
    assert_eq!(guarded["guards"], true);
    inside.sees("tool", true);
    outside.sees("tool", false);
    apart();

    let _ = mesh.cli(&["scope", "tool", "mesh"]).ok();
    outside.sees("tool", true);
    let _ = mesh.cli(&["scope", "tool", "peer"]).ok();
    inside.sees("tool", false);
    apart();
    let _ = founder.cli(&["scope", "tool", "peer"]).ok();
    assert_eq!(mesh.cli(&["scope", "tool", "mesh", "--json"]).ok().json()["scope"], "mesh");
    outside.sees("tool", true);
    let _ = founder.cli(&["undeploy", "tool"]).ok();
    outside.sees("tool", true);
}

#[test]
fn a_service_is_stopped_started_and_restarted_and_its_history_says_so() {
    let mut mesh = Mesh::start();
    let _ = mesh.deploy_fixture("tool", &[], &[]).ok();
    let first = mesh.pid("tool");
    let _ = mesh.cli_within(SETTLE, &["restart", "tool"]).ok();
    let second = mesh.pid("tool");
    assert_ne!(first, second);
    let _ = called(&mesh, "tool").ok();
    let _ = mesh.cli_within(SETTLE, &["stop", "tool"]).ok();
    mesh.wait_for_status("tool", "stopped", SETTLE);
    let refused = called(&mesh, "tool").code_is(1);
    assert!(refused.stderr.contains("stopped"), "{refused}");
    // It rests, whoever dies.
    mesh.kill_broker();
    mesh.start_up();
    mesh.wait_for_status("tool", "stopped", SETTLE);
    let started = mesh.cli_within(SETTLE, &["start", "tool", "--json"]).ok().json();
    assert_eq!(started["status"], "running");
    let _ = called(&mesh, "tool").ok();

    let events = mesh.wait("the history", SETTLE, || {
        let events = mesh.cli(&["events", "tool", "--json"]).ok().json();
        let states: Vec<_> =
            events["events"].as_array().into_iter().flatten().map(|event| event["to"].clone()).collect();
        let wanted = ["restarting", "stopped"].iter().all(|state| states.contains(&json!(state)));
        if wanted && states.last() == Some(&json!("running")) { Ok(events) } else { Err(format!("{states:?}")) }
    });
    let seqs: Vec<_> = events["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
}

#[test]
fn what_replaces_a_good_one_and_dies_is_rolled_back_by_itself_and_a_rollback_by_hand_goes_back_too() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("tool", &[], &[]).ok();
    let good = deployment(&mesh, "tool");
    let _ = mesh.deploy_fixture("tool", &[], &["--die-after-ms", "1500"]).ok();
    mesh.wait("the one before to come back", SETTLE, || match deployment(&mesh, "tool") {
        now if now == good && mesh.status("tool") == "running" => Ok(()),
        now => Err(format!("{now} is active")),
    });
    let said = mesh.cli(&["events", "tool"]).ok().stdout;
    assert!(said.contains("comes back"), "{said}");
    let _ = called(&mesh, "tool").ok();

    let updated = mesh.cli_within(SETTLE, &["update", "tool", "--json"]).ok().json();
    assert_eq!(updated["status"], "running");
    let newer = deployment(&mesh, "tool");
    assert_ne!(newer, good);
    let _ = mesh.cli_within(SETTLE, &["rollback", "tool", "--to", &good]).ok();
    assert_eq!(deployment(&mesh, "tool"), good);
    let _ = mesh.cli(&["rollback", "tool", "--to", "nonsense"]).code_is(1);
    let wide = mesh.cli(&["catalog", "--wide"]).ok().stdout;
    assert!(wide.contains(&good), "{wide}");
}

fn deployment(mesh: &Mesh, service: &str) -> String {
    mesh.service(service).and_then(|row| row["deployment"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// Reads a stream of documents, one a line, from a command that stays.
fn first_lines(child: &mut std::process::Child, count: usize) -> Vec<Value> {
    use std::io::{BufRead as _, BufReader};
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.take(count).map(|line| serde_json::from_str(&line.expect("text")).expect("a document a line")).collect()
}

#[test]
fn logs_are_followed_without_a_line_twice() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("tool", &[], &["--not-utf8", "--long-line", "10"]).ok();
    let mut follows = mesh.start_cli(&["logs", "tool", "--follow", "--json"]);
    for _ in 0..3 {
        let _ = mesh.cli_within(SETTLE, &["restart", "tool"]).ok();
    }
    let last = mesh.wait("the log", SETTLE, || {
        let log = mesh.cli(&["logs", "tool", "--json", "-n", "1000"]).ok().json();
        log["lines"].as_array().filter(|lines| lines.len() > 3).cloned().ok_or(format!("{log}"))
    });
    let followed = first_lines(&mut follows, last.len());
    let followed: Vec<_> = followed.into_iter().map(|document| document["line"].clone()).collect();
    assert_eq!(followed, last);
    let pid = Pid::from_raw(i32::try_from(follows.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let _ = follows.wait().unwrap();
}

#[test]
fn a_server_of_ones_own_is_shared_called_and_gone_with_its_host() {
    let mesh = Mesh::start();
    let other = Other::joins(&mesh, "otto");
    let fixture = programs::fixture();
    let fixture = fixture.to_str().unwrap();
    let mut share = mesh.start_cli(&["share", "desk", "--description", "Mine", "--json", "--", fixture]);
    let offered = first_lines(&mut share, 1);
    assert_eq!((&offered[0]["status"], &offered[0]["name"]), (&json!("shared"), &json!("desk")));
    let called = other.cli(&["call", "desk", "echo", "text=across"]).ok();
    assert!(called.stdout.contains("across"), "{called}");
    assert!(other.cli(&["schema", "desk"]).ok().stdout.contains("echo"));
    let missing = other.cli(&["call", "desk", "no-such-tool"]);
    assert_ne!(missing.code, Some(0), "{missing}");
    let taken = mesh.deploy_fixture("desk", &[], &[]);
    assert_eq!(taken.code, Some(4), "{taken}");

    mesh.look();
    let pid = Pid::from_raw(i32::try_from(share.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert!(share.wait().unwrap().success());
    let gone = other.cli(&["call", "desk", "echo", "text=x"]);
    assert!(gone.stderr.contains("not found in mesh"), "{gone}");
    // A host that is killed takes its server along.
    let mut share = mesh.start_cli(&["share", "desk", "--json", "--", fixture]);
    let _ = first_lines(&mut share, 1);
    mesh.look();
    share.kill().unwrap();
    let _ = share.wait();
    let away = other.cli(&["call", "desk", "echo", "text=x"]);
    assert_eq!(away.code, Some(3), "{away}");
}
