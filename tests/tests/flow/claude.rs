//! Sessions of the Claude Code client: what they find when they start, and what they leave behind.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tests::harness::{Desk, Mesh, SETTLE};

/// For the real client's start with all its servers.
const CLIENT: Duration = Duration::from_secs(120);

fn launched(mesh: &Mesh, desk: &Desk, words: &[&str], variables: &[(&str, &str)]) -> Child {
    let plain = desk.command(mesh, words);
    // Whoever runs the tests may ignore signals, and a child inherits that.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM").arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.envs(variables.iter().copied());
    command.spawn().expect("the built program starts")
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process's number"))
}

/// Waits for the stand-in to have written all down; its number.
fn settled(mesh: &Mesh, desk: &Desk) -> Pid {
    let path = desk.root().join("pid");
    mesh.wait("the session to have started", SETTLE, || {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        text.trim().parse().map(Pid::from_raw).map_err(|_| text)
    })
}

fn ended(mesh: &Mesh, mut child: Child) -> Option<i32> {
    mesh.wait("the session to end", SETTLE, || match child.try_wait() {
        Ok(Some(status)) => Ok(status.code()),
        Ok(None) => Err("it still runs".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

fn left(mesh: &Mesh) -> usize {
    fs::read_dir(mesh.config().join("launched")).map_or(0, Iterator::count)
}

#[test]
fn t21_h43_a_session_starts_with_its_groups_and_their_services_and_leaves_nothing() {
    let mesh = Mesh::start();
    let desk = Desk::with_stand_in(&mesh);
    let _ = mesh.deploy_fixture("everybodys", &["--scope", "mesh"], &[]).ok();
    let _ = mesh.deploy_fixture("engs", &["--scope", "group:eng"], &[]).ok();
    let words = [
        "launch",
        "--name",
        "Ana",
        "--role",
        "lead",
        "--groups",
        "@eng,ops:dev",
        "--message-mode",
        "inbox",
        "--system-prompt",
        "be brief",
        "--quiet",
        "--",
        "-p",
        "what; $HOME",
    ];
    let outcome = desk.run(&mesh, &words).code_is(7);
    let noted = desk.noted("words");
    let said: Vec<_> = noted.lines().collect();
    let variables = desk.noted("variables");
    let variable = |name: &str| variables.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    let session = variable("CLAUDEMESH_SESSION_ID").expect("the session has an id");
    let directory = variable("CLAUDEMESH_CONFIG_DIR").expect("the session has a directory");
    let own = said.get(3).copied().unwrap_or_default();
    let server = serde_json::from_str::<serde_json::Value>(own).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    let server = &server["mcpServers"]["claudemesh"];
    assert_eq!(server["args"], json!(["mcp"]));
    assert_eq!(server["env"], json!({"CLAUDEMESH_CONFIG_DIR": directory}));
    let expected = [
        "--dangerously-load-development-channels",
        "server:claudemesh",
        "--mcp-config",
        own,
        "--session-id",
        session,
        "--system-prompt",
        "be brief",
        "-p",
        "what; $HOME",
    ];
    assert_eq!(said, expected, "{outcome}");
    for (name, value) in [
        ("CLAUDEMESH_DISPLAY_NAME", "Ana"),
        ("CLAUDEMESH_ROLE", "lead"),
        ("CLAUDEMESH_GROUPS", "eng:lead,ops:dev"),
        ("CLAUDEMESH_MESSAGE_MODE", "inbox"),
        ("MCP_TIMEOUT", "30000"),
        ("MAX_MCP_OUTPUT_TOKENS", "50000"),
    ] {
        assert_eq!(variable(name), Some(value));
    }
    assert_eq!(
        desk.noted("directory").lines().collect::<Vec<_>>(),
        ["config.json", "launcher.json", "runners", "sessions", "tools"]
    );
    let config = desk.noted_json("config.json");
    assert_eq!(config["groups"], json!([{"name": "eng", "role": "lead"}, {"name": "ops", "role": "dev"}]));
    assert_eq!((&config["role"], &config["messageMode"]), (&json!("lead"), &json!("inbox")));
    let state = desk.noted_json("state.json");
    let servers = state["mcpServers"].as_object().expect("servers");
    assert_eq!(servers["mine"], json!({"command": "true"}));
    for service in ["engs", "everybodys"] {
        let (name, entry) = servers
            .iter()
            .find(|(name, _)| name.starts_with(&format!("mesh:{service}:")))
            .unwrap_or_else(|| panic!("no entry of {service}: {state}"));
        assert_eq!(entry["args"], json!(["mcp", "--service", service]));
        assert_eq!(entry["env"], json!({"CLAUDEMESH_CONFIG_DIR": directory}));
        let about = &entry["_meshSession"];
        assert_eq!(*name, format!("mesh:{service}:{}", about["pid"]));
        assert_eq!((&about["meshSlug"], &about["serviceName"]), (&json!("default"), &json!(service)));
    }
    assert_eq!(desk.entries(), Vec::<String>::new());
    assert_eq!(desk.state()["mcpServers"], json!({"mine": {"command": "true"}}));
    assert_eq!(left(&mesh), 0);
}

#[test]
fn h40_signals_reach_the_session_and_its_entries_go_with_it() {
    let mesh = Mesh::start();
    let desk = Desk::with_stand_in(&mesh);
    let _ = mesh.deploy_fixture("fix", &["--scope", "mesh"], &[]).ok();
    let child = launched(&mesh, &desk, &["launch"], &[("DESK_STAYS", "1")]);
    let _ = settled(&mesh, &desk);
    assert_eq!(desk.entries().len(), 1);
    for (signal, name) in [(Signal::SIGINT, "INT"), (Signal::SIGHUP, "HUP")] {
        kill(pid(&child), signal).expect("it runs");
        mesh.wait("the session to hear of it", SETTLE, || {
            let heard = fs::read_to_string(desk.root().join("signals")).unwrap_or_default();
            if heard.lines().any(|line| line == name) { Ok(()) } else { Err(heard) }
        });
    }
    assert_eq!(desk.entries().len(), 1, "the session goes on, and so do its entries");
    kill(pid(&child), Signal::SIGTERM).expect("it runs");
    assert_eq!(ended(&mesh, child), Some(9), "the session's own code");
    assert_eq!(desk.entries(), Vec::<String>::new());
    assert_eq!(left(&mesh), 0);
}

#[test]
fn h40_what_a_killed_launcher_left_is_swept_by_the_next() {
    let mesh = Mesh::start();
    let desk = Desk::with_stand_in(&mesh);
    let _ = mesh.deploy_fixture("fix", &["--scope", "mesh"], &[]).ok();
    let mut child = launched(&mesh, &desk, &["launch"], &[("DESK_STAYS", "1")]);
    let session = settled(&mesh, &desk);
    kill(pid(&child), Signal::SIGKILL).expect("it runs");
    child.wait().expect("it was killed");
    kill(session, Signal::SIGKILL).expect("it goes on");
    assert_eq!((desk.entries().len(), left(&mesh)), (1, 1));
    let verdicts = |code| {
        let checks = desk.run(&mesh, &["doctor", "--json"]).code_is(code).json()["checks"].clone();
        let of = |name: &str| {
            let checks = checks.as_array().expect("checks");
            checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {checks:?}")).clone()
        };
        ["entries", "directories", "broker", "keys", "clock", "config"].map(of)
    };
    for check in &verdicts(1)[..2] {
        assert_eq!(check["verdict"], "failed");
        assert!(check["remedy"].as_str().is_some_and(|remedy| remedy.contains("--tidy")), "{check}");
    }
    let _ = fs::remove_file(desk.root().join("pid"));
    let _ = desk.run(&mesh, &["launch"]).code_is(7);
    assert_eq!((desk.entries().len(), left(&mesh)), (0, 0));
    // The stand-in says no version, so the client itself is what does not work.
    for check in verdicts(1) {
        assert_eq!(check["verdict"], "ok", "{check}");
    }
}

#[test]
fn a_session_starts_without_a_broker_and_print_does_nothing() {
    let mut mesh = Mesh::start();
    let desk = Desk::with_stand_in(&mesh);
    let _ = mesh.deploy_fixture("fix", &["--scope", "mesh"], &[]).ok();
    let before = desk.state();
    let printed = desk.run(&mesh, &["launch", "--print", "--json", "--continue"]).ok();
    let plan = printed.json();
    assert_eq!(plan["services"], json!(["fix"]));
    assert_eq!(plan["args"][2], "--mcp-config");
    assert_eq!(plan["args"][4], "--continue");
    assert_eq!((desk.state(), left(&mesh)), (before, 0));
    let secret = mesh.membership()["secretKey"].as_str().expect("a key").to_owned();
    assert!(!printed.said().contains(&secret));
    let _ = mesh.stop();
    // A client that knows our server is not told of it again.
    let _ = desk.run(&mesh, &["install"]).ok();
    let outcome = desk.run(&mesh, &["launch", "--resume", "abc-1"]).code_is(7);
    assert!(!desk.noted("words").contains("--mcp-config"), "{outcome}");
    assert!(outcome.stderr.contains("reconnects by itself"), "{outcome}");
    assert!(desk.noted("variables").contains("CLAUDEMESH_SESSION_ID=abc-1\n"));
    assert!(desk.noted("words").contains("--resume\nabc-1\n"));
}

#[test]
fn h40_a_file_that_cannot_be_understood_is_left_alone_and_nothing_is_started() {
    let mesh = Mesh::start();
    let desk = Desk::with_stand_in(&mesh);
    let _ = mesh.deploy_fixture("fix", &["--scope", "mesh"], &[]).ok();
    fs::write(desk.state_path(), "{\"token\": \"5ecret\",").expect("the home can be written to");
    for words in [&["launch"][..], &["install"], &["uninstall"]] {
        let outcome = desk.run(&mesh, words).code_is(1);
        assert!(outcome.stderr.contains("left as it is") && !outcome.said().contains("5ecret"), "{outcome}");
    }
    assert_eq!(fs::read_to_string(desk.state_path()).expect("it is there"), "{\"token\": \"5ecret\",");
    assert!(!desk.root().join("words").exists());
    assert_eq!(left(&mesh), 0);
}

#[test]
fn installing_is_done_once_and_a_hook_never_stands_in_the_way() {
    let mut mesh = Mesh::start();
    let desk = Desk::with_stand_in(&mesh);
    assert_eq!(desk.run(&mesh, &["install", "--json"]).ok().json()["changed"].as_array().map(Vec::len), Some(2));
    assert_eq!(desk.run(&mesh, &["install", "--json"]).ok().json()["changed"], json!([]));
    let settings = desk.noted_json(".claude/settings.json");
    let hook = settings["hooks"]["Stop"][0]["hooks"][0]["command"].as_str().expect("a hook").to_owned();
    assert!(hook.ends_with("/claudemesh hook idle"), "{hook}");
    let _ = mesh.stop();
    let outcome = desk.run(&mesh, &["hook", "working"]).ok();
    assert_eq!(outcome.stdout, "");
    let _ = desk.run(&mesh, &["uninstall"]).ok();
    assert_eq!(desk.state()["mcpServers"], json!({"mine": {"command": "true"}}));
}

#[test]
fn r4_the_scope_of_a_service_that_does_not_exist_is_said_in_words() {
    let mesh = Mesh::start();
    let outcome = mesh.cli(&["scope", "nobodys"]).code_is(1);
    assert!(outcome.stderr.contains("MCP server \"nobodys\" not found in mesh"), "{outcome}");
}

#[test]
fn t21_the_real_client_shows_every_entry_connected() {
    let mesh = Mesh::start();
    let client = tests::harness::programs::client();
    let desk = Desk::with_stand_in(&mesh);
    for service in ["one", "two"] {
        let _ = mesh.deploy_fixture(service, &["--scope", "mesh"], &[]).ok();
    }
    let list = format!("{} mcp list", client.display());
    let mut command = desk.command(&mesh, &["launch"]);
    command.env("DESK_RUNS", list);
    let _ = tests::harness::Outcome::of(command, CLIENT).code_is(7);
    let said = desk.noted("said");
    for service in ["one", "two"] {
        let line = said.lines().find(|line| line.starts_with(&format!("mesh:{service}:")));
        assert!(line.is_some_and(|line| line.contains("Connected") && !line.contains("failed")), "{said}");
    }
}

#[test]
fn h40_twenty_launches_at_once_beside_a_writer_lose_nothing_of_the_users() {
    const LAUNCHES: usize = 20;
    let mesh = Mesh::start_alone();
    let desk = Desk::with_stand_in(&mesh);
    let _ = mesh.deploy_fixture("fix", &["--scope", "mesh"], &[]).ok();
    let mut running: Vec<_> = (0..LAUNCHES).map(|_| launched(&mesh, &desk, &["launch", "--quiet"], &[])).collect();
    let mut writes = 0_u64;
    mesh.wait("all of them to end", CLIENT, || {
        // As the client does it, but without a lock: read, change, and put in its place, between one end and the next.
        let mut state = desk.state();
        assert_eq!(state["mcpServers"]["mine"], json!({"command": "true"}));
        assert_eq!(state["theme"], "dark");
        writes += 1;
        state["writes"] = json!(writes);
        let new = desk.root().join("state.new");
        fs::write(&new, state.to_string()).expect("the home can be written to");
        fs::rename(&new, desk.state_path()).expect("the home can be written to");
        running.retain_mut(|child| match child.try_wait().expect("an own child can be waited for") {
            None => true,
            Some(status) => {
                assert_eq!(status.code(), Some(7), "a launch failed");
                false
            }
        });
        if running.is_empty() { Ok(()) } else { Err(format!("{} run", running.len())) }
    });
    // The writer may have put back what it had read; whoever comes next takes it away.
    let _ = desk.run(&mesh, &["launch", "--quiet"]).code_is(7);
    assert_eq!(desk.entries(), Vec::<String>::new());
    assert_eq!((&desk.state()["writes"], left(&mesh)), (&json!(writes), 0));
}
