//! The receiving side.
//!
//! | message | shown as |
//! |---|---|
//! | the box opens, the signature holds, the session's certificate held when it was sent, its member is vouched for | verified |
//! | the box opens, and one of the others is missing or does not hold | unverified, with the reason |
//! | clear text for a group, from an old client | not authenticated |
//! | anything else: no box that opens, a signature that does not hold, a nonce that comes a second time | not shown |

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{MessageClaim, VERSION};
use crate::identity::{
    MemberKey, NONCE_BYTES, PublicKey, SYMMETRIC_KEY_BYTES, SessionClaim, SessionKey, TrustError, open_direct,
    open_secretbox,
};
use crate::trust::{Doubt, GroupStanding, Role, Roll, Standing};
use crate::wire::{E2e, Push};

/// The other way to write `*`.
const EVERYBODY: &str = "@all";

/// What a client remembers of nonces.
pub trait Nonces {
    /// Whether this client sent a message with this nonce, in any of its sessions that it knows of.
    fn sent(&self, nonce: &str) -> bool;
    /// Whether another message of this sender had this nonce.
    fn seen(&self, sender: &PublicKey, nonce: &str) -> bool;
}

/// Who reads.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The mesh.
    pub mesh_id: &'a str,
    /// Opens what was sent to the session.
    pub session: &'a SessionKey,
    /// Opens what was sent to the member, and the keys of groups.
    pub member: &'a MemberKey,
    /// Who is what.
    pub roll: &'a Roll,
    /// What was sent and seen before.
    pub nonces: &'a dyn Nonces,
}

/// A text that may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session that sent it.
    pub sender: PublicKey,
    /// What it says, as it was written: foreign text.
    pub text: String,
    /// What may be believed of its origin.
    pub authenticity: Authenticity,
}

/// What may be believed of a message's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authenticity {
    /// This member's session wrote it.
    Verified {
        /// Its key.
        member: PublicKey,
        /// What the broker says it is called.
        name: String,
        /// What it is in the mesh.
        role: Role,
    },
    /// Whoever holds the sender's key wrote it; who that is, is not certain.
    Unverified(Suspicion),
    /// Clear text of an old client: the broker, or anybody who sent it there, may have written it.
    NotAuthenticated,
}

/// Why an origin is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    /// An old client does not.
    #[error("it is not signed")]
    NotSigned,
    /// An old client has none.
    #[error("nobody vouches for the session that sent it")]
    NoCertificate,
    /// The certificate did not hold when the message was sent.
    #[error("what vouches for its session does not hold: {0}")]
    Certificate(TrustError),
    /// The broker's list of members does not have it.
    #[error("its sender is not on the list of members")]
    NoMember,
    /// It joined by a plain link.
    #[error("nobody has vouched for its sender yet")]
    Unattested,
    /// What vouches for the member does not hold.
    #[error("what vouches for its sender does not hold: {0}")]
    Member(Doubt),
    /// It may have been sent before.
    #[error("its sender is no member any more")]
    Removed,
    /// The group's list has others.
    #[error("its sender does not belong to the group")]
    NotInGroup,
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An event of the mesh, not a peer's message.
    #[error("it is no message of a peer")]
    NoMail,
    /// A field is not what it has to be.
    #[error("its {0} is not what it has to be")]
    Form(&'static str),
    /// The sender is this session, or the nonce is one that this client used.
    #[error("it is one of our own, sent back")]
    Reflected,
    /// A message of this sender with this nonce came before.
    #[error("it came before, under another id")]
    Replayed,
    /// It was for somebody else.
    #[error("it was sent to somebody else")]
    NotForUs,
    /// There is no key to it for this member.
    #[error("it was not sealed for this member")]
    NoKey,
    /// The signature is another message's.
    #[error("its signature does not hold")]
    BadSignature,
    /// Sealed for another key, or altered.
    #[error("it does not open: it was sealed for another key, or altered")]
    NotOpened,
    /// Not UTF-8.
    #[error("what is in it is no text")]
    NoText,
}

/// Whether a target is a session or a member, and not a group.
#[must_use]
pub fn is_direct(target: &str) -> bool {
    target.parse::<PublicKey>().is_ok()
}

/// Opens a message and judges where it comes from. A message that came before under the same id is for the caller to know.
///
/// # Errors
/// [`Unreadable`]: there is nothing to show but that.
pub fn open(push: &Push, reader: &Reader<'_>) -> Result<Opened, Unreadable> {
    if push.subtype.is_some() {
        return Err(Unreadable::NoMail);
    }
    if push.mesh_id != reader.mesh_id {
        return Err(Unreadable::NotForUs);
    }
    let sender: PublicKey = push.sender_pubkey.parse().map_err(|_| Unreadable::Form("sender"))?;
    let target = push.target_spec.as_deref();
    let direct = target.is_none_or(is_direct);
    if sender == reader.session.public() || (push.e2e.is_some() || direct) && reader.nonces.sent(&push.nonce) {
        return Err(Unreadable::Reflected);
    }
    let ciphertext = BASE64.decode(&push.ciphertext).map_err(|_| Unreadable::Form("ciphertext"))?;
    let (bytes, authenticity) = match (&push.e2e, direct) {
        // In clear: the nonce means nothing.
        (None, false) => (ciphertext, Authenticity::NotAuthenticated),
        (e2e, _) => {
            if reader.nonces.seen(&sender, &push.nonce) {
                return Err(Unreadable::Replayed);
            }
            let message = Message { sender, target, nonce: nonce(push)?, ciphertext: &ciphertext };
            let bytes = match e2e {
                None => message.open_direct(reader)?,
                Some(e2e) => message.open_signed(push, e2e, direct, reader)?,
            };
            (bytes, authenticity(push, sender, direct, reader))
        }
    };
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::NoText)?;
    Ok(Opened { sender, text, authenticity })
}

