//! H12, H13: what a program starts with is what was named, and nothing else.

use runner::process::{ExitStatus, Limits};

use super::{command, ended, fixture, launcher, levels, marked, output, token};

#[tokio::test]
async fn h12_the_environment_is_exactly_what_was_named() {
    assert!(std::env::var_os("PATH").is_some(), "there is something that could leak");
    for level in levels() {
        let launcher = launcher(level).await;
        assert_eq!(output(&launcher, &command(["/usr/bin/env"])).await, "", "{level}");
        let mut command = command(["/usr/bin/env"]);
        command.env = [("B", "2 = two"), ("A", "")].map(|(name, value)| (name.into(), value.into())).into();
        assert_eq!(output(&launcher, &command).await, "A=\nB=2 = two\n", "{level}");
    }
}

#[tokio::test]
async fn h13_arguments_arrive_verbatim_and_meet_no_shell() {
    let hostile = ["", " ", "$HOME", "`id`", "; echo x", "a\nb", "*", "--upload-pack=x", "\"'\\", "\u{e9}"];
    for level in levels() {
        let mut command = fixture(["arguments"]);
        command.argv.extend(hostile.map(Into::into));
        let expected: String = hostile.iter().map(|argument| format!("{argument:?}\n")).collect();
        assert_eq!(output(&launcher(level).await, &command).await, expected, "{level}");
    }
}

#[tokio::test]
async fn arguments_of_a_megabyte_and_other_bytes_than_utf8_pass() {
    use std::os::unix::ffi::OsStringExt as _;
    for level in levels() {
        let mut command = fixture(["arguments"]);
        command.argv.push(std::ffi::OsString::from_vec(vec![0xff, b'a']));
        command.argv.extend((0..10).map(|_| "x".repeat(100_000).into()));
        let said = output(&launcher(level).await, &command).await;
        assert!(said.starts_with("\"\\xFFa\"\n"), "{level}");
        assert_eq!(said.lines().count(), 11, "{level}");
        assert_eq!(said.len(), 8 + 10 * 100_003, "{level}");
    }
}

/// Three streams, no blocked or ignored signal, no way to more privileges, a
/// session of its own, no core files.
#[tokio::test]
async fn a_program_starts_in_a_clean_state() {
    for level in levels() {
        let launcher = launcher(level).await;
        // The fourth is the listing itself.
        let listed = output(&launcher, &command(["/bin/ls", "/proc/self/fd"])).await;
        assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{level}");

        let status = output(&launcher, &command(["/bin/cat", "/proc/self/status"])).await;
        for expected in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(expected), "{level}: {expected} in {status}");
        }
        let mut limited = command(["/bin/cat", "/proc/self/limits"]);
        limited.limits = Limits { fds: 77, ..Limits::default() };
        let limits = output(&launcher, &limited).await;
        let row = |name: &str| {
            let row = limits.lines().find(|line| line.starts_with(name)).unwrap();
            row[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("Max open files"), ["77", "77"], "{level}");
        assert_eq!(row("Max core file size"), ["0", "0"], "{level}");

        let mut here = command(["/bin/pwd"]);
        here.cwd = "/usr".into();
        assert_eq!(output(&launcher, &here).await, "/usr\n", "{level}");
    }
}

/// No warden holds an end of a pipe that is the program's.
#[tokio::test]
async fn a_pipe_that_the_program_closes_is_seen_closed_while_it_runs() {
    use tokio::io::AsyncReadExt as _;
    for level in levels() {
        let script = "exec <&- >&-; echo closed >&2; exec sleep 600";
        let shell = command(["/bin/sh", "-c", script]);
        let mut process = launcher(level).await.spawn(&shell).await.unwrap();
        let mut said = [0; 7];
        process.stderr.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"closed\n");
        let read = tokio::time::timeout(super::SOON, process.stdout.read(&mut said)).await;
        assert_eq!(read.expect("the end of the output is not seen").unwrap(), 0, "{level}");
        let error = process.stdin.try_write(b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{level}");
        process.handle.kill();
        ended(process).await;
    }
}

#[tokio::test]
async fn the_pid_that_is_shown_is_the_programs_on_this_machine() {
    for level in levels() {
        let token = token();
        let process = launcher(level).await.spawn(&command(["/bin/sh", "-c", "read x", &token])).await.unwrap();
        let facts = process.handle.facts();
        assert_eq!(marked(&token), [facts.pid], "{level}");
        assert_eq!(facts.level, level);
        assert!(facts.started_ms > 1_700_000_000_000);
        drop(process.stdin);
        tokio::time::timeout(super::SOON, process.exit).await.unwrap();
    }
}

#[tokio::test]
async fn every_kind_of_end_is_told_apart() {
    for level in levels() {
        let launcher = launcher(level).await;
        for (script, expected) in [
            ("exit 0", ExitStatus::Code(0)),
            ("exit 255", ExitStatus::Code(255)),
            ("kill -9 $$", ExitStatus::Signal(9, false)),
            ("kill -11 $$", ExitStatus::Signal(11, false)),
            ("kill -40 $$", ExitStatus::Signal(40, false)),
        ] {
            let process = launcher.spawn(&command(["/bin/sh", "-c", script])).await.unwrap();
            assert_eq!(ended(process).await, expected, "{level}: {script}");
        }
    }
}
