//! A member's session on the wire: its hello and its messages, signed with its own keys.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::members::{Member, public};

/// How long a session's certificate holds.
const CERTIFICATE_MS: u64 = 60 * 60 * 1_000;
/// Stands where a recipient's sealed key of a message stands: 48 bytes in base64. No broker can tell.
const SEALED_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// As long as a signature.
const NO_SIGNATURE: &str = concat!(
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000"
);

/// What a client knows of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The oldest: no certificate, no acknowledgement.
    Old,
    /// Everything.
    New,
    /// The same, as a person's command: nobody is present by it.
    Command,
}

/// A session, whether it is connected or not.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whose.
    pub member: Arc<Member>,
    /// The client's id of it.
    pub id: String,
    key: SigningKey,
}

impl Session {
    /// A new one.
    #[must_use]
    pub fn new(member: &Arc<Member>) -> Self {
        let key = fresh_key();
        Self { member: Arc::clone(member), id: public(&key)[..32].to_owned(), key }
    }

    /// Its public key in hex: its address.
    #[must_use]
    pub fn address(&self) -> String {
        public(&self.key)
    }

    /// With a key that another process gave away by [`Self::seed`].
    ///
    /// # Errors
    /// What is wrong with the seed.
    pub fn from_seed(member: &Arc<Member>, seed: &str) -> Result<Self, String> {
        let bytes: Vec<u8> = hex::decode(seed).map_err(|error| error.to_string())?;
        let seed: [u8; 32] = bytes.try_into().map_err(|_| "a seed has 32 bytes")?;
        let key = SigningKey::from_bytes(&seed);
        Ok(Self { member: Arc::clone(member), id: public(&key)[..32].to_owned(), key })
    }

    /// Its key's seed in hex.
    #[must_use]
    pub fn seed(&self) -> String {
        hex::encode(self.key.to_bytes())
    }

    /// A hello at this moment.
    #[must_use]
    pub fn hello(&self, client: Client) -> Value {
        let Self { member, id, .. } = self;
        let (pubkey, address, now) = (member.address(), self.address(), now_ms());
        let signature = member.key.sign(format!("{}|{}|{pubkey}|{now}", member.mesh, member.id).as_bytes());
        let mut hello = json!({
            "type": "hello",
            "meshId": member.mesh,
            "memberId": member.id,
            "pubkey": pubkey,
            "sessionId": id,
            "sessionPubkey": address,
            "pid": std::process::id(),
            "cwd": "/",
            "timestamp": now,
            "signature": hex::encode(signature.to_bytes()),
            "displayName": member.name,
            "peerType": "human",
        });
        if client != Client::Old {
            let expires = now + CERTIFICATE_MS;
            let claim = format!("claudemesh/session/v1|{}|{pubkey}|{address}|{id}|{now}|{expires}", member.mesh);
            let signature = hex::encode(member.key.sign(claim.as_bytes()).to_bytes());
            hello["sessionCert"] = json!({ "issuedAt": now, "expiresAt": expires, "signature": signature });
            hello["kind"] = json!(if client == Client::Command { "cli" } else { "session" });
            hello["capabilities"] = json!(["client_ack", "e2e"]);
        }
        hello
    }

    /// A message that is `body`, which has to be base64, to a key. Its id names it among the session's.
    #[must_use]
    pub fn direct(&self, target: &str, priority: &str, id: &str, body: &str) -> Value {
        self.message(target, priority, id, body, &[])
    }

    /// The same to a group or to all, sealed for these members.
    #[must_use]
    pub fn message(&self, target: &str, priority: &str, id: &str, body: &str, members: &[String]) -> Value {
        let (nonce, now) = (nonce(id), now_ms());
        let digest = hex::encode(Sha256::digest(body_bytes(body)));
        let claim = format!("claudemesh/msg/v2|{}|{target}|{id}|{now}|{nonce}|{digest}", self.member.mesh);
        let signature = hex::encode(self.key.sign(claim.as_bytes()).to_bytes());
        with_e2e(Self::plain(target, priority, id, body), now, &signature, members)
    }

    /// The same with a signature that does not hold, which no broker looks into: for many at once.
    #[must_use]
    pub fn made_up(target: &str, priority: &str, id: &str, body: &str, members: &[String]) -> Value {
        with_e2e(Self::plain(target, priority, id, body), now_ms(), NO_SIGNATURE, members)
    }

    /// A message as the oldest clients send it.
    #[must_use]
    pub fn plain(target: &str, priority: &str, id: &str, body: &str) -> Value {
        json!({
            "type": "send",
            "targetSpec": target,
            "priority": priority,
            "id": id,
            "nonce": nonce(id),
            "ciphertext": body,
        })
    }
}

fn with_e2e(mut message: Value, ts: u64, signature: &str, members: &[String]) -> Value {
    let mut e2e = json!({ "v": 2, "id": message["id"], "ts": ts, "sig": signature });
    if !members.is_empty() {
        let keys: Map<String, Value> = members.iter().map(|key| (key.clone(), json!(SEALED_KEY))).collect();
        e2e["keys"] = Value::Object(keys);
    }
    message["e2e"] = e2e;
    message
}

/// 24 bytes in base64 that belong to this id alone: digits are base64 too.
fn nonce(id: &str) -> String {
    let digits: String = Sha256::digest(id).iter().map(|byte| char::from(b'0' + byte % 10)).collect();
    digits[..32].to_owned()
}

fn body_bytes(body: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(body).expect("a body is base64")
}

/// The system's clock.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit for ages")
}

pub(super) fn fresh_key() -> SigningKey {
    use std::io::Read;
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut seed)).expect("randomness");
    SigningKey::from_bytes(&seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let secret = hex::encode((0u8..32).collect::<Vec<_>>()) + &"0".repeat(64);
        Session::new(&Member::of("mesh1", "member1", &secret, "story").unwrap())
    }

    fn holds(key: &SigningKey, text: &str, signature: &Value) {
        let signature = hex::decode(signature.as_str().unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        key.verifying_key().verify_strict(text.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_hello_is_signed_as_the_wire_says() {
        let session = session();
        for client in [Client::Old, Client::New, Client::Command] {
            let hello = session.hello(client);
            let pubkey = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
            assert_eq!(hello["pubkey"], pubkey);
            holds(&session.member.key, &format!("mesh1|member1|{pubkey}|{}", hello["timestamp"]), &hello["signature"]);
            protocol::wire::parse(&hello.to_string()).unwrap();
            let has = hello.get("sessionCert").is_some();
            assert_eq!(has, client != Client::Old);
        }
    }

    #[test]
    fn a_message_is_signed_and_is_one_for_the_wire() {
        let session = session();
        let members = vec![session.member.address()];
        let message = session.message("*", "now", "m-1", "QUJD", &members);
        protocol::wire::parse(&message.to_string()).unwrap();
        let digest = hex::encode(Sha256::digest("ABC"));
        let (ts, nonce) = (&message["e2e"]["ts"], message["nonce"].as_str().unwrap());
        holds(&session.key, &format!("claudemesh/msg/v2|mesh1|*|m-1|{ts}|{nonce}|{digest}"), &message["e2e"]["sig"]);
        assert_eq!(body_bytes(nonce).len(), 24);
        assert_eq!(body_bytes(SEALED_KEY).len(), 48);
        assert!(Session::plain("*", "low", "m-2", "QUJD").get("e2e").is_none());
        protocol::wire::parse(&Session::made_up("*", "low", "m-2", "QUJD", &members).to_string()).unwrap();
    }
}
