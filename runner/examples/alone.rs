//! A runner without the rest of the product: what its integration tests start.
//!
//! `alone DATA_DIR TOKEN NAME=VALUE...`, where the settings are `orphan_ms`, `level` (guard, namespace) and `listen`
//! (an address instead of the socket in the data directory).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use protocol::SecretString;
use runner::config::{DEFAULT_ORPHAN_TIMEOUT, Listen, RunnerConfig, socket_path};
use runner::process::{Level, warden_main_if_asked};

fn main() -> ExitCode {
    warden_main_if_asked();
    match config().and_then(|config| runner::run(config).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn config() -> Result<RunnerConfig, String> {
    let mut args = std::env::args().skip(1);
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
        build: env!("CARGO_PKG_VERSION").to_owned(),
    };
    for setting in args {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("{setting} is no setting"))?;
        let wrong = |_| format!("{setting} has a wrong value");
        match (name, value) {
            ("orphan_ms", ms) => config.orphan_timeout = Duration::from_millis(ms.parse().map_err(wrong)?),
            ("level", "guard") => config.isolation_maximum = Some(Level::Guard),
            ("level", "namespace") => config.isolation_maximum = Some(Level::Namespace),
            ("listen", address) => {
                let address = address.parse().map_err(|_| format!("{setting} has a wrong value"))?;
                config.listen = Listen::Tcp(address);
            }
            _ => return Err(format!("{setting} is no setting")),
        }
    }
    Ok(config)
}
