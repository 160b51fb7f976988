//! Asking a mesh, and waiting for what it should say.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Mesh;
use crate::harness::command::Outcome;
use crate::harness::processes::{self, Identity};
use crate::harness::stdio::Stdio as McpClient;
use crate::harness::tree::Tree;
use crate::harness::{ASK, SETTLE, http, programs, wait_until};

impl Mesh {
    /// Runs a verb.
    #[must_use]
    pub fn cli(&self, words: &[&str]) -> Outcome {
        self.cli_within(ASK, words)
    }

    /// Runs a verb that may take as long as `deadline`.
    #[must_use]
    pub fn cli_within(&self, deadline: Duration, words: &[&str]) -> Outcome {
        let mut command = self.program();
        command.args(words);
        Outcome::of(command, deadline)
    }

    /// Starts a verb that stays; its standard output is a pipe.
    #[must_use]
    pub fn start_cli(&self, words: &[&str]) -> Child {
        let mut command = self.program();
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().expect("the built program starts")
    }

    /// A verb, not started yet.
    #[must_use]
    pub fn verb(&self, words: &[&str]) -> Command {
        let mut command = self.program();
        command.args(words);
        command
    }

    /// A model's client before `claudemesh mcp`, which is the session of this id.
    #[must_use]
    pub fn session_client(&self, id: &str) -> McpClient {
        let mut command = self.verb(&["mcp"]);
        command.env("CLAUDEMESH_SESSION_ID", id);
        McpClient::start(command)
    }

    /// A model's client before the proxy of a service.
    #[must_use]
    pub fn service_client(&self, service: &str) -> McpClient {
        McpClient::start(self.verb(&["mcp", "--service", service]))
    }

    /// Deploys the fixture with these flags and waits for its end, good or bad.
    #[must_use]
    pub fn deploy_fixture(&self, name: &str, options: &[&str], flags: &[&str]) -> Outcome {
        self.deploy_program(name, &programs::fixture(), options, flags)
    }

    /// The same with any program of this machine.
    #[must_use]
    pub fn deploy_program(&self, name: &str, program: &Path, options: &[&str], flags: &[&str]) -> Outcome {
        let mut words = vec!["deploy", name];
        words.extend(options);
        words.extend(["--json", "--command", "--", program.to_str().expect("a plain path")]);
        words.extend(flags);
        let outcome = self.cli_within(SETTLE * 3, &words);
        self.look();
        outcome
    }

    /// One GET with the operator's token.
    ///
    /// # Errors
    /// Why there was no answer.
    pub fn get(&self, path: &str) -> Result<http::Response, String> {
        let token = fs::read_to_string(self.data().join("operator.token")).ok();
        http::get(self.port, path, token.as_deref().map(str::trim))
    }

    /// The whole tree.
    ///
    /// # Errors
    /// Why there is none to show.
    pub fn tree(&self) -> Result<Tree, String> {
        let response = self.get("/tree")?;
        if response.status != 200 {
            return Err(format!("GET /tree: {} {}", response.status, response.body));
        }
        serde_json::from_str(&response.body).map_err(|error| format!("GET /tree: {error}: {}", response.body))
    }

    /// A service's row in the catalog.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<Value> {
        let catalog = self.cli(&["catalog", "--json"]).ok().json();
        let rows = catalog["services"].as_array().unwrap_or_else(|| panic!("the catalog is a list: {catalog}"));
        rows.iter().find(|row| row["name"] == name).cloned()
    }

    /// Its status there; `absent` when there is no row.
    #[must_use]
    pub fn status(&self, name: &str) -> String {
        self.service(name).map_or_else(|| "absent".to_owned(), |row| row["status"].as_str().unwrap_or("?").to_owned())
    }

    /// Waits for a condition; a failure shows the last tree and the logs' ends.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, deadline: Duration, condition: impl FnMut() -> Result<T, String>) -> T {
        match wait_until(what, deadline, condition) {
            Ok(value) => value,
            Err(error) => {
                let tree = self.tree().map_or_else(|error| error, |tree| tree.drawing());
                panic!("{error}\n--- tree\n{tree}\n{}", self.logs());
            }
        }
    }

    /// Waits until a service has this status in the catalog.
    #[track_caller]
    pub fn wait_for_status(&self, service: &str, status: &str, deadline: Duration) {
        self.wait(&format!("{service} to be {status}"), deadline, || match self.status(service) {
            now if now == status => Ok(()),
            now => Err(format!("it is {now}")),
        });
        self.look();
    }

    /// Waits until none of `earlier` runs.
    #[track_caller]
    pub fn wait_gone(&self, what: &str, earlier: &[Identity], deadline: Duration) {
        self.wait(what, deadline, || match processes::survivors(earlier) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{} left:{}", left.len(), processes::listing(&left))),
        });
    }
}
