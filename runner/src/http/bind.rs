//! Listening sockets.
//!
//! Only the holder of the data directory's lock gets here, so a socket file that is there is nobody's any more.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::config::Listen;
use crate::home;
use crate::link::Io;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 128;

/// A listener of either kind.
pub(super) enum Listener {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

impl Listener {
    pub(super) fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Unix(path) => Ok(Self::Unix { listener: bind_unix(path)?, path: path.clone() }),
            Listen::Tcp(address) => {
                let socket =
                    if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
                // Or a restart would have to wait for the connections of the last life to be forgotten.
                socket.set_reuseaddr(true)?;
                socket.bind(*address)?;
                Ok(Self::Tcp(socket.listen(BACKLOG)?))
            }
        }
    }

    /// Where it listens, with the port that the kernel chose.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Self::Unix { listener, .. } => loop {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                if uid == 0 || uid == nix::unistd::geteuid().as_raw() {
                    return Ok(Box::new(stream));
                }
                tracing::warn!(uid, "another user was turned away");
            },
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Somebody else may have removed it.
            drop(std::fs::remove_file(path));
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        home::private_dir(parent).map_err(io::Error::other)?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => tracing::debug!(path = %path.display(), "a stale socket was removed"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // The directory keeps others out until this is done, and after.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
