//! The broker's tree on one page: who starts after whom, and who takes whom along.
//!
//! Start order is dependency order and children stop in reverse: `drain` closes the door first, the
//! store goes last. `rest_for_one`: what stands on a part that failed is started afresh after it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use supervision::{Child, ChildSpec, Dynamic, Intensity, Restart, Shutdown, Strategy, Supervisor};

use crate::http::Http;
use crate::mesh::Meshes;
use crate::runners::{self, RunnerConfig, Runners};
use crate::store::{Store, keeper};
use crate::{drain, http};

/// The root's name, first in every path.
pub const ROOT: &str = "broker";

/// Above this the broker ends with an error: whoever started it decides.
const INTENSITY: Intensity = Intensity { max_restarts: 3, within: Duration::from_secs(60) };

/// Longest wait for a set whose children are read from the store.
const SEED_WITHIN: Duration = Duration::from_secs(60);

/// What the tree is made of.
pub struct Parts {
    /// The open store.
    pub store: Store,
    /// The configured runners.
    pub runner_configs: Vec<RunnerConfig>,
    /// The runners' handle.
    pub runners: Runners,
    /// The meshes' handle.
    pub meshes: Meshes,
    /// What the endpoints need.
    pub http: web::Data<Http>,
    /// The bound port.
    pub listener: std::net::TcpListener,
    /// This broker's start within its store.
    pub epoch: u64,
    /// Version, shown.
    pub build: String,
}

/// The broker's tree.
#[must_use]
pub fn tree(parts: Parts) -> Supervisor {
    let Parts { store, runner_configs, runners, meshes, http, listener, epoch, build } = parts;
    let links = links(runner_configs, &runners, store.id().to_string(), epoch, build);
    Supervisor::new(Strategy::RestForOne, INTENSITY)
        .child(keeper::child(&store))
        .child(Child::dynamic(set("runners"), &links))
        .child(Child::dynamic(set("meshes"), meshes.set()))
        .child(http::child(&http, listener))
        .child(drain::child(&http.draining, &runners))
}

fn set(id: &str) -> ChildSpec {
    ChildSpec::new(id).kind("set").restart(Restart::Permanent).shutdown(Shutdown::Infinity).start_timeout(SEED_WITHIN)
}

/// The set `runners`, with a link, and in the embedded default a process, for each of them.
fn links(configs: Vec<RunnerConfig>, runners: &Runners, store_id: String, epoch: u64, build: String) -> Dynamic {
    let configs = Arc::new(configs);
    let runners = runners.clone();
    Dynamic::new().seed(move |set| {
        let (configs, runners) = (Arc::clone(&configs), runners.clone());
        let (store_id, build) = (store_id.clone(), build.clone());
        async move {
            for config in configs.iter() {
                let Some(link) = runners.get(&config.name) else {
                    continue;
                };
                for child in runners::children(config, link, &store_id, epoch, &build) {
                    set.start(child).await.map_err(|error| error.to_string())?;
                }
            }
            Ok::<_, String>(())
        }
    })
}
