//! Repositories become programs: what is fetched, what it becomes, and what a hostile one gets.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use protocol::source::{Runtime, Source};
use runner::prepare::{PrepareError, Prepared, SourceSettings, Wanted};

use super::repository::{Repository, at, below, built, preparer, preparer_on, preparer_with, source};
use super::{LIMIT, files_under, prepare, until};

/// A program that prints where it is and its arguments.
const PRINT: &str = "#!/usr/bin/env node\nconsole.log('one', ...process.argv.slice(2));\n";
const PACKAGE: &str = r#"{"name": "srv", "version": "0.0.1", "bin": "srv.js"}"#;

/// What a prepared program prints.
fn run(prepared: &Prepared) -> String {
    let mut program = Command::new(&prepared.argv[0]);
    program.args(&prepared.argv[1..]).env_clear().env("PATH", &prepared.path_env);
    let done = program.output().unwrap();
    assert!(done.status.success(), "{prepared:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_branch_a_tag_and_a_commit_are_each_one_commit() {
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["tag", "--annotate", "--message=x", "v1"]);
    let second = repository.commit(&[("srv.js", &PRINT.replace("one", "two"))]);
    repository.git(&["branch", "other", &first]);
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer(data.path()).await;
    for (wanted, commit, prints) in [
        (repository.source(), &second, "two"),
        (at(repository.source(), "v1"), &first, "one"),
        (at(repository.source(), "other"), &first, "one"),
        (at(repository.source(), &second), &second, "two"),
    ] {
        let ready = prepare(&preparer, &wanted, None).await.0.unwrap();
        assert_eq!((&ready.version, run(&ready).as_str()), (commit, prints), "{wanted:?}");
    }
    for (name, words) in [("gone", "no branch or tag gone"), (&first[..8], "all its digits")] {
        let error = prepare(&preparer, &at(repository.source(), name), None).await.0.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let absent = at(repository.source(), &"0".repeat(40));
    let error = prepare(&preparer, &absent, None).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::Install { program: "git", .. }), "{error:?}");
}

#[tokio::test]
async fn the_commit_that_was_recorded_is_installed_again_however_the_branch_moved() {
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let data = tempfile::tempdir().unwrap();
    let first = prepare(&preparer(data.path()).await, &repository.source(), None).await.0.unwrap();
    let moved = repository.commit(&[("srv.js", &PRINT.replace("one", "two"))]);

    let elsewhere = tempfile::tempdir().unwrap();
    let again = prepare(&preparer(elsewhere.path()).await, &repository.source(), Some(&first.version)).await.0.unwrap();
    assert_eq!((&again.version, run(&again).as_str()), (&first.version, "one"), "of an empty cache");
    let anew = prepare(&preparer(data.path()).await, &repository.source(), None).await.0.unwrap();
    assert_eq!((&anew.version, run(&anew).as_str()), (&moved, "two"));

    // Neither the server nor git is needed for what is there.
    repository.vanish();
    let bare = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/true", bare.path().join("node")).unwrap();
    let offline = preparer_on(data.path(), bare.path()).await;
    let (known, lines) = prepare(&offline, &repository.source(), Some(&first.version)).await;
    assert_eq!((known.unwrap().version, lines), (first.version, Vec::new()));
    let error = prepare(&offline, &repository.source(), None).await.0.unwrap_err().to_string();
    assert!(error.contains("git was not found") && error.contains("install git"), "{error}");
}

/// A server with a library that it needs built, as workspaces of one repository.
fn monorepo() -> Repository {
    let root = r#"{"name": "all", "private": true, "workspaces": ["packages/*"],
        "scripts": {"build": "node build.js"}}"#;
    Repository::with(&[
        ("package.json", root),
        ("build.js", "require('fs').writeFileSync('packages/lib/built.js', 'module.exports = \"built\"');"),
        ("packages/lib/package.json", r#"{"name": "@all/lib", "version": "1.0.0", "main": "built.js"}"#),
        (
            "packages/server/package.json",
            r#"{"name": "@all/server", "version": "1.0.0", "bin": {"x": "x.js", "server": "./bin.js"},
            "dependencies": {"@all/lib": "1.0.0"}}"#,
        ),
        ("packages/server/bin.js", "#!/usr/bin/env node\nconsole.log(require('@all/lib'));\n"),
        ("packages/server/x.js", ""),
    ])
}

