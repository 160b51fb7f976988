//! WebSocket messages in buffers, so that one read or write moves as many of them as there are.
//!
//! Contract: an upgraded connection; whole messages, each in one frame of any size up to [`MESSAGE_BYTES_MAX`]. A sender
//! that is a client masks. Headers are read and written by `tungstenite`; what is here is the moving.

use std::io;
use std::os::fd::AsFd;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nix::fcntl::{FcntlArg, fcntl};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Larger ones are an error of the other side.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a read should have room for.
pub const READ_BYTES: usize = 256 * 1024;
/// Any will do: it guards against proxies, and there is none.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0xe9];

/// What a pipe should hold; the most that the system allows everyone by default.
const PIPE_BYTES: i32 = 1024 * 1024;

/// Lets a pipe hold more than the 64 KiB it begins with, so that a large text changes hands less often. Where the system
/// refuses, it stays as it is.
pub fn widen(pipe: impl AsFd) {
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
}

/// A message that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text or binary.
    Message(Bytes),
    /// To be answered by a pong with the same bytes.
    Ping(Bytes),
    /// The other side will send no more.
    Close,
}

/// Which side masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Dialled.
    Client,
    /// Was dialled.
    Server,
}

/// Appends one message whose payload is these parts.
pub fn put(side: Side, data: Data, parts: &[&[u8]], out: &mut BytesMut) {
    frame(side, OpCode::Data(data), parts, out);
}

/// Appends the answer to a ping.
pub fn put_pong(side: Side, payload: &[u8], out: &mut BytesMut) {
    frame(side, OpCode::Control(Control::Pong), &[payload], out);
}

fn frame(side: Side, opcode: OpCode, parts: &[&[u8]], out: &mut BytesMut) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mask = (side == Side::Client).then_some(MASK);
    let header = FrameHeader { is_final: true, rsv1: false, rsv2: false, rsv3: false, opcode, mask };
    out.reserve(length + 14);
    header.format(length as u64, &mut out.writer()).expect("a buffer takes everything");
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if let Some(mask) = mask {
        apply(mask, &mut out[start..]);
    }
}

/// Takes the next message that is whole; pongs are passed over.
///
/// # Errors
/// What is not a message, or is too large.
pub fn take(input: &mut BytesMut) -> io::Result<Option<Frame>> {
    loop {
        let mut cursor = io::Cursor::new(&input[..]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(io::Error::other)?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let start = cursor.position() as usize;
        let length = usize::try_from(length).ok().filter(|length| *length <= MESSAGE_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::other("a message is over MESSAGE_BYTES_MAX"))?;
        if input.len() < start + length {
            // Once for all that is missing, instead of growing step by step.
            input.reserve(start + length - input.len());
            return Ok(None);
        }
        input.advance(start);
        let mut payload = input.split_to(length);
        if let Some(mask) = header.mask {
            apply(mask, &mut payload);
        }
        match header.opcode {
            OpCode::Data(Data::Text | Data::Binary) if header.is_final => {
                return Ok(Some(Frame::Message(payload.freeze())));
            }
            OpCode::Control(Control::Ping) => return Ok(Some(Frame::Ping(payload.freeze()))),
            OpCode::Control(Control::Pong) => {}
            OpCode::Control(Control::Close) => return Ok(Some(Frame::Close)),
            other => return Err(io::Error::other(format!("a frame of kind {other:?}, or a fragment"))),
        }
    }
}

/// Puts a mask on, or takes it off.
fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let wide = u64::from(u32::from_ne_bytes(mask));
    let wide = wide | wide << 32;
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes((&*chunk).try_into().expect("eight bytes")) ^ wide;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Option<Frame> {
        Some(Frame::Message(Bytes::copy_from_slice(text)))
    }

    #[test]
    fn what_is_put_is_taken_in_order_whichever_side_masks() {
        for side in [Side::Client, Side::Server] {
            let mut buffer = BytesMut::new();
            let large = vec![b'x'; 70_001];
            put(side, Data::Text, &[b"one", b"", b" message of odd length"], &mut buffer);
            put_pong(side, b"passed over", &mut buffer);
            put(side, Data::Binary, &[&large], &mut buffer);
            put(side, Data::Text, &[], &mut buffer);
            assert_eq!(take(&mut buffer).unwrap(), message(b"one message of odd length"));
            assert_eq!(take(&mut buffer).unwrap(), message(&large));
            assert_eq!(take(&mut buffer).unwrap(), message(b""));
            assert_eq!(take(&mut buffer).unwrap(), None);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn the_example_of_the_standard_and_a_long_text_are_unmasked_byte_by_byte() {
        // RFC 6455, 5.7.
        let mut hello = BytesMut::from(&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58][..]);
        assert_eq!(take(&mut hello).unwrap(), message(b"Hello"));
        let text = b"a text of more than two words of eight bytes";
        let mut masked = BytesMut::new();
        put(Side::Client, Data::Text, &[text], &mut masked);
        let key: [u8; 4] = masked[2..6].try_into().unwrap();
        let unmasked: Vec<u8> = masked[6..].iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
        assert_eq!(unmasked, text);
    }

    #[test]
    fn a_message_is_taken_when_its_last_byte_is_there() {
        let mut whole = BytesMut::new();
        put(Side::Client, Data::Text, &[&[b'a'; 300]], &mut whole);
        let mut buffer = BytesMut::new();
        for byte in &whole[..whole.len() - 1] {
            buffer.put_u8(*byte);
            assert_eq!(take(&mut buffer).unwrap(), None);
        }
        buffer.put_u8(whole[whole.len() - 1]);
        assert_eq!(take(&mut buffer).unwrap(), message(&[b'a'; 300]));
    }

    #[test]
    fn a_masked_message_is_not_in_clear_and_a_huge_one_is_refused() {
        let mut buffer = BytesMut::new();
        put(Side::Client, Data::Text, &[b"in clear"], &mut buffer);
        assert!(!buffer.windows(8).any(|bytes| bytes == b"in clear"));
        let mut huge = BytesMut::from(&[0x82, 0x7f][..]);
        huge.put_u64(MESSAGE_BYTES_MAX as u64 + 1);
        assert!(take(&mut huge).unwrap_err().to_string().contains("MESSAGE_BYTES_MAX"));
    }
}
