//! WebSocket frames on a connection that was upgraded.
//!
//! Contract: the size of a frame is judged by its header, before a byte of it is buffered; the WebSocket codec alone
//! would first collect what it then refuses. The link never sends fragments, so they are refused too.

use std::io;

use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use bytes::BytesMut;
use meter::Counters;
use protocol::link::MAX_FRAME_BYTES;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Decoder, Encoder, Framed, FramedParts};

use crate::metrics::Limit;

/// Written bytes that are collected before they must be flushed.
const WRITE_BYTES: usize = 256 * 1_024;

/// A byte stream of either kind of listener.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// An upgraded connection, with what was read beyond the request.
pub struct Connection {
    /// The stream.
    pub io: Box<dyn Io>,
    /// Read, and not understood yet.
    pub read: BytesMut,
}

/// Frames in and out.
pub(super) type Socket = Framed<Box<dyn Io>, BoundedCodec>;

impl Connection {
    pub(super) fn into_socket(self, limits: Counters<Limit>) -> Socket {
        let codec = BoundedCodec(Codec::new().max_size(MAX_FRAME_BYTES), limits);
        let mut parts = FramedParts::new::<Message>(self.io, codec);
        parts.read_buf = self.read;
        let mut socket = Framed::from_parts(parts);
        socket.set_backpressure_boundary(WRITE_BYTES);
        socket
    }
}

/// See the module.
pub(super) struct BoundedCodec(Codec, Counters<Limit>);

impl Decoder for BoundedCodec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        if let Some(length) = announced(buffer)
            && length > u64::try_from(MAX_FRAME_BYTES).unwrap_or(u64::MAX)
        {
            self.1.count(Limit::LinkMessageBytes);
            return Err(broken(&format!("a frame of {length} bytes is larger than {MAX_FRAME_BYTES}")));
        }
        match self.0.decode(buffer).map_err(not_websocket)? {
            Some(Frame::Continuation(_)) => Err(broken("a fragment; the link sends whole messages")),
            frame => Ok(frame),
        }
    }
}

impl Encoder<Message> for BoundedCodec {
    type Error = io::Error;

    fn encode(&mut self, message: Message, buffer: &mut BytesMut) -> io::Result<()> {
        self.0.encode(message, buffer).map_err(not_websocket)
    }
}

/// The payload length in a frame's header (RFC 6455, 5.2), as soon as it is there.
fn announced(buffer: &[u8]) -> Option<u64> {
    match buffer.get(1)? & 0x7f {
        126 => Some(u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)),
        short => Some(u64::from(short)),
    }
}

fn not_websocket(error: ProtocolError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn broken(rule: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, rule)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn decode(bytes: &[u8]) -> io::Result<Option<Frame>> {
        BoundedCodec(Codec::new().max_size(MAX_FRAME_BYTES), Counters::default()).decode(&mut BytesMut::from(bytes))
    }

    #[test]
    fn h46_a_large_frame_is_refused_by_its_header() {
        let mut header = vec![0x82, 0xff];
        header.extend((u64::try_from(MAX_FRAME_BYTES).unwrap() + 1).to_be_bytes());
        assert!(decode(&header).unwrap_err().to_string().contains("is larger than"));
        let mut header = vec![0x82, 0xff];
        header.extend(u64::try_from(MAX_FRAME_BYTES).unwrap().to_be_bytes());
        assert!(decode(&header).unwrap().is_none());
        assert!(decode(&[0x82]).unwrap().is_none());
    }

    #[test]
    fn fragments_are_refused() {
        assert!(decode(&[0x02, 0x81, 0, 0, 0, 0, b'x']).unwrap_err().to_string().contains("fragment"));
        assert!(matches!(decode(&[0x82, 0x81, 0, 0, 0, 0, b'x']), Ok(Some(Frame::Binary(_)))));
    }
}
