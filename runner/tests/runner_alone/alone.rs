//! The runner that is tested: this binary again, with [`WORD`] as its first argument, so that it is never an older build.
//!
//! `DATA_DIR TOKEN NAME=VALUE...`, where the settings are `orphan_ms`, `level` (guard, namespace), `path` (all there is of
//! its environment) and `listen` (an address instead of the socket in the data directory).

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use protocol::SecretString;
use runner::config::{DEFAULT_ORPHAN_TIMEOUT, Listen, RunnerConfig, socket_path};
use runner::prepare::SourceSettings;
use runner::process::Level;

/// The first argument that makes this binary a runner.
pub(super) const WORD: &str = "__runner_alone";

/// As the process tests do: asked before the harness's main, when no thread exists yet. A warden is asked for there.
#[used]
#[allow(unsafe_code, reason = "the only way to run before the harness's main")]
#[unsafe(link_section = ".init_array")]
static BECOME_ASKED: extern "C" fn() = become_asked;

extern "C" fn become_asked() {
    let mut args = std::env::args().skip(1);
    if args.next().is_none_or(|word| word != WORD) {
        return;
    }
    // The library's own start, which does this, comes later; without it a broker that hangs up kills.
    #[allow(unsafe_code, reason = "no other thread exists, and no handler is replaced")]
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.unwrap();
    match config(args).and_then(|config| runner::run(config).map_err(|error| error.to_string())) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1)
        }
    }
}

fn config(mut args: impl Iterator<Item = String>) -> Result<RunnerConfig, String> {
    let data_dir = PathBuf::from(args.next().ok_or("no data directory")?);
    let mut config = RunnerConfig {
        name: "alone".to_owned(),
        listen: Listen::Unix(socket_path(&data_dir, &std::env::temp_dir())),
        token: SecretString::new(args.next().ok_or("no token")?),
        data_dir,
        hidden: Vec::new(),
        isolation_maximum: None,
        exe: "/proc/self/exe".into(),
        orphan_timeout: DEFAULT_ORPHAN_TIMEOUT,
        env: std::env::vars_os().collect(),
        sources: SourceSettings::default(),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    };
    for setting in args {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("{setting} is no setting"))?;
        let wrong = |_| format!("{setting} has a wrong value");
        match (name, value) {
            ("orphan_ms", ms) => config.orphan_timeout = Duration::from_millis(ms.parse().map_err(wrong)?),
            ("level", "guard") => config.isolation_maximum = Some(Level::Guard),
            ("level", "namespace") => config.isolation_maximum = Some(Level::Namespace),
            ("path", path) => config.env = [("PATH".into(), path.into())].into(),
            ("listen", address) => {
                let address = address.parse().map_err(|_| format!("{setting} has a wrong value"))?;
                config.listen = Listen::Tcp(address);
            }
            _ => return Err(format!("{setting} is no setting")),
        }
    }
    Ok(config)
}
