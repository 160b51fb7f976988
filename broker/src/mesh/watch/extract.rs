//! The part of a JSON document that is looked at: a plain path or a JSONPath, both by one engine. Pure.
//!
//! **Contract.** A plain path (`value`, `data.items[0].status`) is written out as the JSONPath (RFC 9535) that it means; what
//! begins with `$` is one already. What a member writes must not keep the broker busy: what can cost more than a few walks
//! over the document is refused when the watch is made.

use std::fmt::Write as _;

use serde_json::Value;
use serde_json_path::JsonPath;

/// Longest `extract`.
pub const MAX_EXTRACT_BYTES: usize = 512;
/// Each of these can multiply what one walk finds.
const MAX_DESCENDANTS: usize = 1;
const MAX_FILTERS: usize = 1;
const MAX_UNIONS: usize = 2;

/// Which part.
#[derive(Debug, Clone)]
pub struct Extract(JsonPath);

/// Why it is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// It is no path.
    #[error("is neither a plain path (data.items[0].status) nor a JSONPath (RFC 9535): {0}")]
    Syntax(String),
    /// Too long.
    #[error("is longer than {MAX_EXTRACT_BYTES} bytes")]
    TooLong,
    /// It could walk the document too often.
    #[error("may have at most one `..`, one filter and two commas, and in a filter neither `$`, `match` nor `search`")]
    TooCostly,
}

/// Why nothing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`extract` finds nothing in the JSON")]
pub struct NothingFound;

impl Extract {
    /// Reads what a member wrote.
    ///
    /// # Errors
    /// [`ExtractError`].
    pub fn parse(text: &str) -> Result<Self, ExtractError> {
        if text.len() > MAX_EXTRACT_BYTES {
            return Err(ExtractError::TooLong);
        }
        let path = if text.starts_with('$') { text.to_owned() } else { plain(text)? };
        if is_costly(&path) {
            return Err(ExtractError::TooCostly);
        }
        JsonPath::parse(&path).map(Self).map_err(|error| ExtractError::Syntax(error.to_string()))
    }

    /// The part as text: a string as it is, anything else as compact JSON, several parts as a JSON list.
    ///
    /// # Errors
    /// [`NothingFound`].
    pub fn of(&self, document: &Value) -> Result<String, NothingFound> {
        let found = self.0.query(document).all();
        match found.as_slice() {
            [] => Err(NothingFound),
            [one] => Ok(text_of(one)),
            several => Ok(Value::from_iter(several.iter().map(|&part| part.clone())).to_string()),
        }
    }
}

/// A value as text.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The JSONPath that a plain path means.
fn plain(text: &str) -> Result<String, ExtractError> {
    let wrong = |what: &str| Err(ExtractError::Syntax(what.to_owned()));
    let mut path = String::from("$");
    let (mut name, mut chars, mut after_bracket) = (String::new(), text.chars(), false);
    let push = |name: &mut String, path: &mut String| {
        // Writing to a string cannot fail.
        let _ = write!(path, "[{}]", Value::from(std::mem::take(name)));
    };
    while let Some(c) = chars.next() {
        match c {
            '.' if !name.is_empty() => push(&mut name, &mut path),
            '.' if after_bracket => {}
            '.' => return wrong("a name is missing before `.`"),
            '[' => {
                if !name.is_empty() {
                    push(&mut name, &mut path);
                }
                let index: String = chars.by_ref().take_while(|c| *c != ']').collect();
                if index.is_empty() || !index.bytes().all(|digit| digit.is_ascii_digit()) {
                    return wrong("`[]` takes a place in a list, from 0");
                }
                let _ = write!(path, "[{index}]");
            }
            _ => name.push(c),
        }
        after_bracket = c == '[';
    }
    if !name.is_empty() {
        push(&mut name, &mut path);
    } else if text.is_empty() || text.ends_with('.') {
        return wrong("a name is missing at the end");
    }
    Ok(path)
}

/// Whether it could take more than a few walks. What stands in quotes is a name.
fn is_costly(path: &str) -> bool {
    let bare = unquoted(path);
    let times = |what: &str| bare.matches(what).count();
    let calls = |name: &str| bare.split(name).skip(1).any(|rest| rest.trim_start().starts_with('('));
    times("..") > MAX_DESCENDANTS
        || times("?") > MAX_FILTERS
        || times(",") > MAX_UNIONS
        || times("$") > 1
        || calls("match")
        || calls("search")
}

fn unquoted(path: &str) -> String {
    let (mut bare, mut quote, mut escaped) = (String::new(), None, false);
    for c in path.chars() {
        match quote {
            None if c == '"' || c == '\'' => quote = Some(c),
            None => bare.push(c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(end) if c == end => quote = None,
            Some(_) => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn found(extract: &str, document: &Value) -> Result<String, NothingFound> {
        Extract::parse(extract).unwrap().of(document)
    }

    #[test]
    fn plain_paths_and_jsonpath_find_the_same() {
        let document = json!({ "value": "heads", "n": 1.5, "ok": true, "none": null, "a-b c": { "$ref": "x" },
            "data": { "deployments": [{ "status": "READY" }, { "status": "ERROR" }], "grid": [[1, 2], [3]] } });
        for (extract, text) in [
            ("value", "heads"),
            ("n", "1.5"),
            ("ok", "true"),
            ("none", "null"),
            ("a-b c.$ref", "x"),
            ("data.deployments[0].status", "READY"),
            ("data.grid[0][1]", "2"),
            ("data.grid[1]", "[3]"),
            ("$.value", "heads"),
            ("$['a-b c']", r#"{"$ref":"x"}"#),
            ("$.data.deployments[-1].status", "ERROR"),
            ("$..status", r#"["READY","ERROR"]"#),
            ("$.data.deployments[?@.status == 'ERROR'].status", "ERROR"),
        ] {
            assert_eq!(found(extract, &document).unwrap(), text, "{extract}");
        }
        assert_eq!(found("[1]", &json!([0, "second"])).unwrap(), "second");
        assert_eq!(found("missing", &document), Err(NothingFound));
        assert_eq!(found("value.of.a.string", &document), Err(NothingFound));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a[]", "$.", "$[", "$.a[?]", "$x"] {
            assert!(matches!(Extract::parse(bad), Err(ExtractError::Syntax(_) | ExtractError::TooCostly)), "{bad}");
        }
        assert_eq!(Extract::parse(&"a".repeat(600)).unwrap_err(), ExtractError::TooLong);
    }

    #[test]
    fn h50_what_could_keep_the_broker_busy_is_refused() {
        for costly in [
            "$..*..*..*",
            "$[*,*][*,*][*,*][*,*]",
            "$..[?@..a]",
            "$[?count($[*])>1]",
            "$[?@.a[?@.b]]",
            "$[?match(@.a, 'a{1000}')]",
            "$[?search (@.a, 'a')]",
        ] {
            assert_eq!(Extract::parse(costly).unwrap_err(), ExtractError::TooCostly, "{costly}");
        }
        for cheap in ["$..a[*].b", "$['a..b','$,?,,,']", "$[?@.a == 'match(']", "match"] {
            assert!(Extract::parse(cheap).is_ok(), "{cheap}");
        }
    }
}
