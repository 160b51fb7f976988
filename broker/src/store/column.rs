//! Values as they are stored: identifiers, moments and JSON.
//!
//! **Contract.** Each type is checked once, when it is made or read, and is the same on every backend:
//! text for identifiers and JSON, a 64-bit integer for a moment. A stored value that does not parse is
//! an error of the query that read it, never a default.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::StoreError;

/// A stored text that is not what its column promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}")]
pub struct ParseColumnError {
    /// What the text should have been.
    pub kind: &'static str,
    /// The text, cut to a length fit for a log line.
    pub text: String,
}

impl ParseColumnError {
    const SHOWN_CHARS: usize = 64;

    pub(super) fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(Self::SHOWN_CHARS).collect() }
    }
}

/// Whether every backend can store these texts: PostgreSQL has no NUL in text, so none of them has.
///
/// # Errors
/// [`StoreError::Nul`] names the first field that has one.
pub(super) fn storable<'a>(fields: impl IntoIterator<Item = (&'static str, &'a str)>) -> Result<(), StoreError> {
    match fields.into_iter().find(|(_, text)| text.contains('\0')) {
        Some((field, _)) => Err(StoreError::Nul { field }),
        None => Ok(()),
    }
}

/// The text as every backend can store it, for words whose refusal would cost others theirs: a NUL becomes U+FFFD.
pub(super) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Stores a type with `as_str()` and `FromStr` as text, on any backend.
macro_rules! text_column {
    ($name:ty) => {
        impl<DB> ::diesel::serialize::ToSql<::diesel::sql_types::Text, DB> for $name
        where
            DB: ::diesel::backend::Backend,
            str: ::diesel::serialize::ToSql<::diesel::sql_types::Text, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut ::diesel::serialize::Output<'b, '_, DB>) -> ::diesel::serialize::Result {
                ::diesel::serialize::ToSql::<::diesel::sql_types::Text, DB>::to_sql(self.as_str(), out)
            }
        }

        impl<DB> ::diesel::deserialize::FromSql<::diesel::sql_types::Text, DB> for $name
        where
            DB: ::diesel::backend::Backend,
            String: ::diesel::deserialize::FromSql<::diesel::sql_types::Text, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> ::diesel::deserialize::Result<Self> {
                let text = <String as ::diesel::deserialize::FromSql<::diesel::sql_types::Text, DB>>::from_sql(bytes)?;
                Ok(text.parse()?)
            }
        }
    };
}
pub(super) use text_column;

/// An identifier: a UUIDv7 in its hyphenated lower-case text, shared so that a clone costs a counter.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            AsExpression, FromSqlRow,
        )]
        #[serde(try_from = "String", into = "String")]
        #[diesel(sql_type = Text)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A new identifier, later in sort order than those made in earlier milliseconds.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "two defaults would differ")]
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7().hyphenated().to_string().into())
            }

            /// The identifier as it is stored and sent.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseColumnError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // One spelling only, or two texts would name one row.
                match uuid::Uuid::try_parse(text) {
                    Ok(id) if id.hyphenated().to_string() == text => Ok(Self(text.into())),
                    _ => Err(ParseColumnError::new($kind, text)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseColumnError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_column!($name);
    };
}

identifier!(
    /// Names a mesh.
    MeshId, "mesh id"
);
identifier!(
    /// Names a member of one mesh.
    MemberId, "member id"
);
identifier!(
    /// Names one deployment of one service; the unit of deploy, update and rollback.
    DeploymentId, "deployment id"
);
identifier!(
    /// Names one recorded transition of a service.
    EventId, "event id"
);
identifier!(
    /// Names a message.
    MessageId, "message id"
);
identifier!(
    /// Names an invite to a mesh.
    InviteId, "invite id"
);
identifier!(
    /// Names a file that a member uploaded.
    FileId, "file id"
);
identifier!(
    /// Names a database for as long as it lives; part of every fence.
    StoreId, "store id"
);

/// A moment: milliseconds since 1970 in UTC.
///
/// [`UtcMs::now`] is the only place that reads the clock and the only place that drops what is finer
/// than a millisecond, so a moment compares equal to itself after a round trip through any backend.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, AsExpression, FromSqlRow,
)]
#[serde(transparent)]
#[diesel(sql_type = BigInt)]
pub struct UtcMs(i64);

impl UtcMs {
    /// The present moment.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// The moment this many milliseconds after 1970 (before it, when negative).
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// This moment and `ms` milliseconds, stopping at the ends of time.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for UtcMs {
    /// RFC 3339; the bare number when it lies outside the calendar.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl<DB> ToSql<BigInt, DB> for UtcMs
where
    DB: Backend,
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB> FromSql<BigInt, DB> for UtcMs
where
    DB: Backend,
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(bytes).map(Self)
    }
}

/// A JSON value kept as the very text that was given: what a server said about its tools comes back
/// byte for byte, and the store needs no knowledge of its shape.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Document(Box<str>);

impl Document {
    /// The JSON text of `value`.
    ///
    /// # Errors
    /// When `value` has no JSON form (a map with keys that are not text, a failing serializer).
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// A text that this program has just written as JSON.
    pub(crate) fn written(text: String) -> Self {
        Self(text.into_boxed_str())
    }

    /// Reads the value back.
    ///
    /// # Errors
    /// When the text does not have the shape of `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Document {
    type Err = ParseColumnError;

    /// Takes a text that is one well-formed JSON value, as it stands.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map(|_| Self(text.into()))
            .map_err(|_| ParseColumnError::new("JSON value", text))
    }
}

text_column!(Document);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn an_identifier_has_one_spelling() {
        let id = MeshId::new();
        assert_eq!(id.as_str().parse::<MeshId>().unwrap(), id);
        for wrong in [
            id.as_str().to_uppercase(),
            id.as_str().replace('-', ""),
            format!("{{{id}}}"),
            String::new(),
            "mesh1".to_owned(),
        ] {
            assert!(wrong.parse::<MeshId>().is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn identifiers_sort_by_the_time_they_were_made() {
        let ids: Vec<_> = (0..100).map(|_| DeploymentId::new()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn a_moment_prints_as_a_date_and_survives_the_ends_of_time() {
        assert_eq!(UtcMs::from_ms(1_775_671_200_000).to_string(), "2026-04-08T18:00:00.000Z");
        assert_eq!(UtcMs::from_ms(i64::MAX).plus_ms(1).to_string(), i64::MAX.to_string());
    }

    #[test]
    fn a_document_keeps_its_text() {
        let text = r#"{"b":1.0,  "a":[1e3, null]}"#;
        assert_eq!(text.parse::<Document>().unwrap().as_str(), text);
        assert!("{".parse::<Document>().is_err());
        assert!("1 2".parse::<Document>().is_err());
    }

    #[test]
    fn a_parse_error_does_not_carry_a_whole_document() {
        let error = "x".repeat(10_000).parse::<Document>().unwrap_err();
        assert_eq!(error.text.len(), ParseColumnError::SHOWN_CHARS);
    }
}
