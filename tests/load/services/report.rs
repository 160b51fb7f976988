//! What came of a run: the aim, tables for people, a document for programs.

use std::fmt::Write;

use ::tests::measure::{Aim, Bound, Machine, Spread, aims, aims_document, grouped, spread};
use serde_json::{Value, json};

use crate::options::Options;
use crate::stage::{BIG_BYTES, SLOW_IN_FLIGHT, SLOW_MS};
use crate::stretch::{IN_FLIGHT, Stretch};

/// p99 of a fast service beside a slow one, to alone: its calls wait for none of the other's.
const SLOW_RATIO: f64 = 1.2;

/// All figures. The stretches of one repetition have one index.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) alone: Vec<Stretch>,
    pub(crate) beside_slow: Vec<Stretch>,
    pub(crate) beside_big: Vec<Stretch>,
    /// Results that the others got meanwhile.
    pub(crate) slow_calls: u64,
    pub(crate) big_calls: u64,
    pub(crate) updated: Updated,
}

/// What the callers of a service had of its updates.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    pub(crate) times: u32,
    /// Each with a result.
    pub(crate) calls: u64,
    pub(crate) slowest_ms: f64,
}

/// A share of each stretch, in microseconds.
fn times(stretches: &[Stretch], share: f64) -> Option<Spread> {
    spread(&stretches.iter().map(|stretch| stretch.at_us(share)).collect::<Vec<_>>())
}

impl Measured {
    /// A share of each stretch to that of the one alone in the same repetition.
    fn ratio(&self, beside: &[Stretch], share: f64) -> Option<Spread> {
        let ratios = beside.iter().zip(&self.alone).map(|(beside, alone)| beside.at_us(share) / alone.at_us(share));
        spread(&ratios.collect::<Vec<_>>())
    }

    fn aims(&self) -> Vec<Aim> {
        let what = format!("p99 of a fast service beside {SLOW_IN_FLIGHT} calls of a slow one, to alone");
        let measured = self.ratio(&self.beside_slow, 0.99);
        let aim = |measured| Aim { name: "beside_slow", what, unit: "×", bound: Bound::AtMost(SLOW_RATIO), measured };
        measured.map(aim).into_iter().collect()
    }

    /// Whether every aim is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.aims().iter().all(Aim::is_kept)
    }

    fn rows(&self) -> [(String, &[Stretch]); 3] {
        [
            ("alone".to_owned(), &self.alone),
            (format!("beside {SLOW_IN_FLIGHT} calls of {SLOW_MS} ms, always in flight"), &self.beside_slow),
            (format!("beside results of {} MiB, one after the other", BIG_BYTES >> 20), &self.beside_big),
        ]
    }
}

fn table(measured: &Measured) -> String {
    let mut text = "| small calls | calls | p50 µs | min–max | × | p99 µs | min–max | × |\n".to_owned();
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for (name, stretches) in measured.rows() {
        let calls: usize = stretches.iter().map(|stretch| stretch.times_ns.len()).sum();
        let _ = write!(text, "| {name} | {} ", grouped(calls as f64));
        for share in [0.5, 0.99] {
            let (Some(time), Some(ratio)) = (times(stretches, share), measured.ratio(stretches, share)) else {
                continue;
            };
            let [median, min, max] = [time.median, time.min, time.max].map(grouped);
            let _ = write!(text, "| {median} | {min}–{max} | {:.2} ", ratio.median);
        }
        text.push_str("|\n");
    }
    text
}

/// Everything, for the page.
pub(crate) fn tables(machine: &Machine, options: &Options, measured: &Measured) -> String {
    let mut text = machine
        .introduction(&format!(" Medians of {} repetitions; {IN_FLIGHT} small calls in flight.", options.repetitions));
    let _ = write!(text, "\n{}\n{}", aims(&measured.aims()), table(measured));
    let Updated { times, calls, slowest_ms } = &measured.updated;
    let _ = write!(
        text,
        "\nMeanwhile {} slow calls and {} large ones had their results. {times} updates of one service under two peers: {} \
         calls, none failed, the slowest took {} ms.\n",
        grouped(measured.slow_calls as f64),
        grouped(measured.big_calls as f64),
        grouped(*calls as f64),
        grouped(*slowest_ms),
    );
    text
}

/// Everything, for a program.
pub(crate) fn document(machine: &Machine, measured: &Measured) -> Value {
    let stretches = |stretches: &[Stretch]| {
        let told = |stretch: &Stretch| json!({ "calls": stretch.times_ns.len(), "p50_us": stretch.at_us(0.5), "p99_us": stretch.at_us(0.99) });
        stretches.iter().map(told).collect::<Vec<_>>()
    };
    let Updated { times, calls, slowest_ms } = &measured.updated;
    json!({
        "machine": machine.document(),
        "alone": stretches(&measured.alone),
        "beside_slow": stretches(&measured.beside_slow),
        "beside_big": stretches(&measured.beside_big),
        "slow_calls": measured.slow_calls,
        "big_calls": measured.big_calls,
        "updates": { "times": times, "calls": calls, "slowest_ms": slowest_ms },
        "aims": aims_document(&measured.aims()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let of = |step: u64| Stretch { times_ns: (0..=100).map(|number| number * step).collect() };
        Measured {
            alone: vec![of(1_000), of(2_000), of(3_000)],
            beside_slow: vec![of(1_100), of(2_200), of(9_000)],
            beside_big: vec![of(2_000), of(4_000), of(6_000)],
            slow_calls: 96,
            big_calls: 5,
            updated: Updated { times: 50, calls: 1_234, slowest_ms: 12.5 },
        }
    }

    #[test]
    fn the_aim_is_judged_by_the_median_of_the_repetitions_ratios() {
        assert!(measured().is_kept());
        let slower = Measured { beside_slow: measured().beside_big, ..measured() };
        assert!(!slower.is_kept());
    }

    #[test]
    fn the_table_has_each_row_and_what_was_counted() {
        let text = tables(&Machine::look(), &Options::default(), &measured());
        for words in [
            "| alone | 303 | 100 | 50.0–150 | 1.00 | 198 | 99.0–297 | 1.00 |",
            "one after the other | 303 | 200 | 100–300 | 2.00 |",
            "50 updates of one service under two peers: 1,234 calls",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let told = document(&Machine::look(), &measured());
        assert_eq!((&told["alone"][1]["p50_us"], &told["updates"]["calls"]), (&json!(100.0), &json!(1_234)));
        assert_eq!(told["aims"]["beside_slow"]["kept"], json!(true));
    }
}
