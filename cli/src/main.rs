//! `claudemesh`: the one program. It is the broker, the runner, and the person's commands.
//!
//! Contract: `main` parses the words, runs one command and turns its end into an exit code; what is printed where is
//! decided in [`output`], what an exit code means in [`error`]. One file per command in [`command`].

mod args;
mod claude;
mod client;
mod command;
mod daemon;
mod doctor;
mod endpoint;
mod error;
mod mail;
mod mcp;
mod operator;
mod output;
mod profile;
mod sealing;
mod share;
mod text;
mod upload;
mod vault;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

/// Messages and calls are made on one thread and freed on others; see `docs/decisions/0017-jemalloc.md`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // A copy of this program guards each child process of a runner. Such a copy never gets past this line.
    runner::process::warden_main_if_asked();

    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => return words_refused(&refusal),
    };
    let printer = output::Printer::new(cli.global.json, cli.global.quiet);
    match command::run(cli, printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer.failure(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Help and version are answers (exit 0), all else is a refusal of the words (exit 2). clap prints both in its own form,
/// which starts with `error:` too.
fn words_refused(refusal: &clap::Error) -> ExitCode {
    // Nobody is left to be told when this cannot be written.
    let _ = refusal.print();
    match refusal.kind() {
        clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(error::Kind::Usage.exit_code()),
    }
}
