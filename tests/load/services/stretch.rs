//! The calls that are timed: one peer, one small tool, so many in flight.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ::tests::harness::peer::{Peer, call};
use ::tests::measure::quantile;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::options::Options;

/// Calls of the timed peer on their way at any moment.
pub(crate) const IN_FLIGHT: usize = 4;
/// For one answer: far above what any of them takes.
const ANSWER: Duration = Duration::from_secs(60);

/// What one stretch took. Times are in nanoseconds, sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stretch {
    pub(crate) times_ns: Vec<u64>,
}

impl Stretch {
    /// The time below which this share of the calls lies, in microseconds.
    pub(crate) fn at_us(&self, share: f64) -> f64 {
        quantile(&self.times_ns, share).map_or(f64::NAN, |nanos| nanos as f64 / 1e3)
    }

    /// Calls until enough were made or the time is over, and waits for every answer.
    pub(crate) async fn measure(peer: &mut Peer, service: &str, options: &Options) -> Result<Self, String> {
        let end = Instant::now() + Duration::from_secs(options.seconds.into());
        let mut open: HashMap<String, (Instant, String)> = HashMap::new();
        let (mut sent, mut times_ns) = (0, Vec::new());
        loop {
            // One at least, so that no stretch is without a figure.
            while open.len() < IN_FLIGHT && sent < options.calls && (sent == 0 || Instant::now() < end) {
                let text = format!("small {sent}");
                let begun = Instant::now();
                let id = peer.send(call(service, "echo", &json!({ "text": text }))).await?;
                open.insert(id, (begun, text));
                sent += 1;
            }
            if open.is_empty() {
                times_ns.sort_unstable();
                return Ok(Self { times_ns });
            }
            let reply = timeout(ANSWER, peer.next()).await.map_err(|_| format!("{} are unanswered", open.len()))??;
            // Whatever else a peer is told is no answer.
            let Some((begun, text)) = reply["_reqId"].as_str().and_then(|id| open.remove(id)) else { continue };
            times_ns.push(u64::try_from(begun.elapsed().as_nanos()).map_err(|error| error.to_string())?);
            check(&reply, &text)?;
        }
    }
}

/// That it is the answer to this very text.
fn check(reply: &Value, text: &str) -> Result<(), String> {
    if reply["result"]["content"][0]["text"] == text { Ok(()) } else { Err(format!("not {text:?}: {reply}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_another_call_is_none() {
        let reply = json!({ "result": { "content": [{ "type": "text", "text": "small 1" }] } });
        assert_eq!(check(&reply, "small 1"), Ok(()));
        assert!(check(&reply, "small 2").is_err());
        assert!(check(&json!({ "error": "x", "errorCode": "overloaded" }), "small 1").is_err());
    }

    #[test]
    fn shares_are_in_microseconds() {
        let stretch = Stretch { times_ns: (0..=100).map(|step| step * 1_000).collect() };
        assert_eq!([0.5, 0.99].map(|share| stretch.at_us(share)), [50.0, 99.0]);
        assert!(Stretch::default().at_us(0.5).is_nan());
    }
}
