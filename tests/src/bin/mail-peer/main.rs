//! A receiver in a process of its own, to be stopped and killed.
//!
//! `mail-peer PORT old|new MESH MEMBER_ID MEMBER_SECRET SESSION_SEED` connects, and prints `ready`, then the body of each
//! message as it is shown.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a program of the stories")]

use std::process::ExitCode;

use tests::harness::peer::converse;
use tests::harness::{Client, Member, Receiver, Session};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, client, mesh, id, secret, seed] = words.as_slice() else {
        eprintln!("usage: mail-peer PORT old|new MESH MEMBER_ID MEMBER_SECRET SESSION_SEED");
        return ExitCode::from(2);
    };
    let client = if client == "old" { Client::Old } else { Client::New };
    let ended = converse(async {
        let member = Member::of(mesh, id, secret, "frozen")?;
        let session = Session::from_seed(&member, seed)?;
        let port = port.parse().map_err(|error| format!("{port}: {error}"))?;
        let mut receiver = Receiver::entered(session, port, client).await?;
        println!("ready");
        loop {
            let before = receiver.shown.len();
            receiver.hear().await?;
            receiver.shown[before..].iter().for_each(|slip| println!("{}", slip.body()));
        }
    });
    let Err(error) = ended.map(|never: std::convert::Infallible| never);
    eprintln!("mail-peer: {error}");
    ExitCode::FAILURE
}
