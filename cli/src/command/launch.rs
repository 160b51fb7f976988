//! `launch`: starts a Claude Code session that is joined to a mesh, and waits for its end. The exit code is the
//! client's.
//!
//! The services that the session may use become the client's own, by entries in its file; the session gets a
//! configuration directory with its mesh alone. Both go when it ends. A client that was never told of our server
//! (`claudemesh install`) is told of it for this session, on its command line.
//!
//! `--print --json`: `{"program", "args", "env", "unset", "services", "entries"}`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use clap::{ArgAction, Args};
use protocol::config::MessageMode;
use protocol::wire::{HelloAck, PeerType, SessionKind};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Context, block_on, join};
use crate::claude::{self, Conversation, Files, Here, Native, Plan, Signals, Wish};
use crate::client::{Appearance, Mesh, Pushes};
use crate::error::{CliError, Kind};
use crate::output::table;
use crate::profile::{Chosen, Membership, Profile, Told, groups_variable, remove_launched};
use crate::text;

/// The client's program.
const CLIENT: &str = "claude";
/// Longer names are none that a session of ours would have.
const MAX_SESSION_ID: usize = 128;

/// The words of `launch`.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// The name that others see
    #[arg(long)]
    name: Option<String>,
    /// The session's role, in its groups too
    #[arg(long)]
    role: Option<String>,
    /// The groups that it is in from its first moment, such as eng,ops:lead
    #[arg(long, value_name = "GROUPS")]
    groups: Option<String>,
    /// Join a mesh by this link first
    #[arg(long, value_name = "LINK")]
    join: Option<String>,
    /// How messages reach it: push, inbox or off
    #[arg(long, value_name = "MODE", value_parser = message_mode)]
    message_mode: Option<MessageMode>,
    /// What the client is told in place of its own first words
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// Ask nothing; launch does not ask anyhow
    #[arg(long, short, action = ArgAction::SetTrue)]
    yes: bool,
    /// Take this conversation up again
    #[arg(long, value_name = "ID")]
    resume: Option<String>,
    /// Take the last conversation of this directory up again
    #[arg(long = "continue", conflicts_with = "resume")]
    go_on: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    print: bool,
    /// What the client is told beside that
    #[arg(last = true, value_name = "WORDS")]
    rest: Vec<OsString>,
}

fn message_mode(word: &str) -> Result<MessageMode, String> {
    serde_json::from_value(Value::from(word)).map_err(|_| "one of push, inbox, off".to_owned())
}

/// All that is decided before anything is done.
struct Launch {
    profile: Profile,
    files: Files,
    client: PathBuf,
    told: Told,
    directory: PathBuf,
    native: Native,
    plan: Plan,
}

/// Runs `launch`. There is no runtime while the client runs: signals are held back for all threads that are there.
pub(crate) fn run(context: &Context, args: LaunchArgs) -> Result<(), CliError> {
    let is_print = args.print;
    let mut prepared = None;
    block_on(async {
        prepared = Some(prepare(context, args).await?);
        Ok(())
    })?;
    let Some(launch) = prepared else { return Ok(()) };
    if is_print {
        return launch.show(context);
    }
    let code = launch.carry_out(context)?;
    // Everything is cleared away, and the code is not one of ours.
    std::process::exit(code)
}

