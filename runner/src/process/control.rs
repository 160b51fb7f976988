//! The runner's end of the control socket.
//!
//! A stream socket on which the kernel attaches the sender's pid to what it
//! sends (`SO_PASSCRED`), already translated into our numbering. That is the
//! only way by which the pid of a program in a pid namespace of its own is
//! learnt: no race with reuse, nothing to search.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, UnixCredentials,
    recvmsg, send, sendmsg, setsockopt, shutdown, socketpair, sockopt,
};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::wire::{Event, MAX_EVENT, STREAMS};

/// Read at once; an event line is far shorter.
const CHUNK: usize = 4096;

/// The ends of one program's plumbing that stay in the runner, and the one
/// that the warden gets as its standard input.
pub(super) struct Plumbing {
    pub control: Control,
    pub warden_end: OwnedFd,
    pub stdin: pipe::Sender,
    pub stdout: pipe::Receiver,
    pub stderr: pipe::Receiver,
}

/// Opens socket and pipes. The program's ends of the pipes are put *into* the
/// socket at once and closed here: they are in nobody's descriptor table until
/// the warden receives them, so nothing else can inherit and hold them.
pub(super) fn plumb() -> io::Result<Plumbing> {
    let (ours, warden_end) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&ours, sockopt::PassCred, &true)?;
    let (program_stdin, stdin) = pipe2(OFlag::O_CLOEXEC)?;
    let (stdout, program_stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, program_stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let streams = [program_stdin.as_raw_fd(), program_stdout.as_raw_fd(), program_stderr.as_raw_fd()];
    sendmsg::<()>(
        ours.as_raw_fd(),
        &[IoSlice::new(&[STREAMS])],
        &[ControlMessage::ScmRights(&streams)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    let ours = std::os::unix::net::UnixStream::from(ours);
    ours.set_nonblocking(true)?;
    Ok(Plumbing {
        control: Control::new(UnixStream::from_std(ours)?),
        warden_end,
        stdin: pipe::Sender::from_owned_fd(stdin)?,
        stdout: pipe::Receiver::from_owned_fd(stdout)?,
        stderr: pipe::Receiver::from_owned_fd(stderr)?,
    })
}

/// Dropping it tells the warden to kill everything.
pub(super) struct Control {
    socket: UnixStream,
    received: Vec<u8>,
    sender: Option<u32>,
    ended: bool,
}

impl Control {
    fn new(socket: UnixStream) -> Self {
        Self { socket, received: Vec::new(), sender: None, ended: false }
    }

    /// Writes all of it. Not to be used after a cancelled write.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = || Ok(send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?);
            let written = self.socket.async_io(Interest::WRITABLE, write).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends one byte without waiting: the warden reads whenever it can, so
    /// the buffer has room unless the warden is stuck, and then `kill` is next.
    pub(super) fn send_byte(&self, byte: u8) -> io::Result<()> {
        send(self.socket.as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Tells the warden to kill everything; its reports can still be read.
    pub(super) fn hang_up(&self) {
        // It fails only if the other end is gone, which is what is wanted.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Write);
    }

    /// The next event and the pid of the process that sent it; `None` when the
    /// warden is gone. Safe to cancel.
    ///
    /// # Errors
    /// The socket's own, and `InvalidData` for what is not an event.
    pub(super) async fn next(&mut self) -> io::Result<Option<(Event, Option<u32>)>> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let mut chunk = [0; CHUNK];
            let read = || receive(&self.socket, &mut chunk);
            let received = self.socket.async_io(Interest::READABLE, read).await?;
            self.accept(&chunk, received);
        }
    }

    /// Events that have arrived already. To be called once the warden is dead:
    /// everything it said is in the socket's buffer by then.
    pub(super) fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.take() {
                Ok(Some((event, _))) => events.push(event),
                Ok(None) if !self.ended => {
                    let mut chunk = [0; CHUNK];
                    match receive(&self.socket, &mut chunk) {
                        Ok(received) => self.accept(&chunk, received),
                        Err(_) => return events,
                    }
                }
                Ok(None) | Err(_) => return events,
            }
        }
    }

    fn accept(&mut self, chunk: &[u8], (length, sender): (usize, Option<u32>)) {
        self.ended = length == 0;
        self.sender = sender;
        self.received.extend_from_slice(chunk.get(..length).unwrap_or_default());
    }

    /// A whole line out of what was received. The kernel never joins bytes of
    /// two senders in one receive, so the last sender is this line's.
    fn take(&mut self) -> io::Result<Option<(Event, Option<u32>)>> {
        let Some(end) = self.received.iter().position(|byte| *byte == b'\n') else {
            if self.received.len() > MAX_EVENT {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an event line without end"));
            }
            return Ok(None);
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        let event = serde_json::from_slice(&line)?;
        Ok(Some((event, self.sender)))
    }
}

/// One receive: how many bytes, and who sent them. A reset means that the
/// warden ended before it read all we sent: the end of the stream like any.
fn receive(socket: &UnixStream, chunk: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut parts = [IoSliceMut::new(chunk)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(message) => message,
        Err(Errno::ECONNRESET) => return Ok((0, None)),
        Err(errno) => return Err(errno.into()),
    };
    let sender = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmCredentials(who) => u32::try_from(who.pid()).ok(),
        _ => None,
    });
    Ok((message.bytes, sender))
}