fn nonce(push: &Push) -> Result<[u8; NONCE_BYTES], Unreadable> {
    let bytes = BASE64.decode(&push.nonce).map_err(|_| Unreadable::Form("nonce"))?;
    bytes.try_into().map_err(|_| Unreadable::Form("nonce"))
}

/// What the boxes need.
struct Message<'a> {
    sender: PublicKey,
    target: Option<&'a str>,
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
}

impl Message<'_> {
    /// With the session's key, then the member's.
    fn open_direct(&self, reader: &Reader<'_>) -> Result<Vec<u8>, Unreadable> {
        [reader.session, reader.member]
            .into_iter()
            .find_map(|key| open_direct(self.ciphertext, &self.nonce, &self.sender, key).ok())
            .ok_or(Unreadable::NotOpened)
    }

    fn open_signed(&self, push: &Push, e2e: &E2e, direct: bool, reader: &Reader<'_>) -> Result<Vec<u8>, Unreadable> {
        let target = self.target.ok_or(Unreadable::Form("target"))?;
        if e2e.v != VERSION {
            return Err(Unreadable::Form("version"));
        }
        let claim = MessageClaim {
            mesh_id: reader.mesh_id,
            target,
            id: &e2e.id,
            ts: e2e.ts,
            nonce: &push.nonce,
            ciphertext: self.ciphertext,
        };
        claim.verify(&self.sender, &e2e.sig).map_err(|_| Unreadable::BadSignature)?;
        if direct {
            let ours = [reader.session.public(), reader.member.public()].iter().any(|key| key.to_string() == target);
            return if ours { self.open_direct(reader) } else { Err(Unreadable::NotForUs) };
        }
        let sealed = e2e.keys.get(&reader.member.public()).ok_or(Unreadable::NoKey)?;
        let sealed = BASE64.decode(sealed).map_err(|_| Unreadable::Form("key"))?;
        let km = open_direct(&sealed, &self.nonce, &self.sender, reader.member).map_err(|_| Unreadable::NotOpened)?;
        let km: zeroize::Zeroizing<[u8; SYMMETRIC_KEY_BYTES]> =
            zeroize::Zeroizing::new(km.try_into().map_err(|_| Unreadable::Form("key"))?);
        open_secretbox(self.ciphertext, &self.nonce, &km).map_err(|_| Unreadable::NotOpened)
    }
}

/// Whose message it is. Its box has opened, and its signature, where it has one, holds.
fn authenticity(push: &Push, sender: PublicKey, direct: bool, reader: &Reader<'_>) -> Authenticity {
    judge(push, sender, direct, reader).unwrap_or_else(Authenticity::Unverified)
}

fn judge(push: &Push, sender: PublicKey, direct: bool, reader: &Reader<'_>) -> Result<Authenticity, Suspicion> {
    let e2e = push.e2e.as_ref().ok_or(Suspicion::NotSigned)?;
    let member = member_behind(push, sender, e2e.ts, reader)?;
    let entry = reader.roll.member(&member).ok_or(Suspicion::NoMember)?;
    let role = match entry.standing {
        Standing::Verified(role) => role,
        Standing::Unattested => return Err(Suspicion::Unattested),
        Standing::Unverified(doubt) => return Err(Suspicion::Member(doubt)),
        Standing::Removed => return Err(Suspicion::Removed),
    };
    let target = push.target_spec.as_deref().filter(|&target| !direct && target != EVERYBODY);
    let group = target.and_then(|target| target.strip_prefix('@'));
    match group.map(|name| reader.roll.group(name)) {
        Some(GroupStanding::Restricted { members, .. }) if members.binary_search(&member).is_err() => {
            Err(Suspicion::NotInGroup)
        }
        Some(GroupStanding::Unverified(doubt)) => Err(Suspicion::Member(doubt)),
        _ => Ok(Authenticity::Verified { member, name: entry.name.clone(), role }),
    }
}

/// The member whose session sent it, by the certificate as it was then: a message may wait longer than one lasts.
fn member_behind(push: &Push, sender: PublicKey, ts: u64, reader: &Reader<'_>) -> Result<PublicKey, Suspicion> {
    let member = push.member_pubkey.ok_or(Suspicion::NoCertificate)?;
    if member == sender {
        // A session without a key of its own signs with its member's.
        return Ok(member);
    }
    let (Some(cert), Some(session_id)) = (&push.session_cert, push.session_id.as_deref()) else {
        return Err(Suspicion::NoCertificate);
    };
    let claim = SessionClaim { mesh_id: reader.mesh_id, member, session: sender, session_id };
    claim.verify(cert, ts).map_err(Suspicion::Certificate)?;
    Ok(member)
}
