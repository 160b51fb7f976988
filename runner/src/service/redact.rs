//! Takes secrets out of what is shown: logs, reasons, errors.
//!
//! Contract: pure. A value of at least [`LEAST_BYTES`] is found as it is, in base64 (also in the middle of something
//! longer), percent-encoded, and as it stands in JSON; of a value of several lines each line is. What is left is the word
//! [`REDACTED`]. Shorter values are not looked for: they are found in everything. Results of tools are never passed here.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use protocol::secret::REDACTED;
use serde_json::value::RawValue;

use crate::process::CUT_NOTICE;

/// Shortest value that is looked for.
pub(super) const LEAST_BYTES: usize = 8;
/// Shortest beginning of one that is taken out at the end of a line that was cut.
const LEAST_BEGINNING: usize = 4;
/// What stands for an error object that nothing sensible is left of.
const WITHHELD: &[u8] = br#"{"code":-32603,"message":"[secret]"}"#;
/// What `encodeURIComponent` and its like leave alone.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// What RFC 3986 leaves alone.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// See the module. Without secrets it costs nothing.
#[derive(Default)]
pub(crate) struct Redactor {
    patterns: Vec<Vec<u8>>,
    found: Option<AhoCorasick>,
}

impl Redactor {
    /// For these values.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut forms = BTreeSet::new();
        for value in values {
            forms_of(value, &mut forms);
            for line in value.split(|byte| *byte == b'\n') {
                forms_of(line.trim_ascii(), &mut forms);
            }
        }
        let patterns: Vec<Vec<u8>> = forms.into_iter().collect();
        // Longest first where several begin at one place: the rest of the longer one must not stay.
        let mut builder = AhoCorasick::builder();
        // Left alone it takes the kind that is fastest for few patterns, some ten KiB for each byte of a long value.
        builder.match_kind(MatchKind::LeftmostLongest).kind(Some(AhoCorasickKind::ContiguousNFA));
        let build = || builder.build(&patterns);
        // It fails only above 2³¹ states; the size of a box is far below.
        let found = (!patterns.is_empty()).then(build).and_then(Result::ok);
        Self { patterns, found }
    }

    /// The text without them.
    pub(crate) fn text<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        let Some(found) = self.found.as_ref().filter(|found| found.is_match(text)) else {
            return self.cut(text.into());
        };
        // By bytes: a value that was cut inside a character still begins and ends at its own.
        let mut clean = Vec::with_capacity(text.len());
        found.replace_all_with_bytes(text.as_bytes(), &mut clean, |_, _, to| {
            to.extend_from_slice(REDACTED.as_bytes());
            true
        });
        self.cut(String::from_utf8_lossy(&clean).into_owned().into())
    }

    /// A line that was cut may end with the beginning of one.
    fn cut<'a>(&self, text: std::borrow::Cow<'a, str>) -> std::borrow::Cow<'a, str> {
        if self.patterns.is_empty() {
            return text;
        }
        let Some(end) = text.rfind(CUT_NOTICE) else { return text };
        let (kept, notice) = text.split_at(end);
        let begun = |pattern: &Vec<u8>| {
            let longest = pattern.len().saturating_sub(1).min(kept.len());
            (LEAST_BEGINNING..=longest)
                .rev()
                .find(|&bytes| pattern.get(..bytes).is_some_and(|beginning| kept.as_bytes().ends_with(beginning)))
        };
        match self.patterns.iter().filter_map(begun).max() {
            None => text,
            Some(bytes) => {
                let kept = kept.as_bytes().get(..kept.len() - bytes).unwrap_or_default();
                format!("{}{REDACTED}{notice}", String::from_utf8_lossy(kept)).into()
            }
        }
    }

    /// An error object without them; it stays one.
    pub(crate) fn json(&self, body: Bytes) -> Bytes {
        let Some(found) = self.found.as_ref().filter(|found| found.is_match(body.as_ref())) else { return body };
        let mut clean = Vec::with_capacity(body.len());
        found.replace_all_with_bytes(&body, &mut clean, |_, _, to| {
            to.extend_from_slice(REDACTED.as_bytes());
            true
        });
        // A value that stood there as a number leaves no JSON behind.
        match serde_json::from_slice::<&RawValue>(&clean) {
            Ok(_) => clean.into(),
            Err(_) => Bytes::from_static(WITHHELD),
        }
    }
}

fn forms_of(value: &[u8], forms: &mut BTreeSet<Vec<u8>>) {
    if value.len() < LEAST_BYTES {
        return;
    }
    let mut add = |form: Vec<u8>| {
        if form.len() >= LEAST_BYTES {
            forms.insert(form);
        }
    };
    add(value.to_vec());
    for before in 0..3 {
        add(in_the_middle(&STANDARD_NO_PAD, value, before));
        add(in_the_middle(&URL_SAFE_NO_PAD, value, before));
    }
    // What is no text is in no URL and no JSON.
    let Ok(text) = std::str::from_utf8(value) else { return };
    for set in [NON_ALPHANUMERIC, COMPONENT, UNRESERVED] {
        let encoded = utf8_percent_encode(text, set).to_string();
        add(lower_escapes(&encoded).into_bytes());
        add(encoded.replace("%20", "+").into_bytes());
        add(encoded.into_bytes());
    }
    let escaped = json_escaped(text);
    add(escaped.replace('/', "\\/").into_bytes());
    // JSON that was written into JSON.
    add(json_escaped(&escaped).into_bytes());
    add(escaped.into_bytes());
}

