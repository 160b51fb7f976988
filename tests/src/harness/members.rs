//! Members: the owner of a mesh, the invites it signs, and who joins by them, written from the wire's description.

use std::fs;
use std::sync::Arc;
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::peer::{Peer, converse};
use super::session::{self, Client, Session};
use super::{Mesh, http};

/// How long an invite may be used: longer than any story.
const INVITE_S: u64 = 3_600;

/// A member of a mesh, with its key.
#[derive(Debug)]
pub struct Member {
    /// The mesh.
    pub mesh: String,
    /// The broker's id of it.
    pub id: String,
    /// What it is called.
    pub name: String,
    pub(super) key: SigningKey,
}

/// Who may invite and remove.
#[derive(Debug)]
pub struct Owner {
    /// As a member.
    pub member: Arc<Member>,
    /// The root of the mesh.
    root: SigningKey,
    slug: String,
    broker: String,
    port: u16,
}

/// An invite that the broker knows.
#[derive(Debug)]
pub struct Invite {
    payload: String,
    token: String,
    /// Its own key pair: with it a joiner proves that it has the whole link.
    key: SigningKey,
    signed: Signed,
    port: u16,
}

/// The members of a token, in the published order.
#[derive(Debug, Clone, Serialize)]
struct Signed {
    v: u32,
    mesh_id: String,
    mesh_slug: String,
    broker_url: String,
    expires_at: u64,
    mesh_root_key: String,
    role: &'static str,
    owner_pubkey: String,
    signature: String,
}

impl Member {
    /// From what a `config.json` has of it.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn of(mesh: &str, id: &str, secret: &str, name: &str) -> Result<Arc<Self>, String> {
        let key = signing_key(secret)?;
        Ok(Arc::new(Self { mesh: mesh.to_owned(), id: id.to_owned(), name: name.to_owned(), key }))
    }

    /// Its public key in hex: its address.
    #[must_use]
    pub fn address(&self) -> String {
        public(&self.key)
    }

    /// Its secret key as the wire writes it.
    #[must_use]
    pub fn secret(&self) -> String {
        hex::encode(self.key.to_keypair_bytes())
    }

    /// What its `config.json` would have, for the broker on a port of this machine.
    #[must_use]
    pub fn membership(&self, port: u16) -> Value {
        json!({
            "meshId": self.mesh,
            "memberId": self.id,
            "secretKey": self.secret(),
            "brokerUrl": format!("ws://127.0.0.1:{port}/ws"),
        })
    }
}

impl Owner {
    /// The one whose keys the first start of a mesh wrote down.
    ///
    /// # Errors
    /// What is missing.
    pub fn of(mesh: &Mesh) -> Result<Self, String> {
        let entry = mesh.membership();
        let word = |name: &str| entry[name].as_str().ok_or(format!("config.json has no {name}"));
        let (id, secret) = (word("meshId")?, word("secretKey")?);
        let file = mesh.config().join("owners").join(format!("{id}.json"));
        // The root has a file of its own; before it had, it was the owner's member key.
        let root = match fs::read_to_string(&file) {
            Ok(text) => {
                let kept: Value =
                    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
                signing_key(kept["secretKey"].as_str().ok_or(format!("{} has no secretKey", file.display()))?)?
            }
            Err(_) => signing_key(secret)?,
        };
        Ok(Self {
            member: Member::of(id, word("memberId")?, secret, "owner")?,
            root,
            slug: word("slug")?.to_owned(),
            broker: word("brokerUrl")?.to_owned(),
            port: mesh.port(),
        })
    }

    /// Makes an invite for so many, who become `role`, and makes it known.
    ///
    /// # Errors
    /// What the broker answered.
    pub fn invite(&self, role: &'static str, uses: u32) -> Result<Invite, String> {
        let key = session::fresh_key();
        let signed = self.sign(&key, role);
        let payload = serde_json::to_string(&signed).map_err(|error| error.to_string())?;
        let token = URL_SAFE_NO_PAD.encode(&payload);
        let known = json!({
            "type": "invite_create",
            "tokenSha256": hex::encode(Sha256::digest(&token)),
            "role": role,
            "uses": uses,
            "expiresAt": signed.expires_at,
        });
        match self.ask(known)? {
            answer if answer["type"] == "invite_result" => Ok(Invite { payload, token, key, signed, port: self.port }),
            answer => Err(format!("invite_create was answered with {answer}")),
        }
    }

    /// One invite, and so many who join by it.
    ///
    /// # Errors
    /// What the broker answered.
    pub fn crew(&self, prefix: &str, count: usize) -> Result<Vec<Arc<Member>>, String> {
        let invite = self.invite("member", u32::try_from(count).map_err(|error| error.to_string())?)?;
        (0..count).map(|index| invite.join(&format!("{prefix}{index}"))).collect()
    }

    /// So many admins: an invite of theirs is good once.
    ///
    /// # Errors
    /// What the broker answered.
    pub fn admins(&self, prefix: &str, count: usize) -> Result<Vec<Arc<Member>>, String> {
        (0..count).map(|index| self.invite("admin", 1)?.join(&format!("{prefix}{index}"))).collect()
    }

