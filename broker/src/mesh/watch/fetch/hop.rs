//! One request on one connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use protocol::validate::cleaned;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::body::Body;
use super::{Answer, FetchError, Fetcher, Mark, Target, Validator};

/// Addresses of a host that are tried, one after another.
const MAX_ADDRESSES: usize = 4;
/// Longest wait for one of them.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// Largest head of an answer, and its most lines.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
/// Longest mark of a server that is kept.
const MAX_MARK_BYTES: usize = 512;
/// Longest words of an error that are passed on.
const MAX_WORDS_CHARS: usize = 200;
/// A body that changed within the second of its `Last-Modified` can change again without a new one.
const MODIFIED_BEFORE: Duration = Duration::from_secs(2);

/// A request to be made.
pub(super) struct Hop<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) target: &'a Target,
    pub(super) url: &'a Url,
}

/// What came of it.
pub(super) enum Took {
    Answer(Box<Answer>),
    Redirect(String),
}

trait Stream: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Stream for T {}

impl Hop<'_> {
    pub(super) async fn take(&self, known: Option<&Validator>) -> Result<Took, FetchError> {
        // The first host's share is part of the look's turn.
        let _share = match self.url.origin() == self.target.url.origin() {
            true => None,
            false => Some(self.fetcher.turns.at_host(&host_and_port(self.url)).await.ok_or(FetchError::Busy)?),
        };
        let stream = self.connect().await?;
        let known = known.filter(|known| known.url == *self.url && self.target.body);
        let request = self.request(known)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| http_error(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| http_error(&error))?;
            self.read(response, known).await
        };
        let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                took = &mut exchange => return took,
                // Its error reaches the exchange too.
                _ = &mut connection, if open => open = false,
            }
        }
    }

    async fn connect(&self) -> Result<Pin<Box<dyn Stream>>, FetchError> {
        let host = self.url.host().ok_or(FetchError::Redirect("its location has no host"))?;
        let port = self.url.port_or_known_default().unwrap_or_default();
        let shown = host.to_string();
        let tcp = self.reach(&host, &shown, port).await?;
        // A poll is one small request: nothing is gained by waiting for more of it.
        let _ = tcp.set_nodelay(true);
        if self.url.scheme() != "https" {
            return Ok(Box::pin(tcp));
        }
        let tls = |reason: String| FetchError::Tls { host: shown.clone(), reason: words(&reason) };
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|error| tls(error.to_string()))?,
            Host::Ipv4(address) => ServerName::IpAddress(IpAddr::V4(address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(IpAddr::V6(address).into()),
        };
        let connector = self.fetcher.tls().map_err(tls)?;
        let stream = connector.connect(name, tcp).await.map_err(|error| tls(error.to_string()))?;
        Ok(Box::pin(stream))
    }

    /// Connects to the first address that the guard allows and that answers.
    async fn reach(&self, host: &Host<&str>, shown: &str, port: u16) -> Result<TcpStream, FetchError> {
        let found = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                self.fetcher.resolve.resolve(name).await.map_err(|_| FetchError::NoAddress(shown.to_owned()))?
            }
        };
        if found.is_empty() {
            return Err(FetchError::NoAddress(shown.to_owned()));
        }
        let allowed: Vec<IpAddr> = found.into_iter().filter(|address| self.fetcher.guard.allows(*address)).collect();
        if allowed.is_empty() {
            return Err(FetchError::Refused(shown.to_owned()));
        }
        let mut failed = io::Error::from(io::ErrorKind::TimedOut);
        for address in allowed.into_iter().take(MAX_ADDRESSES) {
            let connecting = TcpStream::connect(SocketAddr::new(address, port));
            match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::Error::from(io::ErrorKind::TimedOut),
            }
        }
        Err(FetchError::Connect { host: shown.to_owned(), reason: failed.kind().to_string() })
    }

    fn request(&self, known: Option<&Validator>) -> Result<Request<Empty<bytes::Bytes>>, FetchError> {
        let url = self.url;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let mut request = Request::builder().method(Method::GET).uri(path);
        let headers = request.headers_mut().ok_or_else(|| FetchError::Http("the path".to_owned()))?;
        put(headers, header::HOST, &host)?;
        put(headers, header::USER_AGENT, &self.fetcher.agent)?;
        put(headers, header::ACCEPT, "*/*")?;
        put(headers, header::ACCEPT_ENCODING, "gzip")?;
        if url.origin() == self.target.url.origin() {
            for (name, value) in &self.target.headers {
                let mut value = HeaderValue::from_str(value.expose())
                    .map_err(|_| FetchError::Http(format!("the header {name}")))?;
                value.set_sensitive(true);
                headers.insert(name.clone(), value);
            }
        }
        match known.map(|known| &known.mark) {
            Some(Mark::ETag(mark)) => put(headers, header::IF_NONE_MATCH, mark)?,
            Some(Mark::Modified(mark)) => put(headers, header::IF_MODIFIED_SINCE, mark)?,
            None => {}
        }
        // One request a connection.
        put(headers, header::CONNECTION, "close")?;
        request.body(Empty::new()).map_err(|error| FetchError::Http(words(&error.to_string())))
    }

    async fn read(&self, response: Response<Incoming>, known: Option<&Validator>) -> Result<Took, FetchError> {
        let (head, body) = response.into_parts();
        let status = head.status;
        let location = head.headers.get(header::LOCATION).filter(|_| matches!(status.as_u16(), 301..=303 | 307 | 308));
        if let Some(location) = location {
            let location = location.to_str().map_err(|_| FetchError::Redirect("its location is no URL"))?;
            return Ok(Took::Redirect(location.to_owned()));
        }
        let retry_after_ms = retry_after(&head.headers);
        let mut answer = Answer { status: status.as_u16(), body: Vec::new(), validator: None, retry_after_ms };
        if status == hyper::StatusCode::NOT_MODIFIED {
            answer.validator = known.cloned();
        } else if status.is_success() && self.target.body {
            answer.validator =
                mark(&head.headers, SystemTime::now()).map(|mark| Validator { url: self.url.clone(), mark });
            answer.body = whole(&head.headers, body).await?;
        }
        Ok(Took::Answer(Box::new(answer)))
    }
}

