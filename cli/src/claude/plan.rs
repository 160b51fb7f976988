//! With which words and variables the client is started. Pure.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use super::setup::SERVER;

/// How long the client waits for a server to start, ms, unless the person says otherwise.
const MCP_TIMEOUT: &str = "30000";
/// How much of a tool's result the client takes, unless the person says otherwise.
const MAX_MCP_OUTPUT_TOKENS: &str = "50000";
/// The server whose events reach the conversation: ours, as `claudemesh install` names it.
const CHANNEL: &str = "server:claudemesh";

/// Which conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// A new one, by this id.
    New(String),
    /// This one.
    Resume(String),
    /// The last of this directory.
    Continue,
}

/// What the client is started for.
#[derive(Debug, Clone)]
pub(crate) struct Wish<'a> {
    /// Which conversation.
    pub(crate) conversation: &'a Conversation,
    /// The session's id in the mesh.
    pub(crate) session_id: &'a str,
    /// `--system-prompt`.
    pub(crate) system_prompt: Option<&'a str>,
    /// All else that the client is told.
    pub(crate) rest: &'a [OsString],
    /// The session's configuration directory.
    pub(crate) config_dir: &'a Path,
    /// The name that others see.
    pub(crate) display_name: Option<&'a str>,
    /// Its role.
    pub(crate) role: Option<&'a str>,
    /// The groups that it is in from its first moment, as the variable has them.
    pub(crate) groups: Option<&'a str>,
    /// How messages reach it, where that was chosen.
    pub(crate) message_mode: Option<&'a str>,
    /// This program, where the client does not know our server.
    pub(crate) server: Option<&'a str>,
}

/// The words, the variables, and those that are taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// After the program's name.
    pub(crate) words: Vec<OsString>,
    /// Set.
    pub(crate) variables: Vec<(&'static str, OsString)>,
    /// Taken away.
    pub(crate) unset: Vec<&'static str>,
}

impl Wish<'_> {
    /// `is_set` says which variables the person has set.
    pub(crate) fn plan(&self, is_set: impl Fn(&str) -> bool) -> Plan {
        let mut variables: Vec<(_, OsString)> =
            vec![("CLAUDEMESH_CONFIG_DIR", self.config_dir.into()), ("CLAUDEMESH_SESSION_ID", self.session_id.into())];
        let mut unset = Vec::new();
        for (name, value) in [
            ("CLAUDEMESH_DISPLAY_NAME", self.display_name),
            ("CLAUDEMESH_ROLE", self.role),
            ("CLAUDEMESH_GROUPS", self.groups),
            ("CLAUDEMESH_MESSAGE_MODE", self.message_mode),
        ] {
            match value {
                Some(value) => variables.push((name, value.into())),
                // The person's own would speak over what the session was told.
                None => unset.push(name),
            }
        }
        for (name, value) in [("MCP_TIMEOUT", MCP_TIMEOUT), ("MAX_MCP_OUTPUT_TOKENS", MAX_MCP_OUTPUT_TOKENS)] {
            if !is_set(name) {
                variables.push((name, value.into()));
            }
        }
        Plan { words: self.words(), variables, unset }
    }

    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--dangerously-load-development-channels".into(), CHANNEL.into()];
        if let Some(program) = self.server {
            // The client takes words up to the next one with a dash for more of these.
            words.extend(["--mcp-config".into(), self.own_server(program).into()]);
        }
        match self.conversation {
            Conversation::New(id) => words.extend(["--session-id".into(), id.into()]),
            Conversation::Resume(id) => words.extend(["--resume".into(), id.into()]),
            Conversation::Continue => words.push("--continue".into()),
        }
        if let Some(prompt) = self.system_prompt {
            words.extend(["--system-prompt".into(), prompt.into()]);
        }
        words.extend(self.rest.iter().cloned());
        words
    }

    /// Our server, for this session alone: it is in none of the client's files, and goes with its process.
    fn own_server(&self, program: &str) -> String {
        let env = json!({ "CLAUDEMESH_CONFIG_DIR": self.config_dir.to_string_lossy() });
        let entry = json!({ "type": "stdio", "command": program, "args": ["mcp"], "env": env });
        json!({ "mcpServers": { SERVER: entry } }).to_string()
    }
}

/// The client's name for the folder of a directory's conversations.
pub(crate) fn project_folder(directory: &str) -> String {
    directory.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_client() {
        let rest = [OsString::from("-p"), OsString::from("hello; rm -rf $HOME")];
        let wish = |conversation, system_prompt, server| Wish {
            conversation,
            session_id: "s-1",
            system_prompt,
            rest: &rest,
            config_dir: Path::new("/c"),
            display_name: Some("Ana"),
            role: None,
            groups: Some("eng,ops:lead"),
            message_mode: None,
            server,
        };
        let new = Conversation::New("u".into());
        let plan = wish(&new, Some("--be brief"), None).plan(|name| name == "MCP_TIMEOUT");
        let channel = ["--dangerously-load-development-channels", "server:claudemesh"];
        let words = |middle: &[&str]| {
            let all = channel.iter().chain(middle).map(OsString::from);
            all.chain(rest.iter().cloned()).collect::<Vec<_>>()
        };
        assert_eq!(plan.words, words(&["--session-id", "u", "--system-prompt", "--be brief"]));
        let variables: Vec<_> = plan.variables.iter().map(|(name, value)| (*name, value.to_str())).collect();
        assert_eq!(
            variables,
            [
                ("CLAUDEMESH_CONFIG_DIR", Some("/c")),
                ("CLAUDEMESH_SESSION_ID", Some("s-1")),
                ("CLAUDEMESH_DISPLAY_NAME", Some("Ana")),
                ("CLAUDEMESH_GROUPS", Some("eng,ops:lead")),
                ("MAX_MCP_OUTPUT_TOKENS", Some("50000")),
            ]
        );
        assert_eq!(plan.unset, ["CLAUDEMESH_ROLE", "CLAUDEMESH_MESSAGE_MODE"]);
        let resume = Conversation::Resume("r".into());
        assert_eq!(wish(&resume, None, None).plan(|_| false).words, words(&["--resume", "r"]));
        let entry = r#"{"mcpServers":{"claudemesh":{"args":["mcp"],"command":"/b/claudemesh","env":{"CLAUDEMESH_CONFIG_DIR":"/c"},"type":"stdio"}}}"#;
        let own = wish(&resume, None, Some("/b/claudemesh")).plan(|_| false);
        assert_eq!(own.words, words(&["--mcp-config", entry, "--resume", "r"]));
        assert_eq!(wish(&Conversation::Continue, None, None).plan(|_| false).words, words(&["--continue"]));
        assert_eq!(project_folder("/w/my_app.x"), "-w-my-app-x");
    }
}
