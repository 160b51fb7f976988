//! Text that others wrote.
//!
//! Contract: what comes from a peer, a service, a log or the broker is a [`Foreign`]; it has no `Display`. It reaches a
//! terminal only through [`Foreign::line`] or [`Foreign::block`], which take out everything that could move the cursor,
//! recolour the screen, reorder the line or hide. For programs (`--json`) the text stays what it was, and
//! [`escape_json`] writes the same characters as `\u` escapes, so that even a person who looks at it is safe.

use std::fmt::Write as _;

use protocol::validate::is_hostile;
use serde::{Deserialize, Serialize};

/// A string that somebody else wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Foreign(String);

impl Foreign {
    /// As one line: line breaks and tabs become spaces.
    pub(crate) fn line(&self) -> String {
        line(&self.0)
    }

    /// As it is laid out: line breaks and tabs stay.
    pub(crate) fn block(&self) -> String {
        block(&self.0)
    }

    /// The text as it came, for comparisons and for parsing; never for a terminal.
    pub(crate) fn raw(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// One clean line out of any text.
pub(crate) fn line(text: &str) -> String {
    let clean = block(text);
    if clean.contains(['\n', '\t']) { clean.replace(['\n', '\t'], " ").trim_end().to_owned() } else { clean }
}

/// As one word of a shell, for a command that a person, or another program, gives to one.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_.-+".contains(&b));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Clean text with its line breaks and tabs.
pub(crate) fn block(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\u{1b}' => escape_sequence_length(rest),
            '\u{9b}' => first.len_utf8() + control_sequence_length(after(rest, first.len_utf8())),
            '\n' | '\t' => {
                clean.push(first);
                1
            }
            // A carriage return before a line feed is an ordinary line end; alone it overwrites the line.
            _ if is_hostile(first) => first.len_utf8(),
            _ => {
                clean.push(first);
                first.len_utf8()
            }
        };
        rest = after(rest, length);
    }
    clean
}

/// Escapes, in a JSON text, every character that [`block`] would take out. Outside strings JSON has no such character
/// but line breaks, which become spaces: the document is one line.
pub(crate) fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, '\n' | '\r' | '\t') {
            safe.push(' ');
        } else if is_hostile(c) {
            let mut units = [0u16; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

fn after(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or("")
}

/// Bytes of the escape sequence that `text` starts with (its first byte is ESC). What is unterminated loses only its
/// introducer, so that an unclosed sequence cannot swallow the text behind it.
fn escape_sequence_length(text: &str) -> usize {
    let body = after(text, 1);
    match body.chars().next() {
        Some('[') => 2 + control_sequence_length(after(body, 1)),
        Some(']' | 'P' | 'X' | '^' | '_') => 2 + string_sequence_length(after(body, 1)),
        Some(c) if c.is_ascii_graphic() => 2,
        _ => 1,
    }
}

/// Parameters and the final byte of a control sequence.
fn control_sequence_length(body: &str) -> usize {
    let parameters = body.bytes().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    match body.as_bytes().get(parameters) {
        Some(0x40..=0x7e) => parameters + 1,
        _ => 0,
    }
}

/// The body and terminator (BEL, or ESC \) of a string sequence such as a window title or a hyperlink.
fn string_sequence_length(body: &str) -> usize {
    let bell = body.find('\u{7}').map(|at| at + 1);
    let terminator = body.find("\u{1b}\\").map(|at| at + 2);
    match (bell, terminator) {
        (Some(a), Some(b)) => a.min(b),
        (Some(end), None) | (None, Some(end)) => end,
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_taken_out() {
        for (hostile, clean) in [
            ("plain ünï ✓ 👩‍👩‍👧", "plain ünï ✓ 👩‍👩‍👧"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}[Hcleared", "cleared"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]0;unterminated", "0;unterminated"),
            ("\u{1b}[31", "31"),
            ("\u{1b}creset", "reset"),
            ("end\u{1b}", "end"),
            ("\u{1b}é", "é"),
            ("\u{9b}31mc1", "c1"),
            ("over\rwritten", "overwritten"),
            ("back\u{8}space\u{7f}\u{0}", "backspace"),
            ("abc\u{202e}gpj.exe\u{2066}", "abcgpj.exe"),
            ("tag\u{e0041}ged \u{200b}\u{feff}", "tagged "),
            ("a\u{2028}b", "ab"),
            ("line\r\nnext\tx", "line\nnext\tx"),
        ] {
            assert_eq!(block(hostile), clean, "{hostile:?}");
        }
    }

    #[test]
    fn a_line_has_no_line_breaks() {
        assert_eq!(line("one\r\ntwo\tthree\n"), "one two three");
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_its_teeth() {
        let original = serde_json::json!({"k": "a\u{202e}b\u{9b}31m\u{e0041}\n\u{1b}[0m", "n": 1});
        let pretty = serde_json::to_string_pretty(&original).unwrap();
        let safe = escape_json(&pretty);
        assert!(!safe.chars().any(is_hostile), "a hidden character was left: {safe:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), original);
    }

    #[test]
    fn a_word_of_a_shell_is_that_word_alone() {
        let words = [("aws/prod.key", "aws/prod.key"), ("a b", "'a b'"), ("", "''"), ("$x", "'$x'")];
        for (text, word) in words.into_iter().chain([("x'; y", r"'x'\''; y'")]) {
            assert_eq!(shell_word(text), word);
        }
    }
}
