//! `completions`: a script that teaches a shell this program's words.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Context;
use crate::args::Cli;

/// The words of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs `completions`. The script is the same with `--json`: no program reads it but a shell.
pub(crate) fn run(context: &Context, args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "claudemesh", &mut script);
    context.printer.raw(&script);
}
