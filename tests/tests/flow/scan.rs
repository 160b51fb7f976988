//! Where the secrets of a person are not: in the broker's memory, in what passes its sockets, in its database, in any log,
//! and on the runner's disk when they are gone. The processes that they are for have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tests::harness::mesh::Options;
use tests::harness::peer::converse;
use tests::harness::postgres::{Database, Server};
use tests::harness::relay::{self, Tape};
use tests::harness::{BOOT, INSTALL, Mesh, Peer, PrivateGit, SETTLE, Secrets};

use super::git::{Repository, node_server};
use super::sealed::in_clear;

/// What broker and runner know each other by.
const LINK_TOKEN: &str = "0123456789abcdef0123456789abcdef-scan";
const VARIABLE: &str = "planted-variable-7be1f0a4";
const ENTRY: &str = "planted-entry-c20d9913";
const ROTATED: &str = "planted-rotated-f4416e0b";
const FILE: &str = "planted-file-5a93e2d8";
const GIT_TOKEN: &str = "planted-git-token-0c77b1";

fn planted() -> Secrets {
    Secrets::of(&[
        ("the variable", VARIABLE),
        ("the entry", ENTRY),
        ("the entry's new value", ROTATED),
        ("the file", FILE),
        ("the git token", GIT_TOKEN),
    ])
}

/// A broker and a runner, with a relay before each that keeps what passes.
struct Watched {
    mesh: Mesh,
    broker: Child,
    runner: Child,
    clients: Tape,
    link: Tape,
}

impl Watched {
    fn start(variables: Vec<(String, String)>, database: Option<&Database>) -> Self {
        let mesh = Mesh::unstarted(Options { variables, ..Options::default() });
        let (clients, link) = (Tape::default(), Tape::default());
        let socket = |name: &str| mesh.root().join(name);
        let listen = |name: &str| format!("unix:{}", socket(name).display());
        relay::before_socket(&socket("relay.sock"), socket("runner.sock"), &link);
        let port = relay::before_port(mesh.port(), &clients);
        let mut runner = program(&mesh, "runner");
        runner.args(["runner", "--name", "runner-1", "--listen", &listen("runner.sock")]);
        let runner = runner.arg("--data-dir").arg(socket("runner")).spawn().expect("the runner starts");
        let mut broker = program(&mesh, "broker");
        broker.args(["broker", "--listen", &format!("127.0.0.1:{}", mesh.port())]);
        broker.args(["--runner-url", &listen("relay.sock")]);
        broker.args(database.iter().flat_map(|database| ["--database-url", database.url()]));
        let broker = broker.spawn().expect("the broker starts");
        let watched = Self { mesh, broker, runner, clients, link };
        watched.mesh.wait("the broker", BOOT, || match watched.mesh.get("/health/ready") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let url = format!("ws://127.0.0.1:{port}/ws");
        let _ = watched.mesh.cli(&["mesh", "create", "watched", "--broker", &url]).ok();
        watched
    }

    fn runner_data(&self) -> PathBuf {
        self.mesh.root().join("runner")
    }

    /// Where any of them is, of all that the broker has or says, and of all logs.
    fn found(&self, secrets: &Secrets) -> Vec<String> {
        let mut found = secrets.in_memory(self.broker.id());
        for (name, tape) in [("the clients' socket", &self.clients), ("the runner's socket", &self.link)] {
            let heard = tape.heard();
            assert!(!heard.is_empty(), "nothing passed {name}");
            found.extend(secrets.in_bytes(&heard).into_iter().map(|what| format!("{what} at {name}")));
        }
        found.extend(secrets.in_folder(&self.mesh.data()));
        for log in ["broker.log", "runner.log"] {
            let bytes = fs::read(self.mesh.root().join(log)).expect("a log");
            assert!(!bytes.is_empty(), "{log} is empty");
            found.extend(secrets.in_bytes(&bytes).into_iter().map(|what| format!("{what} in {log}")));
        }
        found
    }

    /// What a service's process has in a variable: the kernel's word, since a result would pass the broker.
    fn environment(&self, service: &str, name: &str) -> Result<String, String> {
        let environ = format!("/proc/{}/environ", self.mesh.pid(service));
        let environ = fs::read(environ).map_err(|error| error.to_string())?;
        let value = environ.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(format!("{name}=").as_bytes()));
        value.map(|value| String::from_utf8_lossy(value).into_owned()).ok_or_else(|| format!("no {name}"))
    }

    fn has(&self, service: &str, name: &str, value: &str) {
        self.mesh.wait(&format!("{service} to have its {name}"), SETTLE, || match self.environment(service, name)? {
            held if held == value => Ok(()),
            _ => Err("another value".to_owned()),
        });
    }
}

fn program(mesh: &Mesh, log: &str) -> Command {
    let log = fs::File::create(mesh.root().join(format!("{log}.log"))).expect("a log");
    let mut command = mesh.program();
    command.env("RUNNER_TOKEN", LINK_TOKEN).env("RUST_LOG", "debug").stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command
}

