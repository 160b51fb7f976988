//! What lets whoever holds it fetch one file for a few minutes: `<expiry ms>.<64 hex digits>`.
//!
//! The digits are an HMAC over mesh, file and expiry, under a key that is derived from the at-rest key and used for nothing
//! else. So nothing is stored, and a restart keeps what was given out.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::store::{StoredFile, UtcMs};

/// How long a token is good, ms.
pub const VALID_MS: i64 = 5 * 60_000;

/// A token, good or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    expires_ms: i64,
    mac: [u8; 32],
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.expires_ms, hex::encode(self.mac))
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (expires_ms, digits) = text.split_once('.').ok_or(())?;
        let mut mac = [0; 32];
        hex::decode_to_slice(digits, &mut mac).map_err(|_| ())?;
        Ok(Self { expires_ms: expires_ms.parse().map_err(|_| ())?, mac })
    }
}

/// Makes and checks tokens.
pub struct Maker(Zeroizing<[u8; 32]>);

impl Maker {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// One for a file, from now on.
    #[must_use]
    pub fn make(&self, file: &StoredFile, now: UtcMs) -> Token {
        let expires_ms = now.plus_ms(VALID_MS).as_ms();
        Token { expires_ms, mac: self.mac(file, expires_ms).finalize().into_bytes().into() }
    }

    /// Whether a token is one for this file, now.
    #[must_use]
    pub fn holds(&self, token: &Token, file: &StoredFile, now: UtcMs) -> bool {
        let right = self.mac(file, token.expires_ms).verify_slice(&token.mac).is_ok();
        right && now.as_ms() < token.expires_ms
    }

    fn mac(&self, file: &StoredFile, expires_ms: i64) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(self.0.as_ref()).expect("a key of any length");
        mac.update(format!("{}|{}|{expires_ms}", file.mesh_id, file.id).as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::{Document, FileId, MemberId, MeshId};

    fn file() -> StoredFile {
        StoredFile {
            id: FileId::new(),
            mesh_id: MeshId::new(),
            member_id: MemberId::new(),
            name: "a.zip".to_owned(),
            sha256: String::new(),
            bytes: 1,
            tags: Document::of(&["t"]).unwrap(),
            persistent: false,
            created_at: UtcMs::from_ms(1),
        }
    }

    #[test]
    fn a_token_is_for_one_file_and_a_few_minutes() {
        let (one, other, now) = (file(), file(), UtcMs::from_ms(1_000));
        let maker = Maker::new(Zeroizing::new([7; 32]));
        let token: Token = maker.make(&one, now).to_string().parse().unwrap();
        assert!(maker.holds(&token, &one, now) && maker.holds(&token, &one, now.plus_ms(VALID_MS - 1)));
        assert!(!maker.holds(&token, &one, now.plus_ms(VALID_MS)), "it is over");
        assert!(!maker.holds(&token, &other, now), "another file");
        let elsewhere = StoredFile { mesh_id: MeshId::new(), ..one.clone() };
        assert!(!maker.holds(&token, &elsewhere, now), "another mesh");
        let longer = Token { expires_ms: token.expires_ms + 1, ..token.clone() };
        assert!(!maker.holds(&longer, &one, now), "a longer time");
        assert!(!Maker::new(Zeroizing::new([8; 32])).holds(&token, &one, now), "another key");
        for bad in ["", "1", "1.", "x.00", &format!("1.{}", "0".repeat(63))] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }
}
