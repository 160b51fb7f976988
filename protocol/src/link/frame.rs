//! One frame as bytes.
//!
//! Contract: [`encode`] and [`decode`] are inverse, a decoded body shares the message's buffer, and nothing that a peer
//! sends makes [`decode`] allocate more than the message's own size.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{CHUNK_BYTES, Header, MAX_BODY_BYTES, MAX_HEADER_BYTES};

/// Bytes of the length in front of the header.
const PREFIX_BYTES: usize = 4;

/// One message of the link.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it says.
    pub header: Header,
    /// When it announces a body that follows in chunks.
    pub announced: Option<Announced>,
    /// At most [`CHUNK_BYTES`]; empty when `announced`.
    pub body: Bytes,
}

/// A body that follows in [`Header::Chunk`] frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The sender's name for it; rises with each one.
    pub stream: u64,
    /// The sum of its chunks, between [`CHUNK_BYTES`] and [`MAX_BODY_BYTES`].
    pub body_len: u64,
}

/// A message that is no frame, or a header that becomes none.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Shorter than the length in front.
    #[error("a frame of {0} bytes has no header length")]
    NoLength(usize),
    /// The header is said to be longer than the message.
    #[error("a header of {header} bytes in a frame of {frame}")]
    Truncated {
        /// As said.
        header: usize,
        /// As received.
        frame: usize,
    },
    /// Over [`MAX_HEADER_BYTES`].
    #[error("a header of {0} bytes is over the limit of {MAX_HEADER_BYTES}")]
    HeaderTooLarge(usize),
    /// Over [`CHUNK_BYTES`] in one frame, or over [`MAX_BODY_BYTES`] in all.
    #[error("a body of {0} bytes is over the limit")]
    BodyTooLarge(u64),
    /// Not a header that this version knows.
    #[error("a header that cannot be read")]
    Header(#[source] serde_json::Error),
    /// A value that has no JSON form.
    #[error("a header that cannot be written")]
    Unwritable(#[source] serde_json::Error),
    /// `stream` without `body_len`, a body beside them, or a length that needs no chunks.
    #[error("a body is announced wrongly")]
    Announcement,
}

/// The header as it stands in a frame.
#[derive(Serialize)]
struct Written<'a> {
    h: &'a Header,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_len: Option<u64>,
}

#[derive(Deserialize)]
struct Read {
    h: Header,
    #[serde(default)]
    stream: Option<u64>,
    #[serde(default)]
    body_len: Option<u64>,
}

/// A frame that carries its body, which is at most [`CHUNK_BYTES`].
///
/// # Errors
/// [`FrameError::HeaderTooLarge`], [`FrameError::BodyTooLarge`].
pub fn encode(header: &Header, body: &[u8]) -> Result<Bytes, FrameError> {
    if body.len() > CHUNK_BYTES {
        return Err(FrameError::BodyTooLarge(crate::wide(body.len())));
    }
    write(&Written { h: header, stream: None, body_len: None }, body)
}

/// A frame that announces a body.
///
/// # Errors
/// [`FrameError::HeaderTooLarge`], [`FrameError::Announcement`], [`FrameError::BodyTooLarge`].
pub fn encode_announcement(header: &Header, announced: Announced) -> Result<Bytes, FrameError> {
    announced.check()?;
    let Announced { stream, body_len } = announced;
    write(&Written { h: header, stream: Some(stream), body_len: Some(body_len) }, &[])
}

/// Takes a message apart; the body is a slice of it.
///
/// # Errors
/// Any [`FrameError`]; the sender does not speak this protocol.
pub fn decode(mut message: Bytes) -> Result<Frame, FrameError> {
    let frame = message.len();
    let prefix = message.first_chunk::<PREFIX_BYTES>().ok_or(FrameError::NoLength(frame))?;
    let header_len = crate::narrow(u32::from_be_bytes(*prefix).into());
    if header_len > MAX_HEADER_BYTES {
        return Err(FrameError::HeaderTooLarge(header_len));
    }
    if frame - PREFIX_BYTES < header_len {
        return Err(FrameError::Truncated { header: header_len, frame });
    }
    let header = message.split_to(PREFIX_BYTES + header_len).slice(PREFIX_BYTES..);
    if message.len() > CHUNK_BYTES {
        return Err(FrameError::BodyTooLarge(crate::wide(message.len())));
    }
    let read: Read = serde_json::from_slice(&header).map_err(FrameError::Header)?;
    let announced = match (read.stream, read.body_len) {
        (None, None) => None,
        (Some(stream), Some(body_len)) if message.is_empty() => Some(Announced { stream, body_len }),
        _ => return Err(FrameError::Announcement),
    };
    if let Some(announced) = announced {
        announced.check()?;
    }
    Ok(Frame { header: read.h, announced, body: message })
}

