//! Relays that keep all that passes: between clients and a broker, and between a broker and its runner.
//!
//! Contract: bytes go on as they came. What is kept is what the ends meant: the payload of a WebSocket that its sender
//! masked, as every client does, is kept unmasked. A relay lives as long as the test's process.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Read at a time.
const PART: usize = 64 * 1024;
/// The end of an HTTP head.
const BLANK: &[u8] = b"\r\n\r\n";

/// One direction of one connection.
type Stream = Arc<Mutex<Vec<u8>>>;

/// All that passed, from both ends.
#[derive(Debug, Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<Stream>>>);

impl Tape {
    /// What was kept so far, one stream after another.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        let streams = held(&self.0).clone();
        streams.iter().flat_map(|stream| unmasked(&held(stream))).collect()
    }

    fn begin(&self) -> Stream {
        let stream = Stream::default();
        held(&self.0).push(Arc::clone(&stream));
        stream
    }
}

fn held<T>(kept: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's end.
trait End: Read + Write + Send + Sized + 'static {
    fn twin(&self) -> std::io::Result<Self>;
    fn end(&self);
}

impl End for TcpStream {
    fn twin(&self) -> std::io::Result<Self> {
        self.try_clone()
    }

    fn end(&self) {
        // One that is gone has ended.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl End for UnixStream {
    fn twin(&self) -> std::io::Result<Self> {
        self.try_clone()
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// Before a broker on a port of this machine; the port to connect to instead.
#[must_use]
pub fn before_port(broker: u16, tape: &Tape) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tape = tape.clone();
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            if let Ok(to) = TcpStream::connect(("127.0.0.1", broker)) {
                relay(from, to, &tape);
            }
        }
    });
    port
}

/// Before a runner's socket; `socket` is the one to dial instead.
pub fn before_socket(socket: &Path, runner: PathBuf, tape: &Tape) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let tape = tape.clone();
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            if let Ok(to) = UnixStream::connect(&runner) {
                relay(from, to, &tape);
            }
        }
    });
}

fn relay<E: End>(from: E, to: E, tape: &Tape) {
    let (Ok(back), Ok(forth)) = (to.twin(), from.twin()) else { return };
    let (there, here) = (tape.begin(), tape.begin());
    thread::spawn(move || pump(from, to, &there));
    thread::spawn(move || pump(back, forth, &here));
}

fn pump<E: End>(mut from: E, mut to: E, kept: &Mutex<Vec<u8>>) {
    let mut part = vec![0; PART];
    while let Ok(count) = from.read(&mut part) {
        if count == 0 {
            break;
        }
        held(kept).extend_from_slice(&part[..count]);
        if to.write_all(&part[..count]).is_err() {
            break;
        }
    }
    from.end();
    to.end();
}

/// A stream with the masks of a WebSocket taken off; any other stream, and what is no whole frame yet, as it is.
fn unmasked(stream: &[u8]) -> Vec<u8> {
    let head = memchr::memmem::find(stream, BLANK).map_or(stream.len(), |at| at + BLANK.len());
    let (head, mut rest) = stream.split_at(head);
    let mut clear = head.to_vec();
    if !String::from_utf8_lossy(head).to_ascii_lowercase().contains("upgrade: websocket") {
        clear.extend_from_slice(rest);
        return clear;
    }
    while let Some((payload, after)) = frame(rest) {
        clear.extend(payload);
        rest = after;
    }
    clear.extend_from_slice(rest);
    clear
}

/// The payload of the first frame, and what is behind it.
fn frame(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&second, rest) = bytes.get(1..)?.split_first()?;
    let wide = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let (length, rest) = rest.split_at_checked(wide)?;
    let length = match wide {
        0 => u64::from(second & 0x7f),
        _ => length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    };
    let (mask, rest) = rest.split_at_checked(if second & 0x80 == 0 { 0 } else { 4 })?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let clear = payload.iter().enumerate().map(|(at, byte)| byte ^ mask.get(at % 4).copied().unwrap_or(0));
    Some((clear.collect(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn masks_are_taken_off_and_all_else_stays() {
        let masked = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
        let stream = [HEAD, &masked, &long, &masked, &[0x81, 0x85, 1]].concat();
        let clear = [HEAD, b"hi", &[b'x'; 256], b"hi", &[0x81, 0x85, 1]].concat();
        assert_eq!(unmasked(&stream), clear);
        let plain = [b"POST /join HTTP/1.1\r\n\r\n".as_slice(), &masked].concat();
        assert_eq!(unmasked(&plain), plain);
        assert_eq!(unmasked(b"GET /"), b"GET /");
    }
}
