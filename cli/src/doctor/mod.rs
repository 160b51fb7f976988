//! What can be wrong on this machine, looked at in one go, each with what to do about it.
//!
//! Contract: looking changes nothing. Every look has a limit. What is told of a check is data for people and programs:
//! a name that stays, a verdict, a line, and for whatever is not well a remedy. No secret and no text of a file is
//! shown.
//!
//! | module | what it looks at |
//! |---|---|
//! | [`tools`] | the programs that services and sessions are run with |
//! | [`person`] | `config.json`, its keys, and each mesh's broker and clock |
//! | [`sessions`] | the client's files, and what sessions left behind |

mod person;
mod sessions;
mod tools;

use serde::Serialize;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Something is missing that not everybody needs.
    Warning,
    /// Something does not work.
    Failed,
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// A clean line.
    pub(crate) found: String,
    /// What to do, for whatever is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn failed(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Failed, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(crate) use person::look as look_at_person;
pub(crate) use sessions::{look as look_at_sessions, tidy};
pub(crate) use tools::look as look_at_tools;
