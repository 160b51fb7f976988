//! HTTP by hand, so that any header can be sent.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Broker, OPERATOR_TOKEN, SOON};

/// Status, body, and the body as it came.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) body: Value,
}

/// `GET` with these header lines; `Host` and the operator's token are added unless they name their own.
pub(crate) async fn get(broker: &Broker, path: &str, headers: &[&str]) -> Answer {
    let names = |name: &str| headers.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
    let mut lines: Vec<String> = headers.iter().map(|&line| line.to_owned()).collect();
    if !names("host:") {
        lines.push(format!("Host: {}", broker.address()));
    }
    if !names("authorization:") {
        lines.push(format!("Authorization: Bearer {OPERATOR_TOKEN}"));
    }
    get_bytes(broker, path, lines.join("\r\n").as_bytes()).await
}

/// `POST` of a JSON body; the same headers are added.
pub(crate) async fn post(broker: &Broker, path: &str, headers: &[&str], body: &Value) -> Answer {
    let body = body.to_string();
    let mut lines: Vec<String> = headers.iter().map(|&line| line.to_owned()).collect();
    if headers.is_empty() {
        lines.push(format!("Authorization: Bearer {OPERATOR_TOKEN}"));
    }
    lines.push(format!(
        "Host: {}\r\nContent-Type: application/json\r\nContent-Length: {}",
        broker.address(),
        body.len()
    ));
    let head = format!("POST {path} HTTP/1.1\r\nConnection: close\r\n{}\r\n\r\n", lines.join("\r\n"));
    exchange(broker, format!("{head}{body}").as_bytes()).await
}

/// `GET` with header lines that need not be text.
pub(crate) async fn get_bytes(broker: &Broker, path: &str, headers: &[u8]) -> Answer {
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n").into_bytes();
    request.extend_from_slice(headers);
    request.extend_from_slice(b"\r\n\r\n");
    exchange(broker, &request).await
}

async fn exchange(broker: &Broker, request: &[u8]) -> Answer {
    let asked = async {
        let mut stream = TcpStream::connect(broker.address()).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = timeout(SOON, asked).await.expect("an answer comes soon");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, text: body.to_owned(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
}
