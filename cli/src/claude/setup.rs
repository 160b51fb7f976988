//! What `claudemesh install` puts into the client's files, and `uninstall` takes out. The edits are pure.
//!
//! Contract: an edit that finds everything as it should be changes nothing. Of hooks, only groups that hold ours alone
//! are ever touched. A copy of a file lies beside it before it is changed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json::{Form, Object, within};
use super::native::{ENTRY_DEPTH, SERVERS};
use super::{Files, change, file};
use crate::error::CliError;
use crate::text;

/// The name of our server; `--dangerously-load-development-channels` names it too.
pub(super) const SERVER: &str = "claudemesh";
/// Where the client keeps its hooks.
const HOOKS: &str = "hooks";
/// When the client tells us, and what we make of it.
const EVENTS: [(&str, &str); 2] = [("UserPromptSubmit", "working"), ("Stop", "idle")];
/// Seconds after which the client gives up on a hook of ours. It gives up itself earlier.
const HOOK_TIMEOUT_S: u32 = 5;
/// What a copy is called after the file.
const COPY: &str = ".before-claudemesh";

/// This program's path, as the client is to start it.
pub(crate) fn own_program() -> Result<String, CliError> {
    let path = std::env::current_exe().map_err(|error| CliError::failed(format!("cannot tell where I am: {error}")))?;
    path.into_os_string().into_string().map_err(|path| {
        CliError::failed(format!("{} is a path that JSON cannot hold", path.display()))
            .hint("install claudemesh elsewhere")
    })
}

/// Whether the client knows our server.
pub(crate) fn is_installed(files: &Files) -> Result<bool, CliError> {
    let Some(text) = file::read(&files.state)? else { return Ok(false) };
    let servers = Object::parse(&text).and_then(|whole| whole.object(SERVERS));
    servers.map(|servers| servers.get(SERVER).is_some()).map_err(|error| file::unreadable(&files.state, &error))
}

/// Puts server and hooks in; the files that were changed.
pub(crate) fn install(files: &Files, program: &str) -> Result<Vec<PathBuf>, CliError> {
    edited(files, |text| with_server(text, Some(program)), |text| with_hooks(text, Some(program)))
}

/// Takes them out.
pub(crate) fn uninstall(files: &Files) -> Result<Vec<PathBuf>, CliError> {
    edited(files, |text| with_server(text, None), |text| with_hooks(text, None))
}

type Edited = Result<Option<String>, serde_json::Error>;

fn edited(
    files: &Files,
    state: impl Fn(&str) -> Edited,
    settings: impl Fn(&str) -> Edited,
) -> Result<Vec<PathBuf>, CliError> {
    // Both are looked at before the first is changed: what cannot be done is not done by halves.
    let (state_is_due, settings_is_due) = (due(&files.state, &state)?, due(&files.settings, &settings)?);
    let mut changed = Vec::new();
    if state_is_due && change(&files.state, state)? {
        changed.push(files.state.clone());
    }
    if settings_is_due && change(&files.settings, settings)? {
        changed.push(files.settings.clone());
    }
    Ok(changed)
}

/// Whether there is something to change; then there is a copy.
fn due(path: &Path, edit: &impl Fn(&str) -> Edited) -> Result<bool, CliError> {
    let text = file::read(path)?;
    let edited = edit(text.as_deref().unwrap_or_default()).map_err(|error| file::unreadable(path, &error))?;
    if let (Some(text), Some(_)) = (&text, &edited) {
        copy(path, text)?;
    }
    Ok(edited.is_some())
}

fn copy(path: &Path, text: &str) -> Result<(), CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(COPY);
    let copy = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&copy);
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&copy)?.write_all(text.as_bytes())
    };
    write().map_err(|error| CliError::failed(format!("cannot write {}: {error}", copy.display())))
}

fn with_server(text: &str, program: Option<&str>) -> Edited {
    within(text, SERVERS, |servers, form| {
        match program {
            None => servers.remove(SERVER),
            Some(program) if is_server(servers, program) => {}
            Some(program) => {
                let entry = json!({"type": "stdio", "command": program, "args": ["mcp"], "env": {}});
                servers.set(SERVER, form.write(&entry, ENTRY_DEPTH)?);
            }
        }
        Ok(())
    })
}

/// Whether our server is as it should be; what the person added to it stays.
fn is_server(servers: &Object, program: &str) -> bool {
    let entry = servers.get(SERVER).and_then(|entry| serde_json::from_str::<Value>(entry.get()).ok());
    entry.is_some_and(|entry| {
        entry.get("command") == Some(&json!(program)) && entry.get("args") == Some(&json!(["mcp"]))
    })
}

fn with_hooks(text: &str, program: Option<&str>) -> Edited {
    let edited = within(text, HOOKS, |hooks, form| {
        for (event, word) in EVENTS {
            let command = program.map(|program| format!("{} hook {word}", text::shell_word(program)));
            let groups: Vec<Box<RawValue>> = match hooks.get(event) {
                Some(groups) => serde_json::from_str(groups.get())?,
                None => Vec::new(),
            };
            match with_group(&groups, command.as_deref(), form)? {
                None => {}
                Some(groups) if groups.is_empty() => hooks.remove(event),
                Some(groups) => hooks.set(event, list(&groups, form, ENTRY_DEPTH)?),
            }
        }
        Ok(())
    })?;
    let Some(edited) = edited else { return Ok(None) };
    let mut whole = Object::parse(&edited)?;
    if program.is_some() || !whole.object(HOOKS)?.is_empty() {
        return Ok(Some(edited));
    }
    whole.remove(HOOKS);
    let end = if edited.ends_with('\n') { "\n" } else { "" };
    Ok(Some(whole.text(Form::of(&edited), 0)? + end))
}

