//! Looks at an address, within limits.
//!
//! **Contract.** One request at a time on a connection of its own: name, addresses, guard, connection, TLS, request. What the
//! guard judges is the very address that is connected to, at every hop, so a name that changes its mind between a check and
//! its use gains nothing. Nothing of the environment (proxies) has a say. A member's headers go to the origin that it named,
//! and to no other. Time, redirects, sizes and sockets have bounds.
//!
//! | file | holds |
//! |---|---|
//! | `hop` | one request on one connection |
//! | `body` | a body that is decoded and has an end |
//! | `turns` | who may look when many want to |

mod body;
mod hop;
mod turns;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::header::HeaderName;
use protocol::SecretString;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::guard::Guard;
pub use body::MAX_BODY_BYTES;
use hop::Hop;
pub use hop::host_and_port;
pub use turns::{MAX_LOOKS, MAX_LOOKS_PER_HOST, MAX_LOOKS_PER_MEMBER, TURN_WITHIN, Turns};

/// Longest time of one look, from the first name to the last byte.
pub const LOOK_WITHIN: Duration = Duration::from_secs(10);
/// Redirects that are followed.
pub const MAX_REDIRECTS: usize = 5;

/// What to look at.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http` or `https`.
    pub url: Url,
    /// Sent to the origin of `url` alone.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// Whether the body is wanted; else the status alone.
    pub body: bool,
}

/// With what a server tells that nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// Whose answer it is of: asked there alone.
    url: Url,
    mark: Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    ETag(String),
    Modified(String),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, decoded; empty unless the status is of success and the body was wanted.
    pub body: Vec<u8>,
    /// For the next time.
    pub validator: Option<Validator>,
    /// The server asks to be left alone for so long.
    pub retry_after_ms: Option<i64>,
}

/// Why nothing came back. The words are told to whoever made the watch: they name no address that a name led to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The guard.
    #[error("{0} leads to an address that watches may not reach")]
    Refused(String),
    /// The name.
    #[error("the name {0} leads nowhere")]
    NoAddress(String),
    /// The connection.
    #[error("no connection to {host}: {reason}")]
    Connect {
        /// Which host.
        host: String,
        /// Why.
        reason: String,
    },
    /// TLS.
    #[error("TLS with {host}: {reason}")]
    Tls {
        /// Which host.
        host: String,
        /// Why.
        reason: String,
    },
    /// HTTP.
    #[error("HTTP: {0}")]
    Http(String),
    /// Too many of our own at a host that a redirect led to.
    #[error("too many looks at the host of a redirect are under way")]
    Busy,
    /// Not in time.
    #[error("no whole answer within {} s", LOOK_WITHIN.as_secs())]
    Timeout,
    /// Not that much.
    #[error("the body is longer than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// An encoding.
    #[error("the body's encoding: {0}")]
    Encoding(String),
    /// Redirects without end.
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirect to something else.
    #[error("a redirect that is not followed: {0}")]
    Redirect(&'static str),
}

/// What answers for names.
pub trait Resolve: Send + Sync {
    /// The addresses of a name.
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + 'a>>;
}

/// The system's resolver.
struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

/// Looks at addresses for all watches of the broker.
pub struct Fetcher {
    guard: Guard,
    resolve: Box<dyn Resolve>,
    /// Made when it is first needed: reading the system's authorities takes a moment.
    tls: OnceLock<Result<TlsConnector, String>>,
    /// Who may look when many want to.
    pub turns: Turns,
    agent: String,
}

impl Fetcher {
    /// That reaches what `guard` allows, and calls itself `agent`.
    #[must_use]
    pub fn new(guard: Guard, agent: String) -> Arc<Self> {
        Self::with(guard, agent, Box::new(System))
    }

    /// With another resolver.
    #[must_use]
    pub fn with(guard: Guard, agent: String, resolve: Box<dyn Resolve>) -> Arc<Self> {
        Arc::new(Self { guard, resolve, tls: OnceLock::new(), turns: Turns::default(), agent })
    }

    /// Whether a URL that says an address, not a name, may be looked at at all.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        match url.host() {
            Some(Host::Ipv4(address)) => self.guard.allows(address.into()),
            Some(Host::Ipv6(address)) => self.guard.allows(address.into()),
            Some(Host::Domain(_)) | None => true,
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(&self, target: &Target, known: Option<&Validator>) -> Result<Answer, FetchError> {
        let looked = tokio::time::timeout(LOOK_WITHIN, self.follow(target, known)).await;
        looked.unwrap_or(Err(FetchError::Timeout))
    }

    async fn follow(&self, target: &Target, known: Option<&Validator>) -> Result<Answer, FetchError> {
        let mut url = target.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            // Each hop its own, dropped with its connection before the next.
            match Box::pin(Hop { fetcher: self, target, url: &url }.take(known)).await? {
                hop::Took::Answer(answer) => return Ok(*answer),
                hop::Took::Redirect(to) => url = next(&url, &to)?,
            }
        }
        Err(FetchError::TooManyRedirects)
    }

    fn tls(&self) -> Result<&TlsConnector, String> {
        self.tls.get_or_init(connector).as_ref().map_err(Clone::clone)
    }
}

/// Where a redirect leads.
fn next(from: &Url, to: &str) -> Result<Url, FetchError> {
    let mut url = from.join(to).map_err(|_| FetchError::Redirect("its location is no URL"))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, "http") => return Err(FetchError::Redirect("from https to http")),
        _ => return Err(FetchError::Redirect("to something other than http and https")),
    }
    // What a server writes there is not ours to send.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() || url.host().is_none() {
        return Err(FetchError::Redirect("its location has no host"));
    }
    url.set_fragment(None);
    Ok(url)
}

fn connector() -> Result<TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    // A system has many, and some that nobody can read: those that can be used are enough.
    let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("the broker's machine has no certificates of authorities (install ca-certificates)".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
