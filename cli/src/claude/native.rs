//! The entries `mesh:<service>:<launcher pid>`, by which the client shows a service's tools as its own.
//!
//! Contract: an entry carries who launched it, so that whoever comes next can tell a live session's from one that was
//! killed. An entry without that is not ours, whatever its name, and stays.

use std::path::Path;

use protocol::validate;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::json::{Object, within};
use super::launcher::{Here, Launcher, Standing};
use super::{change, file};
use crate::error::CliError;

/// Where the client keeps its servers.
pub(super) const SERVERS: &str = "mcpServers";
/// What our entries' names begin with.
const PREFIX: &str = "mesh:";
/// How deep an entry lies in the file.
pub(super) const ENTRY_DEPTH: usize = 2;
/// Services that one session gets as its own. A client starts a process for each.
pub(crate) const MAX_SERVICES: usize = 64;

/// The entries of one launched session.
#[derive(Debug, Clone)]
pub(crate) struct Native {
    /// This program.
    pub(crate) program: String,
    /// The session's configuration directory.
    pub(crate) config_dir: String,
    /// The mesh.
    pub(crate) mesh_slug: String,
    /// Who launches.
    pub(crate) launcher: Launcher,
    /// The services, their names checked.
    pub(crate) services: Vec<String>,
    /// ISO 8601.
    pub(crate) created_at: String,
}

/// `_meshSession`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MeshSession {
    mesh_slug: String,
    service_name: String,
    #[serde(default)]
    created_at: Value,
    #[serde(flatten)]
    launcher: Launcher,
}

/// One of our entries, as it was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    /// The service it is for.
    pub(crate) service: String,
    /// Who made it.
    pub(crate) launcher: Launcher,
}

impl Native {
    /// The services that can be a session's own: those with a name that is one, and not more than a client can bear.
    pub(crate) fn fitting(mut names: Vec<String>) -> Vec<String> {
        names.retain(|name| validate::service_name(name).is_ok());
        names.sort();
        names.dedup();
        names.truncate(MAX_SERVICES);
        names
    }

    /// The names of the entries.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.services.iter().map(|service| entry_name(service, self.launcher.pid))
    }

    /// Writes the entries, and removes those whose launcher is gone.
    pub(crate) fn add(&self, state: &Path) -> Result<(), CliError> {
        let here = Here::now();
        change(state, |text| {
            within(text, SERVERS, |servers, form| {
                remove_gone(servers, &here);
                for service in &self.services {
                    let entry = form.write(&self.entry(service), ENTRY_DEPTH)?;
                    servers.set(&entry_name(service, self.launcher.pid), entry);
                }
                Ok(())
            })
        })
        .map(drop)
    }

    /// Removes the entries, and all others of this launcher: there are none of it but these.
    pub(crate) fn remove(&self, state: &Path) -> Result<(), CliError> {
        change(state, |text| {
            within(text, SERVERS, |servers, _| {
                for found in found_in(servers) {
                    if found.launcher == self.launcher {
                        servers.remove(&found.name);
                    }
                }
                Ok(())
            })
        })
        .map(drop)
    }

    fn entry(&self, service: &str) -> Value {
        json!({
            "command": self.program,
            "args": ["mcp", "--service", service],
            "env": { "CLAUDEMESH_CONFIG_DIR": self.config_dir },
            "_meshSession": MeshSession {
                mesh_slug: self.mesh_slug.clone(),
                service_name: service.to_owned(),
                created_at: self.created_at.as_str().into(),
                launcher: self.launcher.clone(),
            },
        })
    }
}

impl Found {
    /// Our entries in the file.
    pub(crate) fn all(state: &Path) -> Result<Vec<Self>, CliError> {
        let Some(text) = file::read(state)? else { return Ok(Vec::new()) };
        let servers = Object::parse(&text)
            .and_then(|whole| whole.object(SERVERS))
            .map_err(|error| file::unreadable(state, &error))?;
        Ok(found_in(&servers))
    }
}

