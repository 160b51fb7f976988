//! Who the two sides are, and on whose authority a command is given.
//!
//! Contract: the broker sends its [`LinkHello`], the runner answers with its own and a proof, the broker ends with its
//! proof ([`super::proof`]). A side that does not accept the other says [`RefuseCode`] and closes.

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Holds the desired state, and dials.
    Broker,
    /// Runs services, and listens.
    Runner,
}

/// Introduction of a side; which optional fields are set depends on the role. Build it with [`LinkHello::broker`] or
/// [`LinkHello::runner`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// Who speaks.
    pub role: Role,
    /// The sender's [`super::LINK_MAJOR`].
    pub major: u16,
    /// The sender's [`super::LINK_MINOR`].
    pub minor: u16,
    /// Version and commit of the sender's program, to be shown.
    pub build: String,
    /// 32 random bytes in hex, new for every connection.
    pub nonce: String,
    /// Broker: which database it speaks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_id: Option<String>,
    /// Broker: rises with each of its starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Runner: stays the same across its restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<String>,
    /// Runner: what people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Runner: its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Runner: start time of its process in clock ticks since boot, which tells it from a later process with that pid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_start: Option<u64>,
    /// Runner: see [`super::proof::runner_proof`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

impl LinkHello {
    /// The broker's first frame.
    #[must_use]
    pub fn broker(build: impl Into<String>, nonce: impl Into<String>, store_id: impl Into<String>, epoch: u64) -> Self {
        Self {
            store_id: Some(store_id.into()),
            epoch: Some(epoch),
            ..Self::bare(Role::Broker, build.into(), nonce.into())
        }
    }

    /// The runner's answer. `pid` and `pid_start` are set by the caller when it has them.
    #[must_use]
    pub fn runner(
        build: impl Into<String>,
        nonce: impl Into<String>,
        runner_id: impl Into<String>,
        name: impl Into<String>,
        proof: impl Into<String>,
    ) -> Self {
        Self {
            runner_id: Some(runner_id.into()),
            name: Some(name.into()),
            proof: Some(proof.into()),
            ..Self::bare(Role::Runner, build.into(), nonce.into())
        }
    }

    /// Whether the sender can be spoken to beyond the frames that never change.
    #[must_use]
    pub fn same_major(&self) -> bool {
        self.major == super::LINK_MAJOR
    }

    fn bare(role: Role, build: String, nonce: String) -> Self {
        Self {
            role,
            major: super::LINK_MAJOR,
            minor: super::LINK_MINOR,
            build,
            nonce,
            store_id: None,
            epoch: None,
            runner_id: None,
            name: None,
            pid: None,
            pid_start: None,
            proof: None,
        }
    }
}

/// Why a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefuseCode {
    /// The two sides do not hold the same token.
    BadProof,
    /// A broker of the same store with a higher epoch was here.
    Fenced,
    /// The major versions differ.
    Major,
}

/// On whose authority a command is given: a runner remembers the highest epoch of each store and refuses lower ones, so a
/// broker that was replaced, or a frame that was delayed, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The broker's database.
    pub store: String,
    /// The broker's start within it.
    pub epoch: u64,
    /// The deployment that is meant.
    pub deployment: String,
}
