//! Keys, what they sign, and the boxes that only their holder opens.
//!
//! Contract: byte for byte what libsodium makes of the same input; the vectors in `tests` come from it. Every signed text
//! is a fixed sequence of fields between `|`, and a field that contains `|` is refused, so no text can be read in two
//! ways. Nothing here draws a random number or asks for the time.
//!
//! A *member* key is the lasting identity of a person in a mesh; it signs hellos and session certificates. A *session* key
//! is made by each client session; it is the address that others see, and it seals and opens messages. Both are ed25519
//! pairs of the same form; the X25519 keys of boxes are derived from them.

mod boxes;
mod hello;
mod invite;
mod key;
mod session;
#[cfg(test)]
mod tests;
mod upload;

pub use boxes::{
    BOX_OVERHEAD_BYTES, BoxError, NONCE_BYTES, SEAL_OVERHEAD_BYTES, SYMMETRIC_KEY_BYTES, X25519Public, X25519Secret,
    open_direct, open_sealed, open_secretbox, seal, seal_direct, seal_secretbox,
};
pub use hello::{HELLO_SKEW_MS, HelloClaim};
pub use invite::InviteClaim;
pub use key::{KeyError, MemberKey, PublicKey, SessionKey, Signature, SigningKey};
pub use session::{MAX_SESSION_MS, SessionCert, SessionClaim};
pub use upload::UploadClaim;

/// Why something that was signed is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum TrustError {
    /// Another key, or another text.
    #[error("the signature does not hold")]
    BadSignature,
    /// The clocks differ too much, or the text is old.
    #[error("the time is {off_ms} ms off, more than {allowed_ms} ms")]
    Skew {
        /// Distance from the reader's clock.
        off_ms: u64,
        /// What is allowed.
        allowed_ms: u64,
    },
    /// Its time is over.
    #[error("it expired {ago_ms} ms ago")]
    Expired {
        /// How long ago.
        ago_ms: u64,
    },
    /// It ends before it begins, or lasts too long.
    #[error("its period of validity is not allowed")]
    Period,
    /// The named field contains the separator.
    #[error("`{0}` contains `|`")]
    Separator(&'static str),
}

/// Joins the fields of a signed text.
pub(crate) fn signed_text(fields: &[(&'static str, &str)]) -> Result<String, TrustError> {
    if let Some((name, _)) = fields.iter().find(|(_, value)| value.contains('|')) {
        return Err(TrustError::Separator(name));
    }
    let values: Vec<&str> = fields.iter().map(|&(_, value)| value).collect();
    Ok(values.join("|"))
}
