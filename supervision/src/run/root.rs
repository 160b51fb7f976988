//! The root of a tree: the one supervisor without a supervisor.

use std::fmt;

use actix_rt::ArbiterHandle;
use tokio::sync::watch;

use super::boundary;
use crate::{
    Ack, Child, ChildId, ChildSpec, ExitReason, Intensity, Life, NodeState, Registry, Supervisor, registry::Traits,
    run::Reporter, spec::MAX_SPAN,
};

/// Where a root is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootState {
    Starting,
    Ready,
    Ended(ExitReason),
}

/// The handle to a running tree. The tree goes on when it is dropped.
pub struct Root {
    life: Life,
    state: watch::Receiver<RootState>,
}

impl Root {
    /// Waits until every child is ready.
    ///
    /// # Errors
    /// How the tree ended instead.
    pub async fn ready(&self) -> Result<(), ExitReason> {
        match self.state_other_than(&RootState::Starting).await {
            RootState::Ended(exit) => Err(exit),
            RootState::Starting | RootState::Ready => Ok(()),
        }
    }

    /// Stops the tree in reverse start order, and returns when it is down. Each child has its deadline.
    pub async fn shutdown(&self) -> ExitReason {
        self.life.signal().stop();
        self.wait().await
    }

    /// Waits until the tree is down, and returns why.
    pub async fn wait(&self) -> ExitReason {
        let mut state = self.state.clone();
        let ended = state.wait_for(|s| matches!(s, RootState::Ended(_))).await;
        match ended.as_deref() {
            Ok(RootState::Ended(exit)) => exit.clone(),
            // The reporter went away without a report: its arbiter did.
            Ok(RootState::Starting | RootState::Ready) | Err(_) => ExitReason::Killed,
        }
    }

    async fn state_other_than(&self, unwanted: &RootState) -> RootState {
        let mut state = self.state.clone();
        let settled = state.wait_for(|s| s != unwanted).await;
        settled.map_or(RootState::Ended(ExitReason::Killed), |s| s.clone())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Root").field(&*self.state.borrow()).finish()
    }
}

/// Refuses to run where a panic aborts the process: no supervisor could do anything about it.
///
/// # Panics
/// When the program was built with `panic = "abort"`.
pub fn assert_unwind() {
    if !cfg!(panic = "unwind") {
        panic!("built with panic = \"abort\": a panic of one child would end the process");
    }
}

pub(crate) fn start_root(
    supervisor: Supervisor,
    name: &str,
    registry: &Registry,
    arbiter: Option<ArbiterHandle>,
) -> Root {
    assert_unwind();
    let (tx, state) = watch::channel(RootState::Starting);
    let verdict = supervisor.validate().map_err(|e| e.to_string());
    let (id, refused) = match (ChildId::try_from(name), verdict) {
        (Ok(id), verdict) => (id, verdict.err()),
        (Err(e), _) => (fallback(), Some(format!("the name of the root {e}"))),
    };
    let traits =
        Traits { kind: "supervisor", intensity: Intensity::new(0, MAX_SPAN), stall_after: crate::spec::DEFAULT_STALL };
    let node = registry.enter(None, &id, traits);
    let generation = node.generation() + 1;
    let reporter = Reporter::Root(tx, registry.clone(), node.clone());
    let life = Life::new(node.clone(), registry.clone(), generation, Ack::Explicit, reporter);
    node.begin(generation, life.pulse().clone());
    registry.changed();
    if let Some(problem) = refused {
        life.ended(ExitReason::Error(problem));
        node.enter(NodeState::Failed);
        return Root { life, state };
    }
    let child = Child::supervisor(ChildSpec::new(name), supervisor);
    boundary::spawn(child.body, life.clone(), arbiter.as_ref());
    Root { life, state }
}

#[expect(clippy::expect_used, reason = "a constant that is an id")]
fn fallback() -> ChildId {
    ChildId::try_from("root").expect("an id")
}
