//! The operator's view: the broker's HTTP side.
//!
//! Contract: a request carries the operator token, if one is found, to the broker's own address and nowhere else (no
//! proxy, no redirect). The token comes from `CLAUDEMESH_OPERATOR_TOKEN`, else from the file that `claudemesh up` writes
//! into its data directory. It is never printed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::SecretString;
use reqwest::header::{AUTHORIZATION, DATE, HeaderValue};
use reqwest::{Client, Url, redirect};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::profile;
use crate::text;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest answer that is read: a tree of tens of thousands of nodes.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// More than this is no token file.
const MAX_TOKEN_BYTES: u64 = 4_096;

/// The environment's token.
const TOKEN_VARIABLE: &str = "CLAUDEMESH_OPERATOR_TOKEN";

/// The token's file in the data directory.
const TOKEN_FILE: &str = "operator.token";

/// A client of the HTTP side.
#[derive(Debug)]
pub(crate) struct Operator {
    http: Client,
    root: Url,
    endpoint: Endpoint,
    token: Option<SecretString>,
    token_file: PathBuf,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
    /// The time there, as HTTP writes it.
    pub(crate) date: Option<String>,
}

impl Operator {
    /// A client for `endpoint`, with the token that is found here.
    pub(crate) fn new(endpoint: Endpoint, data_dir: Option<&Path>) -> Result<Self, CliError> {
        let token_file = data_directory(data_dir)?.join(TOKEN_FILE);
        let token = find_token(&token_file)?;
        Self::with_token(endpoint, token, token_file)
    }

    /// A client for a broker that may be anybody's: it is not shown a token.
    pub(crate) fn stranger(endpoint: Endpoint) -> Result<Self, CliError> {
        Self::with_token(endpoint, None, PathBuf::new())
    }

