//! The empty chain: the processes and the transports that a call goes through, and nothing that is done with it.
//!
//! `load-chain back SOCKET -- PROGRAM…` starts the program, accepts WebSockets at a Unix socket, and makes each message a
//! line of the program's input and each line of its output a message. `load-chain front SOCKET` accepts WebSockets at a
//! port of its own, and connects each to the back. Each says one line once it can be reached (`ready`, the front with its
//! port), serves one connection after another, and ends when its standard input does.
//!
//! Contract: no message is looked into. What one read brought is passed on with one write, and each direction goes on by
//! itself, so that a slow one never holds up the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a load program"
)]

mod back;
mod front;
mod pump;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let served = match words.as_slice() {
        ["front", socket] => runtime.block_on(async {
            tokio::select! {
                served = front::serve(Path::new(socket)) => served,
                () = input_ends() => Ok(()),
            }
        }),
        ["back", socket, "--", program @ ..] if !program.is_empty() => {
            runtime.block_on(back::serve(Path::new(socket), program, input_ends()))
        }
        _ => {
            eprintln!("usage: load-chain front SOCKET | load-chain back SOCKET -- PROGRAM [ARG…]");
            return ExitCode::from(2);
        }
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load-chain {}: {error}", words[0]);
            ExitCode::FAILURE
        }
    }
}

/// Whoever started it holds the other end of its input: when they are gone, so is this.
async fn input_ends() {
    let input = io::stdin().as_fd().try_clone_to_owned();
    // What is no pipe has no other end: it ends at once, and says so by being gone.
    let Ok(mut input) = input.and_then(pipe::Receiver::from_owned_fd) else { return };
    let mut nothing = [0; 1];
    // Whatever comes is no reason to go on.
    let _ = input.read(&mut nothing).await;
}
