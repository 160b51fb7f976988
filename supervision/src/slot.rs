//! A slot: the handle callers hold. It stays valid across restarts of the actor behind it.
//!
//! A call waits, bounded, for a live incarnation, is handled at most once, and always comes back: with the answer
//! or with one of the errors below. One that was still in the mailbox when its actor died goes to the next. The address of an actor is never handed out.

use std::{fmt, sync::Arc, time::Duration};

use actix::prelude::{Actor, Addr, Context, Handler, Message};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    ExitReason, Life, NodeState, Supervised,
    message::{Parcel, Tracked},
};

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No incarnation was ready within the time given; nothing was sent.
    #[error("down")]
    Down,
    /// It was sent, and not answered within the time given. It may have been handled.
    #[error("no answer in time")]
    Timeout,
    /// The mailbox is full; nothing was sent.
    #[error("overloaded: the mailbox is full")]
    Full,
    /// The incarnation ended, or dropped the answer, while it handled the call. Nobody knows how far it came.
    #[error("died while it handled the call; the outcome is unknown")]
    Died,
    /// The child was removed, has finished, or is parked: nobody will start it by itself. Nothing was sent.
    #[error("{state}: {reason}")]
    Gone {
        /// The state the child is left in.
        state: NodeState,
        /// How its last incarnation ended.
        reason: ExitReason,
    },
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// The mailbox is full.
    #[error("overloaded: the mailbox is full")]
    Full,
    /// No incarnation is ready.
    #[error("down")]
    Down,
}

/// The handle to the actor that a child specification starts, again and again. Cheap to clone.
pub struct Slot<A: Actor<Context = Context<A>>>(Arc<watch::Sender<Occupant<A>>>);

enum Occupant<A: Actor> {
    Vacant { generation: u64 },
    Live(Arc<Link<A>>),
    Gone { state: NodeState, reason: ExitReason, generation: u64 },
}

struct Link<A: Actor> {
    addr: Addr<A>,
    life: Life,
    bound: u64,
}

