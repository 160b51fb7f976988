//! A child: its specification together with what it runs.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use actix::{
    dev::ContextFut,
    fut::ActorFuture,
    prelude::{ActorContext, AsyncContext, Context},
};

use crate::{
    Ack, ChildSpec, Dynamic, ExitReason, Life, NodeState, Shutdown, Slot, SpecError, Supervised, Supervisor,
    spec::{DEFAULT_SHUTDOWN, DEFAULT_START_TIMEOUT},
};

/// A child specification with what it starts. Cheap to clone.
#[derive(Clone)]
pub struct Child {
    pub(crate) spec: Arc<ChildSpec>,
    pub(crate) body: Arc<dyn Launch>,
}

/// One incarnation, running. It is polled and dropped inside a panic boundary.
pub(crate) trait Run: Future<Output = ExitReason> {
    /// No code of the child runs after this, other than its `Drop`.
    fn silence(self: Pin<&mut Self>) {}
}

/// What starts incarnations.
pub(crate) trait Launch: Send + Sync {
    /// The next incarnation. Called on the child's arbiter, inside the panic boundary.
    fn launch(&self, life: &Life) -> Pin<Box<dyn Run>>;

    /// Nobody will launch again by himself.
    fn close(&self, _state: NodeState, _reason: &ExitReason) {}

    /// Somebody may.
    fn reopen(&self) {}

    fn form(&self) -> Form<'_>;
}

/// What a child is, for validation and for people.
pub(crate) enum Form<'a> {
    Actor,
    Task,
    Supervisor(&'a Supervisor),
    Dynamic,
}

impl Form<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Task => "task",
            Self::Supervisor(_) => "supervisor",
            Self::Dynamic => "dynamic",
        }
    }

    /// Whether it ends only when its own children have: these have the time limits.
    fn has_children(&self) -> bool {
        matches!(self, Self::Supervisor(_) | Self::Dynamic)
    }
}

impl Child {
    /// An actor, made by `factory` for each incarnation and reached through `slot`.
    pub fn actor<A, F>(spec: ChildSpec, slot: &Slot<A>, factory: F) -> Self
    where
        A: Supervised,
        F: Fn(&Life) -> A + Send + Sync + 'static,
    {
        let bound = u64::try_from(spec.mailbox).unwrap_or(u64::MAX);
        Self::new(spec, ActorBody { slot: slot.clone(), factory, bound })
    }

    /// A future, made by `make` for each incarnation. It need not be `Send`: it is made where it runs.
    pub fn task<F, Fut>(spec: ChildSpec, make: F) -> Self
    where
        F: Fn(Life) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ExitReason> + 'static,
    {
        Self::new(spec, TaskBody(make))
    }

    /// A static supervisor with its children.
    #[must_use]
    pub fn supervisor(spec: ChildSpec, supervisor: Supervisor) -> Self {
        Self::new(spec.ack(Ack::Explicit), supervisor)
    }

    /// A dynamic set. `dynamic` is the handle to it, valid whether it runs or not.
    #[must_use]
    pub fn dynamic(spec: ChildSpec, dynamic: &Dynamic) -> Self {
        Self::new(spec.ack(Ack::Explicit), dynamic.clone())
    }

    fn new(spec: ChildSpec, body: impl Launch + 'static) -> Self {
        Self { spec: Arc::new(spec), body: Arc::new(body) }
    }

    /// The specification.
    #[must_use]
    pub fn spec(&self) -> &ChildSpec {
        &self.spec
    }

    /// Checks the specification, and those of the children below it.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.spec.validate()?;
        match self.body.form() {
            Form::Supervisor(supervisor) => supervisor.validate(),
            Form::Actor | Form::Task | Form::Dynamic => Ok(()),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.spec.kind.unwrap_or_else(|| self.body.form().kind())
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        let otherwise =
            if self.body.form().has_children() { Shutdown::Infinity } else { Shutdown::Deadline(DEFAULT_SHUTDOWN) };
        self.spec.shutdown.unwrap_or(otherwise)
    }