async fn whole(headers: &HeaderMap, mut body: Incoming) -> Result<Vec<u8>, FetchError> {
    let mut taken = Body::encoded(text(headers, &header::CONTENT_ENCODING))?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| http_error(&error))?;
        if let Some(data) = frame.data_ref() {
            taken.take(data)?;
        }
    }
    taken.finish()
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), FetchError> {
    let value = HeaderValue::from_str(value).map_err(|_| FetchError::Http(format!("the header {name}")))?;
    headers.insert(name, value);
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// With what to ask the next time.
fn mark(headers: &HeaderMap, now: SystemTime) -> Option<Mark> {
    let short = |text: &&str| !text.is_empty() && text.len() <= MAX_MARK_BYTES;
    if let Some(etag) = text(headers, &header::ETAG).filter(short) {
        return Some(Mark::ETag(etag.to_owned()));
    }
    let modified = text(headers, &header::LAST_MODIFIED).filter(short)?;
    let then = httpdate::parse_http_date(modified).ok()?;
    let date = text(headers, &header::DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    let age = date.duration_since(then).ok()?;
    (age >= MODIFIED_BEFORE).then(|| Mark::Modified(modified.to_owned()))
}

fn retry_after(headers: &HeaderMap) -> Option<i64> {
    let asked = text(headers, &header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = asked.parse::<u32>() {
        return Some(i64::from(seconds).saturating_mul(1_000));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let wait = until.duration_since(SystemTime::now()).unwrap_or_default();
    i64::try_from(wait.as_millis()).ok()
}

/// What a look's share of a host is kept under.
#[must_use]
pub fn host_and_port(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

fn http_error(error: &hyper::Error) -> FetchError {
    FetchError::Http(words(&error.to_string()))
}

/// Words of others as they may be passed on.
fn words(text: &str) -> String {
    cleaned(text).chars().take(MAX_WORDS_CHARS).collect()
}
