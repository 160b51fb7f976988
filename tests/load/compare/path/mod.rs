//! The paths: which processes stand between the client and the server, and how to reach them.
//!
//! All are started once and live through the whole run. Each cell has a connection of its own, so none is given up for
//! its silence while the other paths are measured.

mod chain;
mod mesh;
mod runner;
mod stdio;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::drive::{Driven, Line};
use crate::plan::Cell;
use crate::procfs;

/// What a path's server is called where it needs a name.
const SERVICE: &str = "load";
/// From a start to what must follow, a handshake, the end of a deploy: all take milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// A role in a path, and who has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) role: &'static str,
    pub(crate) pid: u32,
}

/// A cell, once.
pub(crate) struct Sample {
    pub(crate) driven: Driven,
    /// Processor time by role, the client's own included.
    pub(crate) cpu: BTreeMap<&'static str, Duration>,
}

pub(crate) enum Path {
    Stdio(stdio::Stdio),
    Chain(chain::Chain),
    Runner(runner::Runner),
    Mesh(Box<mesh::Meshed>),
}

impl Path {
    /// Every path, the shortest first.
    pub(crate) fn start_all(runtime: &Runtime) -> Result<Vec<Self>, String> {
        Ok(vec![
            Self::Stdio(runtime.block_on(stdio::Stdio::start())?),
            Self::Chain(runtime.block_on(chain::Chain::start())?),
            Self::Runner(runtime.block_on(runner::Runner::start())?),
            // The harness has runtimes of its own.
            Self::Mesh(Box::new(mesh::Meshed::start()?)),
        ])
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Stdio(_) => "stdio",
            Self::Chain(_) => "chain",
            Self::Runner(_) => "runner",
            Self::Mesh(_) => "mesh",
        }
    }

    /// The processes of the path, in the order in which a call meets them.
    pub(crate) fn members(&self) -> &[Member] {
        match self {
            Self::Stdio(path) => &path.members,
            Self::Chain(path) => &path.members,
            Self::Runner(path) => &path.members,
            Self::Mesh(path) => &path.members,
        }
    }

    /// Proportional set size by role, in KiB, where it may be looked at.
    pub(crate) fn memory(&self) -> BTreeMap<&'static str, Option<u64>> {
        self.members().iter().map(|member| (member.role, procfs::pss_kib(member.pid))).collect()
    }

    /// One cell, once, after a warm-up.
    pub(crate) async fn measure(&mut self, cell: &Cell) -> Result<Sample, String> {
        let mut members = self.members().to_vec();
        members.push(Member { role: "client", pid: std::process::id() });
        let mut line = self.open().await?;
        line.drive(&cell.warm_up()).await?;
        let before = clocks(&members)?;
        let driven = line.drive(cell).await?;
        let after = clocks(&members)?;
        let spent = members.iter().zip(before.iter().zip(after));
        let cpu = spent.map(|(member, (before, after))| (member.role, after.saturating_sub(*before))).collect();
        Ok(Sample { driven, cpu })
    }

    async fn open(&mut self) -> Result<Line<'_>, String> {
        match self {
            Self::Stdio(path) => Ok(path.open()),
            Self::Chain(path) => path.open().await,
            Self::Runner(path) => path.open().await,
            Self::Mesh(path) => path.open().await,
        }
    }

    /// Ends its processes.
    pub(crate) fn stop(self, runtime: &Runtime) {
        // Children are killed when they are dropped, and collected by the runtime.
        let _guard = runtime.enter();
        drop(self);
    }
}

fn clocks(members: &[Member]) -> Result<Vec<Duration>, String> {
    members.iter().map(|member| procfs::cpu(member.pid)).collect()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
