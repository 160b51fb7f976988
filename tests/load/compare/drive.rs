//! The client: keeps a number of calls in flight on one connection, checks each answer, takes each time.
//!
//! Contract: the same for every path. All that one read brought is taken in, each answer asks the next call, and one
//! write sends them; reading goes on while a write does not get through. A call's time runs from before it was put into
//! words until its answer was understood. An answer that nobody waits for, or that is not the text that was sent, ends the run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ::tests::frames::READ_BYTES;
use bytes::BytesMut;
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
        self.speech.will_say(&text)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex, split};

    use super::*;
    use crate::speech::Form;

    /// What the other side saw.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        calls: usize,
        most_open: usize,
    }

    /// Answers the calls of each batch in the reverse order, `wrong` instead of the one with this id.
    async fn server(stream: DuplexStream, wrong: Option<(u64, &str)>) -> Seen {
        let (reader, mut writer) = split(stream);
        let (mut reader, mut seen, mut ids) = (BufReader::new(reader), Seen::default(), BTreeSet::new());
        let mut line = String::new();
        while reader.read_line(&mut line).await.unwrap() > 0 {
            let call: serde_json::Value = serde_json::from_str(&line).unwrap();
            line.clear();
            seen.calls += 1;
            let text = call["params"]["arguments"]["text"].clone();
            assert!(ids.insert((call["id"].as_u64().unwrap(), text.to_string())), "an id was used twice");
            seen.most_open = seen.most_open.max(ids.len());
            if !reader.buffer().is_empty() {
                continue;
            }
            let mut answers = String::new();
            for (id, text) in std::mem::take(&mut ids).into_iter().rev() {
                let right = format!(r#"{{"id":{id},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#);
                let instead = wrong.filter(|(at, _)| *at == id).map(|(_, answer)| answer.to_owned());
                answers += &instead.unwrap_or(right);
                answers.push('\n');
            }
            if writer.write_all(answers.as_bytes()).await.is_err() {
                break;
            }
        }
        seen
    }

    async fn driven(cells: &[Cell], wrong: Option<(u64, &str)>) -> (Result<Vec<Driven>, String>, Seen) {
        // A small buffer, so that writes come to a stop while answers wait to be read.
        let (ours, theirs) = duplex(256);
        let server = tokio::spawn(server(theirs, wrong.map(|(id, text)| (id, text.to_owned().leak() as &str))));
        let mut all = Ok(Vec::new());
        {
            let (reader, writer) = split(ours);
            let mut line = Line::new(reader, writer, Speech::new(Form::Lines));
            for cell in cells {
                match (line.drive(cell).await, &mut all) {
                    (Ok(driven), Ok(list)) => list.push(driven),
                    (Err(error), _) => all = Err(error),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
        (all, server.await.unwrap())
    }

    const CELL: Cell = Cell { payload: 3, in_flight: 4, calls: 10, time: Duration::from_secs(60) };

    #[tokio::test]
    async fn every_call_is_made_once_answered_once_and_counted_once() {
        let (all, seen) = driven(&[CELL, Cell { payload: 0, ..CELL }], None).await;
        let counts: Vec<_> = all.unwrap().iter().map(|driven| driven.times.len()).collect();
        assert_eq!((counts, seen.calls), (vec![10, 10], 20));
        assert!(seen.most_open <= CELL.in_flight, "{seen:?}");
    }

    #[tokio::test]
    async fn a_cell_of_fewer_calls_than_may_be_in_flight_and_one_without_time_end() {
        let few = Cell { calls: 2, ..CELL };
        let short = Cell { time: Duration::ZERO, ..CELL };
        let (all, seen) = driven(&[few, short], None).await;
        let counts: Vec<_> = all.unwrap().iter().map(|driven| driven.times.len()).collect();
        // Those that were begun are waited for.
        assert_eq!((counts, seen.calls), (vec![2, 4], 6));
    }

    #[tokio::test]
    async fn a_large_text_gets_through_a_small_pipe() {
        let (all, seen) = driven(&[Cell { payload: 10_000, ..CELL }], None).await;
        assert_eq!((all.unwrap()[0].times.len(), seen.calls), (10, 10));
    }

    #[tokio::test]
    async fn a_wrong_text_a_foreign_id_and_a_second_answer_end_the_run() {
        for (answer, expected) in [
            (r#"{"id":3,"result":{"content":[{"type":"text","text":"no"}]}}"#, "not the answer that must come"),
            (r#"{"id":3,"error":{"code":1,"message":"x"}}"#, "not the answer that must come"),
            (
                r#"{"id":77,"result":{"content":[{"type":"text","text":"xxx"}]}}"#,
                "an answer to 77, for which nobody waits",
            ),
            (
                r#"{"id":4,"result":{"content":[{"type":"text","text":"xxx"}]}}"#,
                "an answer to 4, for which nobody waits",
            ),
        ] {
            let (all, _) = driven(&[CELL], Some((3, answer))).await;
            assert!(all.as_ref().is_err_and(|error| error.contains(expected)), "{all:?}");
        }
    }
}