    pub(crate) fn start_timeout(&self) -> Option<Duration> {
        let leaf = !self.body.form().has_children();
        self.spec.start_timeout.or(leaf.then_some(DEFAULT_START_TIMEOUT))
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Child").field(&self.spec).finish()
    }
}

struct ActorBody<A: Supervised, F> {
    slot: Slot<A>,
    factory: F,
    bound: u64,
}

impl<A, F> Launch for ActorBody<A, F>
where
    A: Supervised,
    F: Fn(&Life) -> A + Send + Sync + 'static,
{
    fn launch(&self, life: &Life) -> Pin<Box<dyn Run>> {
        let mut ctx = Context::new();
        // Unbounded: the bound is kept by the slot, which refuses instead of waiting.
        ctx.set_mailbox_capacity(0);
        let order = life.clone();
        ctx.spawn(StopOrder {
            ordered: Box::pin(async move { order.stopping().await }),
            life: life.clone(),
            actor: PhantomData,
        });
        let addr = ctx.address();
        let actor = (self.factory)(life);
        let probed = addr.clone();
        life.pulse().set_prober(Box::new(move |probe| probed.do_send(probe)));
        let (slot, bound) = (self.slot.clone(), self.bound);
        let lease = Lease { slot: slot.clone(), life: life.clone() };
        let tenant = life.clone();
        life.on_ready(move || slot.occupy(addr, tenant, bound));
        Box::pin(ActorRun { lease, future: ctx.into_future(actor) })
    }

    fn close(&self, state: NodeState, reason: &ExitReason) {
        self.slot.close(state, reason);
    }

    fn reopen(&self) {
        self.slot.reopen();
    }

    fn form(&self) -> Form<'_> {
        Form::Actor
    }
}

/// Frees the slot. First field of [`ActorRun`], so that callers stop before the mailbox closes.
struct Lease<A: Supervised> {
    slot: Slot<A>,
    life: Life,
}

impl<A: Supervised> Drop for Lease<A> {
    fn drop(&mut self) {
        self.slot.vacate(&self.life);
    }
}

struct ActorRun<A: Supervised> {
    lease: Lease<A>,
    future: ContextFut<A, Context<A>>,
}

impl<A: Supervised> Future for ActorRun<A> {
    type Output = ExitReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<ExitReason> {
        ready!(Pin::new(&mut self.future).poll(cx));
        Poll::Ready(self.lease.life.own_exit())
    }
}

impl<A: Supervised> Run for ActorRun<A> {
    fn silence(mut self: Pin<&mut Self>) {
        // A context that is dropped alive polls its actor once more; a terminated one does not.
        self.future.ctx().terminate();
    }
}

/// Lives in the actor's context and passes the order to stop on to it.
struct StopOrder<A> {
    ordered: Pin<Box<dyn Future<Output = ()>>>,
    life: Life,
    actor: PhantomData<fn(A)>,
}

impl<A: Supervised> ActorFuture<A> for StopOrder<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, actor: &mut A, ctx: &mut Context<A>, task: &mut TaskContext<'_>) -> Poll<()> {
        ready!(self.ordered.as_mut().poll(task));
        if self.life.signal().take_stop() {
            actor.stop_requested(ctx);
        }
        Poll::Ready(())
    }
}

struct TaskBody<F>(F);

impl<F, Fut> Launch for TaskBody<F>
where
    F: Fn(Life) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ExitReason> + 'static,
{
    fn launch(&self, life: &Life) -> Pin<Box<dyn Run>> {
        Box::pin(TaskRun(Box::pin((self.0)(life.clone()))))
    }

    fn form(&self) -> Form<'_> {
        Form::Task
    }
}

/// A future as a [`Run`].
pub(crate) struct TaskRun(pub(crate) Pin<Box<dyn Future<Output = ExitReason>>>);

impl Future for TaskRun {
    type Output = ExitReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<ExitReason> {
        self.0.as_mut().poll(cx)
    }
}

impl Run for TaskRun {}