async fn prepare(context: &Context, args: LaunchArgs) -> Result<Launch, CliError> {
    let client = claude::program(CLIENT).ok_or_else(|| {
        CliError::failed("the Claude Code client is not installed: there is no `claude` on PATH")
            .hint("npm install -g @anthropic-ai/claude-code")
    })?;
    let files = Files::from_environment()?;
    let joined = match &args.join {
        Some(link) if !args.print => Some(join::by_link(link, args.name.clone()).await?.entry.slug),
        _ => None,
    };
    let profile = Profile::from_environment()?;
    let Membership { mesh, display_name } = profile.membership(joined.as_deref().or(context.mesh.as_deref()))?;
    let chosen = Chosen { groups: args.groups, role: args.role, message_mode: args.message_mode };
    let (settings, role) = profile.settings_with(chosen)?;
    let display_name = args.name.or(display_name);
    let told = Told { mesh, display_name, role, groups: settings.groups, message_mode: settings.message_mode };
    let services = services(context, &profile, &told).await?;
    let (conversation, session_id) = conversation(args.resume, args.go_on, &files);
    let directory = profile.launched(&Uuid::new_v4().to_string());
    let (program, groups) = (claude::own_program()?, groups_variable(&told.groups, told.role.as_deref()));
    // A file that cannot be understood is reported when the entries are written.
    let is_installed = claude::is_installed(&files).unwrap_or(true);
    let wish = Wish {
        conversation: &conversation,
        session_id: &session_id,
        system_prompt: args.system_prompt.as_deref(),
        rest: &args.rest,
        config_dir: &directory,
        display_name: told.display_name.as_deref(),
        role: told.role.as_deref(),
        groups: groups.as_deref(),
        message_mode: told.message_mode.map(MessageMode::as_str),
        server: Some(program.as_str()).filter(|_| !is_installed),
    };
    let plan = wish.plan(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    let native = Native {
        program,
        config_dir: directory.display().to_string(),
        mesh_slug: told.mesh.slug.clone(),
        launcher: Here::now().launcher(),
        services,
        created_at: jiff::Timestamp::now().to_string(),
    };
    Ok(Launch { profile, files, client, told, directory, native, plan })
}

/// The services that the session may use, by the broker's word to a hello with the session's groups. A broker that is
/// away is no reason not to start: the session has what its own server finds when it is back.
async fn services(context: &Context, profile: &Profile, told: &Told) -> Result<Vec<String>, CliError> {
    let membership = Membership { mesh: told.mesh.clone(), display_name: told.display_name.clone() };
    let file = profile.session(&told.mesh.mesh_id)?;
    let appearance = Appearance {
        kind: SessionKind::Proxy,
        peer_type: PeerType::Connector,
        channel: None,
        groups: told.groups.clone(),
    };
    let connected =
        Mesh::connect_as(profile.clone(), membership, context.printer, Pushes::Dropped, file, appearance).await;
    let mesh = match connected {
        Ok(mesh) => mesh,
        Err(error) if matches!(error.kind, Kind::Unreachable | Kind::TimedOut) => {
            let slug = text::line(&told.mesh.slug);
            context.printer.warning(&format!(
                "{}; the session starts without the tools of `{slug}` as its own, and reconnects by itself",
                text::line(&error.message)
            ));
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let welcome = mesh.client.welcome().read::<HelloAck>();
    mesh.close().await;
    let welcome = welcome.map_err(|error| CliError::failed(format!("the broker's welcome makes no sense: {error}")))?;
    let all: Vec<_> = welcome.services.unwrap_or_default().into_iter().map(|service| service.name).collect();
    let found = all.len();
    let fitting = Native::fitting(all);
    if fitting.len() < found {
        context.printer.warning(&format!(
            "{} of {found} services become the session's own; the others it calls by mesh_tool_call",
            fitting.len()
        ));
    }
    Ok(fitting)
}

/// Which conversation, and the session's id in the mesh: the conversation's own where that is known, so that the
/// session keeps its key.
fn conversation(resume: Option<String>, go_on: bool, files: &Files) -> (Conversation, String) {
    let is_plain = |id: &String| {
        !id.is_empty() && id.len() <= MAX_SESSION_ID && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let new = Uuid::new_v4().to_string();
    match resume {
        Some(id) => {
            let session = Some(id.clone()).filter(is_plain).unwrap_or(new);
            (Conversation::Resume(id), session)
        }
        None if go_on => {
            let directory = std::env::current_dir().ok();
            let last = directory.and_then(|directory| claude::last_conversation(&files.projects, &directory));
            (Conversation::Continue, last.unwrap_or(new))
        }
        None => (Conversation::New(new.clone()), new),
    }
}

impl Launch {
    /// Does it, and clears away whatever the end is.
    fn carry_out(&self, context: &Context) -> Result<i32, CliError> {
        self.warn(context);
        let signals = Signals::held()?;
        self.profile.sweep_launched(&Here::now());
        let ended = self
            .profile
            .make_launched(&self.directory, &self.native.launcher, &self.told)
            .and_then(|()| self.native.add(&self.files.state))
            .and_then(|()| signals.run(self.command()));
        for cleared in [self.native.remove(&self.files.state), remove_launched(&self.directory)] {
            if let Err(error) = cleared {
                context.printer.warning(&format!("{}; the next launch clears it away", error.message));
            }
        }
        ended
    }

    fn warn(&self, context: &Context) {
        let mesh = &self.told.mesh;
        if mesh.owner_pubkey.is_some_and(|owner| owner.to_string() == mesh.pubkey) {
            context.printer.warning(
                "this mesh is of an older kind: your member key is its owner's key too, and the session has it",
            );
        }
        let services = self.native.services.len();
        context
            .printer
            .note(&format!("Starting a session in the mesh `{}` with {services} services.", text::line(&mesh.slug)));
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.client);
        command.args(&self.plan.words).envs(self.plan.variables.iter().map(|(name, value)| (name, value)));
        for name in &self.plan.unset {
            command.env_remove(name);
        }
        command
    }

    /// `--print`.
    fn show(&self, context: &Context) -> Result<(), CliError> {
        let lossy = |word: &OsString| word.to_string_lossy().into_owned();
        let words: Vec<_> = self.plan.words.iter().map(lossy).collect();
        let variables: BTreeMap<_, _> = self.plan.variables.iter().map(|(name, value)| (*name, lossy(value))).collect();
        let entries: Vec<_> = self.native.names().collect();
        let document = json!({
            "program": self.client.to_string_lossy(), "args": words, "env": variables, "unset": self.plan.unset,
            "services": self.native.services, "entries": entries,
        });
        context.printer.result(&document, |style| {
            let mut rows = vec![vec!["program".to_owned(), text::line(&self.client.to_string_lossy())]];
            rows.extend(words.iter().map(|word| vec!["word".to_owned(), text::line(word)]));
            rows.extend(
                variables.iter().map(|(name, value)| vec!["set".to_owned(), format!("{name}={}", text::line(value))]),
            );
            rows.extend(self.plan.unset.iter().map(|name| vec!["unset".to_owned(), (*name).to_owned()]));
            rows.extend(entries.iter().map(|name| vec!["entry".to_owned(), name.clone()]));
            table::render(style, &["what", "value"], rows)
        })
    }
}
