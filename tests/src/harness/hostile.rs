//! Frames that a client of the wire would not send, made from ones that it would.

use std::fs;

use serde_json::{Value, json};

use super::{Rng, programs};

/// Levels of an attack by nesting: above what a frame may have.
const DEEP: usize = 2_000;
/// Characters of a long text: below what a frame may have, above what any field may.
const LONG: usize = 70_000;

/// Names and texts that somebody may hope to be taken for something else.
pub const TEXTS: &[&str] = &[
    "",
    "'; DROP TABLE member; --",
    "\" OR 1=1 --",
    "$1",
    "%s%n%x",
    "\u{202e}gnitpyrcne\u{2066}",
    "\u{0}\u{7}\u{1b}[2J",
    "../../../../etc/passwd",
    "@all",
    "*",
    "system",
    "{\"type\":\"hello\"}",
    "𝕬𝖓𝖆\u{200d}\u{feff}",
    "name|with|bars",
];

/// A row of bad frames, the same for the same seed.
#[derive(Debug)]
pub struct Hostile {
    rng: Rng,
    examples: Vec<Value>,
}

impl Hostile {
    /// From the written examples of what clients send.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let folder = fs::read_dir(programs::project().join("protocol/golden")).expect("the examples are there");
        let mut files: Vec<_> = folder.map(|entry| entry.expect("a readable folder").path()).collect();
        files.sort();
        let of_clients = files
            .iter()
            .filter(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("client.")));
        let read = |file| serde_json::from_str(&fs::read_to_string(file).expect("a text")).expect("JSON");
        Self { rng: Rng::seeded(seed), examples: of_clients.map(read).collect() }
    }

    /// The next frame.
    pub fn frame(&mut self) -> String {
        let mut value = self.rng.of(&self.examples).clone();
        for _ in 0..=self.rng.below(3) {
            self.spoil(&mut value, 0);
        }
        let text = value.to_string();
        match self.rng.below(8) {
            0 => self.torn(&text),
            1 => format!("{}{text}", "[".repeat(1 + self.rng.below(DEEP as u32) as usize)),
            2 => format!(r#"{{"type":"{}","x":{}1"#, *self.rng.of(&["send", "hello", "no"]), r#"{"a":"#.repeat(DEEP)),
            _ => text,
        }
    }

    /// Changes something somewhere inside.
    fn spoil(&mut self, value: &mut Value, depth: u32) {
        let stay = self.rng.below(3) == 0;
        match value {
            Value::Object(members) if !members.is_empty() && (depth == 0 || !stay) => {
                let at = self.rng.below(members.len() as u32) as usize;
                let name = members.keys().nth(at).expect("inside").clone();
                match self.rng.below(6) {
                    0 => drop(members.remove(&name)),
                    1 => drop(members.insert((*self.rng.of(TEXTS)).to_owned(), self.poison())),
                    _ => self.spoil(&mut members[&name], depth + 1),
                }
            }
            Value::Array(items) if !items.is_empty() && !stay => {
                let at = self.rng.below(items.len() as u32) as usize;
                self.spoil(&mut items[at], depth + 1);
            }
            other => *other = self.poison(),
        }
    }

    /// A value of any type.
    fn poison(&mut self) -> Value {
        match self.rng.below(10) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(1e300),
            4 => json!(u64::MAX),
            5 => json!([[], {}, null]),
            6 => json!({ "a": { "b": [1, 2, 3] } }),
            7 => json!("x".repeat(LONG)),
            8 => (0..60).fold(json!(0), |inner, _| json!([inner])),
            _ => json!(self.rng.of(TEXTS)),
        }
    }

    /// A piece of it, or with a character that does not belong there.
    fn torn(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        let at = self.rng.below(characters.len() as u32) as usize;
        match self.rng.below(3) {
            0 => characters.truncate(at),
            1 => characters[at] = *self.rng.of(&['\u{0}', '"', '\\', '{', '}', '\u{202e}', '9']),
            _ => drop(characters.remove(at)),
        }
        characters.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_frames_are_bad_and_some_get_past_the_first_look() {
        let mut hostile = Hostile::seeded(1);
        let frames: Vec<String> = (0..2_000).map(|_| hostile.frame()).collect();
        let good = frames.iter().filter(|frame| protocol::wire::parse(frame).is_ok()).count();
        assert!((100..1_500).contains(&good), "{good} of 2,000 are messages");
        assert!(frames.iter().any(|frame| frame.contains("DROP TABLE")));
        let mut same = Hostile::seeded(1);
        assert!(frames.iter().all(|frame| *frame == same.frame()));
    }
}
