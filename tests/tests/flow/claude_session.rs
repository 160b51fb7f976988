//! The Claude Code client itself, in a session that was launched on a machine where nothing was installed: what it may do
//! in the mesh by its tools, and what comes of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::harness::model::offered;
use tests::harness::{Desk, Mesh, Model, Options, Page, Site, Turn};

/// For the real client's start with all its servers.
const CLIENT: Duration = Duration::from_secs(120);
/// Turns after which a model stops asking for what does not come. Each waits for the client, and most for the broker.
const MOST_TURNS: usize = 400;
/// `w_` and eight digits.
const WATCH_ID: usize = 10;

/// A session that runs; it is ended if its story does not see its end.
struct Launched(Option<Child>);

impl Launched {
    fn start(mut command: Command, model: &Model) -> Self {
        command.env("ANTHROPIC_BASE_URL", model.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().expect("the built program starts")))
    }

    fn end(mut self) -> Output {
        let child = self.0.take().expect("it is ended once");
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // As a person ends it: the launcher clears away.
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).expect("a process's number")), Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}

fn launch(mesh: &Mesh, desk: &Desk, words: &[&str]) -> Command {
    let client = ["--", "-p", "go", "--dangerously-skip-permissions"];
    desk.command(mesh, &[&["launch", "--quiet"], words, &client].concat())
}

fn call(tool: &str, input: Value) -> Turn {
    Turn::Call { ending: format!("mcp__claudemesh__{tool}"), input }
}

/// What all calls of the conversation so far came to. Between them stand the words that came unasked.
fn results(request: &Value) -> String {
    let messages = request["messages"].as_array().into_iter().flatten();
    let blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    let results = blocks.filter(|block| block["type"] == "tool_result").map(|block| block["content"].to_string());
    results.collect::<Vec<_>>().join(" ")
}

#[test]
fn h42_h43_the_real_client_calls_what_was_deployed_in_mid_session_for_its_group() {
    let mesh = Mesh::start();
    let desk = Desk::with_client(&mesh);
    let (tell, told) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        let results = results(request);
        if turn == 2 {
            // The story goes on when the service is there.
            let _ = tell.send(results.clone());
            let _ = goes.recv();
        }
        if results.contains("late-words") || turn > MOST_TURNS {
            return Turn::Say(results);
        }
        if offered(request).iter().any(|tool| tool == "mcp__claudemesh__svc__late__echo") {
            call("svc__late__echo", json!({ "text": "late-words" }))
        } else {
            call("list_peers", json!({}))
        }
    });
    let session = Launched::start(launch(&mesh, &desk, &["--groups", "eng", "--role", "lead"]), &model);
    let first = told.recv_timeout(CLIENT).unwrap_or_else(|_| panic!("no first call: {:?}", model.requests()));
    assert!(first.contains("(you)") && first.contains("@eng"), "{first}");
    let peers = mesh.cli(&["peers", "--json"]).ok().json();
    assert_eq!(peers["peers"][0]["groups"], json!([{ "name": "eng", "role": "lead" }]), "{peers}");
    let _ = mesh.deploy_fixture("late", &["--scope", "group:eng"], &[]).ok();
    go.send(()).expect("the model waits");
    let output = session.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("late-words"), "{output:?}");
    // Nothing was installed, and nothing is.
    assert_eq!(desk.state()["mcpServers"], json!({ "mine": { "command": "true" } }));
}

#[test]
fn r1_r2_r3_the_real_client_sees_its_peers_and_its_mesh_and_says_what_it_does() {
    let mesh = Mesh::start();
    let desk = Desk::with_client(&mesh);
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        match turn {
            1 => call("set_summary", json!({ "summary": "reads the parser" })),
            2 => call("mesh_info", json!({})),
            3 => call("list_peers", json!({})),
            _ => Turn::Say(results(request)),
        }
    });
    let output = Launched::start(launch(&mesh, &desk, &[]), &model).end();
    let said = String::from_utf8_lossy(&output.stdout);
    let info = mesh.cli(&["mesh", "info", "--json"]).ok().json();
    let slug = info["slug"].as_str().or_else(|| info["mesh"].as_str()).unwrap_or_else(|| panic!("{info}"));
    // What is listed last has the summary that was said first, at this session's own name.
    let listed = said.lines().rev().find(|line| line.contains("(you)")).unwrap_or_else(|| panic!("{output:?}"));
    assert!(listed.contains("reads the parser") && said.contains(slug), "{output:?}");
}

/// Every file below a directory in which the words stand.
fn holding(directory: &Path, words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(holding(&path, words));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(words.len()).any(|window| window == words.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn the_real_client_keeps_a_secret_that_neither_its_model_nor_the_broker_sees() {
    const SECRET: &str = "planted-7e21-of-the-session";
    let mesh = Mesh::start();
    let desk = Desk::with_client(&mesh);
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        match turn {
            1 => call("vault_set", json!({ "key": "token", "variable": "THE_TOKEN", "description": "for the robot" })),
            2 => call("vault_list", json!({})),
            _ => Turn::Say(results(request)),
        }
    });
    let mut command = launch(&mesh, &desk, &[]);
    command.env("THE_TOKEN", SECRET);
    let output = Launched::start(command, &model).end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("token · env ·") && said.contains("signed"), "{output:?}");
    let requests = model.requests();
    assert!(!requests.is_empty() && !json!(requests).to_string().contains(SECRET), "the model was shown it");
    assert_eq!(mesh.cli(&["vault", "get", "token"]).ok().stdout, SECRET);
    assert_eq!(holding(&mesh.data(), SECRET), Vec::<String>::new(), "the broker has it");
    assert!(!mesh.logs().contains(SECRET));
    assert!(!holding(&mesh.data(), "for the robot").is_empty(), "this looks where the entry is");
}

#[test]
fn the_real_client_watches_a_page_and_reads_what_changed() {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let variables =
        vec![variable("CLAUDEMESH_WATCH_ALLOW", "127.0.0.1"), variable("CLAUDEMESH_WATCH_MIN_INTERVAL_MS", "100")];
    let mesh = Mesh::with(Options { variables, ..Options::default() });
    let desk = Desk::with_client(&mesh);
    let site = Site::start();
    site.put("/flip", Page::value("heads"));
    let url = site.url("/flip");
    let (tell, told) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        let results = results(request);
        let Some(id) = results.split("Watch ID: ").nth(1).and_then(|rest| rest.get(..WATCH_ID)) else {
            let what = json!({ "url": url, "extract": "value", "interval": 0.2, "label": "coin flip" });
            return call("mesh_watch", what);
        };
        if turn == 2 {
            let _ = tell.send(results.clone());
            let _ = goes.recv();
        }
        if results.contains("is watched no more") || turn > MOST_TURNS {
            Turn::Say(results)
        } else if results.contains("[WATCH]") {
            call("mesh_unwatch", json!({ "watch_id": id }))
        } else {
            call("check_messages", json!({}))
        }
    });
    let session = Launched::start(launch(&mesh, &desk, &["--message-mode", "inbox"]), &model);
    let begun = told.recv_timeout(CLIENT).unwrap_or_else(|_| panic!("no watch: {:?}", model.requests()));
    assert!(begun.contains("Watch ID: w_"), "{begun}");
    site.wait_asked("/flip", 1);
    site.put("/flip", Page::value("tails"));
    site.wait_asked("/flip", 2);
    go.send(()).expect("the model waits");
    let output = session.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("[WATCH] coin flip: heads → tails") && said.contains("is watched no more"), "{output:?}");
    assert_eq!(mesh.cli(&["watch", "list", "--json"]).ok().json()["watches"], json!([]));
}
