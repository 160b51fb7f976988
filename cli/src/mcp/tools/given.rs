//! A list of tools as their server gave it. Pure.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use protocol::validate::is_hostile;

use super::names::Names;
use crate::text;

/// Tools as a client is shown them, and what their names stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    shown: Vec<Arc<RawValue>>,
    names: Names<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Given {
    /// Each tool stays the bytes it was, unless its name is too long or a text in it hides something.
    pub(crate) fn new(tools: &[Box<RawValue>], room: usize) -> Self {
        let named = |tool: &RawValue| {
            // What has no name cannot be called, and so is no tool.
            let name = serde_json::from_str::<Named>(tool.get()).ok()?.name;
            Some((name, hidden_removed(tool)))
        };
        let named: Vec<(String, Arc<RawValue>)> = tools.iter().filter_map(|tool| named(tool)).collect();
        let names = Names::assign(named.iter().map(|(name, _)| (name.clone(), name.clone(), name.clone())), room);
        let shown = named
            .into_iter()
            .map(|(name, tool)| {
                let short = names.iter().find(|(_, of)| **of == name).map(|(short, _)| short.to_owned());
                match short {
                    Some(short) if short != name => renamed(&tool, &short),
                    _ => tool,
                }
            })
            .collect();
        Self { shown, names }
    }

    /// For `tools/list`.
    pub(crate) fn shown(&self) -> Vec<Arc<RawValue>> {
        self.shown.clone()
    }

    /// The server's own name of a tool.
    pub(crate) fn own_name<'a>(&'a self, shown: &'a str) -> &'a str {
        self.names.get(shown).map_or(shown, String::as_str)
    }

    /// Whether a client is shown the same.
    pub(crate) fn is_shown_as(&self, other: &Self) -> bool {
        self.shown.len() == other.shown.len()
            && self.shown.iter().zip(&other.shown).all(|(one, two)| one.get() == two.get())
    }
}

/// The tool without characters that move, recolour or hide text; the very same bytes when it has none.
pub(crate) fn hidden_removed(tool: &RawValue) -> Arc<RawValue> {
    let raw = tool.get();
    // An escape is the only other way to write such a character in JSON.
    let suspect = raw.contains("\\u") || raw.chars().any(is_hostile);
    let mut value: Value = match suspect.then(|| serde_json::from_str(raw)) {
        Some(Ok(value)) => value,
        _ => return Arc::from(tool.to_owned()),
    };
    if clean(&mut value) { raw_of(&value, tool) } else { Arc::from(tool.to_owned()) }
}

/// Cleans all texts; whether there was something to clean.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let clean = text::block(text);
            let changed = clean != *text;
            *text = clean;
            changed
        }
        Value::Array(values) => values.iter_mut().map(clean).filter(|changed| *changed).count() > 0,
        Value::Object(fields) => fields.values_mut().map(clean).filter(|changed| *changed).count() > 0,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn renamed(tool: &RawValue, name: &str) -> Arc<RawValue> {
    match serde_json::from_str::<Value>(tool.get()) {
        Ok(Value::Object(mut fields)) => {
            fields.insert("name".to_owned(), name.into());
            raw_of(&Value::Object(fields), tool)
        }
        _ => Arc::from(tool.to_owned()),
    }
}

fn raw_of(value: &Value, otherwise: &RawValue) -> Arc<RawValue> {
    serde_json::value::to_raw_value(value).map_or_else(|_| Arc::from(otherwise.to_owned()), Arc::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn h49_a_tool_is_the_bytes_it_was_unless_it_hides_something() {
        for plain in [r#"{"name":"a","z":1.0,  "description":"two\nlines é"}"#, r#"{"name":"a","x":"\u00e9"}"#] {
            let given = Given::new(&[raw(plain)], 40);
            assert_eq!(given.shown()[0].get(), plain);
        }
        for hiding in [
            "{\"name\":\"a\",\"description\":\"x\u{202e}y\"}",
            r#"{"name":"a","description":"x\u202ey"}"#,
            r#"{"name":"a","description":"x\u001b[2Jy"}"#,
        ] {
            let given = Given::new(&[raw(hiding)], 40);
            assert_eq!(given.shown()[0].get(), r#"{"description":"xy","name":"a"}"#);
        }
    }

    #[test]
    fn a_long_name_is_cut_and_still_means_the_tool() {
        let long = "t".repeat(70);
        let given = Given::new(&[raw(&format!(r#"{{"name":"{long}"}}"#)), raw(r#"{"name":"b"}"#), raw("{}")], 30);
        let shown: Vec<Value> = given.shown().iter().map(|tool| serde_json::from_str(tool.get()).unwrap()).collect();
        assert_eq!(shown.len(), 2, "what has no name is no tool");
        let short = shown[0]["name"].as_str().unwrap();
        assert_eq!((short.len(), given.own_name(short)), (30, long.as_str()));
        assert_eq!(given.own_name("b"), "b");
    }
}