#[tokio::test]
async fn workspaces_are_installed_at_their_root_then_built_then_run() {
    let repository = monorepo();
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer(data.path()).await;
    let server = below(repository.source(), "packages/server");
    let wanted = built(server.clone(), &["npm", "run", "build"]);
    let (ready, lines) = prepare(&preparer, &wanted, None).await;
    let ready = ready.unwrap();
    assert_eq!(run(&ready), "built");
    assert!(lines.contains(&"building: npm run build".to_owned()), "{lines:?}");
    let root = &ready.visible[0];
    assert!(!root.join("tree/.git").exists(), "its history is not kept");
    assert!(ready.path_env.to_str().unwrap().starts_with(root.join("tree/node_modules/.bin").to_str().unwrap()));
    assert_eq!(files_under(&data.path().join("cache/staging")).len(), 0);

    let error = prepare(&preparer, &built(server, &["npm", "run", "gone"]), None).await.0.unwrap_err();
    assert!(matches!(&error, PrepareError::Build { .. }), "{error:?}");
    assert!(error.to_string().contains("npm run gone") && error.to_string().contains("Missing script"), "{error}");
    let error = prepare(&preparer, &below(repository.source(), "packages/gone"), None).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::Invalid { field: "subdirectory", .. }), "{error:?}");
}

#[tokio::test]
async fn a_python_project_is_run_by_its_script_or_by_what_the_arguments_name() {
    let pyproject = "[project]\nname = \"My.Server\"\nversion = \"0.1\"\nrequires-python = \">=3.8\"\n\
        [build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n";
    let scripts = "[project.scripts]\nmy-server = \"my_server:main\"\nother = \"my_server:other\"\n";
    let code = "import sys\ndef main():\n    print('script', *sys.argv[1:])\n";
    let repository = Repository::with(&[
        ("with/pyproject.toml", &format!("{pyproject}{scripts}")),
        ("with/.python-version", "2.6\n"),
        ("with/my_server/__init__.py", code),
        ("without/pyproject.toml", pyproject),
        ("without/my_server/__init__.py", code),
        ("without/my_server/__main__.py", "from my_server import main\nmain()\n"),
        ("listed/requirements.txt", "idna==3.10\n"),
        ("listed/helper.py", "import idna\nword = 'listed ' + idna.__version__\n"),
        ("listed/tools/server.py", "import helper, sys\nprint(helper.word, *sys.argv[1:])\n"),
    ]);
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer(data.path()).await;
    for (folder, args, prints) in [
        ("with", &["a", "b"][..], "script a b"),
        ("without", &["-m", "my_server", "c"], "script c"),
        ("listed", &["tools/server.py", "d"], "listed 3.10 d"),
    ] {
        let wanted = below(repository.source(), folder);
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let ready = preparer.prepare(&wanted, None, &args, LIMIT, &mut |_| {}).await.unwrap();
        assert_eq!(run(&ready), prints, "{folder}");
    }
    let error = prepare(&preparer, &below(repository.source(), "without"), None).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::NoBinary { .. }), "{error:?}");
}

#[tokio::test]
async fn the_runtime_that_is_asked_for_is_found_or_named() {
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let data = tempfile::tempdir().unwrap();
    let (source, package) = (repository.source(), super::npx("pkg"));
    let wanted = |runtime| Wanted { deployment: "", source: &source, runtime: Some(runtime) };
    let path = tempfile::tempdir().unwrap();
    for tool in ["git", "node", "npm"] {
        let from = which(tool);
        std::os::unix::fs::symlink(from, path.path().join(tool)).unwrap();
    }
    let preparer = preparer_on(data.path(), path.path()).await;
    for (runtime, words) in [(Runtime::Bun, "bun was not found"), (Runtime::Python, "pyproject.toml")] {
        let ended = preparer.prepare(wanted(runtime), None, &[], LIMIT, &mut |_| {}).await;
        let error = ended.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let bun = path.path().join("bun");
    fs::write(&bun, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&bun, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ready = preparer.prepare(wanted(Runtime::Bun), None, &[], LIMIT, &mut |_| {}).await.unwrap();
    assert_eq!(ready.argv[0], bun, "{ready:?}");
    let wrong = Wanted { deployment: "", source: &package, runtime: Some(Runtime::Python) };
    let ended = preparer.prepare(wrong, None, &[], LIMIT, &mut |_| {}).await;
    assert!(matches!(ended, Err(PrepareError::Invalid { field: "runtime", .. })), "{ended:?}");
}

fn which(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file()).unwrap()
}

#[tokio::test]
async fn h13_nothing_in_an_address_a_branch_or_a_folder_becomes_an_option_or_a_way_out() {
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer(data.path()).await;
    let marker = data.path().join("marker");
    let touch = format!("touch {}", marker.display());
    let urls = [
        format!("--upload-pack={touch}"),
        format!("ext::sh -c '{touch}'"),
        format!("-u{touch}"),
        "https://h/../x".to_owned(),
        "fd::17".to_owned(),
    ];
    for url in &urls {
        let error = prepare(&preparer, &source(url), None).await.0.unwrap_err();
        assert!(matches!(error, PrepareError::Invalid { field: "url", .. }), "{url}: {error:?}");
    }
    for branch in ["--upload-pack=x", "-b", "a..b", "x^{}", "refs/heads/*"] {
        let error = prepare(&preparer, &at(repository.source(), branch), None).await.0.unwrap_err();
        assert!(matches!(error, PrepareError::Invalid { field: "branch", .. }), "{branch}: {error:?}");
    }
    for folder in ["..", "a/../..", "/etc", ".git", "-x"] {
        let error = prepare(&preparer, &below(repository.source(), folder), None).await.0.unwrap_err();
        assert!(matches!(error, PrepareError::Invalid { field: "subdirectory", .. }), "{folder}: {error:?}");
    }
    let error = prepare(&preparer, &built(repository.source(), &["/bin/sh"]), None).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::Invalid { field: "build_command", .. }), "{error:?}");
    let error = prepare(&preparer, &repository.source(), Some("--upload-pack=x")).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::Invalid { field: "version", .. }), "{error:?}");
    assert!(!marker.exists());
    assert_eq!(files_under(&data.path().join("cache/packages")).len(), 0);
}

