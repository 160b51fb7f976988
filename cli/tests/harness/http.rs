//! An HTTP side with one answer per path, which keeps what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a test waits for a request that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FakeHttp {
    /// As a `brokerUrl`.
    pub(crate) url: String,
    asked: mpsc::Receiver<Asked>,
}

#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

impl FakeHttp {
    /// Answers every request with what `answer` makes of its target: status and body. The thread ends with the test.
    pub(crate) fn start(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let request = read(&stream);
                let (status, body) = answer(&request.target);
                write(stream, status, &body);
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { url, asked }
    }

    pub(crate) fn next(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("no request came")
    }
}

fn read(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let target = line().split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<String, String> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()))
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Asked { target, authorization: headers.get("authorization").cloned(), body: String::from_utf8(body).unwrap() }
}

fn write(mut stream: TcpStream, status: u16, body: &str) {
    let length = body.len();
    // A client that has gone away has its own failure to report.
    let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
}
