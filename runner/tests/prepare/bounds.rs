//! What a preparation may not do: see, ask for, take or leave behind more than
//! it should.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use protocol::source::Source;
use runner::prepare::{EnvSource, MAX_WAITING, PrepareError, Preparer};
use runner::process::Level;
use tokio::time::timeout;

use super::stand_in::{OBLIGING, StandIn};
use super::{LIMIT, files_under, launcher, npx, prepare, until, uvx};
use crate::levels::{has_namespaces, levels};

#[tokio::test]
async fn h12_tools_get_a_named_environment_and_a_home_that_goes() {
    let script = format!("env > \"$log.env\"; pwd >> \"$log.env\"; touch \"$HOME/left\"; {OBLIGING}");
    for level in levels() {
        let tools = StandIn::new(&script);
        let preparer = tools.preparer_at(level).await;
        prepare(&preparer, &npx("pkg"), None).await.0.unwrap();
        let seen = fs::read_to_string(tools.root().join("log.env")).unwrap();
        assert!(!seen.contains("planted") && !seen.contains("RUNNER_TOKEN"), "{level}: {seen}");
        assert!(seen.contains("HTTP_PROXY=http://proxy.test\n"), "{level}: {seen}");
        let home = seen.lines().find_map(|line| line.strip_prefix("HOME=")).unwrap();
        assert!(home.starts_with(tools.cache().join("staging").to_str().unwrap()), "{level}: {home}");
        assert!(!Path::new(home).exists(), "{level}");
        assert_eq!(files_under(&tools.cache().join("staging")), Vec::<PathBuf>::new(), "{level}");
    }
}

#[tokio::test]
async fn h14_a_build_ends_at_its_time_limit_and_leaves_nothing() {
    for level in levels() {
        let tools = StandIn::new("install_package; sleep 600");
        let preparer = tools.preparer_at(level).await;
        let source = npx("pkg@1.2.3");
        let limit = Duration::from_secs(2);
        let mut no_lines = |_: &str| {};
        let building = preparer.prepare(&source, None, &[], limit, &mut no_lines);
        let error = timeout(LIMIT, building).await.expect("its time limit does not end it").unwrap_err();
        assert!(matches!(error, PrepareError::TimedOut { step: "installing with npm", .. }), "{level}: {error:?}");
        assert_eq!(tools.asked(), ["install pkg@1.2.3"], "{level}");
        until("the build's directory is gone", || files_under(&tools.cache().join("staging")).is_empty()).await;

        tools.npm(OBLIGING);
        prepare(&preparer, &source, None).await.0.unwrap();
    }
}

#[tokio::test]
async fn a_build_that_is_given_up_is_not_taken_for_complete() {
    let tools = StandIn::new("install_package; echo installed >&2; sleep 600");
    let preparer = tools.preparer().await;
    let source = npx("pkg@1.2.3");
    let (seen, mut ready) = tokio::sync::mpsc::channel(8);
    let mut on_line = |line: &str| {
        if line == "installed" {
            let _ = seen.try_send(());
        }
    };
    tokio::select! {
        ended = preparer.prepare(&source, None, &[], LIMIT, &mut on_line) => panic!("{ended:?}"),
        said = ready.recv() => assert_eq!(said, Some(())),
    }
    assert_eq!(files_under(&tools.cache().join("packages")), Vec::<PathBuf>::new());
    until("the build's directory is gone", || files_under(&tools.cache().join("staging")).is_empty()).await;

    tools.npm(OBLIGING);
    prepare(&preparer, &source, None).await.0.unwrap();
    assert_eq!(tools.asked().len(), 2, "it was installed anew");
}

