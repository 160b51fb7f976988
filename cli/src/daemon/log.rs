//! Where the long-lived processes write what they do.

use tracing_subscriber::EnvFilter;

/// Which lines are written: `CLAUDEMESH_LOG=debug`, `CLAUDEMESH_LOG=broker=trace,warn`.
const VARIABLE: &str = "CLAUDEMESH_LOG";

/// Writes to stderr from now on, from `default` up unless the environment says otherwise.
pub(crate) fn start(default: &str) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let built = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Never coloured: the feature `ansi` is not built in, and asking for it without is a panic.
        .with_ansi(false)
        .with_target(false)
        .try_init();
    if built.is_err() {
        // Somebody listens already; that is as good.
    }
}
