//! What the broker asks a runner to run.
//!
//! Contract: a [`ServiceSpec`] is complete: the runner needs nothing else to build and start the service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::policy::{Policy, PolicyError};
use crate::sealed::{SealedConfig, SealedError};
use crate::secret::{self, SecretString};
use crate::source::{Runtime, Source, SourceError};
use crate::validate::{self, NameError};

/// Most arguments, and most variables, of one service.
pub const MAX_ENTRIES: usize = 256;
/// Longest argument or variable.
const MAX_ENTRY_BYTES: usize = 128 * 1024;

/// Everything that shapes a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Slug of the mesh.
    pub mesh: String,
    /// Id of the mesh, which boxes are bound to. Since 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh_id: Option<String>,
    /// Name of the service, unique within its mesh.
    pub service: String,
    /// Which deployment of the service this is.
    pub deployment: String,
    /// Where its program comes from.
    pub source: Source,
    /// The exact version, when an earlier build has resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What is to run it, where its source leaves a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Arguments after the program.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment besides what every service gets. Only this link carries the values in clear.
    #[serde(default, serialize_with = "secret::reveal")]
    pub env: BTreeMap<String, SecretString>,
    /// Secrets that the broker cannot read. Since 1.2: sent only to a runner that told its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Box<SealedConfig>>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// How it is supervised.
    #[serde(default)]
    pub policy: Policy,
}

/// Resource limits of one process tree; none = the runner's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Open files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fds: Option<u32>,
}

/// What is wrong with a specification.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// The mesh's slug or the service's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Where the program comes from.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// How it is supervised.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A box whose form is wrong.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// An argument or a variable. The value is not named: it may be secret.
    #[error("`{field}` {problem}")]
    Entry {
        /// `args[2]` or `env.NAME`.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ServiceSpec {
    /// Checks everything that can be checked without the machine that will run it.
    ///
    /// # Errors
    /// The first thing that is wrong, with the field's name.
    pub fn validate(&self) -> Result<(), SpecError> {
        validate::slug(&self.mesh)?;
        validate::service_name(&self.service)?;
        self.source.validate()?;
        if self.runtime.is_some_and(|runtime| !self.source.runs_on(runtime)) {
            return Err(entry("config.runtime".to_owned(), "does not run what this kind of source is"));
        }
        validate_args(&self.args)?;
        validate_env(&self.env)?;
        if let Some(sealed) = &self.sealed {
            sealed.validate()?;
        }
        Ok(self.policy.validate()?)
    }
}

/// Checks the arguments of a program.
fn validate_args(args: &[String]) -> Result<(), SpecError> {
    if args.len() > MAX_ENTRIES {
        return Err(entry("args".to_owned(), "has more than 256 entries"));
    }
    for (index, arg) in args.iter().enumerate() {
        value(arg).map_err(|problem| entry(format!("args[{index}]"), problem))?;
    }
    Ok(())
}

/// Checks the names and values of an environment.
pub(crate) fn validate_env(env: &BTreeMap<String, SecretString>) -> Result<(), SpecError> {
    if env.len() > MAX_ENTRIES {
        return Err(entry("env".to_owned(), "has more than 256 variables"));
    }
    for (name, secret) in env {
        if !validate::is_variable_name(name) {
            let shown: String = validate::cleaned(name).chars().take(64).collect();
            return Err(entry(
                format!("env.{shown}"),
                "is no name for a variable: letters, digits and `_`, not starting with a digit",
            ));
        }
        value(secret.expose()).map_err(|problem| entry(format!("env.{name}"), problem))?;
    }
    Ok(())
}

fn value(text: &str) -> Result<(), &'static str> {
    if text.len() > MAX_ENTRY_BYTES {
        Err("is longer than 128 KiB")
    } else if text.contains('\0') {
        Err("contains a NUL character")
    } else {
        Ok(())
    }
}

fn entry(field: String, problem: &'static str) -> SpecError {
    SpecError::Entry { field, problem }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn spec() -> ServiceSpec {
        ServiceSpec {
            mesh: "default".into(),
            mesh_id: None,
            service: "time".into(),
            deployment: "d1".into(),
            source: Source::Uvx { package: "mcp-server-time".into(), with: Vec::new() },
            version: None,
            runtime: None,
            args: vec!["--local-timezone".into(), "UTC".into()],
            env: BTreeMap::from([("KEY".to_owned(), SecretString::from("planted-value"))]),
            sealed: None,
            limits: Limits::default(),
            policy: Policy::default(),
        }
    }

    #[test]
    fn a_specification_is_checked_whole_and_never_quotes_a_value() {
        spec().validate().unwrap();
        type Case = (fn(&mut ServiceSpec), &'static str);
        let cases: [Case; 7] = [
            (|s| s.mesh = "../x".into(), "slug"),
            (|s| s.service = "a b".into(), "service name"),
            (|s| s.source = Source::Npx { package: "-x".into() }, "source.package"),
            (|s| s.runtime = Some(Runtime::Bun), "config.runtime"),
            (|s| s.args.push("a\0b".into()), "args[2]"),
            (|s| drop(s.env.insert("1A".into(), "v".into())), "env.1A"),
            (|s| drop(s.env.insert("A".into(), "planted-value\0".into())), "env.A"),
        ];
        for (spoil, words) in cases {
            let mut spec = spec();
            spoil(&mut spec);
            let message = spec.validate().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
            assert!(!message.contains("planted-value"), "{message}");
        }
    }

    #[test]
    fn printing_a_specification_shows_no_secret() {
        assert!(!format!("{:?}", spec()).contains("planted-value"));
        assert!(serde_json::to_string(&spec()).unwrap().contains("planted-value"));
    }
}
