//! A model's client, as an MCP server on standard input and output sees one: its requests, and what comes unasked.
//!
//! Written from MCP's description, apart from the product's code. Lines are kept as they came, so that bytes can be
//! compared.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{self, Child, ChildStdin, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The client, with its server.
#[derive(Debug)]
pub struct Stdio {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What came unasked and was not looked at yet.
    said: Vec<Value>,
    last_id: u64,
}

impl Stdio {
    /// Starts a server, and shakes hands in the older era.
    #[must_use]
    pub fn start(command: Command) -> Self {
        let mut client = Self::unasked(command);
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let welcome = client.ask("initialize", hello);
        assert_eq!(welcome["result"]["capabilities"]["tools"]["listChanged"], true, "{welcome}");
        client.tell("notifications/initialized", json!({}));
        client
    }

    /// Starts a server, and says nothing.
    #[must_use]
    pub fn unasked(mut command: Command) -> Self {
        command.stdin(process::Stdio::piped()).stdout(process::Stdio::piped());
        let mut child = command.spawn().expect("the built program starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped above"));
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // A test that is over does not listen.
                let _ = tell.send(line);
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, said: Vec::new(), last_id: 0 }
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn write(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        writeln!(stdin, "{message}").and_then(|()| stdin.flush()).expect("the server reads");
    }

    /// Says something that has no answer.
    pub fn tell(&mut self, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Asks, and returns the id.
    pub fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// The answer to a request, as it came; what comes unasked meanwhile is kept.
    pub fn line_of(&mut self, id: u64) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.next_line(deadline).unwrap_or_else(|| panic!("no answer to {id}; said: {:?}", self.said));
            let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if message["id"] == id {
                return line;
            }
            self.said.push(message);
        }
    }

    fn next_line(&self, deadline: Instant) -> Option<String> {
        self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        serde_json::from_str(&self.line_of(id)).expect("it was JSON")
    }

    /// Calls a tool.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments }))
    }

    /// Calls a tool, and returns its result as the bytes that came.
    pub fn call_raw(&mut self, tool: &str, arguments: Value) -> String {
        #[derive(serde::Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            result: &'a RawValue,
        }
        let id = self.begin("tools/call", json!({ "name": tool, "arguments": arguments }));
        let line = self.line_of(id);
        let answer: Answer<'_> = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        answer.result.get().to_owned()
    }

    /// Calls a tool whose answer is text.
    ///
    /// # Errors
    /// The text of a result that failed.
    pub fn text(&mut self, tool: &str, arguments: Value) -> Result<String, String> {
        let answer = self.call(tool, arguments);
        let text = answer["result"]["content"][0]["text"].as_str();
        let text = text.unwrap_or_else(|| panic!("no text: {answer}")).to_owned();
        if answer["result"]["isError"] == true { Err(text) } else { Ok(text) }
    }

    /// The names of the tools.
    pub fn tools(&mut self) -> Vec<String> {
        let list = self.ask("tools/list", json!({}));
        let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The next notification of this method for which `wanted` holds.
    pub fn notification(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_it = |message: &Value| message["method"] == method && wanted(&message["params"]);
            if let Some(at) = self.said.iter().position(is_it) {
                return self.said.remove(at)["params"].clone();
            }
            let line = self.next_line(deadline).unwrap_or_else(|| panic!("no {method}; said: {:?}", self.said));
            self.said.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
    }

    /// How often a notification came that was not looked at.
    #[must_use]
    pub fn unseen(&self, method: &str) -> usize {
        self.said.iter().filter(|message| message["method"] == method).count()
    }

    /// Closes the input, and waits for the server's end.
    pub fn end(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