    fn with_token(endpoint: Endpoint, token: Option<SecretString>, token_file: PathBuf) -> Result<Self, CliError> {
        let builder = Client::builder().no_proxy().redirect(redirect::Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        let builder = match &endpoint {
            Endpoint::Unix { path } => builder.unix_socket(path.clone()),
            Endpoint::Tcp { .. } => builder,
        };
        let http = builder.build().map_err(|error| CliError::failed(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { http, root: endpoint.http_root()?, endpoint, token, token_file })
    }

    /// Whether a token was found.
    fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// `GET` of the path made of `segments` (each is encoded, so none can become two) with `query`. Any status but 401
    /// and 403 is an answer.
    pub(crate) async fn get(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Answer, CliError> {
        self.get_within(segments, query, REQUEST_TIMEOUT).await
    }

    /// The same, for an answer that may take longer or shorter.
    pub(crate) async fn get_within(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
        limit: Duration,
    ) -> Result<Answer, CliError> {
        let answer = self.send(self.http.get(self.url(segments, query)?), limit).await?;
        if matches!(answer.status, 401 | 403) { Err(self.unauthorised()) } else { Ok(answer) }
    }

    /// `POST` of a JSON document, which answers with one: `ok`, or `error` and perhaps `code`.
    pub(crate) async fn post(&self, path: &str, document: &Value) -> Result<Value, CliError> {
        let request = self.http.post(self.url(&[path], &[])?).json(document);
        self.posted(path, request, REQUEST_TIMEOUT).await
    }

    /// `POST` of a file, with what is said about it in headers; answered as [`Operator::post`].
    pub(crate) async fn post_file(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        bytes: Vec<u8>,
        limit: Duration,
    ) -> Result<Value, CliError> {
        let request = self.http.post(self.url(&[path], &[])?);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        self.posted(path, request.body(bytes), limit).await
    }

    /// `GET` of bytes, at most `max` of them. Any status but 200 is a failure: whoever asks was told that they are there.
    pub(crate) async fn fetch(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
        max: u64,
        limit: Duration,
    ) -> Result<Vec<u8>, CliError> {
        let too_large = || {
            CliError::failed(format!("the file is larger than {max} bytes")).hint("--max says how much may be fetched")
        };
        let request = self.http.get(self.url(segments, query)?).timeout(limit);
        let mut response = request.send().await.map_err(|error| self.describe(&error, limit))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(CliError::failed(format!(
                "the broker does not give the file: HTTP status {}",
                response.status()
            )));
        }
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.describe(&error, limit))? {
            if bytes.len().saturating_add(chunk.len()) > max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn posted(&self, path: &str, request: reqwest::RequestBuilder, limit: Duration) -> Result<Value, CliError> {
        let answer = self.send(request, limit).await?;
        let body: Option<Value> = serde_json::from_str(&answer.body).ok();
        let field = |name: &str| body.as_ref()?.get(name)?.as_str().map(text::line);
        match (&body, answer.status) {
            (Some(body), _) if body["ok"] == true => Ok(body.clone()),
            (_, 401 | 403) if field("code").is_none() && !self.token_file.as_os_str().is_empty() => {
                Err(self.unauthorised())
            }
            (_, 404 | 405) if field("error").is_none() => Err(CliError::failed(format!("the broker knows no /{path}"))
                .hint("update it to this version (claudemesh version)")),
            (_, status) => {
                let message = field("error").unwrap_or_else(|| format!("the broker refused: HTTP status {status}"));
                let mut error = CliError::refused(message);
                error.code = field("code");
                Err(error)
            }
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder, limit: Duration) -> Result<Answer, CliError> {
        let mut request = request.timeout(limit);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        let response = request.send().await.map_err(|error| self.describe(&error, limit))?;
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = self.body(response, limit).await?;
        Ok(Answer { status, body, date })
    }

    fn url(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Url, CliError> {
        let mut url = self.root.clone();
        url.path_segments_mut()
            .map_err(|()| CliError::failed("the broker's address takes no path"))?
            .pop_if_empty()
            .extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn body(&self, mut response: reqwest::Response, limit: Duration) -> Result<String, CliError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.describe(&error, limit))? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(CliError::failed(format!("the broker's answer is larger than {MAX_BODY_BYTES} bytes"))
                    .hint("ask for less: --path, --depth"));
            }
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| CliError::failed("the broker's answer is not UTF-8 text"))
    }

    fn unauthorised(&self) -> CliError {
        let message = if self.has_token() {
            "the broker does not accept this operator token"
        } else {
            "the broker asks for the operator token"
        };
        CliError::refused(message).hint(format!(
            "set {TOKEN_VARIABLE}, or name the broker's data directory with --data-dir (looked for {})",
            self.token_file.display()
        ))
    }

    fn describe(&self, error: &reqwest::Error, limit: Duration) -> CliError {
        let endpoint = &self.endpoint;
        let reason = text::line(&innermost(error));
        if error.is_connect() {
            return CliError::unreachable(format!("cannot reach the broker at {endpoint}: {reason}"))
                .hint("is the broker running? claudemesh up");
        }
        if error.is_timeout() {
            return CliError::timed_out(format!(
                "no answer from the broker at {endpoint} within {} s",
                limit.as_secs()
            ))
            .hint("the broker is there and does not answer: look at its log");
        }
        CliError::unreachable(format!("the broker at {endpoint} broke off: {reason}"))
            .hint("compare the mesh's brokerUrl in config.json with where the broker listens")
    }
}

/// reqwest's own message repeats the URL; the cause that a person needs is at the end of the chain.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn bearer(token: &SecretString) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        CliError::usage("the operator token holds characters that no header can carry")
            .hint(format!("look at {TOKEN_VARIABLE}: one line of plain letters and digits"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The broker's data directory on this machine.
pub(crate) fn data_directory(given: Option<&Path>) -> Result<PathBuf, CliError> {
    match given {
        Some(directory) => Ok(directory.to_owned()),
        None => Ok(profile::home()?.join(".local/share/claudemesh")),
    }
}

fn find_token(file: &Path) -> Result<Option<SecretString>, CliError> {
    if let Some(token) = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()) {
        return Ok(Some(token.into()));
    }
    let unreadable =
        |error: &dyn std::fmt::Display| CliError::failed(format!("cannot read {}: {error}", file.display()));
    match std::fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_TOKEN_BYTES => Err(unreadable(&"it is too large")),
        Ok(_) => {
            let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
            Ok(Some(text.trim()).filter(|token| !token.is_empty()).map(Into::into))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_segment_cannot_become_two_nor_a_query() {
        let endpoint = Endpoint::parse("ws://127.0.0.1:7900/ws").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let operator = Operator::new(endpoint, Some(directory.path())).unwrap();
        let url = operator.url(&["health", "a/b?c#d"], &[("path", "x&y=z".to_owned())]).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:7900/health/a%2Fb%3Fc%23d?path=x%26y%3Dz");
        assert_eq!(operator.url(&["tree"], &[]).unwrap().as_str(), "http://127.0.0.1:7900/tree");
    }

    #[test]
    fn a_token_is_never_shown() {
        let value = bearer(&"s3cret".into()).unwrap();
        assert!(!format!("{value:?}").contains("s3cret"));
        let error = bearer(&"two\nlines-s3cret".into()).unwrap_err();
        assert!(!error.message.contains("s3cret"));
    }
}
