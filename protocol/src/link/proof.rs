//! How the two ends of a link prove that they hold the same token, without sending it.
//!
//! Contract: each side sends a nonce and gets back a MAC over both nonces, the sender's role and what it claims to be. A
//! proof is worth nothing on another connection (the nonces differ) nor in the other direction (the roles differ). Proofs
//! are compared in constant time. A nonce is exactly 32 bytes in lower-case hex, so no text can be read in two ways.
//!
//! ```text
//! runner: HMAC-SHA256(token, claudemesh/link/v1|runner|<broker nonce>|<runner nonce>|<runner id>)
//! broker: HMAC-SHA256(token, claudemesh/link/v1|broker|<runner nonce>|<broker nonce>|<store id>|<epoch>)
//! ```

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::SecretString;

/// Bytes of a nonce, before hex.
pub const NONCE_BYTES: usize = 32;
/// Shortest token that is accepted: 128 bits in hex.
pub const MIN_TOKEN_BYTES: usize = 32;

/// What a runner claims, and the nonces of the connection.
#[derive(Clone, Copy, Debug)]
pub struct RunnerClaim<'a> {
    /// From the broker's hello.
    pub broker_nonce: &'a str,
    /// From the runner's hello.
    pub runner_nonce: &'a str,
    /// From the runner's hello.
    pub runner_id: &'a str,
}

/// What a broker claims, and the nonces of the connection.
#[derive(Clone, Copy, Debug)]
pub struct BrokerClaim<'a> {
    /// From the runner's hello.
    pub runner_nonce: &'a str,
    /// From the broker's hello.
    pub broker_nonce: &'a str,
    /// From the broker's hello.
    pub store_id: &'a str,
    /// From the broker's hello.
    pub epoch: u64,
}

/// Why there is no proof, or none that holds.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum ProofError {
    /// Not 32 bytes in lower-case hex.
    #[error("a nonce must be 64 lower-case hex digits")]
    Nonce,
    /// Both sides sent the same nonce: somebody repeats what it hears.
    #[error("both sides sent the same nonce")]
    Echo,
    /// Under [`MIN_TOKEN_BYTES`].
    #[error("the link token must have at least {MIN_TOKEN_BYTES} characters")]
    Token,
    /// Made with another token, or for other claims.
    #[error("the proof does not hold: the two sides have different tokens")]
    Mismatch,
}

/// The runner's proof, in hex.
///
/// # Errors
/// A malformed nonce, or a token that is too short.
pub fn runner_proof(token: &SecretString, claim: RunnerClaim<'_>) -> Result<String, ProofError> {
    Ok(hex::encode(claim.mac(token)?.finalize().into_bytes()))
}

/// Checks the runner's proof.
///
/// # Errors
/// [`ProofError::Mismatch`], or those of [`runner_proof`].
pub fn verify_runner(token: &SecretString, claim: RunnerClaim<'_>, proof: &str) -> Result<(), ProofError> {
    verify(claim.mac(token)?, proof)
}

/// The broker's proof, in hex.
///
/// # Errors
/// A malformed nonce, or a token that is too short.
pub fn broker_proof(token: &SecretString, claim: BrokerClaim<'_>) -> Result<String, ProofError> {
    Ok(hex::encode(claim.mac(token)?.finalize().into_bytes()))
}

/// Checks the broker's proof.
///
/// # Errors
/// [`ProofError::Mismatch`], or those of [`broker_proof`].
pub fn verify_broker(token: &SecretString, claim: BrokerClaim<'_>, proof: &str) -> Result<(), ProofError> {
    verify(claim.mac(token)?, proof)
}

impl RunnerClaim<'_> {
    fn mac(&self, token: &SecretString) -> Result<Hmac<Sha256>, ProofError> {
        let Self { broker_nonce, runner_nonce, runner_id } = self;
        check_nonces(broker_nonce, runner_nonce)?;
        keyed(token, &format!("claudemesh/link/v1|runner|{broker_nonce}|{runner_nonce}|{runner_id}"))
    }
}

