//! What came of a run: aims, tables for people, a document for programs.

use std::fmt::Write;

use ::tests::harness::Backend;
use ::tests::measure::{Aim, Bound, Machine, Spread, aims, aims_document, grouped, quantile, spread};
use serde_json::{Value, json};

use crate::idle::Idle;
use crate::options::Options;

/// 100 × 100 messages.
const BURST_MS: f64 = 1_000.0;
/// 100 × 1,000 messages.
const LONG_MS: f64 = 10_000.0;
/// A message, at 500 a second.
const P50_MS: f64 = 3.0;
const P99_MS: f64 = 15.0;
/// A broadcast's last delivery.
const BROADCAST_MS: f64 = 3.0;
/// Of the broker, for a message that was delivered.
const CPU_US: f64 = 60.0;
/// A burst beside messages that wait for others, to one without: what two medians of one thing differ by.
const BACKLOG_RATIO: f64 = 1.25;
/// A thousand hellos.
const JOINED_MS: f64 = 2_000.0;
/// Of the broker, for a peer that is only there.
const KIB_EACH: f64 = 30.0;

/// One backend's figures. Times are in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) backend: Backend,
    pub(crate) peers: usize,
    pub(crate) frame_bytes: usize,
    pub(crate) echo: Vec<f64>,
    /// So many messages, and each time they took.
    pub(crate) burst: (u32, Vec<f64>),
    pub(crate) long: (u32, Vec<f64>),
    /// Sorted.
    pub(crate) paced_ns: Vec<u64>,
    /// A frame from a bare server to as many sockets.
    pub(crate) fan_out: Vec<f64>,
    pub(crate) broadcast: Vec<f64>,
    /// Of the broker for a message of the long burst and of the paced run, and of both together.
    pub(crate) cpu_us: [f64; 3],
    /// So many that wait, and each time of a burst beside them.
    pub(crate) backlog: (u32, Vec<f64>),
    pub(crate) idle: Option<Idle>,
}

fn one(value: f64) -> Spread {
    Spread { median: value, min: value, max: value }
}

fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "SQLite",
        Backend::Postgres => "PostgreSQL",
    }
}

impl Measured {
    fn paced_ms(&self, share: f64) -> f64 {
        quantile(&self.paced_ns, share).map_or(f64::NAN, |nanos| nanos as f64 / 1e6)
    }

    /// The share of the broadcasts' last deliveries, sorted.
    fn broadcast_at(&self, share: f64) -> f64 {
        let mut sorted: Vec<u64> = self.broadcast.iter().map(|ms| (ms * 1e6) as u64).collect();
        sorted.sort_unstable();
        quantile(&sorted, share).map_or(f64::NAN, |nanos| nanos as f64 / 1e6)
    }

    fn aims(&self) -> Vec<Aim> {
        let of = |samples: &[f64]| spread(samples);
        let cpu = Spread { median: self.cpu_us[2], min: self.cpu_us[0], max: self.cpu_us[1] };
        let cpu = Spread { min: cpu.min.min(cpu.max), max: cpu.min.max(cpu.max), ..cpu };
        let ratio = of(&self.burst.1).map(|plain| {
            let beside = spread(&self.backlog.1);
            beside.map(|beside| Spread {
                median: beside.median / plain.median,
                min: beside.min / plain.median,
                max: beside.max / plain.median,
            })
        });
        let idle = self.idle.as_ref();
        let peers = self.peers;
        let mut found: Vec<(&str, String, &str, f64, Option<Spread>)> = vec![
            ("burst", format!("{peers} × {} messages at once", self.burst.0), "ms", BURST_MS, of(&self.burst.1)),
            ("long", format!("{peers} × {} messages at once", self.long.0), "ms", LONG_MS, of(&self.long.1)),
            ("p50", "p50 of a message, 500 a second".to_owned(), "ms", P50_MS, Some(one(self.paced_ms(0.5)))),
            ("p99", "p99 of a message, 500 a second".to_owned(), "ms", P99_MS, Some(one(self.paced_ms(0.99)))),
            ("broadcast", format!("the last of {} of a broadcast", peers - 1), "ms", BROADCAST_MS, of(&self.broadcast)),
            ("cpu", "broker's CPU for a message".to_owned(), "µs", CPU_US, Some(cpu)),
        ];
        let words = format!("the burst beside {} that wait for others", grouped(f64::from(self.backlog.0)));
        found.push(("backlog", words, "×", BACKLOG_RATIO, ratio.flatten()));
        let joined = idle.map(|idle| one(idle.joined_ms));
        found.push(("joined", "idle peers that come at once, all greeted".to_owned(), "ms", JOINED_MS, joined));
        let each = idle.map(|idle| one(idle.kib_each));
        found.push(("memory", "broker's memory for an idle peer".to_owned(), "KiB", KIB_EACH, each));
        let aim = |(name, what, unit, bound, measured): (_, _, _, _, Option<Spread>)| {
            measured.map(|measured| Aim { name, what, unit, bound: Bound::AtMost(bound), measured })
        };
        found.into_iter().filter_map(aim).collect()
    }

