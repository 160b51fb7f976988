//! The sending side.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{MessageClaim, VERSION};
use crate::identity::{
    BoxError, NONCE_BYTES, PublicKey, SYMMETRIC_KEY_BYTES, SessionKey, TrustError, seal_direct, seal_secretbox,
};
use crate::wire::{E2e, Priority, Send};

/// Why a message cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Nobody can seal for this key.
    #[error("nothing can be sealed for {0}: it is no key of a kind that opens boxes")]
    Unusable(PublicKey),
    /// The text is longer than the cipher takes.
    #[error("the text is too long")]
    TooLong,
    /// A field cannot be signed.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Signs a sealed message anew, at another time: one that goes out again later must fit the certificate that its sender
/// shows by then. Nothing of what is sealed changes; a message without `e2e` is left as it is.
///
/// # Errors
/// [`SealError::Trust`].
pub fn sign_again(message: &mut Send, mesh_id: &str, ts: u64, session: &SessionKey) -> Result<(), SealError> {
    let Some(e2e) = &mut message.e2e else { return Ok(()) };
    // What is no base64 was never sealed here.
    let ciphertext = BASE64.decode(&message.ciphertext).unwrap_or_default();
    let claim = MessageClaim {
        mesh_id,
        target: &message.target_spec,
        id: &e2e.id,
        ts,
        nonce: &message.nonce,
        ciphertext: &ciphertext,
    };
    let sig = claim.sign(session)?;
    (e2e.ts, e2e.sig) = (ts, sig);
    Ok(())
}

/// A message's text, sealed for several members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedGroup {
    /// Base64, the same for everybody.
    pub ciphertext: String,
    /// The key to it, sealed for each (base64).
    pub keys: BTreeMap<PublicKey, String>,
}

/// Seals a text once, and its key `km` for each member. `km` and `nonce` are drawn for this message alone.
///
/// # Errors
/// [`SealError::Unusable`] for a key that is no point of the curve, [`SealError::TooLong`].
pub fn seal_group(
    text: &[u8],
    nonce: &[u8; NONCE_BYTES],
    km: &[u8; SYMMETRIC_KEY_BYTES],
    members: &[PublicKey],
    sender: &SessionKey,
) -> Result<SealedGroup, SealError> {
    let ciphertext = seal_secretbox(text, nonce, km).map_err(|_| SealError::TooLong)?;
    let keys = members
        .iter()
        .map(|member| {
            let sealed = seal_direct(km, nonce, member, sender).map_err(|error| unusable(error, member))?;
            Ok((*member, BASE64.encode(sealed)))
        })
        .collect::<Result<_, SealError>>()?;
    Ok(SealedGroup { ciphertext: BASE64.encode(ciphertext), keys })
}

fn unusable(error: BoxError, member: &PublicKey) -> SealError {
    match error {
        BoxError::UnusableKey => SealError::Unusable(*member),
        BoxError::NotOpened => SealError::TooLong,
    }
}

/// A message before it is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// The mesh.
    pub mesh_id: &'a str,
    /// The sender's id of the message; one for one text and one target.
    pub id: &'a str,
    /// The sender's clock, milliseconds since the Unix epoch.
    pub ts: u64,
    /// When it is to be shown.
    pub priority: Priority,
    /// Drawn for this message alone.
    pub nonce: &'a [u8; NONCE_BYTES],
    /// What it says.
    pub text: &'a str,
}

impl Letter<'_> {
    /// For a session or a member.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn direct(&self, to: &PublicKey, sender: &SessionKey) -> Result<Send, SealError> {
        let ciphertext =
            seal_direct(self.text.as_bytes(), self.nonce, to, sender).map_err(|error| unusable(error, to))?;
        self.signed(to.to_string(), &ciphertext, BTreeMap::new(), sender)
    }

    /// For a group, or everybody. `target` is `@group`, `*` or `@all`; `members` are those who belong to it.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn group(
        &self,
        target: &str,
        members: &[PublicKey],
        km: &[u8; SYMMETRIC_KEY_BYTES],
        sender: &SessionKey,
    ) -> Result<Send, SealError> {
        let sealed = seal_group(self.text.as_bytes(), self.nonce, km, members, sender)?;
        let ciphertext = BASE64.decode(&sealed.ciphertext).map_err(|_| SealError::TooLong)?;
        self.signed(target.to_owned(), &ciphertext, sealed.keys, sender)
    }

    fn signed(
        &self,
        target_spec: String,
        ciphertext: &[u8],
        keys: BTreeMap<PublicKey, String>,
        sender: &SessionKey,
    ) -> Result<Send, SealError> {
        let nonce = BASE64.encode(self.nonce);
        let claim = MessageClaim {
            mesh_id: self.mesh_id,
            target: &target_spec,
            id: self.id,
            ts: self.ts,
            nonce: &nonce,
            ciphertext,
        };
        let e2e = E2e { v: VERSION, id: self.id.to_owned(), ts: self.ts, keys, sig: claim.sign(sender)? };
        Ok(Send {
            target_spec,
            priority: self.priority,
            ciphertext: BASE64.encode(ciphertext),
            id: Some(self.id.to_owned()),
            e2e: Some(e2e),
            nonce,
        })
    }
}
