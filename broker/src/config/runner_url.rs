//! Where a runner is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path a Unix socket can have (the kernel's 108 bytes hold an end mark too).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A runner's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RunnerUrl {
    /// `unix:/path`: a socket on this machine.
    Unix(PathBuf),
    /// `ws://host:port`: over the network.
    Ws {
        /// A name or an address; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text that is no runner's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunnerUrlError {
    /// It begins with neither scheme.
    #[error("a runner is unix:/path or ws://host:port")]
    Scheme,
    /// A socket's path is absolute and short.
    #[error("a socket's path is absolute and has at most {MAX_SOCKET_PATH_BYTES} bytes")]
    SocketPath,
    /// What follows `ws://` is not host and port.
    #[error("ws:// takes a host, a colon and a port, and nothing after it")]
    HostPort,
}

impl FromStr for RunnerUrl {
    type Err = RunnerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.starts_with('/') && path.len() <= MAX_SOCKET_PATH_BYTES;
            return if fits && !path.contains('\0') {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(RunnerUrlError::SocketPath)
            };
        }
        let rest = text.strip_prefix("ws://").ok_or(RunnerUrlError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or(RunnerUrlError::HostPort)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(RunnerUrlError::HostPort)?;
        let host = bare_host(host).ok_or(RunnerUrlError::HostPort)?;
        Ok(Self::Ws { host: host.to_owned(), port })
    }
}

/// A host name, an IPv4 address, or an IPv6 address out of its brackets.
fn bare_host(host: &str) -> Option<&str> {
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| inner);
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!host.is_empty() && host.bytes().all(letter)).then_some(host)
}

impl fmt::Display for RunnerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Ws { host, port } if host.contains(':') => write!(f, "ws://[{host}]:{port}"),
            Self::Ws { host, port } => write!(f, "ws://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn addresses_are_read_and_printed_alike() {
        for text in ["unix:/run/r.sock", "ws://runner-1.lan:7901", "ws://10.0.0.1:1", "ws://[::1]:7901"] {
            assert_eq!(text.parse::<RunnerUrl>().unwrap().to_string(), text);
        }
        assert_eq!("ws://a:1/".parse(), Ok(RunnerUrl::Ws { host: "a".to_owned(), port: 1 }));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let long = format!("unix:/{}", "x".repeat(MAX_SOCKET_PATH_BYTES));
        for (text, reason) in [
            ("", RunnerUrlError::Scheme),
            ("wss://a:1", RunnerUrlError::Scheme),
            ("http://a:1", RunnerUrlError::Scheme),
            ("unix:run/r.sock", RunnerUrlError::SocketPath),
            (long.as_str(), RunnerUrlError::SocketPath),
            ("ws://a", RunnerUrlError::HostPort),
            ("ws://:1", RunnerUrlError::HostPort),
            ("ws://a:0", RunnerUrlError::HostPort),
            ("ws://a:65536", RunnerUrlError::HostPort),
            ("ws://a:1/path", RunnerUrlError::HostPort),
            ("ws://user@a:1", RunnerUrlError::HostPort),
            ("ws://::1:7901", RunnerUrlError::HostPort),
        ] {
            assert_eq!(text.parse::<RunnerUrl>().unwrap_err(), reason, "{text}");
        }
    }
}