/// The characters of the base64 that hold the value and nothing else, with so many bytes in front of it.
fn in_the_middle(engine: &impl base64::Engine, value: &[u8], before: usize) -> Vec<u8> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(value);
    let encoded = engine.encode(&bytes);
    // Six bits a character: the first that is the value's alone, and the last.
    let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    encoded.as_bytes().get(first..end).unwrap_or_default().to_vec()
}

fn lower_escapes(text: &str) -> String {
    let mut digits = 0;
    let lower = |c: char| {
        if c == '%' {
            digits = 2;
            return c;
        }
        let is_digit = digits > 0;
        digits = usize::saturating_sub(digits, 1);
        if is_digit { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(lower).collect()
}

fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::process::LineSplitter;

    const SECRET: &str = "p/lan+ted \"s3cret\" ü";

    fn redactor(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn h26_every_form_of_a_value_is_taken_out() {
        let redactor = redactor(&[SECRET]);
        let json = serde_json::json!({ "key": SECRET }).to_string();
        let shown = [
            SECRET.to_owned(),
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("user:{SECRET}!")),
            STANDARD.encode(format!("u:{SECRET}")),
            STANDARD.encode(format!("us:{SECRET}")),
            base64::engine::general_purpose::URL_SAFE.encode(SECRET),
            "p%2Flan%2Bted%20%22s3cret%22%20%C3%BC".to_owned(),
            "p%2flan%2bted%20%22s3cret%22%20%c3%bc".to_owned(),
            "p%2Flan%2Bted+%22s3cret%22+%C3%BC".to_owned(),
            serde_json::json!({ "nested": json }).to_string(),
            json,
            "p\\/lan+ted \\\"s3cret\\\" ü".to_owned(),
        ];
        for text in shown {
            let clean = redactor.text(&format!("before {text} after")).into_owned();
            assert!(clean.contains(REDACTED), "{text}");
            for left in ["s3cret", "lan+ted", "lan%2"] {
                assert!(!clean.contains(left), "{clean}");
            }
            assert!(clean.starts_with("before ") && clean.ends_with(" after"), "{clean}");
        }
        assert_eq!(redactor.text("nothing of it"), "nothing of it");
    }

    #[test]
    fn h26_short_values_stay_and_each_line_of_a_long_one_goes() {
        let redactor = redactor(&["short", "-----BEGIN KEY-----\nMIIEvQIBADAN\nab\n"]);
        assert_eq!(redactor.text("short"), "short");
        assert_eq!(redactor.text("read MIIEvQIBADAN ab"), format!("read {REDACTED} ab"));
    }

    #[test]
    fn h26_the_longer_of_two_values_goes_whole() {
        let redactor = redactor(&["password", "password-and-more"]);
        assert_eq!(redactor.text("password-and-more"), REDACTED);
    }

    #[test]
    fn h26_an_error_object_stays_one() {
        let redactor = redactor(&["12345678", "planted-s3cret"]);
        let clean = |text: &str| String::from_utf8(redactor.json(Bytes::from(text.to_owned())).to_vec()).unwrap();
        assert_eq!(clean(r#"{"code":1,"message":"bad planted-s3cret"}"#), r#"{"code":1,"message":"bad [secret]"}"#);
        assert_eq!(clean(r#"{"code":12345678}"#), String::from_utf8_lossy(WITHHELD));
        assert_eq!(clean(r#"{"code":1}"#), r#"{"code":1}"#);
    }

    #[test]
    fn h26_the_cut_of_a_line_shows_no_beginning() {
        let redactor = redactor(&["planted-s3cret"]);
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(20);
        splitter.push(b"the key is planted-s3cret\n", &mut |line| lines.push(redactor.text(line).into_owned()));
        assert_eq!(lines, ["the key is [secret] [line cut at 20 bytes]"]);
    }

    proptest! {
        /// However the bytes come in.
        #[test]
        fn h26_no_border_of_chunks_hides_a_value(cuts in proptest::collection::vec(1..9_usize, 1..20)) {
            let redactor = redactor(&["planted-s3cret"]);
            let text = b"a planted-s3cret b\nplanted-s3cretplanted-s3cret\n";
            let mut splitter = LineSplitter::new(8_192);
            let mut lines = Vec::new();
            let mut rest = &text[..];
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (chunk, left) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                splitter.push(chunk, &mut |line| lines.push(redactor.text(line).into_owned()));
                rest = left;
            }
            prop_assert_eq!(lines, ["a [secret] b", "[secret][secret]"]);
        }

        #[test]
        fn h26_base64_of_anything_around_it_hides_nothing(before: Vec<u8>, value in "[!-~]{8,40}", after: Vec<u8>) {
            let redactor = redactor(&[&value]);
            let text = STANDARD.encode([&before, value.as_bytes(), &after].concat());
            prop_assert!(redactor.text(&text).contains(REDACTED));
        }
    }

    /// What looks for a value grows with the value, and not a thousand times faster.
    #[test]
    fn h46_a_long_value_is_looked_for_in_bounded_memory() {
        const VALUE_BYTES: usize = 16 * 1_024;
        const BYTES_A_BYTE: usize = 1_024;
        // No two pieces of it are alike, as in a key.
        let value: String = (0_u32..)
            .flat_map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761)).into_bytes())
            .take(VALUE_BYTES)
            .map(char::from)
            .collect();
        let redactor = redactor(&[&value]);
        assert!(redactor.found.as_ref().unwrap().memory_usage() < VALUE_BYTES * BYTES_A_BYTE);
        assert_eq!(redactor.text(&format!("<{value}>")), format!("<{REDACTED}>"));
    }
}
