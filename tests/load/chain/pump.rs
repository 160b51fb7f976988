//! One direction of a connection: read what there is, change its framing, write all of it.

use std::io;

use ::tests::frames::{self, Frame, READ_BYTES, Side};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

/// Messages to messages, until the reader ends.
pub(crate) async fn pass_on<R, W>(from: &mut R, to: &mut W, side: Side) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    convert(from, to, |input, out| each_message(input, |message| frames::put(side, Data::Text, &[message], out))).await
}

/// Messages to lines, until the reader ends.
pub(crate) async fn to_lines<R, W>(from: &mut R, to: &mut W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    convert(from, to, |input, out| {
        each_message(input, |message| {
            out.extend_from_slice(message);
            out.extend_from_slice(b"\n");
        })
    })
    .await
}

/// Lines to messages, until the reader ends.
pub(crate) async fn to_messages<R, W>(from: &mut R, to: &mut W, side: Side) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut searched = 0;
    convert(from, to, |input, out| {
        while let Some(at) = memchr::memchr(b'\n', &input[searched..]) {
            let line = input.split_to(searched + at + 1);
            frames::put(side, Data::Text, &[&line[..line.len() - 1]], out);
            searched = 0;
        }
        searched = input.len();
        Ok(Flow::On)
    })
    .await
}

#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Ended,
}

fn each_message(input: &mut BytesMut, mut then: impl FnMut(&[u8])) -> io::Result<Flow> {
    while let Some(frame) = frames::take(input)? {
        match frame {
            Frame::Message(message) => then(&message),
            // Neither our client nor our other half pings.
            Frame::Ping(_) => {}
            Frame::Close => return Ok(Flow::Ended),
        }
    }
    Ok(Flow::On)
}

async fn convert<R, W>(
    from: &mut R,
    to: &mut W,
    mut each: impl FnMut(&mut BytesMut, &mut BytesMut) -> io::Result<Flow>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    loop {
        input.reserve(READ_BYTES);
        if from.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let flow = each(&mut input, &mut out)?;
        to.write_all(&out).await?;
        out.clear();
        if flow == Flow::Ended {
            return Ok(());
        }
    }
}