/// Removes the entries whose launcher is gone.
pub(crate) fn sweep(state: &Path) -> Result<(), CliError> {
    let here = Here::now();
    change(state, |text| {
        within(text, SERVERS, |servers, _| {
            remove_gone(servers, &here);
            Ok(())
        })
    })
    .map(drop)
}

fn remove_gone(servers: &mut Object, here: &Here) {
    for found in found_in(servers) {
        if here.standing(&found.launcher) == Standing::Gone {
            servers.remove(&found.name);
        }
    }
}

fn entry_name(service: &str, pid: u32) -> String {
    format!("{PREFIX}{service}:{pid}")
}

fn found_in(servers: &Object) -> Vec<Found> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "_meshSession")]
        session: MeshSession,
    }
    let ours = servers.members().filter(|(name, _)| name.starts_with(PREFIX));
    ours.filter_map(|(name, value)| {
        let Entry { session } = serde_json::from_str(value.get()).ok()?;
        Some(Found { name: name.to_owned(), service: session.service_name, launcher: session.launcher })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::fs;

    use super::*;

    fn native(services: &[&str]) -> Native {
        Native {
            program: "/bin/claudemesh".into(),
            config_dir: "/c".into(),
            mesh_slug: "demo".into(),
            launcher: Here::now().launcher(),
            services: services.iter().map(|&name| name.to_owned()).collect(),
            created_at: "2026-01-01T00:00:00Z".into(),
        }
    }

    #[test]
    fn an_entry_is_what_clients_know_and_who_launched() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join(".claude.json");
        native(&["time"]).add(&state).unwrap();
        let pid = std::process::id();
        let file: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
        let entry = &file["mcpServers"][format!("mesh:time:{pid}")];
        assert_eq!(entry["command"], "/bin/claudemesh");
        assert_eq!(entry["args"], json!(["mcp", "--service", "time"]));
        assert_eq!(entry["env"], json!({"CLAUDEMESH_CONFIG_DIR": "/c"}));
        let session = &entry["_meshSession"];
        for (name, value) in [("meshSlug", json!("demo")), ("serviceName", json!("time")), ("pid", json!(pid))] {
            assert_eq!(session[name], value);
        }
        assert!(session["startTime"].is_u64() && session["createdAt"].is_string(), "{session}");
    }

    #[test]
    fn h40_entries_of_a_launcher_that_died_are_swept_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join(".claude.json");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut dead = native(&[]).launcher;
        dead.pid = child.id();
        child.wait().unwrap();
        Native { launcher: dead.clone(), ..native(&["a", "b"]) }.add(&state).unwrap();
        // One of before, without a start; one that only looks like ours; and the user's own.
        within_servers(&state, |servers| {
            servers["mesh:old:1"] = json!({"_meshSession": {"pid": 1, "meshSlug": "m", "serviceName": "old"}});
            servers["mesh:not:ours"] = json!({"command": "x"});
            servers["mine"] = json!({"command": "y"});
        });
        assert_eq!(Found::all(&state).unwrap().len(), 3);
        let ours = native(&["a"]);
        ours.add(&state).unwrap();
        let names = |state: &Path| Found::all(state).unwrap().into_iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names(&state), ["mesh:old:1".to_owned(), format!("mesh:a:{}", std::process::id())]);
        ours.remove(&state).unwrap();
        assert_eq!(names(&state), ["mesh:old:1"]);
        let file: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
        assert_eq!(file["mcpServers"].as_object().unwrap().len(), 3, "{file}");
    }

    fn within_servers(state: &Path, edit: impl FnOnce(&mut Value)) {
        let mut file: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
        edit(&mut file["mcpServers"]);
        fs::write(state, file.to_string()).unwrap();
    }

    #[test]
    fn names_that_are_none_make_no_entry() {
        let names = ["time", "time", "--x", "a:b", "", "a\u{1b}"].map(str::to_owned).to_vec();
        assert_eq!(Native::fitting(names), ["time"]);
        assert_eq!(Native::fitting((0..100).map(|n| format!("s{n}")).collect()).len(), MAX_SERVICES);
    }
}
