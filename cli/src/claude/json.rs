//! A JSON object as it was written. Pure.
//!
//! Contract: members keep their order, and what is not changed keeps its bytes: numbers of any size, escapes, spaces
//! within values, even members that come twice. Of such the last counts, as it does for the client. What is added is
//! written in the form of the rest: on lines of its own if the rest is.

use std::fmt::{self, Write as _};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One step of indentation, as the client writes it.
const INDENT: &str = "  ";

/// An object's members, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Object {
    /// Reads a text, or a member's value.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The object that is the value of `name`; an empty one if there is none of that name.
    pub(crate) fn object(&self, name: &str) -> Result<Self, serde_json::Error> {
        self.get(name).map_or_else(|| Ok(Self::default()), |value| Self::parse(value.get()))
    }

    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The members, in their order.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// Gives `name` this value: in its place, or at the end.
    pub(crate) fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes `name` out, as often as it is there.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object as text, `depth` steps inside another.
    pub(crate) fn text(&self, form: Form, depth: usize) -> Result<String, serde_json::Error> {
        if self.0.is_empty() {
            return Ok("{}".to_owned());
        }
        let (before, colon, end) = match form {
            Form::Lines => (format!("\n{}", INDENT.repeat(depth + 1)), ": ", format!("\n{}", INDENT.repeat(depth))),
            Form::Dense => (String::new(), ":", String::new()),
        };
        let mut text = "{".to_owned();
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let name = serde_json::to_string(name)?;
            // Writing to a string cannot fail.
            let _ = write!(text, "{comma}{before}{name}{colon}{}", value.get());
        }
        text.push_str(&end);
        text.push('}');
        Ok(text)
    }
}

/// How a text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A member a line.
    Lines,
    /// All on one.
    Dense,
}

impl Form {
    /// The form of a text; of an empty one the client's own.
    pub(crate) fn of(text: &str) -> Self {
        if text.is_empty() || text.trim_end().contains('\n') { Self::Lines } else { Self::Dense }
    }

    /// A value of ours in this form, `depth` steps inside the text.
    pub(crate) fn write(self, value: &impl Serialize, depth: usize) -> Result<Box<RawValue>, serde_json::Error> {
        let text = match self {
            // Line breaks within strings are escaped, so these are all between members.
            Self::Lines => serde_json::to_string_pretty(value)?.replace('\n', &format!("\n{}", INDENT.repeat(depth))),
            Self::Dense => serde_json::to_string(value)?,
        };
        RawValue::from_string(text)
    }
}

/// The text with the object `name` in it changed. `None` if the change changes nothing. An empty text is an empty
/// object; the object is made if there is something to put into it.
pub(crate) fn within(
    text: &str,
    name: &str,
    change: impl FnOnce(&mut Object, Form) -> Result<(), serde_json::Error>,
) -> Result<Option<String>, serde_json::Error> {
    let form = Form::of(text);
    let mut whole = if text.is_empty() { Object::default() } else { Object::parse(text)? };
    let mut inner = whole.object(name)?;
    let before = inner.text(form, 1)?;
    change(&mut inner, form)?;
    let after = inner.text(form, 1)?;
    if before == after {
        return Ok(None);
    }
    whole.set(name, RawValue::from_string(after)?);
    let end = if text.ends_with('\n') { "\n" } else { "" };
    Ok(Some(whole.text(form, 0)? + end))
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
