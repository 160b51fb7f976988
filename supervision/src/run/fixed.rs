//! The loop of a static supervisor.

use super::{Event, crew::Crew};
use crate::{
    ExitReason, Life, Supervisor,
    core::{Fixed, Input, Policy},
};

/// Runs `supervisor` as the incarnation `life` until it is stopped or gives up.
pub(crate) async fn supervise(supervisor: Supervisor, life: Life) -> ExitReason {
    let (mut crew, mut inbox) = Crew::new(&life, supervisor.observer.clone(), true);
    let mut members = Vec::new();
    for (key, child) in (0..).zip(&supervisor.children) {
        match child.spec.child_id() {
            Ok(id) => members.push(crew.enlist(key, id, child.clone(), supervisor.intensity)),
            Err(wrong) => return ExitReason::Error(wrong.to_string()),
        }
    }
    let policy = Policy { intensity: supervisor.intensity, backoff: supervisor.backoff };
    let mut core = Fixed::new(supervisor.strategy, policy, members, Crew::random());
    let mut stopping = false;
    let mut input = Input::Tick;
    loop {
        let outputs = core.on(crew.now(), input);
        if let Some(exit) = crew.perform(outputs) {
            return exit;
        }
        input = tokio::select! {
            event = inbox.recv() => heard(event),
            () = life.stopping(), if !stopping => {
                stopping = true;
                Input::Shutdown(ExitReason::Shutdown)
            }
            () = crew.sleep_until(core.next_wake()) => Input::Tick,
        };
    }
}

/// What an event means to the decisions.
pub(super) fn heard(event: Option<Event>) -> Input {
    match event {
        Some(Event::Ready { key, generation }) => Input::Ready { key, generation },
        Some(Event::Down { key, generation, exit }) => Input::Down { key, generation, exit },
        // The crew holds a sender, so the channel does not close while it is there.
        None => Input::Tick,
    }
}
