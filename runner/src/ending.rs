//! How the runner is asked to end.

use std::fmt;

use tokio::sync::watch;

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// SIGTERM or SIGINT.
    Signal,
    /// A broker ordered it; everything is stopped already.
    Ordered,
    /// No broker came for too long.
    Orphaned,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "asked by a signal",
            Self::Ordered => "ordered by a broker",
            Self::Orphaned => "no broker for too long",
        })
    }
}

/// Asks, and waits for being asked. Cheap to clone; the first reason counts.
#[derive(Debug, Clone)]
pub struct Ending(watch::Sender<Option<Why>>);

impl Ending {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks the runner to end.
    pub fn ask(&self, why: Why) {
        self.0.send_modify(|asked| {
            asked.get_or_insert(why);
        });
    }

    /// Waits until somebody asks.
    pub async fn asked(&self) -> Why {
        let mut asked = self.0.subscribe();
        loop {
            if let Some(why) = *asked.borrow_and_update() {
                return why;
            }
            // `self` holds the sender.
            if asked.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