impl BrokerClaim<'_> {
    fn mac(&self, token: &SecretString) -> Result<Hmac<Sha256>, ProofError> {
        let Self { runner_nonce, broker_nonce, store_id, epoch } = self;
        check_nonces(runner_nonce, broker_nonce)?;
        keyed(token, &format!("claudemesh/link/v1|broker|{runner_nonce}|{broker_nonce}|{store_id}|{epoch}"))
    }
}

fn check_nonces(one: &str, other: &str) -> Result<(), ProofError> {
    let well_formed =
        |nonce: &str| nonce.len() == 2 * NONCE_BYTES && nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !well_formed(one) || !well_formed(other) {
        Err(ProofError::Nonce)
    } else if one == other {
        Err(ProofError::Echo)
    } else {
        Ok(())
    }
}

fn keyed(token: &SecretString, text: &str) -> Result<Hmac<Sha256>, ProofError> {
    if token.len() < MIN_TOKEN_BYTES {
        return Err(ProofError::Token);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes()).map_err(|_| ProofError::Token)?;
    mac.update(text.as_bytes());
    Ok(mac)
}

fn verify(mac: Hmac<Sha256>, proof: &str) -> Result<(), ProofError> {
    let proof = hex::decode(proof).map_err(|_| ProofError::Mismatch)?;
    mac.verify_slice(&proof).map_err(|_| ProofError::Mismatch)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    const RUNNER_VECTOR: &str = "1964ae82c1f2f3e4d3f618fab27ee870bf0cb67c67f76698808538be9cd37c54";
    const BROKER_VECTOR: &str = "ab9afbe4e9c8c5fe28b231a53374ccfff5084c19b307b7521d5e5da8988720bb";

    fn token() -> SecretString {
        SecretString::from("0123456789abcdef0123456789abcdef")
    }
    fn runner() -> RunnerClaim<'static> {
        RunnerClaim { broker_nonce: ONE, runner_nonce: TWO, runner_id: "r1" }
    }
    fn broker() -> BrokerClaim<'static> {
        BrokerClaim { runner_nonce: TWO, broker_nonce: ONE, store_id: "s1", epoch: 7 }
    }

    #[test]
    fn the_texts_are_fixed() {
        // Computed apart from this code, with Python's hmac module.
        assert_eq!(runner_proof(&token(), runner()).unwrap(), RUNNER_VECTOR);
        assert_eq!(broker_proof(&token(), broker()).unwrap(), BROKER_VECTOR);
    }

    #[test]
    fn a_proof_holds_for_its_claim_only() {
        let proof = runner_proof(&token(), runner()).unwrap();
        assert_eq!(verify_runner(&token(), runner(), &proof), Ok(()));
        let swapped = RunnerClaim { broker_nonce: TWO, runner_nonce: ONE, ..runner() };
        let other_id = RunnerClaim { runner_id: "r2", ..runner() };
        let other_token = SecretString::from("0123456789abcdef0123456789abcdeX");
        for (token, claim) in [(token(), swapped), (token(), other_id), (other_token, runner())] {
            assert_eq!(verify_runner(&token, claim, &proof), Err(ProofError::Mismatch));
        }
        assert_eq!(verify_broker(&token(), broker(), &proof), Err(ProofError::Mismatch), "a proof sent back");
        assert_eq!(verify_runner(&token(), runner(), &proof[..62]), Err(ProofError::Mismatch));
        assert_eq!(verify_runner(&token(), runner(), "no hex"), Err(ProofError::Mismatch));

        let proof = broker_proof(&token(), broker()).unwrap();
        assert_eq!(verify_broker(&token(), broker(), &proof), Ok(()));
        assert_eq!(verify_broker(&token(), BrokerClaim { epoch: 8, ..broker() }, &proof), Err(ProofError::Mismatch));
    }

    #[test]
    fn malformed_input_is_refused_by_name() {
        let upper = ONE.to_uppercase();
        for nonce in ["", "00", upper.as_str(), &ONE[1..]] {
            let claim = RunnerClaim { broker_nonce: nonce, ..runner() };
            assert_eq!(runner_proof(&token(), claim), Err(ProofError::Nonce), "{nonce:?}");
        }
        assert_eq!(runner_proof(&token(), RunnerClaim { runner_nonce: ONE, ..runner() }), Err(ProofError::Echo));
        assert_eq!(runner_proof(&SecretString::from("short"), runner()), Err(ProofError::Token));
    }
}
