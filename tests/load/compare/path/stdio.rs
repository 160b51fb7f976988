//! The server's own pipes, and nothing between.

use std::process::Stdio as Standard;

use ::tests::frames;
use ::tests::harness::programs;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Member, ended, words};
use crate::drive::Line;
use crate::speech::{Form, Speech};

pub(crate) struct Stdio {
    input: ChildStdin,
    output: ChildStdout,
    pub(super) members: Vec<Member>,
    server: Child,
}

impl Stdio {
    pub(super) async fn start() -> Result<Self, String> {
        let mut server = Command::new(programs::echo())
            .stdin(Standard::piped())
            .stdout(Standard::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(words)?;
        let pid = server.id().ok_or("the server ended at once")?;
        let (Some(input), Some(output)) = (server.stdin.take(), server.stdout.take()) else {
            return Err("the server has no pipes".to_owned());
        };
        frames::widen(&input);
        frames::widen(&output);
        Ok(Self { input, output, members: vec![Member { role: "server", pid }], server })
    }

    pub(super) fn open(&mut self) -> Line<'_> {
        Line::new(&mut self.output, &mut self.input, Speech::new(Form::Lines))
    }

    /// The end of its input is the end of the server.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        drop(self.input);
        ended(&mut self.server).await
    }
}
