//! Where a broker is: what a `brokerUrl` may look like, and where its HTTP side is. Pure.
//!
//! Two forms: `ws://host:port/ws`, and `unix:/path/to/socket` for a broker on this machine.

use std::path::PathBuf;

use reqwest::Url;

use crate::error::CliError;

/// The broker of this machine, when nothing says otherwise.
pub(crate) const DEFAULT_BROKER_URL: &str = "ws://127.0.0.1:7900/ws";

/// The name that stands in the Host header on a Unix socket.
const SOCKET_HOST: &str = "localhost";

/// The path of the peers' socket.
const SOCKET_PATH: &str = "/ws";

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Over TCP.
    Tcp {
        /// Name or address, as a socket wants it (an IPv6 address without brackets).
        host: String,
        /// The port.
        port: u16,
        /// The WebSocket URL.
        url: Url,
    },
    /// Over a Unix socket.
    Unix {
        /// The socket.
        path: PathBuf,
    },
}

impl Endpoint {
    /// Reads a `brokerUrl`.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(invalid(text, "a Unix socket needs an absolute path"));
            }
            return Ok(Self::Unix { path: path.into() });
        }
        let url = Url::parse(text).map_err(|error| invalid(text, &error.to_string()))?;
        match url.scheme() {
            "ws" => {}
            "wss" => {
                return Err(invalid(text, "this build speaks no TLS")
                    .hint("reach the broker through a tunnel, and use ws:// or unix: here"));
            }
            _ => return Err(invalid(text, "it starts with neither ws:// nor unix:")),
        }
        let host = url.host_str().ok_or_else(|| invalid(text, "it names no host"))?.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Self::Tcp { host, port, url })
    }

    /// The address of the peers' WebSocket.
    pub(crate) fn websocket_url(&self) -> String {
        match self {
            Self::Tcp { url, .. } => url.to_string(),
            Self::Unix { .. } => format!("ws://{SOCKET_HOST}{SOCKET_PATH}"),
        }
    }

    /// The root of the HTTP side, which shares the listener.
    pub(crate) fn http_root(&self) -> Result<Url, CliError> {
        let root = match self {
            Self::Tcp { url, .. } => format!("http://{}", authority(url)),
            Self::Unix { .. } => format!("http://{SOCKET_HOST}"),
        };
        Url::parse(&root).map_err(|error| invalid(&root, &error.to_string()))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { url, .. } => f.write_str(&authority(url)),
            Self::Unix { path } => write!(f, "{}", path.display()),
        }
    }
}

/// Host and port, without the user or password that a URL may carry.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn invalid(text: &str, why: &str) -> CliError {
    CliError::usage(format!("`{text}` is no broker address: {why}"))
        .hint("a broker address looks like ws://host:7900/ws or unix:/path/to/socket")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_that_are_understood() {
        for (text, shown, websocket, http) in [
            ("ws://localhost:7900/ws", "localhost:7900", "ws://localhost:7900/ws", "http://localhost:7900/"),
            ("ws://[::1]:7900/ws", "[::1]:7900", "ws://[::1]:7900/ws", "http://[::1]:7900/"),
            ("ws://mesh.example/ws", "mesh.example", "ws://mesh.example/ws", "http://mesh.example/"),
            ("unix:/run/mesh.sock", "/run/mesh.sock", "ws://localhost/ws", "http://localhost/"),
            ("unix:///run/mesh.sock", "/run/mesh.sock", "ws://localhost/ws", "http://localhost/"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), shown, "{text}");
            assert_eq!(endpoint.websocket_url(), websocket, "{text}");
            assert_eq!(endpoint.http_root().unwrap().as_str(), http, "{text}");
        }
        assert!(matches!(
            Endpoint::parse("ws://[::1]:7900/ws").unwrap(),
            Endpoint::Tcp { host, port: 7900, .. } if host == "::1"
        ));
        assert!(matches!(Endpoint::parse("ws://mesh.example/ws").unwrap(), Endpoint::Tcp { port: 80, .. }));
    }

    #[test]
    fn addresses_that_are_not() {
        for (text, why) in [
            ("wss://mesh.example/ws", "no TLS"),
            ("http://mesh.example", "neither ws:// nor unix:"),
            ("unix:relative", "absolute path"),
            ("nonsense", "relative URL"),
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.message.contains(why), "{text}: {error}");
            assert!(error.hint.is_some(), "{text}");
        }
    }
}
