//! Invites: the token, the forms of its link, and what an invite's own key signs.
//!
//! A token is base64url without padding of the invite's JSON in the published order of members. It has one form: whatever
//! would be written differently is refused, so that a token's SHA-256 names one invite.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::statement::join_text;
use super::{Invite, Role};
use crate::SecretString;
use crate::identity::{InviteClaim, PublicKey, Signature, SigningKey, TrustError};

/// Longest token that is read.
pub const MAX_TOKEN_BYTES: usize = 4_096;
/// The version of the form.
const VERSION: u32 = 1;
/// What a link begins with for a program that is registered for it.
const SCHEME: &str = "ic://join/";
/// What stands before the token in a link to a page.
const PATH: &str = "/join/";

/// Why a text is no invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Not a token, or one that is written in another way than tokens are.
    #[error("this is no invite")]
    Form,
    /// Of a later version.
    #[error("the invite has version {0}, and version 1 is known here")]
    Version(u32),
    /// Behind `#` stands something else than the invite's key.
    #[error("what stands behind `#` is not this invite's key")]
    Key,
    /// It does not hold.
    #[error("the invite does not hold: {0}")]
    Trust(#[from] TrustError),
}

/// What an invite says, before it is signed.
#[derive(Clone, Copy, Debug)]
pub struct InviteTerms<'a> {
    /// The mesh to join.
    pub mesh_id: &'a str,
    /// Its slug.
    pub mesh_slug: &'a str,
    /// Where to join.
    pub broker_url: &'a str,
    /// Seconds since the Unix epoch.
    pub expires_at: u64,
    /// What the joiner becomes.
    pub role: Role,
}

/// An invite that came as a link.
#[derive(Clone, Debug)]
pub struct InviteLink {
    /// The invite.
    pub invite: Invite,
    /// Its token, which is what the broker knows it by.
    pub token: String,
    /// Its own key, from behind `#`.
    pub key: Option<SigningKey>,
}

impl Invite {
    /// An invite of the owner. `invite_key` is the public half of a pair that is made for this invite alone.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(terms: &InviteTerms<'_>, invite_key: PublicKey, owner: &SigningKey) -> Result<Self, TrustError> {
        let mut invite = Self {
            v: VERSION,
            mesh_id: terms.mesh_id.to_owned(),
            mesh_slug: terms.mesh_slug.to_owned(),
            broker_url: terms.broker_url.to_owned(),
            expires_at: terms.expires_at,
            mesh_root_key: invite_key.to_string(),
            role: terms.role.as_str().to_owned(),
            owner_pubkey: owner.public(),
            signature: Signature::from_bytes([0; 64]),
        };
        invite.signature = invite.claim().sign(owner)?;
        Ok(invite)
    }

    /// Whether its owner says so, and it can be joined by now. Whose mesh it is, is for the caller to know.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`], [`TrustError::Expired`].
    pub fn verify(&self, now_ms: u64) -> Result<(), TrustError> {
        self.claim().verify(&self.signature, now_ms)
    }

    /// The same without its end: what was made of an invite outlives it.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`].
    pub fn verify_signature(&self) -> Result<(), TrustError> {
        self.claim().verify_signature(&self.signature)
    }

    /// Public half of the invite's own key pair; an older client's invite has none.
    #[must_use]
    pub fn invite_key(&self) -> Option<PublicKey> {
        self.mesh_root_key.parse().ok()
    }

    /// Whether the invite's own key says that `member` joins by it.
    pub(super) fn verify_join(
        &self,
        key: &PublicKey,
        member: PublicKey,
        signature: &Signature,
    ) -> Result<(), TrustError> {
        key.verify(join_text(&self.mesh_id, member, &self.role, self.expires_at)?.as_bytes(), signature)
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> String {
        // Texts and numbers have a JSON form; an empty token would be refused wherever it is read.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`InviteError::Form`] for all that [`Invite::token`] would not write, [`InviteError::Version`].
    pub fn from_token(token: &str) -> Result<Self, InviteError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(InviteError::Form);
        }
        let json = URL_SAFE_NO_PAD.decode(token).map_err(|_| InviteError::Form)?;
        let invite: Self = serde_json::from_slice(&json).map_err(|_| InviteError::Form)?;
        if invite.v != VERSION {
            return Err(InviteError::Version(invite.v));
        }
        if invite.token() == token { Ok(invite) } else { Err(InviteError::Form) }
    }

    /// Reads `ic://join/<token>`, `https://host/join/<token>` or the bare token, each with or without `#<seed>`: the
    /// secret half of the invite's own key, 64 hex digits, which never travels to a broker.
    ///
    /// # Errors
    /// [`InviteError`]; the seed is not repeated.
    pub fn from_link(link: &str) -> Result<InviteLink, InviteError> {
        let (address, seed) = match link.trim().split_once('#') {
            Some((address, seed)) => (address, Some(seed)),
            None => (link.trim(), None),
        };
        let token = token_of(address).ok_or(InviteError::Form)?;
        let invite = Self::from_token(token)?;
        let key = seed.map(|seed| key_of(seed, invite.invite_key())).transpose()?;
        Ok(InviteLink { invite, token: token.to_owned(), key })
    }

    /// The link, with the invite's own key in the second form: whoever joins by that one needs nobody to vouch for it.
    #[must_use]
    pub fn link(&self) -> String {
        format!("{SCHEME}{}", self.token())
    }

    /// The second form of the link. `seed` is that of the invite's own key.
    #[must_use]
    pub fn link_with(&self, seed: &[u8; 32]) -> SecretString {
        SecretString::new(format!("{}#{}", self.link(), hex::encode(seed)))
    }

    fn claim(&self) -> InviteClaim<'_> {
        InviteClaim {
            v: self.v,
            mesh_id: &self.mesh_id,
            mesh_slug: &self.mesh_slug,
            broker_url: &self.broker_url,
            expires_at_s: self.expires_at,
            mesh_root_key: &self.mesh_root_key,
            role: &self.role,
            owner: self.owner_pubkey,
        }
    }
}

fn token_of(address: &str) -> Option<&str> {
    if let Some(token) = address.strip_prefix(SCHEME) {
        return Some(token);
    }
    match address.strip_prefix("https://").or_else(|| address.strip_prefix("http://")) {
        Some(rest) => rest.split_once(PATH).map(|(_, token)| token),
        None => Some(address),
    }
}

fn key_of(seed: &str, public: Option<PublicKey>) -> Result<SigningKey, InviteError> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    let lower = !seed.bytes().any(|b| b.is_ascii_uppercase());
    if !lower || hex::decode_to_slice(seed, bytes.as_mut_slice()).is_err() {
        return Err(InviteError::Key);
    }
    let key = SigningKey::from_seed(&bytes);
    if Some(key.public()) == public { Ok(key) } else { Err(InviteError::Key) }
}
