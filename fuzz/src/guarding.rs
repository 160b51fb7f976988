//! The target of the broker's frame guard.

use bytes::Bytes;

use crate::broker_guard::FrameGuard;

/// Small, so that a short input can be over it.
const LIMIT: usize = 100;
/// Bytes that say how the rest is cut.
const CUTS: usize = 4;

/// A socket's bytes. The first ones say in which pieces the others arrive.
pub fn guard(data: &[u8]) {
    let Some((cuts, stream)) = data.split_at_checked(CUTS) else { return };
    let whole = passed([stream.to_vec()]);
    let mut pieces = Vec::new();
    let mut rest = stream;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at(usize::from(*cut % 32 + 1).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    assert_eq!(passed(pieces), whole, "pieces change nothing");
    check(&whole.0);
}

fn passed(pieces: impl IntoIterator<Item = Vec<u8>>) -> (Vec<u8>, usize, Vec<u64>) {
    let mut guard = FrameGuard::new(LIMIT);
    let mut all = (Vec::new(), 0, Vec::new());
    for piece in pieces {
        let passed = guard.pass(Bytes::from(piece));
        all.0.extend(passed.bytes);
        all.1 += passed.too_large;
        all.2.extend(passed.cut);
    }
    all
}

/// What passed is a row of frames, the last of which may be still on its way, and no message of it is over the limit. A
/// codec reads no further than to a frame that may not stand where it stands.
fn check(mut bytes: &[u8]) {
    // Bytes of the message in fragments that has begun and not ended.
    let mut open: Option<u64> = None;
    while let Some((first, length, header)) = header(bytes) {
        let (is_control, continues) = (first & 0x0f >= 8, first & 0x0f == 0);
        if is_control {
            assert!(length <= LIMIT as u64, "a control frame of {length} bytes passed");
        } else {
            let before = match (continues, open) {
                (true, Some(before)) => before,
                (false, None) => 0,
                _ => return,
            };
            let message = before + length;
            assert!(message <= LIMIT as u64, "a message of {message} bytes passed");
            open = (first & 0x80 == 0).then_some(message);
        }
        bytes = &bytes[(header + length as usize).min(bytes.len())..];
    }
}

/// First byte, length, bytes of the header; none if it is not whole.
fn header(bytes: &[u8]) -> Option<(u8, u64, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, extended) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 8),
        short => (u64::from(short), 0),
    };
    let whole = 2 + extended + if second & 0x80 == 0 { 0 } else { 4 };
    (bytes.len() >= whole).then_some((first, length, whole))
}
