//! The same actor twice, bare and supervised, and the runtimes they run on.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use actix::prelude::{Actor, ActorContext, Context, Handler, Message};
use supervision::{
    Child, ChildSpec, Dynamic, Intensity, Registry, Root, Slot, Strategy, Supervised, Supervisor, supervised,
};

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Answers with a number.
pub struct Ask;

impl Message for Ask {
    type Result = u64;
}

/// Ends the actor: the supervised one by a panic, the bare one, which a panic would end for good, by a stop.
pub struct End;

impl Message for End {
    type Result = ();
}

pub struct Bare;

impl Actor for Bare {
    type Context = Context<Self>;
}

impl Handler<Ask> for Bare {
    type Result = u64;

    fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> u64 {
        1
    }
}

impl Handler<End> for Bare {
    type Result = ();

    fn handle(&mut self, _: End, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

pub struct Kept;

supervised!(Kept);

impl Supervised for Kept {}

impl Actor for Kept {
    type Context = Context<Self>;
}

impl Handler<Ask> for Kept {
    type Result = u64;

    fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> u64 {
        1
    }
}

impl Handler<End> for Kept {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut Context<Self>) {
        panic!("as it was told");
    }
}

/// Never parked, however often it ends.
pub fn kept(id: &str, slot: &Slot<Kept>) -> Child {
    kept_with(ChildSpec::new(id).intensity(Intensity::UNLIMITED), slot)
}

pub fn kept_with(spec: ChildSpec, slot: &Slot<Kept>) -> Child {
    Child::actor(spec, slot, |_| Kept)
}

/// A tree of one set, running.
pub struct Grove {
    pub set: Dynamic,
    pub registry: Registry,
    pub root: Root,
}

impl Grove {
    pub async fn up() -> Self {
        let set = Dynamic::new();
        let registry = Registry::new();
        let tree = Supervisor::new(Strategy::OneForOne, Intensity::UNLIMITED)
            .child(Child::dynamic(ChildSpec::new("set"), &set));
        let root = tree.start_root("root", &registry, None);
        root.ready().await.unwrap();
        Self { set, registry, root }
    }

    /// With that many children below the set, each of them ready.
    pub async fn of(children: usize) -> (Self, Vec<Slot<Kept>>) {
        let grove = Self::up().await;
        let mut slots = Vec::new();
        for i in 0..children {
            let slot = Slot::new();
            grove.set.start(kept(&format!("c{i}"), &slot)).await.unwrap();
            slots.push(slot);
        }
        for slot in &slots {
            slot.up(PATIENCE).await.unwrap();
        }
        (grove, slots)
    }
}

/// Runs `future` on a runtime of its own.
pub fn alone<T>(future: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(future)
}

/// How long `future` takes.
pub async fn timed<T>(future: impl Future<Output = T>) -> (Duration, T) {
    let began = Instant::now();
    let result = future.await;
    (began.elapsed(), result)
}
