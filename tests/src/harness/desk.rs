//! A person's home with a client in it: the real one, or a stand-in that writes down how it was started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::command::Outcome;
use super::{Mesh, programs};

/// Writes down its words, variables and what it finds, and ends with 7; or stays until a signal, and ends with 9.
const STAND_IN: &str = r#"#!/bin/sh
for word in "$@"; do printf '%s\n' "$word"; done > "$DESK/words"
env > "$DESK/variables"
cp "$HOME/.claude.json" "$DESK/state.json"
cp "$CLAUDEMESH_CONFIG_DIR/config.json" "$DESK/config.json"
ls "$CLAUDEMESH_CONFIG_DIR" > "$DESK/directory"
trap 'echo INT >> "$DESK/signals"' INT
trap 'echo HUP >> "$DESK/signals"' HUP
trap 'echo TERM >> "$DESK/signals"; exit 9' TERM
[ -z "$DESK_RUNS" ] || sh -c "$DESK_RUNS" > "$DESK/said" 2>&1
echo $$ > "$DESK/pid.new" && mv "$DESK/pid.new" "$DESK/pid"
while [ -n "$DESK_STAYS" ]; do sleep 0.05; done
exit 7
"#;

/// A home.
#[derive(Debug)]
pub struct Desk {
    root: PathBuf,
}

impl Desk {
    /// One with the stand-in, and with a server of the person's own in the client's file.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn with_stand_in(mesh: &Mesh) -> Self {
        let desk = Self::bare(mesh);
        let program = desk.root.join("bin/claude");
        fs::write(&program, STAND_IN).expect("the home can be written to");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        desk
    }

    /// One with the real client.
    ///
    /// # Panics
    /// If it cannot be made, or the client is not installed.
    #[must_use]
    pub fn with_client(mesh: &Mesh) -> Self {
        let desk = Self::bare(mesh);
        let program = desk.root.join("bin/claude");
        std::os::unix::fs::symlink(programs::client(), program).expect("the home can be written to");
        desk
    }

    fn bare(mesh: &Mesh) -> Self {
        let desk = Self { root: mesh.root().join("home") };
        fs::create_dir_all(desk.root.join("bin")).expect("the home can be made");
        let state = json!({
            "theme": "dark", "hasCompletedOnboarding": true, "mcpServers": {"mine": {"command": "true"}},
        });
        fs::write(desk.state_path(), state.to_string()).expect("the home can be written to");
        desk
    }

    /// The home itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `.claude.json`.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.root.join(".claude.json")
    }

    /// What is in it.
    ///
    /// # Panics
    /// If it is no JSON.
    #[must_use]
    pub fn state(&self) -> Value {
        parsed(&self.state_path())
    }

    /// The names of our entries in it.
    #[must_use]
    pub fn entries(&self) -> Vec<String> {
        let state = self.state();
        let servers = state["mcpServers"].as_object().into_iter().flatten();
        servers.map(|(name, _)| name.clone()).filter(|name| name.starts_with("mesh:")).collect()
    }

    /// What the stand-in wrote down.
    ///
    /// # Panics
    /// If it did not.
    #[must_use]
    pub fn noted(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The same, as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn noted_json(&self, name: &str) -> Value {
        parsed(&self.root.join(name))
    }

    /// The program in this home.
    #[must_use]
    pub fn command(&self, mesh: &Mesh, words: &[&str]) -> Command {
        let mut command = mesh.program();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.root.join("bin")].into_iter().chain(std::env::split_paths(&path));
        command
            .args(words)
            .env("HOME", &self.root)
            .env("DESK", &self.root)
            .env("PATH", std::env::join_paths(folders).expect("plain folders"))
            .env_remove("CLAUDE_CONFIG_DIR")
            // The client calls nobody but who it is told to, and is content with a key that is none.
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("DISABLE_AUTOUPDATER", "1")
            .env("ANTHROPIC_API_KEY", "sk-none")
            // Without it the client refuses to go without questions for whoever is root.
            .env("IS_SANDBOX", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(&self, mesh: &Mesh, words: &[&str]) -> Outcome {
        Outcome::of(self.command(mesh, words), super::ASK * 2)
    }
}

fn parsed(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()))
}
