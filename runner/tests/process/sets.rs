//! H07: whatever way a program ends, nothing of its set remains.

use std::io::{BufRead as _, BufReader as StdReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command as Std, Stdio};

use runner::process::{ExitStatus, Level};
use tokio::io::AsyncWriteExt as _;

use super::fixture::{WORD, spawn_orphan};
use super::{
    NOBODY, SOON, command, ended, exe_for_nobody, launcher, levels, line, marked, no_zombie_stays, token, until,
};

#[tokio::test]
async fn h07_kill_takes_the_grandchild_in_its_own_session_too() {
    for level in levels() {
        let token = token();
        let (process, _stdout) = spawn_orphan(&launcher(level).await, &token).await;
        // Whoever forked the grandchild may need a moment to end.
        until("program and grandchild are there", || marked(&token).len() == 2).await;
        process.handle.kill();
        assert_eq!(ended(process).await, ExitStatus::Signal(9, false), "{level}");
        assert_eq!(marked(&token), [0; 0], "{level}");
        no_zombie_stays().await;
    }
}

#[tokio::test]
async fn h07_the_end_of_the_program_is_the_end_of_its_grandchild() {
    for level in levels() {
        let token = token();
        let (mut process, mut stdout) = spawn_orphan(&launcher(level).await, &token).await;
        process.stdin.write_all(b"3\n").await.unwrap();
        let died = process.died();
        assert_eq!(ended(process).await, ExitStatus::Code(3), "{level}");
        assert_eq!(marked(&token), [0; 0], "{level}");
        assert_eq!(died.await, ExitStatus::Code(3));
        // The grandchild held the pipe: its end shows that nobody else does.
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stdout, &mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn h07_a_dropped_owner_takes_its_set_along() {
    for level in levels() {
        let token = token();
        let (process, _stdout) = spawn_orphan(&launcher(level).await, &token).await;
        let handle = process.handle.clone();
        drop(process);
        let died = tokio::time::timeout(SOON, handle.died()).await.expect("nobody killed it");
        assert_eq!(died, ExitStatus::Signal(9, false), "{level}");
        until("the set is gone", || marked(&token).is_empty()).await;
    }
}

/// The runner dies of SIGKILL; `uid` runs it as an ordinary user.
async fn kill_a_runner(exe: &std::path::Path, level: Level, uid: Option<u32>) {
    let token = token();
    let mut helper = Std::new(exe);
    helper.args([WORD, "runner", level.as_str(), &token]).stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(uid) = uid {
        helper.uid(uid).gid(uid);
    }
    let mut helper = helper.spawn().unwrap();
    let mut said = String::new();
    StdReader::new(helper.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "spawned\n", "{level}");
    until("the runner, its program and the grandchild are there", || marked(&token).len() == 3).await;
    helper.kill().unwrap();
    helper.wait().unwrap();
    until("a killed runner leaves nothing", || marked(&token).is_empty()).await;
}

#[tokio::test]
async fn h07_sigkill_of_the_runner_leaves_nothing() {
    let exe = std::env::current_exe().unwrap();
    for level in levels() {
        kill_a_runner(&exe, level, None).await;
    }
}

/// With user namespaces an ordinary user gets the same promise.
#[tokio::test]
async fn h07_an_ordinary_user_has_both_levels() {
    let Some((_place, exe)) = exe_for_nobody() else {
        // Then every other test here runs as an ordinary user.
        return;
    };
    for level in levels() {
        kill_a_runner(&exe, level, Some(NOBODY)).await;
        run_cycles(&exe, level, 6, Some(NOBODY));
    }
}

/// In a process of its own: nobody else opens files or has children there.
fn run_cycles(exe: &std::path::Path, level: Level, count: usize, uid: Option<u32>) {
    let mut helper = Std::new(exe);
    helper.args([WORD, "cycles", level.as_str(), &count.to_string(), &token()]);
    if let Some(uid) = uid {
        helper.uid(uid).gid(uid);
    }
    let output = helper.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{level}: {said}");
    assert_eq!(output.stdout, b"done\n", "{level}: {said}");
}

/// `SOAK=1` makes it a thousand.
#[tokio::test]
async fn h07_cycles_leave_no_process_no_zombie_and_no_open_file() {
    let count = if std::env::var_os("SOAK").is_some() { 1000 } else { 50 };
    let exe = std::env::current_exe().unwrap();
    for level in levels() {
        run_cycles(&exe, level, count, None);
    }
}

#[tokio::test]
async fn terminate_is_a_request_and_kill_is_not() {
    for level in levels() {
        let launcher = launcher(level).await;
        let process = launcher.spawn(&command(["/bin/sleep", "600"])).await.unwrap();
        process.handle.terminate();
        assert_eq!(ended(process).await, ExitStatus::Signal(15, false), "{level}");

        let stubborn = "trap 'echo caught' TERM; echo ready; while :; do sleep 600 & wait; done";
        let mut process = launcher.spawn(&command(["/bin/sh", "-c", stubborn])).await.unwrap();
        let (_, empty) = tokio::net::unix::pipe::pipe().unwrap();
        let mut stdout = tokio::io::BufReader::new(std::mem::replace(&mut process.stdout, empty));
        assert_eq!(line(&mut stdout).await, "ready");
        process.handle.terminate();
        assert_eq!(line(&mut stdout).await, "caught");
        process.handle.kill();
        assert_eq!(ended(process).await, ExitStatus::Signal(9, false), "{level}");
    }
}

/// A warden that is killed by someone else: the namespace goes with it; below
/// that at least the program does.
#[tokio::test]
async fn a_killed_warden_takes_the_program_along() {
    for level in levels() {
        let token = token();
        let (process, _stdout) = spawn_orphan(&launcher(level).await, &token).await;
        let program = process.handle.facts().pid;
        let mut warden = parent(program);
        if level == Level::Namespace {
            warden = parent(warden);
        }
        let warden = nix::unistd::Pid::from_raw(i32::try_from(warden).unwrap());
        nix::sys::signal::kill(warden, nix::sys::signal::Signal::SIGKILL).unwrap();
        assert_eq!(ended(process).await, ExitStatus::Lost, "{level}");
        until("the program is gone", || !marked(&token).contains(&program)).await;
        if level == Level::Namespace {
            until("the set is gone", || marked(&token).is_empty()).await;
        }
        for left in marked(&token) {
            let left = nix::unistd::Pid::from_raw(i32::try_from(left).unwrap());
            let _ = nix::sys::signal::kill(left, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit(')').next().unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}