    /// Removes a member.
    ///
    /// # Errors
    /// What the broker answered.
    pub fn remove(&self, member: &Member) -> Result<Value, String> {
        /// Above that of any statement before it: a story makes no other about its members.
        const SERIAL: u64 = 1;
        let text = format!("claudemesh/removal/v1|{}|{}|{SERIAL}", member.mesh, member.address());
        let signature = hex::encode(self.root.sign(text.as_bytes()).to_bytes());
        let removal = json!({ "serial": SERIAL, "issuer": public(&self.root), "signature": signature });
        match self.ask(json!({ "type": "member_remove", "memberId": member.id, "removal": removal }))? {
            answer if answer["type"] == "member_result" => Ok(answer),
            answer => Err(format!("member_remove was answered with {answer}")),
        }
    }

    /// One question over a connection of its own, as a person's command asks.
    ///
    /// # Errors
    /// Why there was no answer.
    pub fn ask(&self, message: Value) -> Result<Value, String> {
        let session = Session::new(&self.member);
        // On a thread of its own, since callers may be inside a runtime.
        let asked = thread::scope(|scope| {
            let asking =
                || converse(async { Peer::enter(self.port, &session, Client::Command).await?.ask(message).await });
            scope.spawn(asking).join()
        });
        asked.map_err(|_| "asking panicked")?
    }

    fn sign(&self, key: &SigningKey, role: &'static str) -> Signed {
        let Self { member, slug, broker, root, .. } = self;
        let (own, owner) = (public(key), public(root));
        let expires_at = session::now_ms() / 1_000 + INVITE_S;
        let text = format!("1|{}|{slug}|{broker}|{expires_at}|{own}|{role}|{owner}", member.mesh);
        Signed {
            v: 1,
            mesh_id: member.mesh.clone(),
            mesh_slug: slug.clone(),
            broker_url: broker.clone(),
            expires_at,
            mesh_root_key: own,
            role,
            owner_pubkey: owner,
            signature: hex::encode(root.sign(text.as_bytes()).to_bytes()),
        }
    }
}

impl Invite {
    /// A new key joins, with its certificate.
    ///
    /// # Errors
    /// What the broker answered.
    pub fn join(&self, name: &str) -> Result<Arc<Member>, String> {
        let Signed { mesh_id, role, expires_at, .. } = &self.signed;
        let key = session::fresh_key();
        let own = public(&key);
        let text = format!("claudemesh/join/v1|{mesh_id}|{own}|{role}|{expires_at}");
        let signature = hex::encode(self.key.sign(text.as_bytes()).to_bytes());
        let payload = &self.payload;
        // Put together by hand: the payload is the token's own bytes.
        let certificate = format!(r#"{{"form":"invite","invite":{payload},"signature":"{signature}"}}"#);
        let body = format!(
            r#"{{"invite_token":"{}","invite_payload":{payload},"peer_pubkey":"{own}","display_name":{},"certificate":{certificate}}}"#,
            self.token,
            json!(name),
        );
        let answer = http::post(self.port, "/join", &body)?;
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match (answer.status, said["ok"].as_bool(), said["memberId"].as_str()) {
            (200, Some(true), Some(id)) => {
                Ok(Arc::new(Member { mesh: mesh_id.clone(), id: id.to_owned(), name: name.to_owned(), key }))
            }
            (status, ..) => Err(format!("POST /join: {status} {}", answer.body)),
        }
    }
}

/// The seed is the first half of a secret key on the wire.
fn signing_key(secret: &str) -> Result<SigningKey, String> {
    let bytes = hex::decode(secret).map_err(|error| format!("secretKey: {error}"))?;
    let seed = bytes.get(..32).and_then(|seed| seed.try_into().ok()).ok_or("secretKey is too short")?;
    Ok(SigningKey::from_bytes(seed))
}

pub(super) fn public(key: &SigningKey) -> String {
    hex::encode(key.verifying_key().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_signed_as_the_wire_says() {
        let secret: String = (0..32_u8).map(|byte| format!("{byte:02x}")).collect();
        let root = signing_key(&secret).unwrap();
        let owner = Owner {
            member: Member::of("mesh1", "m1", &secret, "owner").unwrap(),
            root,
            slug: "demo".to_owned(),
            broker: "ws://localhost:7900/ws".to_owned(),
            port: 0,
        };
        let signed = owner.sign(&session::fresh_key(), "member");
        let invite: protocol::trust::Invite = serde_json::from_str(&serde_json::to_string(&signed).unwrap()).unwrap();
        let claim = protocol::identity::InviteClaim {
            v: 1,
            mesh_id: "mesh1",
            mesh_slug: "demo",
            broker_url: "ws://localhost:7900/ws",
            expires_at_s: invite.expires_at,
            mesh_root_key: &invite.mesh_root_key,
            role: "member",
            owner: invite.owner_pubkey,
        };
        claim.verify(&invite.signature, session::now_ms()).unwrap();
    }
}