#[tokio::test]
async fn h13_a_transport_that_the_operator_does_not_allow_is_not_used() {
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let data = tempfile::tempdir().unwrap();
    let preparer = super::preparer(data.path(), std::env::vars_os()).await;
    let error = prepare(&preparer, &repository.source(), None).await.0.unwrap_err().to_string();
    assert!(error.starts_with("url:") && error.contains("CLAUDEMESH_GIT_PROTOCOLS"), "{error}");

    // Nor by what a repository names itself: a submodule stays an empty folder.
    let inner = repository.source();
    let outer = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let Source::Git { url, .. } = inner else { unreachable!() };
    outer.git(&["-c", "protocol.file.allow=always", "submodule", "add", "--quiet", &url, "inner"]);
    outer.commit(&[]);
    let preparer = super::repository::preparer(data.path()).await;
    let ready = prepare(&preparer, &outer.source(), None).await.0.unwrap();
    assert_eq!(fs::read_dir(ready.visible[0].join("tree/inner")).unwrap().count(), 0);
}

#[tokio::test]
async fn h13_a_link_out_of_the_tree_is_refused_before_anything_of_it_runs() {
    let data = tempfile::tempdir().unwrap();
    let marker = data.path().join("marker");
    let scripts = format!(r#"{{"name": "x", "scripts": {{"preinstall": "touch {}"}}}}"#, marker.display());
    let preparer = preparer(data.path()).await;
    for (name, target) in [("out", "/etc/passwd"), ("up", "../../../../receipt.json")] {
        let repository = Repository::with(&[("package.json", &scripts)]);
        repository.link(name, target);
        repository.commit(&[]);
        let error = prepare(&preparer, &repository.source(), None).await.0.unwrap_err();
        assert!(matches!(&error, PrepareError::Project { what, .. } if what == name), "{error:?}");
    }
    assert!(!marker.exists());
}

/// A build that says everything it can find of its surroundings.
const NOSY: &str = r#"
const fs = require('fs');
const seen = {env: process.env, files: []};
for (const path of process.argv.slice(2)) {
    try { seen.files.push(fs.readFileSync(path, 'utf8')) } catch (error) { seen.files.push(error.code) }
}
for (const pid of fs.readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try { seen.files.push(fs.readFileSync(`/proc/${pid}/environ`, 'utf8')) } catch (error) {}
}
fs.writeFileSync('seen.json', JSON.stringify(seen));
"#;

#[tokio::test]
async fn h12_neither_a_build_nor_an_install_script_sees_the_runners_secrets() {
    if !crate::levels::has_namespaces() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("runner.token");
    fs::write(&token, "planted-in-file").unwrap();
    let package = format!(
        r#"{{"name": "srv", "bin": "srv.js", "scripts": {{"postinstall": "node nosy.js {0} && mv seen.json installed.json"}}}}"#,
        token.display()
    );
    let repository = Repository::with(&[("package.json", &package), ("srv.js", PRINT), ("nosy.js", NOSY)]);
    let secrets = ["RUNNER_TOKEN", "BROKER_ENCRYPTION_KEY", "CLAUDEMESH_GIT_TOKEN", "AWS_SECRET_ACCESS_KEY"];
    let planted = secrets.map(|name| (name.into(), "planted-in-env".into()));
    let env: Vec<_> = std::env::vars_os().chain(planted).collect();
    let settings = SourceSettings { git_protocols: "file".parse().unwrap(), ..SourceSettings::default() };
    let preparer = super::preparer(data.path(), env).await.settled(settings);
    let wanted = built(repository.source(), &["node", "nosy.js", token.to_str().unwrap()]);
    let ready = prepare(&preparer, &wanted, None).await.0.unwrap();
    for name in ["installed.json", "seen.json"] {
        let seen = fs::read_to_string(ready.visible[0].join("tree").join(name)).unwrap();
        assert!(seen.contains("ENOENT") && seen.contains("HOME"), "it looked: {seen}");
        assert!(!seen.contains("planted"), "{name}: {seen}");
        assert!(!seen.contains("GIT_"), "{name}: git's own surroundings are git's: {seen}");
    }
}

#[tokio::test]
async fn h14_a_build_that_hangs_is_killed_with_everything_it_started() {
    let hanging = "const {spawn} = require('child_process');\n\
        spawn('sleep', ['86399.5'], {detached: true, stdio: 'ignore'}).unref();\n\
        require('fs').writeFileSync('started', '');\nsetInterval(() => {}, 1000);\n";
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT), ("hang.js", hanging)]);
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer(data.path()).await;
    let wanted = built(repository.source(), &["node", "hang.js"]);
    let ended = preparer.prepare(&wanted, None, &[], Duration::from_secs(8), &mut |_| {}).await;
    let error = ended.unwrap_err();
    assert!(matches!(error, PrepareError::TimedOut { step: "building", .. }), "{error:?}");
    assert!(!is_running("86399.5"), "what it left behind lives");
    until("its directory goes", || files_under(&data.path().join("cache/staging")).is_empty()).await;
}