impl Drop for Watched {
    fn drop(&mut self) {
        for child in [&mut self.broker, &mut self.runner] {
            // Each fails only if it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Deploys with every kind of secret, and waits until the processes have them.
fn deploy(watched: &Watched, git: &PrivateGit, file: &Path) {
    let mesh = &watched.mesh;
    let file = file.to_str().expect("a plain path");
    let _ = mesh.cli(&["vault", "set", "token", ENTRY]).ok();
    let _ = mesh.cli(&["vault", "set", "pem", "--type", "file", file]).ok();
    let env = format!("API_KEY={VARIABLE}");
    let all = ["--env", &env, "--env", "TOKEN=$vault:token", "--env", "PEM=$vault:pem:file:/etc/boxed/key.pem"];
    let _ = mesh.deploy_fixture("boxed", &all, &[]).ok();
    let token = git.token_file(GIT_TOKEN);
    let token = token.to_str().expect("a plain path");
    let url = git.url("project/.git");
    let _ = mesh.cli_within(INSTALL, &["deploy", "private", "--git", &url, "--git-token-file", token]).ok();
    assert!(git.log().contains("git-upload-pack"), "{}", git.log());
    watched.has("boxed", "API_KEY", VARIABLE);
    watched.has("boxed", "TOKEN", ENTRY);
    let path = watched.environment("boxed", "PEM").expect("its path");
    let inside = format!("/proc/{}/root{path}", mesh.pid("boxed"));
    assert_eq!(fs::read_to_string(&inside).expect("the file is there"), FILE);
}

/// The whole life of secrets of every kind; afterwards they were nowhere.
fn life(database: Option<&Database>, looked_at: &dyn Fn(&Secrets) -> Vec<String>) {
    let repository = Repository::with(&[
        ("package.json", r#"{"name": "word", "bin": "word.js"}"#),
        ("word.js", &node_server("'it'")),
    ]);
    let git = PrivateGit::start(repository.path().parent().expect("a folder"), GIT_TOKEN);
    let watched = Watched::start(vec![git.trusted()], database);
    let mesh = &watched.mesh;
    let secrets = planted();
    let outside = tempfile::tempdir().expect("a folder");
    let file = outside.path().join("key.pem");
    fs::write(&file, FILE).expect("a file");
    let nowhere = |when: &str| {
        let found = [watched.found(&secrets), looked_at(&secrets)].concat();
        assert_eq!(found, Vec::<String>::new(), "{when}");
    };

    deploy(&watched, &git, &file);
    nowhere("after the deploys");
    let _ = mesh.cli_within(INSTALL, &["vault", "rotate", "token", ROTATED, "--restart"]).ok();
    watched.has("boxed", "TOKEN", ROTATED);
    let _ = mesh.cli(&["vault", "doctor"]).ok();
    let before = mesh.kill_service("boxed");
    mesh.wait("another process", SETTLE, || match mesh.pid("boxed") {
        pid if pid == before => Err("the same".to_owned()),
        _ => Ok(()),
    });
    watched.has("boxed", "API_KEY", VARIABLE);
    nowhere("while it runs");
    for service in ["boxed", "private"] {
        let logs = mesh.cli(&["logs", service]).ok();
        assert_eq!(secrets.in_bytes(logs.said().as_bytes()), Vec::<String>::new());
        let _ = mesh.cli_within(SETTLE, &["undeploy", service]).ok();
    }
    nowhere("after it is gone");
    assert_eq!(secrets.in_folder(&watched.runner_data()), Vec::<String>::new(), "on the runner's disk");
}

#[test]
fn h24_no_secret_is_at_the_broker_nor_in_a_log_nor_left_at_the_runner() {
    life(None, &|_| Vec::new());
}

#[test]
fn h24_no_secret_is_at_the_broker_nor_in_its_postgresql() {
    let server = Server::start();
    let database = Database::create_on(server.url());
    life(Some(&database), &|secrets| {
        let _ = database.rows("CHECKPOINT");
        let mut found = secrets.in_folder(server.home());
        // What a page holds compressed, the server shows.
        let tables = database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
        assert!(tables.len() > 10, "the tables were looked at");
        for table in tables.iter().flatten().flatten() {
            let rows = database.rows(&format!("SELECT x::text FROM \"{table}\" AS x"));
            let text: String = rows.into_iter().flatten().flatten().collect();
            found.extend(secrets.in_bytes(text.as_bytes()).into_iter().map(|what| format!("{what} in {table}")));
        }
        found
    });
}

/// What a scan is worth: a secret that an old client says in clear is found wherever it was.
#[test]
fn h24_what_an_old_client_says_in_clear_is_found_by_the_scan() {
    const OPEN: &str = "planted-open-91d0be44";
    let watched = Watched::start(Vec::new(), None);
    let secrets = Secrets::of(&[("what is open", OPEN)]);
    assert_eq!(secrets.in_memory(watched.broker.id()), Vec::<String>::new());
    let membership = watched.mesh.membership();
    let ended = converse(async { Peer::connect(&membership).await?.settle(in_clear(OPEN)).await }).expect("an answer");
    assert_eq!(ended["status"], "running", "{ended}");
    watched.has("plain", "API_KEY", OPEN);
    assert!(!secrets.in_memory(watched.broker.id()).is_empty(), "in the broker's memory");
    let found = watched.found(&secrets).join("\n");
    for place in ["the clients' socket", "the runner's socket"] {
        assert!(found.contains(place), "{place}: {found}");
    }
}
