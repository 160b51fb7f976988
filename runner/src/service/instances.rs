//! What the instances of a service amount to.
//!
//! Contract: pure. A service is running for the first time when each of its instances was ready, so that one that cannot
//! come up fails the deployment; from then on it runs as long as one of them is ready.

use protocol::link::ServiceState;

use super::state::Event;

/// Where one instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Not begun, or stopped.
    Down,
    Starting,
    Ready,
    Restarting,
    /// It ended as its policy allows, and is not started again.
    Ended,
}

impl Place {
    /// The word of reports, one of the services' own.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Down | Self::Ended => ServiceState::Stopped.as_str(),
            Self::Starting => ServiceState::Starting.as_str(),
            Self::Ready => ServiceState::Running.as_str(),
            Self::Restarting => ServiceState::Restarting.as_str(),
        }
    }
}

/// What happened to one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    Starting,
    Ready,
    /// It is down, and another process follows; `alone` unless it was ended with others.
    Restarting {
        reason: String,
        delay_ms: u64,
        alone: bool,
    },
    /// It ended as its policy allows.
    Ended {
        reason: String,
    },
    Stopped,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Instances {
    places: Vec<Place>,
    /// Whether all of them were ready at once.
    was_whole: bool,
}

impl Instances {
    pub(super) fn new(count: usize) -> Self {
        Self { places: vec![Place::Down; count], was_whole: false }
    }

    pub(super) fn place(&self, instance: usize) -> Place {
        self.places.get(instance).copied().unwrap_or(Place::Down)
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// How many are ready.
    pub(super) fn ready(&self) -> usize {
        self.places.iter().filter(|place| **place == Place::Ready).count()
    }

    /// Takes what happened to one of them; what it means for the service, which stands at `state`.
    pub(super) fn on(&mut self, instance: usize, turn: Turn, state: ServiceState) -> Option<Event> {
        let of = self.places.len();
        let was_ready = self.place(instance) == Place::Ready;
        if let Some(place) = self.places.get_mut(instance) {
            *place = turn.place();
        }
        let ready = self.ready();
        let is_running = state == ServiceState::Running;
        match turn {
            Turn::Starting if ready == 0 && state != ServiceState::Starting => Some(Event::Start),
            Turn::Starting => None,
            Turn::Ready if is_running => Some(Event::More { ready, of }),
            Turn::Ready if self.was_whole || ready == of => {
                self.was_whole = true;
                Some(Event::Ready)
            }
            Turn::Ready => None,
            Turn::Restarting { reason, alone, .. } if ready > 0 && is_running => {
                Some(Event::Fewer { reason: self.named(instance, &reason), ready, of, is_restart: alone })
            }
            Turn::Restarting { reason, delay_ms, alone: true } => Some(Event::Down { reason, delay_ms }),
            Turn::Restarting { reason, .. } => is_running.then_some(Event::Out { reason }),
            Turn::Ended { reason } if self.places.iter().all(|place| *place == Place::Ended) => {
                Some(Event::Ended { reason })
            }
            Turn::Ended { reason } if ready > 0 && is_running => {
                Some(Event::Fewer { reason: self.named(instance, &reason), ready, of, is_restart: false })
            }
            Turn::Ended { reason } => is_running.then_some(Event::Out { reason }),
            // A service of one instance is told of by the set that holds it.
            Turn::Stopped if of > 1 && was_ready && ready == 0 && is_running => {
                Some(Event::Out { reason: "its instances are being stopped".to_owned() })
            }
            Turn::Stopped => None,
        }
    }

    fn named(&self, instance: usize, reason: &str) -> String {
        format!("{}: {reason}", crate::instance::key(instance))
    }
}

impl Turn {
    fn place(&self) -> Place {
        match self {
            Self::Starting => Place::Starting,
            Self::Ready => Place::Ready,
            Self::Restarting { .. } => Place::Restarting,
            Self::Ended { .. } => Place::Ended,
            Self::Stopped => Place::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::state::State;
    use super::*;
    use ServiceState as S;

    fn restarting(alone: bool) -> Turn {
        Turn::Restarting { reason: "exit code 1".to_owned(), delay_ms: 0, alone }
    }

    /// Plays turns on instances and the service's state, as the entry does; the states after each, and the restarts.
    fn play(count: usize, turns: &[(usize, Turn)]) -> (Vec<S>, u64, String) {
        let mut instances = Instances::new(count);
        let mut state = State::new(0);
        let mut states = Vec::new();
        for (at, (instance, turn)) in (1..).zip(turns) {
            if let Some(event) = instances.on(*instance, turn.clone(), state.state()) {
                state.on(&event, at).unwrap();
            }
            states.push(state.state());
        }
        (states, state.restarts_total(), state.cause().to_owned())
    }

    fn up(count: usize) -> Vec<(usize, Turn)> {
        (0..count).flat_map(|n| [(n, Turn::Starting), (n, Turn::Ready)]).collect()
    }

    #[test]
    fn one_instance_is_the_service() {
        let turns = [up(1), vec![(0, restarting(true)), (0, Turn::Starting), (0, Turn::Ready)]].concat();
        let (states, restarts, _) = play(1, &turns);
        assert_eq!((states, restarts), (vec![S::Starting, S::Running, S::Restarting, S::Restarting, S::Running], 1));
    }

    #[test]
    fn it_runs_when_all_were_ready_and_then_as_long_as_one_is() {
        let (states, ..) = play(3, &up(3));
        assert_eq!(states.iter().filter(|state| **state == S::Running).count(), 1, "only at the end: {states:?}");
        let turns = [up(3), vec![(1, restarting(true)), (0, restarting(true))]].concat();
        let (states, restarts, cause) = play(3, &turns);
        assert_eq!((states.last(), restarts), (Some(&S::Running), 2));
        assert_eq!(cause, "1 of 3 instances ready; shared: exit code 1");
        let turns = [turns, vec![(2, restarting(true)), (1, Turn::Starting), (1, Turn::Ready)]].concat();
        let (states, restarts, _) = play(3, &turns);
        assert_eq!(
            (states.iter().rev().take(3).collect::<Vec<_>>(), restarts),
            (vec![&S::Running, &S::Restarting, &S::Restarting], 3)
        );
    }

    #[test]
    fn those_that_are_ended_with_another_are_no_restarts_of_their_own() {
        let (states, restarts, _) = play(
            3,
            &[
                up(3),
                vec![(0, restarting(true)), (2, restarting(false)), (1, restarting(false))],
                vec![(0, Turn::Starting), (0, Turn::Ready)],
            ]
            .concat(),
        );
        assert_eq!((states.last(), restarts), (Some(&S::Running), 1));
        assert!(states.contains(&S::Restarting));
    }

    #[test]
    fn it_is_stopped_when_the_last_has_ended_and_out_when_they_are_given_up() {
        let ended = || Turn::Ended { reason: "done".to_owned() };
        let (states, restarts, _) = play(2, &[up(2), vec![(0, ended()), (1, ended())]].concat());
        assert_eq!((states.last(), restarts), (Some(&S::Stopped), 0));
        assert_eq!(states.get(4), Some(&S::Running));
        let (states, ..) = play(2, &[up(2), vec![(1, Turn::Stopped), (0, Turn::Stopped)]].concat());
        assert_eq!(states.last(), Some(&S::Restarting));
    }
}