    fn document(&self) -> Value {
        let idle = self.idle.as_ref().map(|idle| {
            json!({
                "peers": idle.peers,
                "joined_ms": idle.joined_ms,
                "kib_each": idle.kib_each,
                "back_ms": idle.back_ms,
                "most_hellos_in_100_ms": idle.most_in_window,
                "back_cpu_ms": idle.back_cpu_ms,
            })
        });
        json!({
            "backend": name(self.backend),
            "peers": self.peers,
            "frame_bytes": self.frame_bytes,
            "echo_ms": self.echo,
            "burst": { "each": self.burst.0, "ms": self.burst.1 },
            "long": { "each": self.long.0, "ms": self.long.1 },
            "paced": { "messages": self.paced_ns.len(), "p50_ms": self.paced_ms(0.5), "p99_ms": self.paced_ms(0.99) },
            "fan_out_ms": self.fan_out,
            "broadcast": { "ms": self.broadcast, "p99_ms": self.broadcast_at(0.99) },
            "cpu_us": { "long": self.cpu_us[0], "paced": self.cpu_us[1], "together": self.cpu_us[2] },
            "backlog": { "waiting": self.backlog.0, "ms": self.backlog.1 },
            "idle": idle,
            "aims": aims_document(&self.aims()),
        })
    }

    fn table(&self) -> String {
        let mut text = format!("### Messages on {}\n\n{}", name(self.backend), aims(&self.aims()));
        let median = |samples: &[f64]| spread(samples).map_or(f64::NAN, |spread| spread.median);
        let (echo, burst) = (median(&self.echo), median(&self.burst.1));
        let (fan_out, broadcast) = (median(&self.fan_out), median(&self.broadcast));
        let _ = write!(
            text,
            "\nA bare echo of as many frames of {} bytes takes {} ms here: the first burst is {} × that. A bare server that \
             sends such a frame to {} sockets, one after the other, takes {} ms: a broadcast is {} × that. p99 of the \
             broadcasts' last deliveries: {} ms. CPU a message: {} µs in the long burst, {} µs at 500 a second.\n",
            self.frame_bytes,
            grouped(echo),
            grouped(burst / echo),
            self.peers - 1,
            grouped(fan_out),
            grouped(broadcast / fan_out),
            grouped(self.broadcast_at(0.99)),
            grouped(self.cpu_us[0]),
            grouped(self.cpu_us[1]),
        );
        if let Some(idle) = &self.idle {
            let _ = writeln!(
                text,
                "After a kill of the broker all {} idle peers were back within {} ms, at most {} of them in any 100 ms; the \
                 new broker had used {} ms of processor time by then.",
                idle.peers,
                grouped(idle.back_ms),
                idle.most_in_window,
                grouped(idle.back_cpu_ms),
            );
        }
        text
    }
}

/// Whether every aim is kept.
pub(crate) fn are_kept(measured: &[Measured]) -> bool {
    measured.iter().flat_map(Measured::aims).all(|aim| aim.is_kept())
}

/// All tables.
pub(crate) fn tables(machine: &Machine, options: &Options, measured: &[Measured]) -> String {
    let mut text = machine.introduction(&format!(" Medians of {} repetitions of each burst.", options.repetitions));
    measured.iter().for_each(|measured| text += &format!("\n{}", measured.table()));
    text
}

/// Everything, for a program.
pub(crate) fn document(machine: &Machine, options: &Options, measured: &[Measured]) -> Value {
    json!({
        "machine": machine.document(),
        "options": { "share": options.share, "repetitions": options.repetitions },
        "backends": measured.iter().map(Measured::document).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            backend: Backend::Sqlite,
            peers: 100,
            frame_bytes: 700,
            echo: vec![100.0],
            burst: (100, vec![900.0, 800.0, 1_100.0]),
            long: (1_000, vec![9_000.0]),
            paced_ns: (0..=1_000).map(|step| step * 4_000).collect(),
            fan_out: vec![1.0, 0.5, 0.9],
            broadcast: vec![2.0, 2.7, 9.0],
            cpu_us: [50.0, 90.0, 55.0],
            backlog: (100_000, vec![900.0, 1_800.0, 1_700.0]),
            idle: Some(Idle {
                peers: 1_000,
                joined_ms: 500.0,
                kib_each: 31.0,
                back_ms: 1_200.0,
                most_in_window: 120,
                back_cpu_ms: 300.0,
            }),
        }
    }

    #[test]
    fn aims_are_judged_by_their_medians() {
        let all = measured().aims();
        let broken: Vec<_> = all.iter().filter(|aim| !aim.is_kept()).map(|aim| aim.name).collect();
        assert_eq!(broken, ["backlog", "memory"]);
        assert_eq!(all.len(), 9);
        assert!(!are_kept(&[measured()]));
        let short = Measured { idle: None, backlog: (0, vec![]), ..measured() };
        assert_eq!((short.aims().len(), are_kept(&[short])), (6, true));
    }

    #[test]
    fn the_table_has_each_aim_and_what_has_none() {
        let text = tables(&Machine::look(), &Options::default(), &[measured()]);
        for words in [
            "| 100 × 100 messages at once | ≤ 1,000 ms | 900 ms |",
            "burst is 9.00 × that",
            "broadcast is 3.00 × that",
            "at most 120 of them",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let told = document(&Machine::look(), &Options::default(), &[measured()]);
        assert_eq!(told["backends"][0]["paced"]["p50_ms"], json!(2.0));
        assert_eq!(told["backends"][0]["aims"]["backlog"]["kept"], json!(false));
    }
}
