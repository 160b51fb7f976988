//! `up`: a broker with the embedded default, and its own runner beside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use broker::config::{Config, DatabaseUrl, Overrides, RunnerUrl};
use broker::runners::RunnerConfig;
use broker::runners::embedded::Program;
use broker::store::first_start::{self, DirState};
use broker::store::{DirLock, LockError};
use broker::{Options, Started};

use super::{BUILD, OWN_PROGRAM, environment, explained, log, owner, private_dir, settings_file};
use crate::command::up::UpArgs;
use crate::error::CliError;
use crate::output::Printer;
use crate::profile::Profile;

/// What the tree calls the runner that `up` starts.
const RUNNER: &str = "local";
/// The runner's directory in the data directory.
const RUNNER_DIR: &str = "runner";
/// The token that broker and runner share, in the data directory.
const RUNNER_TOKEN_FILE: &str = "runner.token";

/// Runs until SIGINT or SIGTERM.
pub(crate) fn start(printer: Printer, profile: &Profile, args: &UpArgs) -> Result<(), CliError> {
    let mut config = configured(args)?;
    if args.print_config {
        printer.raw(config.print().as_bytes());
        return Ok(());
    }
    log::start("warn,broker=info");
    private_dir(&config.data_dir)?;
    let lock = DirLock::acquire(&config.data_dir).map_err(|error| locked(&error))?;
    let config_dir = profile.directory().to_owned();
    // It is hidden from services, and what is not there cannot be.
    private_dir(&config_dir)?;
    first_start(&lock, config.database_url.as_ref(), profile)?;
    config.fill_embedded_secrets().map_err(|error| explained(&error))?;

    let take_along = Arc::new(AtomicBool::new(false));
    let runner = embedded(&config, &config_dir, args, &take_along)?;
    let options = Options {
        lock,
        runners: vec![runner],
        // Without this the runner is left to the next broker.
        take_runner_along: (!args.keep_runner).then_some(take_along),
        build: BUILD.to_owned(),
        on_ready: ready(printer, profile.clone(), config.data_dir.clone()),
        config,
    };
    broker::run(options).map_err(|error| match error {
        broker::BrokerError::Listen { .. } => explained(&error).hint("--listen takes another address and port"),
        _ => explained(&error),
    })
}

fn configured(args: &UpArgs) -> Result<Config, CliError> {
    let overrides = Overrides {
        listen: args.listen.clone(),
        data_dir: args.data_dir.clone(),
        database_url: args.database_url.clone(),
        runner_urls: Vec::new(),
        behind_proxy: args.behind_proxy,
    };
    let mut env = environment();
    // `up` brings its own runner; runners elsewhere belong to `broker`.
    env.remove("RUNNER_URL");
    // So does a database that a shell happens to name: `up` takes one that is meant for it.
    env.remove("DATABASE_URL");
    let usage = |error: &dyn std::error::Error| CliError::usage(explained(error).to_string());
    // Once without the file, to learn where it would be.
    let data_dir = Config::load(&overrides, &env, None).map_err(|error| usage(&error))?.data_dir;
    let file = settings_file(args.config.as_deref(), &data_dir);
    Config::load(&overrides, &env, file.as_deref()).map_err(|error| usage(&error))
}

fn locked(error: &LockError) -> CliError {
    match error {
        LockError::Held(held) => CliError::failed(format!("one is running already: {held}"))
            .hint("`claudemesh health` asks it how it is; another --data-dir and --listen make a second one"),
        other => explained(other),
    }
}

/// The first `up` on a database makes a mesh and its owner.
fn first_start(lock: &DirLock, url: Option<&DatabaseUrl>, profile: &Profile) -> Result<(), CliError> {
    let system = actix_rt::System::new();
    if system.block_on(first_start::inspect(lock, url)).map_err(|error| explained(&error))? == DirState::Database {
        return Ok(());
    }
    let owner = owner::make(profile, login_name())?;
    let made = system.block_on(first_start::create(lock, url, Some(owner)));
    made.map(drop).map_err(|error| explained(&error))
}

fn login_name() -> String {
    let named = ["CLAUDEMESH_DISPLAY_NAME", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.and_then(|name| protocol::validate::display_name(&name).ok()).unwrap_or_else(|| "owner".to_owned())
}

fn embedded(
    config: &Config,
    config_dir: &Path,
    args: &UpArgs,
    take_along: &Arc<AtomicBool>,
) -> Result<RunnerConfig, CliError> {
    let data_dir = config.data_dir.join(RUNNER_DIR);
    let socket = runner::socket_path(&data_dir, &runtime_dir());
    let mut argv: Vec<OsString> = vec![OWN_PROGRAM.into(), "runner".into(), "--detach".into()];
    let mut say = |flag: &str, value: OsString| argv.extend([flag.into(), value]);
    say("--name", RUNNER.into());
    say("--listen", {
        let mut at = OsString::from("unix:");
        at.push(&socket);
        at
    });
    say("--data-dir", data_dir.clone().into());
    say("--token-file", config.data_dir.join(RUNNER_TOKEN_FILE).into());
    say("--hide", config.data_dir.clone().into());
    say("--hide", config_dir.into());
    if let Some(timeout) = args.orphan_timeout {
        say("--orphan-timeout", format!("{}ms", timeout.as_millis()).into());
    }
    if let Some(level) = args.isolation_maximum {
        say("--isolation-maximum", level.as_str().into());
    }
    let token = config.runner_token.clone().ok_or_else(|| CliError::failed("there is no runner token"))?;
    Ok(RunnerConfig {
        name: RUNNER.to_owned(),
        address: RunnerUrl::Unix(socket),
        token,
        program: Some(Program { argv, data_dir, take_along: Arc::clone(take_along) }),
    })
}

/// Where sockets go whose own directory has too long a name.
fn runtime_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => std::env::temp_dir().join(format!("claudemesh-{}", nix::unistd::getuid())),
    }
}

/// Says where it is, and keeps the owner's entry in `config.json` true.
fn ready(printer: Printer, profile: Profile, data_dir: PathBuf) -> Box<dyn FnOnce(Started) + Send> {
    Box::new(move |started| {
        let url = format!("ws://{}/ws", started.address);
        let mut slugs = Vec::new();
        for founded in &started.founded {
            let remembered = owner::entry(profile.directory(), founded, &url)
                .and_then(|entry| entry.map_or(Ok(()), |entry| profile.remember(&entry)));
            match remembered {
                Ok(()) => slugs.push(founded.mesh.slug.clone()),
                // The broker is up all the same; the person is told why their verbs will not find it.
                Err(error) => printer.failure(&error),
            }
        }
        let document = serde_json::json!({ "url": url, "data_dir": data_dir, "meshes": slugs });
        let text = format!(
            "claudemesh is up at {url}\n  meshes  {}\n  data    {}\n  stop    Ctrl-C (stops the services too)",
            slugs.join(", "),
            data_dir.display(),
        );
        // A closed stdout does not end a broker.
        let _ = printer.result(&document, |_| text.clone());
    })
}
