//! One GET or POST, answered or not: enough of HTTP to ask a broker without a client's help.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A broker that does not answer within this is not answering.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// Asks `127.0.0.1:port` for `path`.
///
/// # Errors
/// Why there was no answer, or none that is HTTP.
pub fn get(port: u16, path: &str, token: Option<&str>) -> Result<Response, String> {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    ask(port, "GET", path, &bearer, "")
}

/// Sends JSON to `path` of `127.0.0.1:port`.
///
/// # Errors
/// As [`get`].
pub fn post(port: u16, path: &str, body: &str) -> Result<Response, String> {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    ask(port, "POST", path, &headers, body)
}

fn ask(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Result<Response, String> {
    let words = |error: std::io::Error| format!("{method} {path}: {error}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(words)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(words)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(words)?;
    // HTTP/1.0: the body ends where the connection does, and is never chunked.
    let request = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}\r\n{body}");
    stream.write_all(request.as_bytes()).map_err(words)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(words)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| format!("{method} {path}: the answer is not HTTP"))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(Response { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let response = parse("HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((response.status, response.body.as_str()), (503, "{\"a\":1}"));
        assert!(parse("garbage").is_none());
    }
}