#[tokio::test]
async fn a_daemon_that_a_build_leaves_is_gone_when_the_build_is() {
    let leaving = "const {spawn} = require('child_process');\n\
        spawn('sleep', ['86398.5'], {detached: true, stdio: 'ignore'}).unref();\n";
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT), ("leave.js", leaving)]);
    let data = tempfile::tempdir().unwrap();
    let wanted = built(repository.source(), &["node", "leave.js"]);
    prepare(&preparer(data.path()).await, &wanted, None).await.0.unwrap();
    assert!(!is_running("86398.5"));
}

fn is_running(word: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes()))
}

#[tokio::test]
async fn h46_a_repository_or_a_build_over_its_bounds_is_stopped() {
    let big = "x".repeat(400 * 1024);
    let repository = Repository::with(&[("package.json", PACKAGE), ("srv.js", PRINT)]);
    let grow = "const fs = require('fs');\nfor (let n = 0; ; n++) fs.writeFileSync(`f${n}`, Buffer.alloc(65536, n));\n";
    repository.commit(&[("grow.js", grow)]);
    let small = SourceSettings { build_bytes: 8 * 1024 * 1024, ..SourceSettings::default() };
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer_with(data.path(), small).await;
    prepare(&preparer, &repository.source(), None).await.0.unwrap();
    let error = prepare(&preparer, &built(repository.source(), &["node", "grow.js"]), None).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::TooLarge { unit: "bytes", .. }), "{error:?}");

    let few = SourceSettings { build_files: 60, ..SourceSettings::default() };
    let preparer = preparer_with(data.path(), few).await;
    let names: Vec<String> = (0..100).map(|n| format!("many/{n}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), big.as_str())).take(100).collect();
    repository.commit(&files);
    let error = prepare(&preparer, &repository.source(), None).await.0.unwrap_err();
    assert!(matches!(error, PrepareError::TooLarge { unit: "files", .. }), "{error:?}");
    assert_eq!(files_under(&data.path().join("cache/staging")).len(), 0);
}

#[tokio::test]
async fn what_this_runner_does_not_install_is_said() {
    let data = tempfile::tempdir().unwrap();
    let preparer = preparer(data.path()).await;
    let table: [(&[(&str, &str)], &str); 3] = [
        (&[("package.json", PACKAGE), ("pnpm-lock.yaml", "")], "pnpm installs it"),
        (&[("README", "")], "name the project's folder as subdirectory"),
        (&[("package.json", PACKAGE), ("pyproject.toml", "")], "say which with the runtime"),
    ];
    for (files, words) in table {
        let error = prepare(&preparer, &Repository::with(files).source(), None).await.0.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
