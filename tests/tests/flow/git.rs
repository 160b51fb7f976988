//! Services out of git repositories: deployed, called, moved on with the branch, and back at their commit whatever dies.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tests::harness::mesh::Options;
use tests::harness::{INSTALL, Mesh, PrivateGit, SETTLE};

/// An MCP server of one tool that answers WORD.
const NODE_SERVER: &str = r#"#!/usr/bin/env node
const word = WORD;
const tool = {name: 'word', description: 'Its word', inputSchema: {type: 'object'}};
require('readline').createInterface({input: process.stdin}).on('line', line => {
    const {id, method, params} = JSON.parse(line);
    if (id === undefined) return;
    const result = {
        initialize: () => ({protocolVersion: params.protocolVersion, capabilities: {tools: {}}, serverInfo: {name: 'word', version: '1'}}),
        'tools/list': () => ({tools: [tool]}),
        'tools/call': () => ({content: [{type: 'text', text: word}]}),
    }[method];
    process.stdout.write(JSON.stringify({jsonrpc: '2.0', id, result: result ? result() : {}}) + '\n');
});
"#;

const PYTHON_SERVER: &str = r#"
import json, sys
TOOL = {"name": "word", "description": "Its word", "inputSchema": {"type": "object"}}
def main():
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        results = {
            "initialize": {"protocolVersion": message.get("params", {}).get("protocolVersion"),
                           "capabilities": {"tools": {}}, "serverInfo": {"name": "word", "version": "1"}},
            "tools/list": {"tools": [TOOL]},
            "tools/call": {"content": [{"type": "text", "text": "from python"}]},
        }
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": results.get(message["method"], {})}
        print(json.dumps(answer), flush=True)
"#;

pub(super) fn node_server(word: &str) -> String {
    NODE_SERVER.replace("WORD", word)
}

/// A repository that a story fills.
pub(super) struct Repository(TempDir);

impl Repository {
    pub(super) fn with(files: &[(&str, &str)]) -> Self {
        let this = Self(tempfile::tempdir().expect("a temporary directory"));
        fs::create_dir(this.path()).expect("a folder");
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        this.commit(files);
        this
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("project")
    }

    fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// Writes the files, commits, and names the commit.
    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let file = self.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, text).expect("a file");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=next"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.path()).env_clear().args(["-c", "user.name=Ana", "-c", "user.email=ana@mesh.test"]);
        git.env("PATH", std::env::var_os("PATH").expect("a PATH")).env("HOME", self.0.path());
        let done = git.args(args).output().expect("git");
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text").trim().to_owned()
    }
}

/// A mesh whose runner may read repositories of this machine.
fn mesh() -> Mesh {
    let variables = vec![("CLAUDEMESH_GIT_PROTOCOLS".to_owned(), "https:file".to_owned())];
    Mesh::with(Options { variables, ..Options::default() })
}

fn answers(mesh: &Mesh, service: &str, word: &str) {
    mesh.wait(&format!("{service} to answer {word}"), SETTLE, || {
        let call = mesh.cli(&["call", service, "word"]);
        if call.code == Some(0) && call.stdout.contains(word) { Ok(()) } else { Err(call.to_string()) }
    });
}

