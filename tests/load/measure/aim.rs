//! What was aimed at, and whether it is kept.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::Spread;

/// A bound that somebody set, and what was measured.
#[derive(Debug)]
pub struct Aim {
    /// For a program.
    pub name: &'static str,
    /// For a person.
    pub what: String,
    /// Of both.
    pub unit: &'static str,
    /// What was aimed at.
    pub bound: Bound,
    /// Its median is what is judged.
    pub measured: Spread,
}

/// On which side of it is better.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// Below.
    AtMost(f64),
    /// Above.
    AtLeast(f64),
}

impl Bound {
    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        match self {
            Self::AtMost(value) | Self::AtLeast(value) => value,
        }
    }
}

impl Aim {
    /// The median is within the bound.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.measured.median <= most,
            Bound::AtLeast(least) => self.measured.median >= least,
        }
    }
}

/// All of them as a table.
#[must_use]
pub fn aims(aims: &[Aim]) -> String {
    let mut text = "| | aim | median | min–max | |\n|---|---|---|---|---|\n".to_owned();
    for aim in aims {
        let Aim { what, unit, bound, measured, .. } = aim;
        let Spread { median, min, max } = measured;
        let word = if aim.is_kept() { "kept" } else { "**BROKEN**" };
        let bound = match bound {
            Bound::AtMost(most) => format!("≤ {}", grouped(*most)),
            Bound::AtLeast(least) => format!("≥ {}", grouped(*least)),
        };
        let [median, min, max] = [*median, *min, *max].map(grouped);
        let _ = writeln!(text, "| {what} | {bound} {unit} | {median} {unit} | {min}–{max} | {word} |");
    }
    text
}

/// All of them for a program, by name.
#[must_use]
pub fn aims_document(aims: &[Aim]) -> Value {
    let told = aims.iter().map(|aim| {
        let Spread { median, min, max } = aim.measured;
        let (bound, unit, is_kept) = (aim.bound.value(), aim.unit, aim.is_kept());
        let measured = json!({ "median": median, "min": min, "max": max });
        (aim.name.to_owned(), json!({ "bound": bound, "unit": unit, "measured": measured, "kept": is_kept }))
    });
    Value::Object(told.collect::<Map<_, _>>())
}

/// A number as one reads it: small ones with decimals, large ones in groups of three.
#[must_use]
pub fn grouped(number: f64) -> String {
    if number < 10.0 {
        return format!("{number:.2}");
    }
    if number < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([1_234_567.0, 999.6, 99.94, 100.0, 1.5].map(grouped), ["1,234,567", "1,000", "99.9", "100", "1.50"]);
    }
}
