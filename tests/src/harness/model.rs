//! A stand-in for the API that a model's client talks to: what the model says is scripted, and streamed as the API
//! does.
//!
//! A request without tools is the client's own business (a title, a check of the connection) and is answered with a
//! word. Any other is a turn: the script is shown the request and says what the model says to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the model says.
#[derive(Debug, Clone)]
pub enum Turn {
    /// Text, and the turn is over.
    Say(String),
    /// A call of the tool whose name ends like this.
    Call {
        /// The end of its name.
        ending: String,
        /// Its arguments.
        input: Value,
    },
}

type Script = Box<dyn FnMut(&Value) -> Turn + Send>;

/// The stand-in. It serves until the test ends.
#[derive(Debug)]
pub struct Model {
    port: u16,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl Model {
    /// Starts one.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn start(script: impl FnMut(&Value) -> Turn + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                // A client that hangs up is no failure of the test: the story sees what it said and did.
                thread::spawn(move || drop(serve(stream, &script, &seen)));
            }
        });
        Self { port, requests }
    }

    /// `ANTHROPIC_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The turns that were asked for so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The names of the tools that the client offers.
#[must_use]
pub fn offered(request: &Value) -> Vec<String> {
    let tools = request["tools"].as_array().into_iter().flatten();
    tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

/// The results of the calls that the last words of the client hold, as text.
#[must_use]
pub fn results(request: &Value) -> Vec<String> {
    results_in(request["messages"].as_array().and_then(|messages| messages.last()))
}

/// The results of all calls of the conversation so far. Between them stand the words that came unasked.
#[must_use]
pub fn all_results(request: &Value) -> Vec<String> {
    results_in(request["messages"].as_array().into_iter().flatten())
}

fn results_in<'a>(messages: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let blocks = messages.into_iter().filter_map(|message| message["content"].as_array()).flatten();
    blocks.filter(|block| block["type"] == "tool_result").map(|block| block["content"].to_string()).collect()
}

/// A place in a script where the model waits for its story: the script's end, and the story's.
#[must_use]
pub fn pause() -> (Pause, Resume) {
    let ((tell, told), (go, goes)) = (mpsc::channel(), mpsc::channel());
    (Pause { tell, goes }, Resume { told, go })
}

/// See [`pause`].
#[derive(Debug)]
pub struct Pause {
    tell: mpsc::Sender<String>,
    goes: mpsc::Receiver<()>,
}

impl Pause {
    /// Says what there is so far, and waits. A story that has ended is waited for no more.
    pub fn wait(&self, so_far: String) {
        let _ = self.tell.send(so_far);
        let _ = self.goes.recv();
    }
}

/// See [`pause`].
#[derive(Debug)]
pub struct Resume {
    told: mpsc::Receiver<String>,
    go: mpsc::Sender<()>,
}

impl Resume {
    /// Waits until the model has come to its pause; what it said there.
    ///
    /// # Panics
    /// If it does not within that time.
    #[must_use]
    pub fn reached(&self, model: &Model, within: Duration) -> String {
        self.told.recv_timeout(within).unwrap_or_else(|_| panic!("the model never came so far: {:?}", model.requests()))
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it is gone.
    pub fn go_on(&self) {
        self.go.send(()).expect("the model waits");
    }
}

fn serve(stream: TcpStream, script: &Mutex<Script>, seen: &Mutex<Vec<Value>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if path.is_empty() {
            path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        } else if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if !path.starts_with("/v1/messages") || path.contains("count_tokens") {
        return answer(stream, "application/json", &json!({"input_tokens": 1, "data": []}).to_string());
    }
    let turn = if offered(&request).is_empty() {
        Turn::Say("fine".to_owned())
    } else {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        script.lock().unwrap_or_else(PoisonError::into_inner)(&request)
    };
    let is_stream = request["stream"] == true;
    let number = seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    let message = message(&turn, &request, number);
    if is_stream {
        answer(stream, "text/event-stream", &streamed(&message))
    } else {
        answer(stream, "application/json", &message.to_string())
    }
}

fn answer(mut stream: TcpStream, kind: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}

/// What is said; `number` tells its calls from all others: a client takes two of one id for one.
fn message(turn: &Turn, request: &Value, number: usize) -> Value {
    let (block, reason) = match turn {
        Turn::Say(text) => (json!({"type": "text", "text": text}), "end_turn"),
        Turn::Call { ending, input } => {
            let name = offered(request).into_iter().find(|name| name.ends_with(ending));
            match name {
                Some(name) => (
                    json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": name, "input": input}),
                    "tool_use",
                ),
                None => (json!({"type": "text", "text": format!("no tool is called …{ending}")}), "end_turn"),
            }
        }
    };
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": [block],
        "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

/// A message as the events that it comes in.
fn streamed(message: &Value) -> String {
    let block = &message["content"][0];
    let (empty, delta) = if block["type"] == "tool_use" {
        let mut empty = block.clone();
        empty["input"] = json!({});
        (empty, json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}))
    } else {
        (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": block["text"]}))
    };
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    let end = json!({"stop_reason": message["stop_reason"], "stop_sequence": null});
    let events = [
        ("message_start", json!({"message": start})),
        ("content_block_start", json!({"index": 0, "content_block": empty})),
        ("content_block_delta", json!({"index": 0, "delta": delta})),
        ("content_block_stop", json!({"index": 0})),
        ("message_delta", json!({"delta": end, "usage": {"output_tokens": 1}})),
        ("message_stop", json!({})),
    ];
    let event = |(kind, mut data): (&str, Value)| {
        data["type"] = json!(kind);
        format!("event: {kind}\ndata: {data}\n\n")
    };
    events.into_iter().map(event).collect()
}
