//! What a box is bound to.
//!
//! Contract: two processes with the same [`Binding`] are given the same secrets, so everything is in it by which a process
//! could be made another one. Both ends build it with [`Binding::of`], the client from what it asks for and the runner
//! from what it is told to load. A member that only one of them knows makes them differ: what is not understood is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Contents;
use crate::link::{Runtime, ServiceSpec, Source};
use crate::secret::SecretString;

/// What shapes a process, besides its secrets.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Id of the mesh.
    pub mesh_id: &'a str,
    /// Name of the service.
    pub service: &'a str,
    /// Where its program comes from, as it was asked for; a token in it is not looked at.
    pub source: &'a Source,
    /// SHA-256 of an uploaded archive, 64 hex digits; none for every other kind of source.
    pub sha256: Option<&'a str>,
    /// What is to run it.
    pub runtime: Option<Runtime>,
    /// Arguments after the program's own.
    pub args: &'a [String],
    /// The variables whose values are no secrets.
    pub env: &'a BTreeMap<String, SecretString>,
    /// The hosts that it may reach.
    pub network_allow: Option<&'a [String]>,
    /// Memory in MiB.
    pub memory_mb: Option<u32>,
    /// Processor cores.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Open files.
    pub fds: Option<u32>,
    /// The least isolation, by its level's name.
    pub isolation: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// What a load asks a runner for. A load says nothing of the least isolation: that one is the box's own demand, which
    /// the runner compares with its level.
    #[must_use]
    pub fn of_load(spec: &'a ServiceSpec, demanded: Option<&'a str>) -> Self {
        Self {
            mesh_id: spec.mesh_id.as_deref().unwrap_or_default(),
            service: &spec.service,
            source: &spec.source,
            sha256: spec.version.as_deref().filter(|_| matches!(spec.source, Source::Zip { .. })),
            runtime: spec.runtime,
            args: &spec.args,
            env: &spec.env,
            network_allow: None,
            memory_mb: spec.limits.memory_mb,
            cpus: None,
            pids: spec.limits.pids,
            fds: spec.limits.fds,
            isolation: demanded,
        }
    }
}

/// A file that a box holds, without what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundFile {
    /// The variable that names its path.
    pub var: String,
    /// The path that was asked for.
    pub path: String,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// Id of the mesh.
    pub mesh: String,
    /// Name of the service.
    pub service: String,
    /// The source as it was asked for, without its token. As JSON, so that a member which a reader does not know is
    /// not lost in the comparison.
    pub source: Value,
    /// SHA-256 of an uploaded archive.
    pub sha256: Option<String>,
    /// What is to run it.
    pub runtime: Option<Runtime>,
    /// Arguments after the program's own.
    pub args: Vec<String>,
    /// Every variable: its value, or nothing where that is a secret of this box.
    pub env: BTreeMap<String, Option<String>>,
    /// The files, in the order of their variables.
    pub files: Vec<BoundFile>,
    /// Whether a git token is in the box.
    pub git_token: bool,
    /// The hosts that it may reach.
    pub network_allow: Option<Vec<String>>,
    /// Memory in MiB.
    pub memory_mb: Option<u32>,
    /// Processor cores.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Open files.
    pub fds: Option<u32>,
    /// The least isolation.
    pub isolation: Option<String>,
}

impl Binding {
    /// The binding of a process that is asked for, with the secrets of a box. A variable that is said in clear too counts
    /// as that: a box whose variable is overridden does not match.
    #[must_use]
    pub fn of(asked: &Asked<'_>, secrets: &Contents) -> Self {
        let mut source = asked.source.clone();
        drop(source.take_token());
        let mut env: BTreeMap<_, _> = secrets.variables().map(|name| (name.to_owned(), None)).collect();
        env.extend(asked.env.iter().map(|(name, value)| (name.clone(), Some(value.expose().to_owned()))));
        let mut files: Vec<_> =
            secrets.files.iter().map(|file| BoundFile { var: file.var.clone(), path: file.path.clone() }).collect();
        files.sort_by(|one, other| one.var.cmp(&other.var));
        Self {
            mesh: asked.mesh_id.to_owned(),
            service: asked.service.to_owned(),
            // A source is strings and lists of them: it always has a JSON.
            source: serde_json::to_value(&source).unwrap_or_default(),
            sha256: asked.sha256.map(str::to_owned),
            runtime: asked.runtime,
            args: asked.args.to_vec(),
            env,
            files,
            git_token: secrets.git_token.is_some(),
            network_allow: asked.network_allow.map(<[String]>::to_vec),
            memory_mb: asked.memory_mb,
            cpus: asked.cpus,
            pids: asked.pids,
            fds: asked.fds,
            isolation: asked.isolation.map(str::to_owned),
        }
    }

    /// The first field in which the two differ.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<&'static str> {
        // Taken apart, so that a field which is added and not compared does not compile.
        let Self {
            mesh,
            service,
            source,
            sha256,
            runtime,
            args,
            env,
            files,
            git_token,
            network_allow,
            memory_mb,
            cpus,
            pids,
            fds,
            isolation,
        } = self;
        let same = [
            ("mesh", *mesh == other.mesh),
            ("service", *service == other.service),
            ("source", *source == other.source),
            ("sha256", *sha256 == other.sha256),
            ("runtime", *runtime == other.runtime),
            ("args", *args == other.args),
            ("env", *env == other.env),
            ("files", *files == other.files),
            ("git_token", *git_token == other.git_token),
            ("network_allow", *network_allow == other.network_allow),
            ("memory_mb", *memory_mb == other.memory_mb),
            ("cpus", *cpus == other.cpus),
            ("pids", *pids == other.pids),
            ("fds", *fds == other.fds),
            ("isolation", *isolation == other.isolation),
        ];
        same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}
