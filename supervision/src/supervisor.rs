//! A static supervisor, described: its strategy, its intensity and its children in start order.

use std::{collections::HashSet, fmt, pin::Pin, sync::Arc};

use actix_rt::ArbiterHandle;

use crate::{
    Backoff, Child, Intensity, Life, Observer, Registry, Root, SpecError, Strategy,
    child::{Form, Launch, Run, TaskRun},
    outline::{Line, draw},
    run,
    spec::{check_backoff, check_intensity},
};

/// Children that are started in order, stopped in reverse, and restarted by a strategy.
#[derive(Clone)]
pub struct Supervisor {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    pub(crate) children: Vec<Child>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Supervisor {
    /// A supervisor without children and without back-off.
    #[must_use]
    pub fn new(strategy: Strategy, intensity: Intensity) -> Self {
        Self { strategy, intensity, backoff: Backoff::NONE, children: Vec::new(), observer: None }
    }

    /// How long to wait before restarts. The intensity's window grows with it, so that a child that keeps
    /// failing slowly is one too many as well.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Adds a child; it starts after those added before it.
    #[must_use]
    pub fn child(mut self, child: Child) -> Self {
        self.children.push(child);
        self
    }

    /// Tells `observer` of every change of a direct child.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Checks this supervisor and everything below it.
    ///
    /// # Errors
    /// The first field that is wrong; an id that two children share is one.
    pub fn validate(&self) -> Result<(), SpecError> {
        let wrong = |field, problem| SpecError { child: "(supervisor)".into(), field, problem };
        check_intensity(&self.intensity).map_err(|p| wrong("intensity", p))?;
        check_backoff(&self.backoff).map_err(|p| wrong("backoff", p))?;
        let mut ids = HashSet::new();
        for child in &self.children {
            child.validate()?;
            if !ids.insert(child.spec.id.as_str()) {
                return Err(SpecError {
                    child: child.spec.id.clone(),
                    field: "id",
                    problem: "is used by two children".into(),
                });
            }
        }
        Ok(())
    }

    /// Starts the tree under a root node called `name`, on `arbiter` or on the current one.
    ///
    /// The tree goes on when the returned handle is dropped.
    ///
    /// # Panics
    /// When panics abort the process (see [`assert_unwind`](crate::assert_unwind)), or when no arbiter is given
    /// and none runs on this thread.
    #[must_use]
    pub fn start_root(self, name: &str, registry: &Registry, arbiter: Option<ArbiterHandle>) -> Root {
        run::start_root(self, name, registry, arbiter)
    }

    /// The tree as specified, one line for each child.
    #[must_use]
    pub fn outline(&self) -> String {
        draw(&[Line { name: self.strategy.to_string(), text: self.intensity.to_string(), below: self.lines() }])
    }

    fn lines(&self) -> Vec<Line> {
        self.children.iter().map(line).collect()
    }
}

fn line(child: &Child) -> Line {
    let mut text = format!("{}  {}", child.kind(), child.spec.restart);
    let below = match child.body.form() {
        Form::Supervisor(inner) => {
            text += &format!("  {}, {}", inner.strategy, inner.intensity);
            inner.lines()
        }
        Form::Actor | Form::Task | Form::Dynamic => Vec::new(),
    };
    text += &format!("  stop {}", child.shutdown());
    Line { name: child.spec.id.clone(), text, below }
}

impl Launch for Supervisor {
    fn launch(&self, life: &Life) -> Pin<Box<dyn Run>> {
        Box::pin(TaskRun(Box::pin(run::supervise(self.clone(), life.clone()))))
    }

    fn form(&self) -> Form<'_> {
        Form::Supervisor(self)
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.outline())
    }
}
