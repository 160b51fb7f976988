//! A broker's words on the link.
//!
//! The protocol's own encoder makes the frames. Of those that are the same but for their id it makes one, so that this
//! client costs per call what it costs on the other paths; bodies in chunks go through the multiplexer.

use ::tests::frames::{self, Side};
use bytes::{Bytes, BytesMut};
use protocol::link::mux::Mux;
use protocol::link::{CHUNK_BYTES, CallHeader, Header, ReplyOutcome, RetryKind, frame};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::{decimal, shown};

/// Stands where the id will be. No call has it.
const PLACE: u64 = u64::MAX;
/// Bytes of the length in front of a header.
const PREFIX_BYTES: usize = 4;

/// One link.
pub(crate) struct LinkForm<'a> {
    mux: Mux,
    mesh: &'a str,
    service: &'a str,
    deployment: &'a str,
    /// A call's header before and after its id.
    header: (Vec<u8>, Vec<u8>),
    params: Bytes,
}

/// Of a frame, what tells a whole result from all else.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow)]
    h: GlanceHeader<'a>,
    stream: Option<u64>,
}

#[derive(Deserialize)]
struct GlanceHeader<'a> {
    t: &'a str,
    id: Option<u64>,
    #[serde(borrow)]
    outcome: Option<GlanceOutcome<'a>>,
}

#[derive(Deserialize)]
struct GlanceOutcome<'a> {
    kind: &'a str,
}

impl<'a> LinkForm<'a> {
    pub(crate) fn new(mux: Mux, mesh: &'a str, service: &'a str, deployment: &'a str) -> Self {
        Self { mux, mesh, service, deployment, header: Default::default(), params: Bytes::new() }
    }

    /// The body of every call from now on.
    pub(super) fn will_say(&mut self, params: String) -> Result<(), String> {
        let message = frame::encode(&self.call(PLACE), &[]).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&message[PREFIX_BYTES..]).map_err(|error| error.to_string())?;
        let (before, after) = text.split_once(&PLACE.to_string()).ok_or("a call's header does not hold its id")?;
        self.header = (before.into(), after.into());
        self.params = params.into();
        Ok(())
    }

    pub(super) fn ask(&mut self, id: u64, out: &mut BytesMut) -> Result<(), String> {
        if self.params.len() > CHUNK_BYTES {
            let call = self.call(id);
            self.mux.outbox.push(&call, self.params.clone()).map_err(|error| error.to_string())?;
            self.drain(out);
            return Ok(());
        }
        let mut digits = [0; 20];
        let digits = decimal(id, &mut digits);
        let (before, after) = &self.header;
        let length = u32::try_from(before.len() + digits.len() + after.len()).map_err(|error| error.to_string())?;
        let parts = [&length.to_be_bytes(), &before[..], digits, after, &self.params];
        frames::put(Side::Client, Data::Binary, &parts, out);
        Ok(())
    }

    /// The id of a right answer; none for what is no answer to a call.
    pub(super) fn understand(
        &mut self,
        message: Bytes,
        expected: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<u64>, String> {
        if let Some((id, body)) = whole_result(&message) {
            return if body == expected { Ok(Some(id)) } else { Err(wrong(&message)) };
        }
        let delivered = self.mux.receive(message).map_err(|error| error.to_string())?;
        self.drain(out);
        match delivered.map(|delivered| (delivered.header, delivered.body)) {
            None | Some((Header::Report(_) | Header::RunnerKey { .. }, _)) => Ok(None),
            Some((Header::Reply { id, outcome: ReplyOutcome::Result, .. }, body)) if body == expected => Ok(Some(id)),
            Some((header, body)) => Err(format!("{header:?} {}", wrong(&body))),
        }
    }

    fn call(&self, id: u64) -> Header {
        Header::Call(CallHeader {
            id,
            mesh: self.mesh.to_owned(),
            service: self.service.to_owned(),
            deployment: self.deployment.to_owned(),
            affinity: None,
            method: "tools/call".to_owned(),
            timeout_ms: 60_000,
            retry: RetryKind::Auto,
            attempts_before: 0,
            whole_time: false,
            progress: false,
        })
    }

    /// Everything that may be sent now.
    fn drain(&mut self, out: &mut BytesMut) {
        while let Some(message) = self.mux.outbox.next() {
            frames::put(Side::Client, Data::Binary, &[&message], out);
        }
    }
}

fn wrong(message: &[u8]) -> String {
    format!("not the answer that must come: {}", shown(message))
}

/// Id and body of a result that came in one frame.
fn whole_result(message: &[u8]) -> Option<(u64, &[u8])> {
    let (length, rest) = message.split_first_chunk::<PREFIX_BYTES>()?;
    let (header, body) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let Glance { h, stream } = serde_json::from_slice(header).ok()?;
    let is_result = h.t == "reply" && stream.is_none() && h.outcome.is_some_and(|outcome| outcome.kind == "result");
    if is_result { Some((h.id?, body)) } else { None }
}

#[cfg(test)]
mod tests {
    use protocol::link::FailCode;

    use super::*;
    use ::tests::frames::Frame;

    fn link() -> LinkForm<'static> {
        LinkForm::new(Mux::new(), "m", "s", "d")
    }

    fn messages(mut out: BytesMut) -> Vec<Bytes> {
        std::iter::from_fn(|| match frames::take(&mut out).unwrap()? {
            Frame::Message(message) => Some(message),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn a_call_is_what_the_protocol_would_have_made_of_it() {
        for (id, params) in [(7, "{}".to_owned()), (1 << 40, format!("{{\"text\":\"{}\"}}", "x".repeat(70_000)))] {
            let (mut link, mut out, mut runner) = (link(), BytesMut::new(), Mux::new());
            link.will_say(params.clone()).unwrap();
            link.ask(id, &mut out).unwrap();
            let delivered = messages(out).into_iter().filter_map(|message| runner.receive(message).unwrap());
            let delivered: Vec<_> = delivered.collect();
            assert_eq!(delivered.len(), 1);
            assert_eq!(format!("{:?}", delivered[0].header), format!("{:?}", link.call(id)));
            assert_eq!(delivered[0].body, params);
        }
    }

    #[test]
    fn answers_are_known_whole_and_in_chunks_and_wrong_ones_are_errors() {
        let reply = |outcome, body: &[u8]| {
            let mut runner = Mux::new();
            runner.outbox.push(&Header::Reply { id: 9, outcome, attempts: 1 }, Bytes::copy_from_slice(body)).unwrap();
            let mut link = link();
            let mut last = Ok(None);
            while let Some(message) = runner.outbox.next() {
                let large = vec![b'y'; 100_000];
                let expected = if body.len() > 10 { &large[..] } else { b"right" };
                last = link.understand(message, expected, &mut BytesMut::new());
            }
            last
        };
        assert_eq!(reply(ReplyOutcome::Result, b"right"), Ok(Some(9)));
        assert_eq!(reply(ReplyOutcome::Result, &vec![b'y'; 100_000]), Ok(Some(9)));
        assert!(reply(ReplyOutcome::Result, b"wrong").is_err());
        assert!(reply(ReplyOutcome::Result, &vec![b'z'; 100_000]).is_err());
        let failed = ReplyOutcome::Failed { code: FailCode::Timeout, message: "why".to_owned() };
        assert!(reply(failed, b"").unwrap_err().contains("Timeout"));
    }
}
