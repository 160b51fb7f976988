//! The loop of a dynamic set: commands from its handles beside the events of its children.

use std::{collections::HashMap, future::Future, pin::Pin};

use tokio::sync::{mpsc, oneshot};

use super::{Command, StartWatch, crew::Crew, fixed::heard};
use crate::{
    Child, ChildId, Dynamic, ExitReason, Life, StartError, StopError, Transition,
    core::{Input, Key, Output, Policy, Set},
    dynamic::{Open, Seeded},
};

/// How many commands may wait for the loop; a handle that has one more waits as well.
const COMMAND_BOUND: usize = 1_024;

type Seeding = Option<Pin<Box<dyn Future<Output = Seeded>>>>;

/// Runs `set` as the incarnation `life` until it is stopped. It has no failures of its own but its seeding's.
pub(crate) async fn supervise_set(set: Dynamic, life: Life) -> ExitReason {
    let (crew, mut inbox) = Crew::new(&life, set.observer(), false);
    let (orders, mut commands) = mpsc::channel(COMMAND_BOUND);
    let mut desk = Desk::new(&set, crew, orders);
    let mut seeding = set.seeding();
    if seeding.is_none() {
        life.ready();
    }
    let mut stopping = false;
    loop {
        let turn = tokio::select! {
            event = inbox.recv() => desk.decide(heard(event)),
            Some(command) = commands.recv() => desk.obey(command),
            seeded = seeded(&mut seeding) => match seeded {
                Ok(()) => { life.ready(); None }
                Err(why) => { stopping = true; desk.end(ExitReason::Error(format!("seeding: {why}"))) }
            },
            () = life.stopping(), if !stopping => {
                stopping = true;
                seeding = None;
                desk.end(ExitReason::Shutdown)
            }
            () = desk.crew.sleep_until(desk.core.next_wake()) => desk.decide(Input::Tick),
        };
        // Commands that still wait find their replies dropped, and so learn that the set is over.
        if let Some(exit) = turn {
            return exit;
        }
    }
}

/// The outcome of the seeding, once.
async fn seeded(seeding: &mut Seeding) -> Result<(), String> {
    let outcome = match seeding {
        Some(hook) => hook.await.0,
        None => std::future::pending().await,
    };
    *seeding = None;
    outcome
}

struct Desk {
    core: Set,
    crew: Crew,
    open: Open,
    bound: usize,
    keys: HashMap<ChildId, Key>,
    guests: HashMap<Key, Guest>,
    next_key: Key,
}

/// A child, and who waits for news of it.
struct Guest {
    id: ChildId,
    starting: Option<StartWatch>,
    stopping: Vec<oneshot::Sender<Result<ExitReason, StopError>>>,
    last: ExitReason,
}

impl Desk {
    fn new(set: &Dynamic, crew: Crew, orders: mpsc::Sender<Command>) -> Self {
        Self {
            core: Set::new(Crew::random()),
            open: set.open(orders),
            crew,
            bound: set.bound(),
            keys: HashMap::new(),
            guests: HashMap::new(),
            next_key: 0,
        }
    }

    fn decide(&mut self, input: Input) -> Option<ExitReason> {
        let outputs = self.core.on(self.crew.now(), input);
        self.act(outputs)
    }

    fn end(&mut self, exit: ExitReason) -> Option<ExitReason> {
        self.open.close();
        self.decide(Input::Shutdown(exit))
    }

    fn obey(&mut self, command: Command) -> Option<ExitReason> {
        match command {
            Command::Start { child, watch, reply } => {
                let (accepted, turn) = match self.start(child, watch) {
                    Ok(outputs) => (Ok(()), self.act(outputs)),
                    Err(refused) => (Err(refused), None),
                };
                // A caller that went away does not want to know.
                let _ = reply.send(accepted);
                turn
            }
            Command::Stop { id, reply } => self.stop(&id, reply),
            Command::Restart { id, reply } => self.restart(&id, reply),
        }
    }

