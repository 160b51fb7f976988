//! Reads a page back, and the list in docs/metrics.md: for tests that compare what is shown with what is promised.

use std::collections::{BTreeMap, BTreeSet};

/// A family as a page, or the documentation, has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The names of its labels, without `le`.
    pub labels: BTreeSet<String>,
    /// Every series: its labels and its value. Of a histogram, its `_count`.
    pub series: Vec<(BTreeMap<String, String>, f64)>,
}

/// A page that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page(pub BTreeMap<String, Shown>);

/// Where a page is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Malformed {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

#[derive(Default)]
struct Reading {
    page: Page,
    help: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// The family whose samples are read.
    open: Option<String>,
    seen: BTreeSet<String>,
    /// Of a histogram's series: the last step and its count.
    step: Option<(String, f64, f64)>,
}

impl Page {
    /// Reads a page strictly: help and type before the samples, each family in one piece, no series twice, counters that
    /// end in `_total`, and histograms whose steps rise to their count.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn read(text: &str) -> Result<Self, Malformed> {
        let mut reading = Reading::default();
        for (line, text) in (1..).zip(text.lines()) {
            reading.line(text).map_err(|problem| Malformed { line, problem })?;
        }
        Ok(reading.page)
    }

    /// The value of the series of `family` with these labels; 0 when there is none.
    #[must_use]
    pub fn value(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &BTreeMap<String, String>| {
            labels.iter().all(|(name, value)| series.get(*name).is_some_and(|one| one == value))
        };
        let series = self.0.get(family).map(|shown| shown.series.as_slice()).unwrap_or_default();
        series.iter().filter(|(labels, _)| has(labels)).map(|(_, value)| value).sum()
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|shown| shown.series.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value of every label.
    pub fn label_values(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|shown| &shown.series).flat_map(|(labels, _)| labels.values().map(String::as_str))
    }

    /// Names, types and labels, as [`documented`] has them.
    #[must_use]
    pub fn families(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        self.0.iter().map(|(name, shown)| (name.clone(), (shown.kind.clone(), shown.labels.clone()))).collect()
    }
}

impl Reading {
    fn line(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(help) = text.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or("a help without words")?;
            let fresh = !help.is_empty() && self.help.insert(name.to_owned());
            return if fresh { Ok(()) } else { Err(format!("the help of {name} is empty or there twice")) };
        }
        if let Some(kind) = text.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or("a type without a word")?;
            return self.begin(name, kind);
        }
        self.sample(text)
    }

    fn begin(&mut self, name: &str, kind: &str) -> Result<(), String> {
        self.ended.extend(self.open.take());
        if !self.help.contains(name) || self.ended.contains(name) {
            return Err(format!("{name} has no help, or is there twice"));
        }
        if !matches!(kind, "counter" | "gauge" | "histogram") {
            return Err(format!("{kind} is no type"));
        }
        if (kind == "counter") != name.ends_with("_total") {
            return Err(format!("{name} is a {kind}"));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.chars().all(legal) {
            return Err(format!("{name} is no name"));
        }
        self.page.0.insert(name.to_owned(), Shown { kind: kind.to_owned(), ..Shown::default() });
        self.open = Some(name.to_owned());
        Ok(())
    }

    fn sample(&mut self, text: &str) -> Result<(), String> {
        if !self.seen.insert(text.rsplit_once(' ').ok_or("a sample without a value")?.0.to_owned()) {
            return Err(format!("a series that is there twice: {text}"));
        }
        let (series, value) = text.rsplit_once(' ').ok_or("a sample without a value")?;
        let value: f64 = value.parse().map_err(|_| format!("no number: {value}"))?;
        let (name, mut labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').ok_or("labels without an end")?)?),
            None => (series, BTreeMap::new()),
        };
        let family = self.open.clone().ok_or("a sample before its type")?;
        let part = name.strip_prefix(family.as_str()).ok_or(format!("{name} stands among the samples of {family}"))?;
        let step = labels.remove("le");
        let shown = self.page.0.get_mut(&family).ok_or("a sample before its type")?;
        match (shown.kind.as_str(), part, step) {
            ("histogram", "_bucket", Some(step)) => {
                let at: f64 = step.parse().map_err(|_| format!("no step: {step}"))?;
                let of = format!("{family}{labels:?}");
                if let Some((before, last, count)) = &self.step
                    && *before == of
                    && (*last >= at || *count > value)
                {
                    return Err(format!("a step that does not rise: {text}"));
                }
                self.step = Some((of, at, value));
                return Ok(());
            }
            ("histogram", "_sum", None) => return Ok(()),
            ("histogram", "_count", None) => {
                let whole = self
                    .step
                    .take()
                    .is_some_and(|(_, at, count)| at.is_infinite() && count.to_bits() == value.to_bits());
                if !whole {
                    return Err(format!("a count that is not that of the last step: {text}"));
                }
            }
            ("counter" | "gauge", "", None) => {}
            _ => return Err(format!("no sample of a {}: {text}", shown.kind)),
        }
        let names: BTreeSet<String> = labels.keys().cloned().collect();
        if !shown.series.is_empty() && shown.labels != names {
            return Err(format!("other labels than the series before: {text}"));
        }
        shown.labels = names;
        shown.series.push((labels, value));
        Ok(())
    }
}

