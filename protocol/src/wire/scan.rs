//! What can be learnt of a frame before it is parsed, and where in it an error lies.
//!
//! Contract: one pass over the bytes, no allocation, no recursion, any text. Of text that is not JSON the findings are a
//! best effort; nothing is decided by them that a parser does not confirm.

use std::borrow::Cow;
use std::ops::Range;

/// What a frame shows at first sight.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey<'a> {
    /// Deepest nesting of objects and arrays.
    pub(super) depth: usize,
    /// The value of the outermost `type`.
    pub(super) kind: Option<Cow<'a, str>>,
    /// The value of the outermost `_reqId`.
    pub(super) req_id: Option<Cow<'a, str>>,
}

/// Looks at a frame.
pub(super) fn survey(text: &str) -> Survey<'_> {
    let mut survey = Survey::default();
    let mut depth = 0_usize;
    let (mut word, mut key) = (None, None);
    for (_, token) in Tokens::of(text) {
        match token {
            Token::OpenObject | Token::OpenArray => {
                depth += 1;
                survey.depth = survey.depth.max(depth);
            }
            Token::Close => depth = depth.saturating_sub(1),
            _ if depth != 1 => {}
            Token::Colon => key = word.take(),
            Token::Comma => (word, key) = (None, None),
            Token::Text(range) => {
                let place = match key.take().and_then(|key: Range<usize>| text.get(key)) {
                    Some("type") => &mut survey.kind,
                    Some("_reqId") => &mut survey.req_id,
                    _ => {
                        word = Some(range);
                        continue;
                    }
                };
                if place.is_none() {
                    *place = unescaped(text, range);
                }
            }
        }
    }
    survey
}

/// The member or element that was being read at `offset` of a valid JSON text: `config.env.KEY`, `source.argv[2]`.
/// Empty at the outermost level.
pub(super) fn path_at(text: &str, offset: usize) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut word = None;
    for (at, token) in Tokens::of(text) {
        if at >= offset {
            break;
        }
        match (token, levels.last_mut()) {
            (Token::OpenObject, _) => levels.push(Level::Object(None)),
            (Token::OpenArray, _) => levels.push(Level::Array(0)),
            (Token::Close, _) => drop(levels.pop()),
            (Token::Text(range), _) => word = Some(range),
            (Token::Colon, Some(Level::Object(key))) => *key = word.take(),
            (Token::Comma, Some(Level::Array(index))) => *index += 1,
            (Token::Colon | Token::Comma, _) => {}
        }
    }
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(Some(key)) => {
                let dot = if path.is_empty() { "" } else { "." };
                path = format!("{path}{dot}{}", text.get(key).unwrap_or_default());
            }
            Level::Object(None) => {}
            Level::Array(index) => path = format!("{path}[{index}]"),
        }
    }
    path
}

enum Level {
    /// The key that was read last, without its quotes.
    Object(Option<Range<usize>>),
    /// Commas so far.
    Array(usize),
}

/// A string's value; none if it is not one.
fn unescaped(text: &str, range: Range<usize>) -> Option<Cow<'_, str>> {
    let inner = text.get(range)?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(&format!("\"{inner}\"")).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[derive(Debug)]
enum Token {
    OpenObject,
    OpenArray,
    Close,
    Colon,
    Comma,
    /// A string, without its quotes.
    Text(Range<usize>),
}

/// The structure of a text; numbers, words and spaces are passed over.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    /// From behind the opening quote to the closing one; none if there is no closing one.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            if self.bytes.get(self.at)? == &b'"' {
                self.at += 1;
                return Some(start..self.at - 1);
            }
            // A backslash, and what it escapes.
            self.at += 2;
        }
    }
}

impl Iterator for Tokens<'_> {
    /// Where a token begins, and what it is.
    type Item = (usize, Token);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let byte = *self.bytes.get(at)?;
            self.at += 1;
            let token = match byte {
                b'{' => Token::OpenObject,
                b'[' => Token::OpenArray,
                b'}' | b']' => Token::Close,
                b':' => Token::Colon,
                b',' => Token::Comma,
                b'"' => Token::Text(self.string()?),
                _ => continue,
            };
            return Some((at, token));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_outermost_type_and_request_are_found() {
        let text =
            r#" {"a":{"type":"inner","_reqId":"inner"},"x":"type","y":["_reqId","no"],"type":"t", "_reqId" : "r\"1" }"#;
        let found = survey(text);
        assert_eq!((found.kind.as_deref(), found.req_id.as_deref(), found.depth), (Some("t"), Some("r\"1"), 2));
    }

    #[test]
    fn a_request_is_found_in_what_is_no_json() {
        for text in [
            r#"{"_reqId":"r1","type":"mcp_logs",,"#,
            r#"{"type":"x","bad":tru,"_reqId":"r1"}"#,
            r#"{"_reqId":"r1","open":"never closed}"#,
        ] {
            assert_eq!(survey(text).req_id.as_deref(), Some("r1"), "{text}");
        }
        for text in ["", "{", "\"", "\\", r#"{"_reqId":5}"#, r#"{"_reqId":["r1"]}"#, r#"["_reqId":"r1""#] {
            let found = survey(text).req_id;
            assert!(found.is_none() || text.starts_with('['), "{text}: {found:?}");
        }
    }

    #[test]
    fn places_have_paths() {
        let text = r#"{"a":1,"b":{"c":[{"d":0},{"e":true}]},"f":2}"#;
        for (part, path) in [("1,", "a"), ("0}", "b.c[0].d"), ("true", "b.c[1].e"), ("2}", "f")] {
            let at = text.find(part).unwrap() + part.len() - 1;
            assert_eq!(path_at(text, at), path, "{part}");
        }
        assert_eq!(path_at(text, text.len()), "");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,80}", cut in 0_usize..100) {
            survey(&text);
            path_at(&text, cut);
        }

        #[test]
        fn every_request_id_is_found_as_a_parser_finds_it(id in ".{0,20}", other in ".{0,20}") {
            let text = serde_json::json!({"a": other, "_reqId": id, "z": [other, {"_reqId": other}]}).to_string();
            prop_assert_eq!(survey(&text).req_id, Some(Cow::from(id)));
        }
    }
}
