//! Takes the request off the control socket, which is standard input.

use std::io::{IoSliceMut, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::super::wire::{MAX_REQUEST, Request, STREAMS, Step, Trouble};
use super::{Streams, sys};

/// Waits for the request. A runner that is gone ends the wait with an error.
///
/// Nothing beyond the request is consumed: what follows is for the watch.
pub(super) fn receive() -> Result<(Request, Streams), Trouble> {
    let streams = streams().map_err(|errno| Trouble::new(Step::Request, errno))?;
    let body =
        body().map(zeroize::Zeroizing::new).map_err(|error| Trouble::io(Step::Request, "control socket", &error))?;
    let request = serde_json::from_slice(&body).map_err(|_| Trouble::new(Step::Request, Errno::EBADMSG))?;
    Ok((request, streams))
}

fn streams() -> nix::Result<Streams> {
    let mut byte = [0];
    let mut space = nix::cmsg_space!([RawFd; 3]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    // Close-on-exec from the start: the program gets them by `dup2` only.
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(std::io::stdin().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let received = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => Some(sys::adopt(fds)),
        _ => None,
    });
    match received.map(Streams::try_from) {
        Some(Ok(streams)) if byte == [STREAMS] => Ok(streams),
        _ => Err(Errno::EBADMSG),
    }
}

/// Reads past the buffer of `std::io::stdin`, which would read ahead.
fn body() -> std::io::Result<Vec<u8>> {
    use std::os::fd::AsFd as _;
    let mut socket = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_REQUEST {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(body)
}