fn version(mesh: &Mesh, service: &str) -> String {
    let row = mesh.service(service).expect("it is in the catalog");
    row["version"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn t34_git_single_package() {
    let first = node_server("'first'");
    let repository =
        Repository::with(&[("package.json", r#"{"name": "word", "bin": "word.js"}"#), ("word.js", &first)]);
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let mesh = mesh();
    let deploy = ["deploy", "word", "--git", &repository.url(), "--branch", "main"];
    let deployed = mesh.cli_within(INSTALL, &deploy).ok();
    assert!(deployed.stdout.contains("word"), "{deployed}");
    answers(&mesh, "word", "first");
    assert_eq!(version(&mesh, "word"), commit);
    let table = mesh.cli(&["catalog"]).ok();
    assert!(table.stdout.contains("git") && table.stdout.contains(&commit[..12]), "{table}");
    assert!(!table.stdout.contains(&commit), "the table shows it short: {table}");

    // The branch moves, the server goes away for a while, the runner dies: it is the same commit all the same.
    let moved = repository.commit(&[("word.js", &node_server("'second'"))]);
    fs::rename(repository.path(), repository.path().with_extension("away")).expect("a rename");
    let earlier = mesh.kill_runner();
    mesh.wait_gone("every process of the earlier life to go", &earlier, SETTLE);
    mesh.wait_for_status("word", "running", SETTLE);
    answers(&mesh, "word", "first");
    assert_eq!(version(&mesh, "word"), commit);

    fs::rename(repository.path().with_extension("away"), repository.path()).expect("a rename");
    let _ = mesh.cli_within(INSTALL, &deploy).ok();
    answers(&mesh, "word", "second");
    assert_eq!(version(&mesh, "word"), moved);
}

#[test]
fn t34_git_monorepo_with_a_build() {
    let root =
        r#"{"name": "all", "private": true, "workspaces": ["packages/*"], "scripts": {"build": "node build.js"}}"#;
    let server =
        r#"{"name": "@all/server", "version": "1.0.0", "bin": "server.js", "dependencies": {"@all/lib": "1.0.0"}}"#;
    let repository = Repository::with(&[
        ("package.json", root),
        ("build.js", "require('fs').writeFileSync('packages/lib/built.js', 'module.exports = \"built here\"');"),
        ("packages/lib/package.json", r#"{"name": "@all/lib", "version": "1.0.0", "main": "built.js"}"#),
        ("packages/server/package.json", server),
        ("packages/server/server.js", &node_server("require('@all/lib')")),
    ]);
    let mesh = mesh();
    let url = repository.url();
    let deploy = ["deploy", "mono", "--git", &url, "--subdir", "packages/server"];
    let unbuilt = mesh.cli_within(INSTALL, &deploy).code_is(1);
    assert!(unbuilt.said().contains("Cannot find module"), "the server's own words: {unbuilt}");

    let built = [&deploy[..], &["--build-command", "npm run build"]].concat();
    let _ = mesh.cli_within(INSTALL, &built).ok();
    answers(&mesh, "mono", "built here");
}

#[test]
fn git_python_project() {
    let pyproject = "[project]\nname = \"word-server\"\nversion = \"0.1\"\n[project.scripts]\nword-server = \"word:main\"\n\
        [build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
        [tool.setuptools]\npy-modules = [\"word\"]\n";
    let repository = Repository::with(&[("pyproject.toml", pyproject), ("word.py", PYTHON_SERVER)]);
    let mesh = mesh();
    let _ = mesh.cli_within(INSTALL, &["deploy", "snake", "--git", &repository.url(), "--runtime", "python"]).ok();
    answers(&mesh, "snake", "from python");
    let wrong =
        mesh.cli_within(INSTALL, &["deploy", "node", "--git", &repository.url(), "--runtime", "node"]).code_is(1);
    assert!(wrong.said().contains("no package.json"), "{wrong}");
}

#[test]
fn h18_a_source_change_forgets_the_old_source_completely() {
    let repository = Repository::with(&[
        ("package.json", r#"{"name": "word", "bin": "word.js"}"#),
        ("word.js", &node_server("String(process.env.ONLY_OLD) + process.argv.slice(2)")),
    ]);
    let mesh = mesh();
    let url = repository.url();
    let old = ["deploy", "word", "--git", &url, "--arg", "old-argument", "--env", "ONLY_OLD=old-value"];
    let _ = mesh.cli_within(INSTALL, &old).ok();
    answers(&mesh, "word", "old-valueold-argument");
    let _ = mesh.deploy_fixture("word", &[], &[]).ok();
    let row = mesh.service("word").expect("it is in the catalog");
    assert_eq!((&row["source_type"], &row["version"]), (&"command".into(), &"unversioned".into()), "{row}");
    let env = mesh.cli(&["call", "word", "env"]).ok();
    assert!(!env.stdout.contains("old-value"), "{env}");
    let earlier = mesh.kill_runner();
    mesh.wait_gone("every process of the earlier life to go", &earlier, SETTLE);
    mesh.wait_for_status("word", "running", SETTLE);
    let schema = mesh.cli(&["schema", "word"]).ok();
    assert!(!schema.stdout.contains("Its word"), "{schema}");

    // And back: nothing of the settings that the first one had.
    let _ = mesh.cli_within(INSTALL, &["deploy", "word", "--git", &url]).ok();
    answers(&mesh, "word", "undefined");
}

#[test]
fn h24_a_git_token_that_is_sealed_opens_the_repository_for_the_runner() {
    const TOKEN: &str = "planted-git-token-5e20";
    let files = [("package.json", r#"{"name": "word", "bin": "word.js"}"#), ("word.js", &node_server("'private'"))];
    let repository = Repository::with(&files);
    let git = PrivateGit::start(repository.path().parent().expect("a folder"), TOKEN);
    let mesh = Mesh::with(Options { variables: vec![git.trusted()], ..Options::default() });
    let _ = mesh.cli(&["mesh", "plain-env", "off"]).ok();
    let url = git.url("project/.git");
    let deploy = |token: &Path| {
        let token = token.to_str().expect("a plain path");
        mesh.cli_within(INSTALL, &["deploy", "word", "--git", &url, "--git-token-file", token])
    };
    let _ = deploy(&git.token_file("another-token-0000")).code_is(1);
    let _ = deploy(&git.token_file(TOKEN)).ok();
    answers(&mesh, "word", "private");
    assert_eq!(mesh.service("word").expect("it is listed")["secrets"], Value::Null, "the broker has not seen it");
    let log = git.log();
    assert!(log.contains("Basic ") && !log.contains("SEEN"), "in no words and no environment: {log}");

    // It opens at each later start, too.
    let earlier = mesh.kill_runner();
    mesh.wait_gone("every process of the earlier life to go", &earlier, SETTLE);
    mesh.wait_for_status("word", "running", SETTLE);
    let _ = mesh.cli_within(INSTALL, &["update", "word"]).ok();
    answers(&mesh, "word", "private");
}

/// Every file below `root`, as far as it can be read.
fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let each = entries.flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => contents(&entry.path()),
        Ok(kind) if kind.is_file() => vec![(entry.path(), fs::read(entry.path()).unwrap_or_default())],
        _ => Vec::new(),
    });
    each.collect()
}

#[test]
fn h24_a_git_token_is_nowhere_in_clear() {
    const TOKEN: &str = "planted-git-token-7411";
    let mut mesh = mesh();
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = place.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    // Nobody listens there: the deployment is written down all the same.
    let url = "https://127.0.0.1:1/a/b.git";
    let words = ["deploy", "secret", "--git", url, "--git-token-file", file.to_str().expect("a plain path"), "--json"];
    let failed = mesh.cli_within(INSTALL, &words).code_is(1);
    assert!(failed.said().contains("127.0.0.1"), "git's own words: {failed}");
    let shown = [failed.said(), mesh.cli(&["catalog", "--json"]).said(), mesh.cli(&["logs", "secret"]).said()].concat();
    assert!(!shown.contains(TOKEN), "{shown}");

    mesh.kill_broker();
    let all = contents(&mesh.data());
    assert!(all.iter().any(|(path, _)| path.ends_with("claudemesh.db")), "the database was looked at");
    for (path, bytes) in &all {
        let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert!(!found, "{} holds it", path.display());
    }
    let kept = all.iter().any(|(_, bytes)| bytes.windows(url.len()).any(|window| window == url.as_bytes()));
    assert!(kept, "the address is written down");
    mesh.start_up();

    // A file that others can read is refused before anything is sent.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    let _ = mesh.cli(&words).code_is(2);
    let clear = mesh.cli(&["deploy", "x", "--git", "ssh://git@h/p", "--git-token-file", "/dev/null"]);
    let _ = clear.code_is(2);
}