impl Announced {
    fn check(self) -> Result<(), FrameError> {
        match crate::narrow(self.body_len) {
            len if len > MAX_BODY_BYTES => Err(FrameError::BodyTooLarge(self.body_len)),
            len if len <= CHUNK_BYTES => Err(FrameError::Announcement),
            _ => Ok(()),
        }
    }
}

fn write(header: &Written<'_>, body: &[u8]) -> Result<Bytes, FrameError> {
    // Most headers are calls and replies of about this size.
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + 256 + body.len());
    frame.put_u32(0);
    serde_json::to_writer((&mut frame).writer(), header).map_err(FrameError::Unwritable)?;
    let header_len = frame.len() - PREFIX_BYTES;
    let prefix = u32::try_from(header_len).ok().filter(|_| header_len <= MAX_HEADER_BYTES);
    let prefix = prefix.ok_or(FrameError::HeaderTooLarge(header_len))?;
    for (byte, value) in frame.iter_mut().zip(prefix.to_be_bytes()) {
        *byte = value;
    }
    frame.extend_from_slice(body);
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn raw(header: &str, body: &[u8]) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(header.len()).unwrap());
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(body);
        frame.freeze()
    }

    #[test]
    fn a_frame_survives_and_its_body_is_not_copied() {
        let message = encode(&Header::Progress { id: 7 }, b"{\"progress\":1}").unwrap();
        assert_eq!(&message[..4], &[0, 0, 0, 29]);
        let frame = decode(message.clone()).unwrap();
        assert!(matches!(frame.header, Header::Progress { id: 7 }));
        assert_eq!(frame.body, b"{\"progress\":1}"[..]);
        assert!(message.as_ptr_range().contains(&frame.body.as_ptr()));
    }

    #[test]
    fn an_announcement_survives() {
        let announced = Announced { stream: 3, body_len: 100_000 };
        let frame = decode(encode_announcement(&Header::Progress { id: 7 }, announced).unwrap()).unwrap();
        assert_eq!(frame.announced, Some(announced));
        assert!(frame.body.is_empty());
    }

    #[test]
    fn raw_json_passes_through_whatever_the_order_of_members() {
        for header in [
            r#"{"h":{"t":"report","seq":1,"complete":true,"services":[],"tree":{"a":1.10}}}"#,
            r#"{"h":{"seq":1,"complete":true,"services":[],"tree":{"a":1.10},"t":"report"}}"#,
        ] {
            let Header::Report(report) = decode(raw(header, b"")).unwrap().header else { panic!("a report") };
            assert_eq!(report.tree.unwrap().get(), r#"{"a":1.10}"#);
        }
    }

    #[test]
    fn members_of_later_minor_versions_are_ignored() {
        let header = r#"{"h":{"t":"stop_all","cmd":4,"why":"later"},"later":[1]}"#;
        assert!(matches!(decode(raw(header, b"")).unwrap().header, Header::StopAll { cmd: 4 }));
    }

    #[test]
    fn what_is_no_frame_is_told_apart() {
        use FrameError as E;
        assert!(matches!(decode(Bytes::from_static(b"abc")), Err(E::NoLength(3))));
        assert!(matches!(decode(Bytes::from_static(&[0, 0, 0, 9, b'{'])), Err(E::Truncated { header: 9, frame: 5 })));
        assert!(matches!(decode(Bytes::from_static(&[255; 8])), Err(E::HeaderTooLarge(_))));
        assert!(matches!(decode(raw("{}", b"")), Err(E::Header(_))));
        assert!(matches!(decode(raw(r#"{"h":{"t":"nonsense"}}"#, b"")), Err(E::Header(_))));
        assert!(matches!(decode(raw(r#"{"h":{"t":"chunk","stream":1}}"#, b"")), Err(E::Header(_))));
        let progress = r#"{"h":{"t":"progress","id":1},"stream":1,"body_len":"#;
        assert!(matches!(decode(raw(&format!("{progress}70000}}"), b"x")), Err(E::Announcement)));
        assert!(matches!(decode(raw(&format!("{progress}65536}}"), b"")), Err(E::Announcement)));
        assert!(matches!(decode(raw(&format!("{progress}67108865}}"), b"")), Err(E::BodyTooLarge(67_108_865))));
        assert!(matches!(decode(raw(r#"{"h":{"t":"progress","id":1},"stream":1}"#, b"")), Err(E::Announcement)));
        let body = vec![0; CHUNK_BYTES + 1];
        assert!(matches!(decode(raw(r#"{"h":{"t":"progress","id":1}}"#, &body)), Err(E::BodyTooLarge(_))));
    }

    #[test]
    fn what_is_too_large_is_not_written() {
        let long = Header::LinkProof { proof: "x".repeat(MAX_HEADER_BYTES) };
        assert!(matches!(encode(&long, b""), Err(FrameError::HeaderTooLarge(_))));
        assert!(matches!(encode(&Header::Progress { id: 1 }, &[0; CHUNK_BYTES + 1]), Err(FrameError::BodyTooLarge(_))));
    }
}
