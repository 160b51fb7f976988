//! Text that must not end up in a log, an error or a crash report.
//!
//! Contract: a [`SecretString`] has no way to show its value except [`SecretString::expose`]. `Debug` and `Display` print
//! a placeholder, the buffer is overwritten when it is dropped, and comparison takes the same time wherever the values
//! differ. It deliberately does not implement `Serialize`: a type that is turned into JSON for a log or a table must fail
//! to compile. The few frames and files that exist to carry a secret say so at the field:
//!
//! ```
//! # use protocol::{SecretString, secret};
//! #[derive(serde::Serialize)]
//! struct Frame {
//!     #[serde(serialize_with = "secret::reveal")]
//!     token: SecretString,
//! }
//! # let json = serde_json::to_string(&Frame { token: SecretString::from("t") }).unwrap();
//! # assert_eq!(json, r#"{"token":"t"}"#);
//! ```
//!
//! Bytes that have been serialised are out of this module's reach; whoever encodes a frame with secrets sends it and
//! lets it go.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::SerializeMap as _};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What is printed instead of a value.
pub const REDACTED: &str = "[secret]";

/// A value that is overwritten on drop and never printed. See the module's contract.
#[derive(Clone)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes ownership of the text, so that the caller keeps no second copy.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself. Call this where it is used (a signature, a child's environment) and store the result nowhere.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes, which is not treated as secret.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to protect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretString {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl From<&str> for SecretString {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretString {}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own message would quote the value that was found instead of a string.
        String::deserialize(deserializer)
            .map(Self::new)
            .map_err(|_| D::Error::custom("a secret value must be a string"))
    }
}

/// Shapes of fields that [`reveal`] can write.
pub trait Reveal {
    /// Writes the value in clear.
    ///
    /// # Errors
    /// Those of the serializer.
    fn reveal<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

impl Reveal for SecretString {
    fn reveal<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl Reveal for Option<SecretString> {
    fn reveal<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(secret) => serializer.serialize_some(secret.expose()),
            None => serializer.serialize_none(),
        }
    }
}

impl Reveal for BTreeMap<String, SecretString> {
    fn reveal<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, secret) in self {
            map.serialize_entry(name, secret.expose())?;
        }
        map.end()
    }
}

/// For `#[serde(serialize_with = "protocol::secret::reveal")]`: marks the one place where a field leaves in clear.
///
/// # Errors
/// Those of the serializer.
pub fn reveal<T: Reveal, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.reveal(serializer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn no_formatting_shows_the_value() {
        let secret = SecretString::from("hunter2");
        let nested = Some(BTreeMap::from([("K", secret.clone())]));
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{secret:#?}"), format!("{nested:#?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains(REDACTED));
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_quoted() {
        let error = serde_json::from_str::<SecretString>("48151623").unwrap_err().to_string();
        assert!(!error.contains("48151623"), "{error}");
        let error = serde_json::from_str::<BTreeMap<String, SecretString>>(r#"{"K":["hunter2"]}"#).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn equality_is_by_value() {
        assert_eq!(SecretString::from("a"), SecretString::from("a"));
        assert_ne!(SecretString::from("a"), SecretString::from("b"));
        assert_ne!(SecretString::from("a"), SecretString::from("ab"));
    }
}
