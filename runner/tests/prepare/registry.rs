//! Real packages from the real registries, started and spoken to.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use runner::prepare::{PrepareError, Prepared, Preparer};
use runner::process::{Access, Command, Limits, Process, Visible};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::{LIMIT, env_with_path, launcher, npx, prepare, preparer, uvx};

const EVERYTHING: &str = "@modelcontextprotocol/server-everything";
const TIME: &str = "mcp-server-time";

/// Kept between runs, so that only the first downloads.
fn shared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("prepare")
}

async fn real(data: &Path) -> Preparer {
    preparer(data, std::env::vars_os()).await
}

/// A preparer on whose `PATH` are only these tools.
async fn with_only(tools: &[&str], data: &Path) -> (tempfile::TempDir, Preparer) {
    let bin = tempfile::tempdir().unwrap();
    for tool in tools {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|directory| directory.join(tool)).find(|file| file.exists());
        std::os::unix::fs::symlink(found.unwrap(), bin.path().join(tool)).unwrap();
    }
    let preparer = preparer(data, env_with_path(bin.path().as_os_str())).await;
    (bin, preparer)
}

/// The name a server gives itself in its first answer, started as a runner
/// starts it: with the cache hidden and only what was prepared to be read.
async fn server_name(prepared: &Prepared, data: &Path) -> String {
    let readable = prepared.visible.iter().map(|path| Visible { path: path.clone(), access: Access::ReadOnly });
    let command = Command {
        hidden_files: None,
        argv: prepared.argv.clone(),
        env: [("PATH".into(), prepared.path_env.clone())].into(),
        cwd: "/".into(),
        visible: readable.collect(),
        limits: Limits::default(),
    };
    let Process { mut stdin, stdout, handle, exit, .. } = launcher(data).await.spawn(&command).await.unwrap();
    let hello = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        },
    });
    stdin.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut stdout = BufReader::new(stdout);
    let read = tokio::time::timeout(LIMIT, stdout.read_line(&mut answer));
    assert_ne!(read.await.expect("no answer in time").unwrap(), 0, "it ended without an answer");
    handle.kill();
    exit.await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["result"]["serverInfo"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_npm_server_installs_runs_and_starts_again_without_npm() {
    let data = shared();
    let (prepared, _) = prepare(&real(&data).await, &npx(EVERYTHING), None).await;
    let prepared = prepared.unwrap();
    assert!(server_name(&prepared, &data).await.contains("everything"));

    let (_bin, bare) = with_only(&["node"], &data).await;
    let (again, lines) = prepare(&bare, &npx(EVERYTHING), Some(&prepared.version)).await;
    let again = again.unwrap();
    assert_eq!(again.version, prepared.version);
    assert_eq!(again.argv[1..], prepared.argv[1..]);
    assert!(lines.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn a_python_server_works_where_it_was_moved_to_and_starts_again_without_uv() {
    // Cold: that the environment can be moved is to be seen, not remembered.
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let (prepared, lines) = prepare(&real(&data).await, &uvx(TIME), None).await;
    let prepared = prepared.unwrap_or_else(|error| panic!("{error}\n{lines:#?}"));
    assert!(lines.iter().any(|line| line.contains(TIME)), "uv's lines are handed on: {lines:?}");
    assert!(server_name(&prepared, &data).await.contains("time"));

    let (_bin, bare) = with_only(&[], &data).await;
    let (again, _) = prepare(&bare, &uvx(TIME), Some(&prepared.version)).await;
    let again = again.unwrap();
    assert_eq!((&again.version, &again.argv), (&prepared.version, &prepared.argv));
    assert_eq!(again.argv[0], prepared.visible[0].join("bin/python").as_os_str());
    assert_ne!(again.path_env, OsStr::new(""));
}

#[tokio::test]
async fn a_python_version_that_is_named_is_the_one_installed() {
    let data = shared();
    let source = uvx("mcp-server-time==2025.9.25");
    let (prepared, _) = prepare(&real(&data).await, &source, None).await;
    let prepared = prepared.unwrap();
    assert_eq!(prepared.version, "2025.9.25");
    let installed = prepared.visible[0].join("lib");
    let metadata = super::files_under(&installed)
        .into_iter()
        .any(|file| file.ends_with("mcp_server_time-2025.9.25.dist-info/METADATA"));
    assert!(metadata);
}

#[tokio::test]
async fn a_missing_package_fails_in_the_tools_own_words() {
    let root = tempfile::tempdir().unwrap();
    let preparer = real(root.path()).await;
    const NONE: &str = "claudemesh-no-such-package-4711";
    for (source, tool, expected) in [(npx(NONE), "npm", "npm error 404"), (uvx(NONE), "uv", "was not found")] {
        match prepare(&preparer, &source, None).await.0.unwrap_err() {
            PrepareError::Resolve { program, words, .. } => {
                assert_eq!(program, tool);
                assert!(words.iter().any(|word| word.contains(expected)), "{words:?}");
                assert!(words.iter().any(|word| word.contains(NONE)), "{words:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    let nothing = npx("@modelcontextprotocol/server-everything@99999.0.0");
    match prepare(&preparer, &nothing, None).await.0.unwrap_err() {
        PrepareError::Install { words, .. } => {
            assert!(
                words.iter().any(|word| word.contains("ETARGET") || word.contains("No matching version")),
                "{words:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_library_has_no_program() {
    let data = shared();
    let preparer = real(&data).await;
    for source in [npx("is-number@7.0.0"), uvx("iniconfig==2.0.0")] {
        let error = prepare(&preparer, &source, None).await.0.unwrap_err();
        assert!(matches!(error, PrepareError::NoBinary { .. }), "{error:?}");
        assert!(error.to_string().contains("library"), "{error}");
    }
}

#[tokio::test]
async fn what_is_installed_beside_a_package_is_there_and_keeps_it_apart() {
    let data = shared();
    let preparer = real(&data).await;
    let mut extended = uvx(TIME);
    if let protocol::source::Source::Uvx { with, .. } = &mut extended {
        with.extend(["iniconfig==2.0.0".to_owned(), "mcp[cli]".to_owned()]);
    }
    let ready = prepare(&preparer, &extended, None).await.0.unwrap();
    let has = |prepared: &Prepared, name: &str| {
        let lib = prepared.visible[0].join("lib");
        let pythons = std::fs::read_dir(lib).unwrap().flatten();
        pythons.map(|python| python.path().join("site-packages").join(name)).any(|package| package.exists())
    };
    assert!(has(&ready, "iniconfig") && has(&ready, "typer"), "{ready:?}");
    let plain = prepare(&preparer, &uvx(TIME), None).await.0.unwrap();
    assert!(!has(&plain, "iniconfig"));
    assert_eq!(server_name(&ready, &data).await, "mcp-time");
}