/// The groups with ours as it should be, or without ours. `None` if they are so.
fn with_group(
    groups: &[Box<RawValue>],
    command: Option<&str>,
    form: Form,
) -> Result<Option<Vec<Box<RawValue>>>, serde_json::Error> {
    let ours: Vec<_> = groups.iter().filter_map(|group| our_command(group)).collect();
    if ours.iter().map(String::as_str).eq(command) {
        return Ok(None);
    }
    let mut kept: Vec<_> = groups.iter().filter(|group| our_command(group).is_none()).cloned().collect();
    if let Some(command) = command {
        let hook = json!({"type": "command", "command": command, "timeout": HOOK_TIMEOUT_S});
        kept.push(form.write(&json!({"hooks": [hook]}), ENTRY_DEPTH + 1)?);
    }
    Ok(Some(kept))
}

/// The command of a group that holds one hook, which is ours.
fn our_command(group: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Group {
        hooks: [Hook; 1],
    }
    #[derive(Deserialize)]
    struct Hook {
        command: String,
    }
    let Group { hooks: [Hook { command }] } = serde_json::from_str(group.get()).ok()?;
    let is_ours = EVENTS.iter().any(|(_, word)| {
        let program = command.strip_suffix(&format!(" hook {word}"));
        program.is_some_and(|program| program.trim_end_matches('\'').ends_with("claudemesh"))
    });
    Some(command).filter(|_| is_ours)
}

fn list(groups: &[Box<RawValue>], form: Form, depth: usize) -> Result<Box<RawValue>, serde_json::Error> {
    let (before, end) = match form {
        Form::Lines => (format!("\n{}", "  ".repeat(depth + 1)), format!("\n{}", "  ".repeat(depth))),
        Form::Dense => (String::new(), String::new()),
    };
    let groups: Vec<_> = groups.iter().map(|group| format!("{before}{}", group.get())).collect();
    RawValue::from_string(format!("[{}{end}]", groups.join(",")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::fs;

    use super::*;

    fn files(root: &Path) -> Files {
        Files {
            state: root.join(".claude.json"),
            settings: root.join(".claude/settings.json"),
            projects: root.join(".claude/projects"),
        }
    }

    const SETTINGS: &str = r#"{
  "model": "opus",
  "hooks": {
    "Stop": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "say done"
          }
        ]
      }
    ]
  }
}
"#;

    #[test]
    fn what_is_installed_twice_is_installed_once_and_goes_without_a_trace() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        fs::create_dir(root.path().join(".claude")).unwrap();
        let state = "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"mine\": {}\n  }\n}";
        fs::write(&files.state, state).unwrap();
        fs::write(&files.settings, SETTINGS).unwrap();
        assert!(!is_installed(&files).unwrap());
        assert_eq!(install(&files, "/opt/my tools/claudemesh").unwrap().len(), 2);
        assert!(is_installed(&files).unwrap());
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let parsed = |path: &Path| serde_json::from_str::<Value>(&read(path)).unwrap();
        let hooks = parsed(&files.settings)["hooks"].clone();
        assert_eq!(hooks["UserPromptSubmit"][0]["hooks"][0]["command"], "'/opt/my tools/claudemesh' hook working");
        assert_eq!(hooks["Stop"][0]["hooks"][0]["command"], "say done");
        assert_eq!(hooks["Stop"][1]["hooks"][0]["command"], "'/opt/my tools/claudemesh' hook idle");
        assert_eq!(parsed(&files.state)["mcpServers"]["claudemesh"]["args"], json!(["mcp"]));
        assert_eq!(install(&files, "/opt/my tools/claudemesh").unwrap(), Vec::<PathBuf>::new());
        // Another place: what was there is replaced.
        assert_eq!(install(&files, "/usr/bin/claudemesh").unwrap().len(), 2);
        assert_eq!(parsed(&files.settings)["hooks"]["Stop"].as_array().unwrap().len(), 2);
        assert_eq!(uninstall(&files).unwrap().len(), 2);
        assert_eq!((read(&files.state).as_str(), read(&files.settings).as_str()), (state, SETTINGS));
        assert_eq!(uninstall(&files).unwrap(), Vec::<PathBuf>::new());
        assert!(read(&root.path().join(".claude.json.before-claudemesh")).contains("/usr/bin/claudemesh"));
    }

    #[test]
    fn files_that_are_not_there_are_made_and_hooks_that_were_not_there_go_again() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        assert_eq!(install(&files, "/bin/claudemesh").unwrap().len(), 2);
        uninstall(&files).unwrap();
        assert_eq!(fs::read_to_string(&files.settings).unwrap(), "{}");
    }

    #[test]
    fn nothing_is_done_by_halves() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        fs::create_dir(root.path().join(".claude")).unwrap();
        fs::write(&files.settings, "{ // mine\n}").unwrap();
        assert!(install(&files, "/bin/claudemesh").unwrap_err().message.contains("left as it is"));
        assert!(!files.state.exists());
    }
}