impl<A: Supervised> Slot<A> {
    /// A slot nobody is in yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Occupant::Vacant { generation: 0 })))
    }

    /// Sends `message` to the ready incarnation and returns its answer, both within `within`.
    ///
    /// # Errors
    /// See [`CallError`]; each says whether the message may have been handled.
    pub async fn call<M>(&self, message: M, within: Duration) -> Result<M::Result, CallError>
    where
        A: Handler<Tracked<M>>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let deadline = Instant::now() + within;
        let parcel = Arc::new(Parcel::new(message));
        loop {
            let link = self.link(deadline).await?;
            let place = link.life.pulse().reserve(link.bound).ok_or(CallError::Full)?;
            // Sent here and now: the channel of actix is unbounded, the place is what bounds it.
            let request = link.addr.send(Tracked::shared(Arc::clone(&parcel), place, &link.life));
            let serial = link.life.serial();
            drop(link);
            match timeout_at(deadline, request).await {
                Ok(Ok(answer)) => return Ok(answer),
                Err(_) => return Err(CallError::Timeout),
                Ok(Err(_)) if !parcel.is_untouched() => return Err(CallError::Died),
                // It died with the message still in the mailbox: the next incarnation may have it.
                Ok(Err(_)) => self.left(serial, deadline).await?,
            }
        }
    }

    /// Puts `message` into the mailbox of the ready incarnation. Never waits. When that dies before it gets to it,
    /// the message is lost.
    ///
    /// # Errors
    /// When none is ready or its mailbox is full.
    pub fn tell<M>(&self, message: M) -> Result<(), TellError>
    where
        A: Handler<Tracked<M>>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let link = self.live().ok_or(TellError::Down)?;
        let place = link.life.pulse().reserve(link.bound).ok_or(TellError::Full)?;
        if !link.addr.connected() {
            return Err(TellError::Down);
        }
        link.addr.do_send(Tracked::own(message, place, &link.life));
        Ok(())
    }

    /// The number of the incarnation that is, or last was, in the slot; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match &*self.0.borrow() {
            Occupant::Live(link) => link.life.generation(),
            Occupant::Vacant { generation } | Occupant::Gone { generation, .. } => *generation,
        }
    }

    /// Whether an incarnation is ready.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(&*self.0.borrow(), Occupant::Live(_))
    }

    /// Waits until an incarnation is ready.
    ///
    /// # Errors
    /// [`CallError::Down`] after `within`, or [`CallError::Gone`].
    pub async fn up(&self, within: Duration) -> Result<(), CallError> {
        self.link(Instant::now() + within).await.map(drop)
    }

    /// Waits for a ready incarnation after the one of that number, and says its number. Never returns when there will be
    /// none.
    pub async fn next_after(&self, generation: u64) -> u64 {
        let mut changes = self.0.subscribe();
        let later = changes.wait_for(|o| matches!(o, Occupant::Live(link) if link.life.generation() > generation));
        match later.await {
            Ok(occupant) => match &*occupant {
                Occupant::Live(link) => link.life.generation(),
                Occupant::Vacant { generation } | Occupant::Gone { generation, .. } => *generation,
            },
            // The slot itself is gone, and with it whoever holds it.
            Err(_) => std::future::pending().await,
        }
    }

    fn live(&self) -> Option<Arc<Link<A>>> {
        match &*self.0.borrow() {
            Occupant::Live(link) => Some(Arc::clone(link)),
            Occupant::Vacant { .. } | Occupant::Gone { .. } => None,
        }
    }

    async fn link(&self, deadline: Instant) -> Result<Arc<Link<A>>, CallError> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let mut changes = self.0.subscribe();
        let settled = changes.wait_for(|o| !matches!(o, Occupant::Vacant { .. }));
        match timeout_at(deadline, settled).await {
            Ok(Ok(occupant)) => match &*occupant {
                Occupant::Live(link) => Ok(Arc::clone(link)),
                Occupant::Gone { state, reason, .. } => Err(CallError::Gone { state: *state, reason: reason.clone() }),
                Occupant::Vacant { .. } => Err(CallError::Down),
            },
            Ok(Err(_)) | Err(_) => Err(CallError::Down),
        }
    }

    /// Waits until the incarnation `serial` is out of the slot.
    async fn left(&self, serial: u64, deadline: Instant) -> Result<(), CallError> {
        let mut changes = self.0.subscribe();
        let left = changes.wait_for(|occupant| occupant.serial() != serial);
        timeout_at(deadline, left).await.map(drop).map_err(|_| CallError::Down)
    }

    /// Callers reach `addr` from now on.
    pub(crate) fn occupy(&self, addr: Addr<A>, life: Life, bound: u64) {
        let link = Arc::new(Link { addr, life, bound });
        self.0.send_modify(|occupant| {
            // An incarnation that was given up does not push out its successor.
            if occupant.serial() < link.life.serial() {
                *occupant = Occupant::Live(link);
            }
        });
    }

    /// Nobody is reached any more, unless a later incarnation is in already.
    pub(crate) fn vacate(&self, life: &Life) {
        self.0.send_if_modified(|occupant| {
            let same = occupant.serial() == life.serial();
            if same {
                *occupant = Occupant::Vacant { generation: life.generation() };
            }
            same
        });
    }

    /// There will be no further incarnation.
    pub(crate) fn close(&self, state: NodeState, reason: &ExitReason) {
        let generation = self.generation();
        let reason = reason.clone();
        self.0.send_replace(Occupant::Gone { state, reason, generation });
    }

    /// There may be one again.
    pub(crate) fn reopen(&self) {
        self.0.send_if_modified(|occupant| {
            let Occupant::Gone { generation, .. } = occupant else {
                return false;
            };
            *occupant = Occupant::Vacant { generation: *generation };
            true
        });
    }
}

impl<A: Actor> Occupant<A> {
    /// Of the incarnation in the slot; 0 when there is none.
    fn serial(&self) -> u64 {
        match self {
            Self::Live(link) => link.life.serial(),
            Self::Vacant { .. } | Self::Gone { .. } => 0,
        }
    }
}

impl<A: Supervised> Default for Slot<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor<Context = Context<A>>> Clone for Slot<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Slot<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.0.borrow() {
            Occupant::Vacant { .. } => "vacant",
            Occupant::Live(_) => "live",
            Occupant::Gone { .. } => "gone",
        };
        write!(f, "Slot({state})")
    }
}
