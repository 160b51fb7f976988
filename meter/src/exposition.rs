//! The handles that count, and the page that shows what they counted.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::family::{Family, Kind};

/// What the page is sent as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How often [`Exposition::upkeep`] wants to be called.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(1);

const METADATA: Metadata<'static> = Metadata::new("claudemesh", Level::INFO, None);

/// The metrics of one part. Not global, and not the process's: whoever has it makes handles and reads the page.
pub struct Exposition {
    recorder: PrometheusRecorder,
    page: PrometheusHandle,
}

impl Exposition {
    /// For these families and no others.
    ///
    /// # Errors
    /// When a histogram has no steps.
    pub fn new<'a>(families: impl IntoIterator<Item = &'a Family> + Clone) -> Result<Self, BuildError> {
        let mut builder = PrometheusBuilder::new();
        for family in families.clone() {
            if let Kind::Histogram(steps) = family.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(family.name.to_owned()), steps)?;
            }
        }
        let recorder = builder.build_recorder();
        for family in families {
            let (name, help) = (KeyName::from_const_str(family.name), family.help.into());
            match family.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
            }
        }
        let page = recorder.handle();
        Ok(Self { recorder, page })
    }

    /// A series of a counter. The same values again are the same series.
    pub fn counter(&self, family: &Family, values: &[&str]) -> Counter {
        self.recorder.register_counter(&key(family, values), &METADATA)
    }

    /// A series of a gauge.
    pub fn gauge(&self, family: &Family, values: &[&str]) -> Gauge {
        self.recorder.register_gauge(&key(family, values), &METADATA)
    }

    /// A series of a histogram.
    pub fn histogram(&self, family: &Family, values: &[&str]) -> Histogram {
        self.recorder.register_histogram(&key(family, values), &METADATA)
    }

    /// Sums up what histograms were told. Until then each measurement is kept as it came, so whoever serves the page
    /// calls this every [`UPKEEP_EVERY`], scraped or not: that bounds them.
    pub fn upkeep(&self) {
        self.page.run_upkeep();
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> String {
        self.page.render()
    }
}

fn key(family: &Family, values: &[&str]) -> Key {
    debug_assert_eq!(family.labels.len(), values.len(), "{} has these labels", family.name);
    let labels = family.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(family.name, labels.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CALLS: Family = Family { name: "calls_total", kind: Kind::Counter, labels: &["outcome"], help: "Calls." };
    const TIME: Family =
        Family { name: "time_seconds", kind: Kind::Histogram(&[0.5, 1.0]), labels: &[], help: "Time." };

    #[test]
    fn a_page_has_help_type_and_every_series() {
        let exposition = Exposition::new([&CALLS, &TIME]).unwrap();
        exposition.counter(&CALLS, &["a\"b"]).increment(2);
        exposition.histogram(&TIME, &[]).record(0.75);
        let page = exposition.page();
        for line in [
            "# HELP calls_total Calls.",
            "# TYPE calls_total counter",
            r#"calls_total{outcome="a\"b"} 2"#,
            "# TYPE time_seconds histogram",
            r#"time_seconds_bucket{le="0.5"} 0"#,
            r#"time_seconds_bucket{le="1"} 1"#,
            r#"time_seconds_bucket{le="+Inf"} 1"#,
            "time_seconds_sum 0.75",
            "time_seconds_count 1",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn two_of_them_count_apart() {
        let (one, other) = (Exposition::new([&CALLS]).unwrap(), Exposition::new([&CALLS]).unwrap());
        one.counter(&CALLS, &["x"]).increment(1);
        assert!(one.page().contains("calls_total{outcome=\"x\"} 1"));
        assert!(!other.page().contains("calls_total{"));
    }
}
