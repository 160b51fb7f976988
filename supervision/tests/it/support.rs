//! A runtime on paused time, waiting for conditions, and an actor that does what it is told.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{
    fut::wrap_future,
    prelude::{Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture},
};
use supervision::{
    Child, ChildId, ChildSpec, ExitReason, Intensity, Life, NodeView, Registry, Root, Slot, Strategy, Supervised,
    Supervisor, supervised,
};

/// Longer than anything in these tests takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// No test takes this long: one that waits for ever fails, and on paused time at once.
const TOO_LONG: Duration = Duration::from_secs(10 * 60);

/// Runs a test on one thread whose time jumps ahead whenever there is nothing to do.
pub fn paused(test: impl Future<Output = ()> + 'static) {
    actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    })
    .block_on(in_time(test));
}

/// Runs a test on real time.
pub fn real(test: impl Future<Output = ()> + 'static) {
    actix_rt::System::new().block_on(in_time(test));
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(TOO_LONG, test).await.expect("something is waited for that never comes");
}

pub fn id(text: &str) -> ChildId {
    ChildId::try_from(text).unwrap()
}

pub fn view(registry: &Registry, path: &str) -> NodeView {
    registry.view(path, usize::MAX).unwrap_or_else(|| panic!("no node {path}"))
}

pub fn state(registry: &Registry, path: &str) -> String {
    registry.view(path, 0).map_or("(none)".into(), |view| view.state)
}

/// Waits until the tree is as `wanted` says.
pub async fn until(registry: &Registry, what: &str, wanted: impl Fn(&Registry) -> bool) {
    let mut changes = registry.changes();
    let settled = async {
        loop {
            changes.borrow_and_update();
            if wanted(registry) {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(PATIENCE, settled).await.is_err() {
        panic!("never: {what}\n{}", registry.snapshot());
    }
}

pub async fn until_state(registry: &Registry, path: &str, wanted: &str) {
    until(registry, &format!("{path} {wanted}"), |r| state(r, path) == wanted).await;
}

/// A tree that is up.
pub async fn up(supervisor: Supervisor) -> (Root, Registry) {
    let registry = Registry::new();
    let root = supervisor.start_root("root", &registry, None);
    root.ready().await.unwrap();
    (root, registry)
}

pub fn one_for_one() -> Supervisor {
    Supervisor::new(Strategy::OneForOne, Intensity::new(100, Duration::from_secs(5)))
}

/// What happened, in order, over all actors of a test.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// What a [`Puppet`] does at the turns of its life.
#[derive(Clone, Default)]
pub struct Script {
    pub journal: Journal,
    pub panic_in_factory: bool,
    pub panic_in_started: bool,
    pub panic_in_stopped: bool,
    pub panic_in_drop: bool,
    pub ignore_stop: bool,
    pub wait_forever: bool,
    /// How many incarnations misbehave; those after them behave.
    pub times: Option<u64>,
    pub born: Arc<AtomicU64>,
    /// Of all incarnations so far.
    pub lives: Arc<Mutex<Vec<Life>>>,
}

impl Script {
    fn for_next(&self) -> Self {
        let born = self.born.fetch_add(1, Ordering::SeqCst);
        if self.times.is_some_and(|times| born >= times) {
            return Self { journal: self.journal.clone(), ..Self::default() };
        }
        self.clone()
    }

    /// The incarnation that was born last says that it is ready.
    pub fn last_is_ready(&self) {
        self.lives.lock().unwrap().last().unwrap().ready();
    }
}

pub struct Puppet {
    life: Life,
    script: Script,
    sum: u64,
}

supervised!(Puppet);

impl Supervised for Puppet {
    fn stop_requested(&mut self, ctx: &mut Context<Self>) {
        self.note("stop");
        if !self.script.ignore_stop {
            ctx.stop();
        }
    }
}

impl Puppet {
    fn note(&self, what: &str) {
        let path = self.life.path();
        self.script.journal.note(format!("{what} {path}"));
    }
}

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.note("started");
        assert!(!self.script.panic_in_started, "in started");
        if self.script.wait_forever {
            ctx.wait(wrap_future(std::future::pending()));
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.note("stopped");
        assert!(!self.script.panic_in_stopped, "in stopped");
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        assert!(!self.script.panic_in_drop, "in drop");
    }
}

/// A message without an answer of interest.
#[macro_export]
macro_rules! message {
    ($name:ident -> $result:ty) => {
        impl Message for $name {
            type Result = $result;
        }
    };
}

/// Adds to what this incarnation has seen, and returns the sum.
pub struct Add(pub u64);
message!(Add -> u64);

/// Panics in the handler.
pub struct Burst;
message!(Burst -> ());

/// Panics in a future of the context.
pub struct BurstLater;
message!(BurstLater -> ());

/// Ends the incarnation with this reason.
pub struct End(pub ExitReason);
message!(End -> ());

/// Holds the thread until the sender is dropped.
pub struct Block(pub std::sync::mpsc::Receiver<()>);
message!(Block -> ());

/// Answers when the time is over, from a future of its own.
pub struct Slow(pub Duration);
message!(Slow -> u64);

/// Does not take messages for this long.
pub struct Deaf(pub Duration);
message!(Deaf -> ());

impl Handler<Add> for Puppet {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

impl Handler<Burst> for Puppet {
    type Result = ();

    fn handle(&mut self, _: Burst, _: &mut Context<Self>) {
        panic!("in a handler");
    }
}

impl Handler<BurstLater> for Puppet {
    type Result = ();

    fn handle(&mut self, _: BurstLater, ctx: &mut Context<Self>) {
        ctx.spawn(wrap_future(async {
            tokio::task::yield_now().await;
            panic!("in a future");
        }));
    }
}

impl Handler<End> for Puppet {
    type Result = ();

    fn handle(&mut self, End(reason): End, ctx: &mut Context<Self>) {
        self.life.exit(reason);
        ctx.stop();
    }
}

impl Handler<Block> for Puppet {
    type Result = ();

    fn handle(&mut self, Block(until): Block, _: &mut Context<Self>) {
        let _ = until.recv();
    }
}

impl Handler<Slow> for Puppet {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, Slow(time): Slow, _: &mut Context<Self>) -> ResponseFuture<u64> {
        Box::pin(async move {
            tokio::time::sleep(time).await;
            1
        })
    }
}

impl Handler<Deaf> for Puppet {
    type Result = ();

    fn handle(&mut self, Deaf(time): Deaf, ctx: &mut Context<Self>) {
        ctx.wait(wrap_future(tokio::time::sleep(time)));
    }
}

pub fn puppet_with(spec: ChildSpec, slot: &Slot<Puppet>, script: Script) -> Child {
    Child::actor(spec, slot, move |life| {
        script.lives.lock().unwrap().push(life.clone());
        let script = script.for_next();
        assert!(!script.panic_in_factory, "in the factory");
        Puppet { life: life.clone(), script, sum: 0 }
    })
}

pub fn puppet(name: &str, slot: &Slot<Puppet>) -> Child {
    puppet_with(ChildSpec::new(name), slot, Script::default())
}

/// A task that does nothing until it is asked to stop.
pub fn idle(name: &str) -> Child {
    Child::task(ChildSpec::new(name), |life| async move {
        life.stopping().await;
        ExitReason::Shutdown
    })
}
