//! H14: a command that is run to its end is bounded in time and in output.

use std::time::Duration;

use runner::process::{ExitStatus, Level, MAX_LINE, OutputStream, RunError, run};

use super::{SOON, command, fixture, launcher, levels, marked, token};

#[tokio::test]
async fn output_comes_by_lines_and_by_stream() {
    for level in levels() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; printf 'three\\377\\r\\nfour'; read x || exit 4";
        let status = run(&launcher(level).await, &command(["/bin/sh", "-c", script]), SOON, &mut |stream, line| {
            lines.push((stream, line.to_owned()));
        })
        .await
        .unwrap();
        assert_eq!(status, ExitStatus::Code(4), "{level}: its input is empty");
        let of =
            |wanted| lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| &**line).collect::<Vec<_>>();
        assert_eq!(of(OutputStream::Stdout), ["one", "three\u{fffd}", "four"], "{level}");
        assert_eq!(of(OutputStream::Stderr), ["two"], "{level}");
    }
}

#[tokio::test]
async fn h14_the_time_limit_takes_everything() {
    for level in levels() {
        let token = token();
        let limit = Duration::from_secs(3);
        // It waits for input that does not come, and has left a grandchild.
        let mut lurking = false;
        let ended = run(&launcher(level).await, &fixture(["orphan", &token]), limit, &mut |_, line| {
            lurking |= line == "lurking";
        })
        .await;
        assert!(matches!(ended, Err(RunError::TimedOut(after)) if after == limit), "{level}: {ended:?}");
        assert!(lurking, "{level}: there was a grandchild to take");
        assert_eq!(marked(&token), [0; 0], "{level}");
    }
}

#[tokio::test]
async fn a_line_of_100_mb_is_cut_and_the_rest_does_not_block() {
    let mut lines = Vec::new();
    let flood = fixture(["flood", "100000000"]);
    let status =
        run(&launcher(Level::Guard).await, &flood, SOON, &mut |_, line| lines.push(line.to_owned())).await.unwrap();
    assert_eq!(status, ExitStatus::Code(0));
    assert_eq!(lines.len(), 2, "the line, and that output was dropped: {}", lines.len());
    assert!(lines[0].len() < MAX_LINE + 64 && lines[0].contains("cut"));
    assert!(lines[1].contains("dropped"));
}

#[tokio::test]
async fn a_run_that_is_dropped_is_killed() {
    for level in levels() {
        let token = token();
        let launcher = launcher(level).await;
        let seen = std::cell::Cell::new(false);
        {
            let command = fixture(["orphan", &token]);
            let mut sink = |_: OutputStream, line: &str| seen.set(seen.get() || line == "lurking");
            let running = run(&launcher, &command, SOON, &mut sink);
            tokio::select! {
                _ = running => panic!("it does not end by itself"),
                () = super::until("it lurks", || seen.get()) => {}
            }
        }
        super::until("nothing is left", || marked(&token).is_empty()).await;
    }
}