    fn start(&mut self, child: Child, watch: Option<StartWatch>) -> Result<Vec<Output>, StartError> {
        if self.core.is_ending() {
            return Err(StartError::NotRunning);
        }
        let id = child.spec.child_id()?;
        if self.keys.contains_key(&id) {
            return Err(StartError::AlreadyPresent);
        }
        if self.keys.len() >= self.bound {
            return Err(StartError::Full(self.bound));
        }
        let key = self.next_key;
        self.next_key = self.next_key.wrapping_add(1);
        let policy = Policy { intensity: child.spec.intensity, backoff: child.spec.backoff };
        let member = self.crew.enlist(key, id.clone(), child, policy.intensity);
        self.keys.insert(id.clone(), key);
        self.open.insert(id.clone());
        let last = ExitReason::Shutdown;
        self.guests.insert(key, Guest { id, starting: watch, stopping: Vec::new(), last });
        Ok(self.core.add(self.crew.now(), key, member, policy))
    }

    fn stop(&mut self, id: &ChildId, reply: oneshot::Sender<Result<ExitReason, StopError>>) -> Option<ExitReason> {
        let Some(key) = self.keys.get(id).copied() else {
            let _ = reply.send(Err(StopError::NotFound));
            return None;
        };
        if let Some(guest) = self.guests.get_mut(&key) {
            guest.stopping.push(reply);
        }
        let outputs = self.core.remove(self.crew.now(), key);
        self.act(outputs)
    }

    fn restart(&mut self, id: &ChildId, reply: oneshot::Sender<Result<(), StopError>>) -> Option<ExitReason> {
        let Some(key) = self.keys.get(id).copied() else {
            let _ = reply.send(Err(StopError::NotFound));
            return None;
        };
        self.crew.forgive(key);
        let outputs = self.core.restart(self.crew.now(), key);
        let turn = self.act(outputs);
        let _ = reply.send(Ok(()));
        turn
    }

    fn act(&mut self, outputs: Vec<Output>) -> Option<ExitReason> {
        let news: Vec<_> = outputs.iter().filter_map(News::of).collect();
        let finished = self.crew.perform(outputs);
        // Told after it is done: who waited for a stop finds the child really gone.
        news.into_iter().for_each(|(key, news)| self.tell(key, news));
        finished
    }

    fn tell(&mut self, key: Key, news: News) {
        let Some(guest) = self.guests.get_mut(&key) else {
            return;
        };
        match news {
            News::Ready => guest.started(Ok(())),
            News::Parked(exit) => guest.started(Err(exit)),
            News::Stopped(exit) => guest.last = exit,
            News::Forgotten => {
                if let Some(guest) = self.guests.remove(&key) {
                    self.keys.remove(&guest.id);
                    self.open.remove(&guest.id);
                    guest.gone();
                }
            }
        }
    }
}

/// What those who wait for a child want to know.
enum News {
    Ready,
    Parked(ExitReason),
    Stopped(ExitReason),
    Forgotten,
}

impl News {
    fn of(output: &Output) -> Option<(Key, Self)> {
        match output {
            Output::Report { key, transition } => match transition {
                Transition::Ready => Some((*key, Self::Ready)),
                Transition::Parked { exit, .. } => Some((*key, Self::Parked(exit.clone()))),
                Transition::Stopped { exit } => Some((*key, Self::Stopped(exit.clone()))),
                Transition::Starting | Transition::Stopping | Transition::Restarting { .. } => None,
            },
            Output::Forget { key } => Some((*key, Self::Forgotten)),
            Output::Start { .. }
            | Output::Stop { .. }
            | Output::Kill { .. }
            | Output::Close { .. }
            | Output::Ready
            | Output::Finished(_) => None,
        }
    }
}

impl Guest {
    fn started(&mut self, outcome: Result<(), ExitReason>) {
        if let Some(watch) = self.starting.take() {
            let _ = watch.send(outcome);
        }
    }

    fn gone(mut self) {
        let last = self.last.clone();
        self.started(Err(last));
        for reply in self.stopping {
            let _ = reply.send(Ok(self.last.clone()));
        }
    }
}
