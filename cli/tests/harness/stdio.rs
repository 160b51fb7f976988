//! A model's client, as an MCP server on standard input and output sees one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio as Pipe};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a test waits for a line that must come.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Stdio {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// What came meanwhile and was not looked at yet.
    said: Vec<Value>,
    last_id: u64,
}

impl Stdio {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Pipe::piped()).stdout(Pipe::piped()).stderr(Pipe::inherit()).spawn().expect("it was built");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // A test that is over does not listen.
                let _ = tell.send(line);
            }
        });
        let stdin = child.stdin.take().unwrap();
        let mut client = Self { child, stdin, lines, said: Vec::new(), last_id: 0 };
        let hello =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let id = client.begin("initialize", hello);
        client.answer(id);
        client.tell("notifications/initialized", json!({}));
        client
    }

    fn write(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").and_then(|()| self.stdin.flush()).expect("the server reads");
    }

    /// Says something that has no answer.
    pub(crate) fn tell(&mut self, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Asks, and returns the id.
    pub(crate) fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        self.write(&json!({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params}));
        self.last_id
    }

    /// Calls a tool, with a token for its progress.
    pub(crate) fn begin_call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.begin("tools/call", json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}))
    }

    /// The first message, of those that came and those that come, for which it holds.
    #[track_caller]
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.said.iter().position(&wanted) {
            return self.said.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("it did not come; said: {:?}", self.said));
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if wanted(&message) {
                return message;
            }
            self.said.push(message);
        }
    }

    /// The answer to a request.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        self.until(|message| message["id"] == id)
    }

    /// The next notification of this method.
    #[track_caller]
    pub(crate) fn notification(&mut self, method: &str) -> Value {
        self.until(|message| message["method"] == method)["params"].take()
    }

    /// Forgets what came so far and was not looked at.
    pub(crate) fn forget(&mut self) {
        self.said.clear();
    }

    /// What a call was answered: its text, or what went wrong.
    #[track_caller]
    pub(crate) fn text_of(&mut self, id: u64) -> Result<String, String> {
        let answer = self.answer(id);
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {answer}"));
        if answer["result"]["isError"] == true { Err(text.to_owned()) } else { Ok(text.to_owned()) }
    }

    /// Calls a tool and waits for its text.
    #[track_caller]
    pub(crate) fn text(&mut self, tool: &str, arguments: Value) -> Result<String, String> {
        let id = self.begin_call(tool, arguments);
        self.text_of(id)
    }

    /// The names of the tools.
    #[track_caller]
    pub(crate) fn tools(&mut self) -> Vec<String> {
        let id = self.begin("tools/list", json!({}));
        let list = self.answer(id);
        let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
