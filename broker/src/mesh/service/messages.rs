//! What a service's actor is told and asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use protocol::SecretString;
use protocol::link::{Failure, Limits, Policy, Runtime, Source, Tool};
use protocol::sealed::SealedConfig;
use protocol::wire::Scope;

use super::state::{Event, Step};
use crate::mesh::scope::Principal;

/// A deploy, checked and ready to be recorded.
#[derive(Clone)]
pub struct DeployRequest {
    /// Who deploys, and from then on manages it.
    pub by: Principal,
    /// What to install and run.
    pub source: Source,
    /// Its exact version, where the source says it: the SHA-256 of an uploaded file.
    pub version: Option<String>,
    /// What is to run it, where its source leaves a choice.
    pub runtime: Option<Runtime>,
    /// Arguments after the program's own.
    pub args: Vec<String>,
    /// Variables of its environment, in clear: sealed before they are stored.
    pub env: BTreeMap<String, SecretString>,
    /// Secrets that only a runner opens, as they came.
    pub sealed: Option<Box<SealedConfig>>,
    /// Which variable has which entry of the deployer's vault; names alone.
    pub vault_refs: BTreeMap<String, String>,
    /// Limits of its processes.
    pub limits: Limits,
    /// How it is supervised.
    pub policy: Policy,
    /// With whom it is shared; `None` for as before, or with the deployer alone.
    pub scope: Option<Scope>,
    /// Shown to people.
    pub description: String,
    /// The runner that is to hold it.
    pub runner: Option<String>,
}

/// How a deploy or an undeploy is getting on.
#[derive(Debug, Clone)]
pub enum News {
    /// Being fetched and installed; the last line of that, when there is one.
    Building(Option<String>),
    /// It runs.
    Running {
        /// As the server listed them.
        tools: Arc<[Tool]>,
        /// Whether its secrets came in clear.
        secrets_seen: bool,
    },
    /// It does not: why, and the last log lines.
    Failed(Failure),
    /// Nothing of it is left.
    Stopped,
}

impl News {
    /// True for the last news of a request.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Building(_))
    }
}

/// Takes the news of one request. Called on the service's actor: must not block.
pub type Teller = Arc<dyn Fn(&News) + Send + Sync>;

/// Why a request about a service is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// No such service, or none that the asker may see: the two look alike.
    #[error("MCP server \"{0}\" not found in mesh")]
    NotFound(String),
    /// Seen, but not the asker's to change.
    #[error("only the deployer and mesh admins may do this")]
    Forbidden,
    /// A named limit is reached.
    #[error("{0}")]
    Limit(String),
    /// It cannot be done, for a reason that its deployer can change.
    #[error("{0}")]
    Cannot(String),
    /// No runner is configured.
    #[error("this broker has no runner")]
    NoRunner,
    /// The store or the actor failed.
    #[error("{0}")]
    Internal(String),
}

/// Record and bring up a new deployment; the news go to the teller.
#[derive(Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Deploy {
    /// What to deploy.
    pub request: DeployRequest,
    /// Who waits for the outcome.
    pub teller: Teller,
}

/// Forget the service and stop what runs of it.
#[derive(Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Undeploy {
    /// Who asks.
    pub by: Principal,
    /// Who waits for the end.
    pub teller: Teller,
}

/// What a person wants of a service that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its source resolved anew, as a new deployment; or with a box, the same program with these secrets.
    Update(Option<Box<SealedConfig>>),
    /// An earlier deployment: this one, or the one before the active one.
    Rollback(Option<String>),
    /// Its processes ended and started again.
    Restart,
    /// That it rests.
    Stop,
    /// That it runs, also when it failed or crashed.
    Start,
}

/// Change a service that is there; the news go to the teller.
#[derive(Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Manage {
    /// Who asks.
    pub by: Principal,
    /// For what.
    pub change: Change,
    /// Who waits for the outcome.
    pub teller: Teller,
}

/// Share a service with others than before; the scope is settled.
#[derive(Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Share {
    /// Who asks.
    pub by: Principal,
    /// With whom.
    pub scope: Scope,
}

/// The runner of this name is given up: what is on it, or on its way there, goes to another.
#[derive(Message)]
#[rtype(result = "Result<(), Refused>")]
pub struct Forget {
    /// Its name.
    pub runner: String,
}

/// Something about the service may have changed on its runner: look at the board.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct Look;

/// A step that was under way came to its end.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ended {
    /// The number of the step.
    pub(super) turn: u64,
    /// How it ended.
    pub(super) event: Event,
}

/// What carrying out a step came to.
pub(super) enum Outcome {
    Done(Step),
    Again(Step, std::time::Duration),
    Refused(Step, String),
}