/// `a="x",b="y"`.
fn labels_of(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a label's value without an end")? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('"' | '\\'))) => c,
                    _ => return Err("a wrong escape".to_owned()),
                }),
                (_, c) => value.push(c),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} twice"));
        }
        rest = after.get(end + 1..).unwrap_or_default().trim_start_matches(',');
    }
    Ok(labels)
}

/// The metrics that the sections of these headings list, in rows of "| `name` | type | `label`, … | … |".
#[must_use]
pub fn documented(text: &str, headings: &[&str]) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows(text, headings)
        .filter_map(|cells| match cells.as_slice() {
            [name, kind, labels, ..] => {
                let name = words(name).into_iter().next()?;
                Some((name, ((*kind).to_owned(), words(labels).into_iter().collect())))
            }
            _ => None,
        })
        .collect()
}

/// The first words of the rows below these headings.
#[must_use]
pub fn listed(text: &str, headings: &[&str]) -> BTreeSet<String> {
    rows(text, headings).filter_map(|cells| cells.first()?.split('`').nth(1).map(str::to_owned)).collect()
}

fn rows<'a>(text: &'a str, headings: &'a [&'a str]) -> impl Iterator<Item = Vec<&'a str>> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        if line.starts_with('#') {
            inside = headings.contains(&line);
        }
        let row = line.strip_prefix("| ")?.strip_suffix('|')?;
        inside.then(|| row.split('|').map(str::trim).collect())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\\\"\"} 2\na_total{x=\"2\"} 3\n\n\
        # HELP t_seconds T.\n# TYPE t_seconds histogram\nt_seconds_bucket{le=\"1\"} 1\n\
        t_seconds_bucket{le=\"+Inf\"} 2\nt_seconds_sum 3.5\nt_seconds_count 2\n";

    #[test]
    fn a_page_is_read() {
        let page = Page::read(GOOD).unwrap();
        assert_eq!(page.value("a_total", &[("x", "1\"")]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(page.value("a_total", &[]).to_bits(), 5.0_f64.to_bits());
        assert_eq!(page.value("t_seconds", &[]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(page.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_found() {
        for (right, wrong) in [
            ("# HELP a_total A.\n", ""),
            ("# TYPE a_total counter\n", ""),
            ("a_total counter", "a_total gauge"),
            ("x=\"2\"", "x=\"1\\\"\""),
            ("x=\"2\"", "y=\"2\""),
            ("t_seconds_count 2", "t_seconds_count 3"),
            ("{le=\"+Inf\"} 2", "{le=\"+Inf\"} 0"),
            ("le=\"+Inf\"", "le=\"2\""),
            ("t_seconds_sum 3.5", "a_total 3.5"),
            ("} 3", "} three"),
        ] {
            assert!(GOOD.contains(right));
            let page = GOOD.replacen(right, wrong, 1);
            assert!(Page::read(&page).is_err(), "{page}");
        }
    }

    #[test]
    fn the_rows_below_a_heading_are_read() {
        let text = "# One\n| metric | type | labels | |\n|---|---|---|---|\n| `a_total` | counter | `x`, `y` | A |\n\
            # Two\n| `b` | gauge | | B |\n";
        let labels = ["x", "y"].map(str::to_owned).into();
        assert_eq!(documented(text, &["# One"]), [("a_total".to_owned(), ("counter".to_owned(), labels))].into());
        assert_eq!(listed(text, &["# Two"]), ["b".to_owned()].into());
    }
}
