//! The Claude Code client itself, in a session that was launched on a machine where nothing was installed: what it may do
//! in the mesh by its tools, and what comes of it.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::harness::model::{all_results, offered, pause, results};
use tests::harness::{Desk, Mesh, Model, Options, Page, SETTLE, Secrets, Site, Turn};

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

    /// The launcher's process, by which its entries are called.
    fn launcher(&self) -> u32 {
        self.0.as_ref().expect("it runs").id()
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

#[test]
fn t22_t23_the_real_client_calls_a_service_as_its_own_and_the_broker_may_come_and_go() {
    let mut mesh = Mesh::start();
    let desk = Desk::with_client(&mesh);
    let _ = mesh.deploy_fixture("fix", &["--scope", "mesh"], &[]).ok();
    let (pause, resume) = pause();
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        let call = |text: &str| Turn::Call { ending: "__echo".to_owned(), input: json!({ "text": text }) };
        match turn {
            1 => call("first-words"),
            2 => {
                // The story goes on when the broker is another.
                pause.wait(results(request).join(" "));
                call("second-words")
            }
            _ => Turn::Say(format!("the service said: {}", results(request).join(" "))),
        }
    });
    let session = Launched::start(launch(&mesh, &desk, &[]), &model);
    let first = resume.reached(&model, CLIENT);
    assert!(first.contains("first-words"), "{first}");
    let tools = offered(&model.requests()[0]);
    assert!(tools.contains(&format!("mcp__mesh_fix_{}__echo", session.launcher())), "{tools:?}");
    mesh.kill_broker();
    mesh.start_up();
    mesh.wait_for_status("fix", "running", SETTLE);
    resume.go_on();
    let output = session.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("second-words"), "{output:?}");
    assert_eq!(desk.entries(), Vec::<String>::new());
}

#[test]
fn h42_h43_the_real_client_calls_what_was_deployed_in_mid_session_for_its_group() {
    let mesh = Mesh::start();
    let desk = Desk::with_client(&mesh);
    let (pause, resume) = pause();
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        let results = all_results(request).join(" ");
        if turn == 2 {
            // The story goes on when the service is there.
            pause.wait(results.clone());
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
    let first = resume.reached(&model, CLIENT);
    assert!(first.contains("(you)") && first.contains("@eng"), "{first}");
    let peers = mesh.cli(&["peers", "--json"]).ok().json();
    assert_eq!(peers["peers"][0]["groups"], json!([{ "name": "eng", "role": "lead" }]), "{peers}");
    let _ = mesh.deploy_fixture("late", &["--scope", "group:eng"], &[]).ok();
    resume.go_on();
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
    let model = Model::start(move |_| {
        turn += 1;
        match turn {
            1 => call("set_summary", json!({ "summary": "reads the parser" })),
            2 => call("mesh_info", json!({})),
            3 => call("list_peers", json!({})),
            _ => Turn::Say("that is all".to_owned()),
        }
    });
    let output = Launched::start(launch(&mesh, &desk, &[]), &model).end();
    let requests = model.requests();
    let all = requests.last().map(all_results).unwrap_or_default();
    let [summary, info, peers] = all.as_slice() else { panic!("three results were expected: {all:?}; {output:?}") };
    assert!(!summary.contains("rror"), "{summary}");
    let slug = mesh.membership()["slug"].as_str().expect("a slug").to_owned();
    assert!(info.contains(&format!("Mesh {slug}: ")), "{info}");
    assert!(peers.contains("(you)") && peers.contains("reads the parser"), "{peers}");
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
            _ => Turn::Say(all_results(request).join(" ")),
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
    let in_data = |name: &str, text: &str| Secrets::of(&[(name, text)]).in_folder(&mesh.data());
    assert_eq!(in_data("the secret", SECRET), Vec::<String>::new(), "the broker has it");
    assert!(!mesh.logs().contains(SECRET));
    assert!(!in_data("its remark", "for the robot").is_empty(), "this looks where the entry is");
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
    let (pause, resume) = pause();
    let mut turn = 0;
    let model = Model::start(move |request| {
        turn += 1;
        let results = all_results(request).join(" ");
        let Some(id) = results.split("Watch ID: ").nth(1).and_then(|rest| rest.get(..WATCH_ID)) else {
            let what = json!({ "url": url, "extract": "value", "interval": 0.2, "label": "coin flip" });
            return call("mesh_watch", what);
        };
        if turn == 2 {
            pause.wait(results.clone());
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
    let begun = resume.reached(&model, CLIENT);
    assert!(begun.contains("Watch ID: w_"), "{begun}");
    site.wait_asked("/flip", 1);
    site.put("/flip", Page::value("tails"));
    site.wait_asked("/flip", 2);
    resume.go_on();
    let output = session.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("[WATCH] coin flip: heads → tails") && said.contains("is watched no more"), "{output:?}");
    assert_eq!(mesh.cli(&["watch", "list", "--json"]).ok().json()["watches"], json!([]));
}