#[tokio::test]
async fn builds_are_bounded_and_so_is_their_queue() {
    let script = format!(
        "echo \"begin $spec\" >> \"$log.turns\"; while [ ! -e \"$gate\" ]; do sleep 0.05; done; echo \"end $spec\" >> \"$log.turns\"; {OBLIGING}"
    );
    let tools = StandIn::new(&script);
    let preparer = tools.preparer().await;
    let turns = || fs::read_to_string(tools.root().join("log.turns")).unwrap_or_default();
    let sources: Vec<Source> = (0..MAX_WAITING + 2).map(|n| npx(&format!("pkg{n}@1.0.0"))).collect();
    let admitted = join_all(sources.iter().map(|source| prepare(&preparer, source, None)));
    tokio::pin!(admitted);
    tokio::select! {
        _ = &mut admitted => panic!("nothing may end before the gate opens"),
        () = until("two builds run", || turns().lines().count() == 2) => {}
    }
    let (refused, _) = prepare(&preparer, &npx("one-too-many@1.0.0"), None).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, PrepareError::Busy { bound: MAX_WAITING }) && error.is_transient(), "{error:?}");
    assert!((&mut admitted).now_or_never().is_none());

    fs::write(tools.gate(), "").unwrap();
    for (result, _) in admitted.await {
        result.unwrap();
    }
    let mut running = 0_u32;
    for turn in turns().lines() {
        running = if turn.starts_with("begin") { running + 1 } else { running - 1 };
        assert!(running <= 2, "{}", turns());
    }
}

#[tokio::test]
async fn h13_what_is_not_a_package_reaches_no_tool() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await;
    for source in [npx("--registry=http://evil"), npx("../x"), uvx("git+https://evil/x"), uvx("-r")] {
        let (result, _) = prepare(&preparer, &source, None).await;
        assert!(matches!(result, Err(PrepareError::Invalid { field: "package", .. })), "{source:?}");
    }
    let (result, _) = prepare(&preparer, &npx("pkg"), Some("../../../etc")).await;
    assert!(matches!(result, Err(PrepareError::Invalid { field: "version", .. })));
    tools.npm("echo '\"../../evil\"'");
    let (result, _) = prepare(&preparer, &npx("pkg"), None).await;
    assert!(result.is_err(), "a registry's answer is checked like a deployer's");
    assert_eq!(tools.asked(), ["view pkg"]);
    let zero = preparer.prepare(&npx("pkg"), None, &["a\0b".to_owned()], LIMIT, &mut |_| {}).await;
    assert!(matches!(zero, Err(PrepareError::Invalid { field: "args", .. })));
}

#[tokio::test]
async fn packages_install_at_every_level() {
    for level in levels() {
        let tools = StandIn::new(OBLIGING);
        let preparer = tools.preparer_at(level).await;
        prepare(&preparer, &npx("pkg"), None).await.0.unwrap();
    }
}

#[tokio::test]
async fn h12_a_build_sees_its_own_directory_and_no_other() {
    if !has_namespaces() {
        return;
    }
    let tools = StandIn::new(&format!("ls -R \"$(dirname \"$prefix\")/../../..\" > \"$log.seen\" 2>&1; {OBLIGING}"));
    let preparer = tools.preparer_at(Level::Namespace).await;
    fs::create_dir_all(tools.data()).unwrap();
    fs::write(tools.data().join("planted"), "").unwrap();
    prepare(&preparer, &npx("first@1.2.3"), None).await.0.unwrap();
    prepare(&preparer, &npx("second@1.2.3"), None).await.0.unwrap();
    let seen = fs::read_to_string(tools.root().join("log.seen")).unwrap();
    assert!(seen.contains("work") && seen.contains("second"), "{seen}");
    assert!(!seen.contains("planted") && !seen.contains("first"), "{seen}");
}

#[tokio::test]
async fn missing_runtimes_are_named() {
    let tools = StandIn::new(OBLIGING);
    let empty = [("PATH".into(), tools.root().as_os_str().to_owned())];
    let bare = Preparer::new(tools.cache(), launcher(&tools.data()).await, EnvSource::new(empty), 2);
    for (source, hint) in [(npx("pkg"), "install Node.js"), (uvx("pkg"), "install Python 3")] {
        let error = prepare(&bare, &source, None).await.0.unwrap_err().to_string();
        assert!(error.contains("not found on the runner's PATH") && error.contains(hint), "{error}");
    }
}
