//! An MCP server on this machine: started, asked, and gone with us, whatever it started itself.
//!
//! Contract: its process and all that it starts end with [`Local`], also when this program is killed. What it writes to
//! its standard error is shown as it comes.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::link::Tool;
use runner::instance::rpc::{self, Incoming, Line, LineReader};
use runner::instance::{Client, read_tools, told};
use runner::process::{Command, Exit, Launcher, Level, Limits, Process};
use runner::service::gate::Answer;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::CliError;
use crate::text;

/// The newest revision that begins with `initialize`.
const PROTOCOL_VERSION: &str = "2025-11-25";
/// How long its start may take, the list of its tools included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a call may take here, whatever its caller waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const READ_BYTES: usize = 16 * 1_024;

/// See the module.
pub(crate) struct Local {
    client: Arc<Client>,
    tools: Vec<Tool>,
    exit: Exit,
    talk: JoinHandle<()>,
}

impl Local {
    /// Starts a program and reads its tools.
    pub(crate) async fn start(argv: &[String]) -> Result<Self, CliError> {
        let command = command(argv)?;
        let failed = |words: String| CliError::failed(words);
        // Its own user's program on its own user's machine: held, not hidden from anything.
        let launcher = Launcher::probe("/proc/self/exe".into(), Vec::new(), Some(Level::Guard)).await;
        let launcher = launcher.map_err(|error| failed(format!("programs cannot be started here: {error}")))?;
        let started = launcher.spawn(&command).await;
        let Process { stdin, stdout, stderr, handle: _, exit } =
            started.map_err(|error| failed(format!("the server cannot be started: {error}")))?;
        let client = Arc::new(Client::default());
        let talk = tokio::spawn(talk(Arc::clone(&client), stdin, stdout, stderr));
        let mut local = Self { client, tools: Vec::new(), exit, talk };
        let ready = tokio::select! {
            ready = timeout(START_TIMEOUT, shake_hands(&local.client)) => {
                ready.unwrap_or_else(|_| Err(format!("it was not ready within {} s", START_TIMEOUT.as_secs())))
            }
            status = &mut local.exit => Err(format!("it ended before it was ready: {status}")),
        };
        local.tools = ready.map_err(|words| failed(format!("the server does not work: {}", text::line(&words))))?;
        Ok(local)
    }

    /// What it offers.
    pub(crate) fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// Who asks it.
    pub(crate) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    /// How it ended, when it does.
    pub(crate) async fn ended(&mut self) -> String {
        (&mut self.exit).await.to_string()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.talk.abort();
    }
}

/// The user's own program with the user's own surroundings.
fn command(argv: &[String]) -> Result<Command, CliError> {
    let (program, rest) = argv.split_first().ok_or_else(|| CliError::usage("name a program behind `--`"))?;
    let path =
        found(program).ok_or_else(|| CliError::failed(format!("there is no program {}", text::line(program))))?;
    let cwd = std::env::current_dir().map_err(|error| CliError::failed(format!("no working directory: {error}")))?;
    let argv = std::iter::once(path.into_os_string()).chain(rest.iter().map(OsString::from)).collect();
    Ok(Command {
        argv,
        env: std::env::vars_os().collect(),
        cwd,
        visible: Vec::new(),
        limits: Limits::default(),
        hidden_files: None,
    })
}

/// A path as it is, made absolute; a plain name as the search path has it.
fn found(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::fs::canonicalize(program).ok();
    }
    let runs = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let search = std::env::var_os("PATH")?;
    std::env::split_paths(&search)
        .filter(|folder| Path::is_absolute(folder))
        .map(|folder| folder.join(program))
        .find(runs)
}

async fn shake_hands(client: &Client) -> Result<Vec<Tool>, String> {
    let params = json!({
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {},
        "clientInfo": { "name": "claudemesh", "version": env!("CARGO_PKG_VERSION") },
    });
    match client.request("initialize", params.to_string().as_bytes()).await {
        Answer::Result(_) => {}
        other => return Err(format!("the handshake was answered with {}", told(&other))),
    }
    client.say(rpc::notification("notifications/initialized", b""));
    read_tools(client).await.map_err(|problem| problem.words)
}

/// One call, and its answer as a host gives it.
pub(crate) async fn call(client: &Client, tool: &str, arguments: &RawValue) -> Result<Box<RawValue>, String> {
    // As they were written: a number keeps its form.
    let params = format!(r#"{{"name":{},"arguments":{}}}"#, json!(tool), arguments.get());
    let answer = timeout(CALL_TIMEOUT, client.request("tools/call", params.as_bytes())).await;
    match answer {
        Ok(Answer::Result(result)) => serde_json::from_slice(&result).map_err(|error| error.to_string()),
        Ok(Answer::Error(error)) => Err(words(&error)),
        Ok(other) => Err(told(&other)),
        Err(_) => Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
    }
}

/// An error of the server in the words that users know.
fn words(error: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        code: i64,
        message: String,
    }
    match serde_json::from_slice(error) {
        Ok(Said { code, message }) if message.starts_with(&format!("MCP error {code}: ")) => message,
        Ok(Said { code, message }) => format!("MCP error {code}: {message}"),
        Err(_) => "the server's error cannot be read".to_owned(),
    }
}

/// Carries everything between us and the server until it ends.
async fn talk(client: Arc<Client>, mut stdin: pipe::Sender, mut stdout: pipe::Receiver, stderr: pipe::Receiver) {
    let mut reader = LineReader::default();
    let read = async {
        while let Ok(Some(line)) = reader.next(&mut stdout).await {
            match line {
                Line::Whole(line) => {
                    rpc::understand(&line).unwrap_or_default().into_iter().for_each(|message| said(&client, message));
                }
                Line::Cut { head, tail, .. } => {
                    let failure = || Answer::failed(protocol::link::FailCode::TooLarge, "the answer is too large");
                    if let Some(id) = rpc::id_of_cut_line(&head, &tail) {
                        client.answered(id, failure());
                    }
                }
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(read, show(stderr)); } => {}
        _ = client.write(&mut stdin, |_| {}) => {}
    }
}

fn said(client: &Client, message: Incoming) {
    match message {
        Incoming::Result { id, result } => {
            client.answered(id, Answer::Result(result));
        }
        Incoming::Error { id, error } => {
            client.answered(id, Answer::Error(error));
        }
        Incoming::Request { id, method } => client.say(rpc::answer(&id, &method)),
        Incoming::Notification { .. } | Incoming::Foreign => {}
    }
}

/// Passes its words on, without what would move the cursor.
async fn show(mut stderr: pipe::Receiver) {
    let mut bytes = [0; READ_BYTES];
    while let Ok(count @ 1..) = stderr.read(&mut bytes).await {
        let words = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default());
        eprint!("{}", text::block(&words));
    }
}
