//! An HTTP side with one answer per path, which keeps what it was asked.

use std::io::{BufRead, BufReader, Write};
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
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let authorization = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .find(|(name, _)| name == "authorization")
        .map(|(_, value)| value);
    Asked { target, authorization }
}

fn write(mut stream: TcpStream, status: u16, body: &str) {
    let length = body.len();
    // A client that has gone away has its own failure to report.
    let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
}
