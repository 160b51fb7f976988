//! The client: keeps a number of calls in flight on one connection, checks each answer, takes each time.
//!
//! Contract: the same for every path. All that one read brought is taken in, each answer asks the next call, and one
//! write sends them; reading goes on while a write does not get through. A call's time runs from before it was put into
//! words until its answer was understood. An answer that nobody waits for, or that is not the text that was sent, ends the run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tests::frames::READ_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::plan::Cell;
use crate::speech::Speech;

/// Nothing was read and nothing was written for so long: something hangs.
const STALLED: Duration = Duration::from_secs(60);

/// A connection, and how to speak on it.
pub(crate) struct Line<'a> {
    pub(crate) reader: Box<dyn AsyncRead + Unpin + 'a>,
    pub(crate) writer: Box<dyn AsyncWrite + Unpin + 'a>,
    pub(crate) speech: Speech<'a>,
    /// Calls so far: ids are not used again on a connection.
    last: u64,
    input: BytesMut,
    output: BytesMut,
}

/// What came of a cell.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    /// From the first call to the last answer.
    pub(crate) wall: Duration,
    /// Of each call, in nanoseconds, in no order.
    pub(crate) times: Vec<u64>,
}

impl<'a> Line<'a> {
    pub(crate) fn new<R, W>(reader: R, writer: W, speech: Speech<'a>) -> Self
    where
        R: AsyncRead + Unpin + 'a,
        W: AsyncWrite + Unpin + 'a,
    {
        let (reader, writer) = (Box::new(reader), Box::new(writer));
        Self { reader, writer, speech, last: 0, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Makes the cell's calls, and waits for every answer.
    pub(crate) async fn drive(&mut self, cell: &Cell) -> Result<Driven, String> {
        let text = "x".repeat(cell.payload);
        self.speech.will_say(&text);
        let mut open: HashMap<u64, Instant> = HashMap::with_capacity(cell.in_flight);
        let mut driven = Driven::default();
        let mut left = cell.calls;
        let begun = Instant::now();
        for _ in 0..cell.in_flight {
            self.ask(&mut open, &mut left)?;
        }
        let mut is_over = false;
        while !open.is_empty() {
            self.exchange().await?;
            while let Some(id) = self.speech.hear(&mut self.input, &mut self.output)? {
                let asked = open.remove(&id).ok_or(format!("an answer to {id}, for which nobody waits"))?;
                let answered = Instant::now();
                driven.times.push(u64::try_from((answered - asked).as_nanos()).unwrap_or(u64::MAX));
                is_over = is_over || answered - begun > cell.time;
                if !is_over {
                    self.ask(&mut open, &mut left)?;
                }
            }
        }
        driven.wall = begun.elapsed();
        Ok(driven)
    }

    fn ask(&mut self, open: &mut HashMap<u64, Instant>, left: &mut u64) -> Result<(), String> {
        if *left > 0 {
            *left -= 1;
            self.last += 1;
            open.insert(self.last, Instant::now());
            self.speech.ask(self.last, &mut self.output)?;
        }
        Ok(())
    }

    /// Writes something, or reads something.
    async fn exchange(&mut self) -> Result<(), String> {
        let Self { reader, writer, input, output, .. } = self;
        let moved = async {
            if output.is_empty() {
                input.reserve(READ_BYTES);
                return reader.read_buf(input).await;
            }
            input.reserve(READ_BYTES);
            tokio::select! {
                biased;
                written = writer.write_buf(output) => written,
                read = reader.read_buf(input) => read,
            }
        };
        match timeout(STALLED, moved).await {
            Ok(Ok(0)) => Err("the connection ended with calls in flight".to_owned()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("nothing moved for {STALLED:?} with calls in flight")),
        }
    }
}
