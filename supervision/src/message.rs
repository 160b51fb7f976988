//! How messages reach a supervised actor: counted, bounded, and never ahead of a stop.

use std::sync::{Arc, Mutex};

use actix::{
    dev::{MessageResponse, OneshotSender},
    prelude::{Actor, ActorContext, Context, Handler, Message},
};

use crate::{
    Life,
    pulse::{Place, Probe},
    sync::lock,
};

/// An actor that a child specification can start.
///
/// Implement it, and let [`supervised!`](crate::supervised) write the handlers it needs.
pub trait Supervised: Actor<Context = Context<Self>> + Handler<Probe> {
    /// The supervisor asks the actor to stop. It may finish its work first, and calls `ctx.stop()` before the
    /// deadline of its specification; after that it is killed. The order does not queue behind messages.
    fn stop_requested(&mut self, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// A message on its way through a [`Slot`](crate::Slot). It holds its place in the mailbox until it is handled or dropped.
pub struct Tracked<M> {
    content: Content<M>,
    place: Place,
    life: Life,
}

enum Content<M> {
    /// Nobody waits for it.
    Own(M),
    /// Its caller gets it back when it was dropped unhandled.
    Shared(Arc<Parcel<M>>),
}

/// A message that whoever takes it first has.
pub(crate) struct Parcel<M>(Mutex<Option<M>>);

impl<M> Parcel<M> {
    pub(crate) fn new(message: M) -> Self {
        Self(Mutex::new(Some(message)))
    }

    /// Whether nobody has taken it: then no handler has seen it.
    pub(crate) fn is_untouched(&self) -> bool {
        lock(&self.0).is_some()
    }
}

impl<M: Message> Message for Tracked<M> {
    type Result = M::Result;
}

impl<M: Message> Tracked<M> {
    pub(crate) fn own(message: M, place: Place, life: &Life) -> Self {
        Self { content: Content::Own(message), place, life: life.clone() }
    }

    pub(crate) fn shared(parcel: Arc<Parcel<M>>, place: Place, life: &Life) -> Self {
        Self { content: Content::Shared(parcel), place, life: life.clone() }
    }

    /// Hands the message to the actor. A stop that was ordered meanwhile is told first, so that a mailbox that
    /// never runs empty cannot delay it.
    pub fn deliver<A>(self, actor: &mut A, ctx: &mut Context<A>) -> Relay<<A as Handler<M>>::Result>
    where
        A: Supervised + Handler<M>,
    {
        if self.life.signal().take_stop() {
            actor.stop_requested(ctx);
        }
        self.place.pulse().count_handled();
        drop(self.place);
        let message = match self.content {
            Content::Own(message) => Some(message),
            Content::Shared(parcel) => lock(&parcel.0).take(),
        };
        Relay(message.map(|message| Handler::<M>::handle(actor, message, ctx)))
    }
}

/// The answer to a [`Tracked`] message: the one to the message itself, of whatever form.
pub struct Relay<R>(Option<R>);

impl<A, M, R> MessageResponse<A, Tracked<M>> for Relay<R>
where
    A: Actor,
    M: Message,
    R: MessageResponse<A, M>,
{
    fn handle(self, ctx: &mut A::Context, tx: Option<OneshotSender<M::Result>>) {
        if let Some(answer) = self.0 {
            answer.handle(ctx, tx);
        }
    }
}

/// Writes the handlers that [`Supervised`] needs: the answer to the watchdog's probe, and the way every message of
/// the actor takes through its [`Slot`](crate::Slot).
///
/// `supervised!(MyActor)`, or for a generic one `supervised!([T: Send + 'static] MyActor<T>)`.
#[macro_export]
macro_rules! supervised {
    ($actor:ident) => { $crate::supervised!([] $actor); };
    ([$($generics:tt)*] $actor:ty) => {
        impl<$($generics)*> $crate::actix::Handler<$crate::Probe> for $actor {
            type Result = ();

            fn handle(&mut self, probe: $crate::Probe, _: &mut Self::Context) {
                probe.answer();
            }
        }

        $crate::__tracked!([$($generics)*] $actor);
    };
}

/// Part of [`supervised!`]: separate, since a parameter comes after the generics.
#[doc(hidden)]
#[macro_export]
macro_rules! __tracked {
    ([] $actor:ty) => { $crate::__tracked!(@ [__Message] $actor); };
    ([$($generics:tt)+] $actor:ty) => { $crate::__tracked!(@ [$($generics)+, __Message] $actor); };
    (@ [$($generics:tt)*] $actor:ty) => {
        impl<$($generics)*> $crate::actix::Handler<$crate::Tracked<__Message>> for $actor
        where
            __Message: $crate::actix::Message,
            $actor: $crate::actix::Handler<__Message>
                + $crate::actix::Actor<Context = $crate::actix::Context<$actor>>,
        {
            type Result = $crate::Relay<<$actor as $crate::actix::Handler<__Message>>::Result>;

            fn handle(
                &mut self,
                message: $crate::Tracked<__Message>,
                ctx: &mut Self::Context,
            ) -> Self::Result {
                message.deliver(self, ctx)
            }
        }
    };
}
