//! Projects of this machine, packed and uploaded, deployed, called, and there again after everything was killed.

use std::fs;
use std::path::{Path, PathBuf};

use tests::harness::{INSTALL, Mesh, SETTLE};

/// A server that answers by hand with what a dependency of it says.
const NODE: &str = r#"
const isOdd = require("is-odd");
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const asked = JSON.parse(line);
  if (asked.id === undefined) return;
  const answers = {
    initialize: () => ({
      protocolVersion: asked.params.protocolVersion, capabilities: { tools: {} },
      serverInfo: { name: "zipped", version: "1" },
    }),
    "tools/list": () => ({ tools: [{ name: "odd", inputSchema: { type: "object" } }] }),
    "tools/call": () => ({ content: [{ type: "text", text: "odd: " + isOdd(asked.params.arguments.n) }] }),
    ping: () => ({}),
  };
  const answer = answers[asked.method];
  const end = answer ? { result: answer() } : { error: { code: -32601, message: "no such method" } };
  process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id: asked.id, ...end }) + "\n");
});
"#;

const NODE_PACKAGE: &str = r#"{
  "name": "zipped", "version": "1.0.0", "bin": "server.js", "dependencies": { "is-odd": "3.0.1" }
}"#;

const PYTHON: &str = r#"
from mcp.server.fastmcp import FastMCP

server = FastMCP("zipped")


@server.tool()
def double(n: int) -> str:
    return f"doubled: {2 * n}"


def main() -> None:
    server.run()
"#;

const PYTHON_PROJECT: &str = r#"
[project]
name = "zipped-python"
version = "1.0.0"
requires-python = ">=3.10"
dependencies = ["mcp>=1.2,<2"]

[project.scripts]
zipped-python = "zipped_python:main"

[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"

[tool.setuptools]
py-modules = ["zipped_python"]
"#;

fn project(mesh: &Mesh, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = mesh.root().join(name);
    for (file, text) in files {
        let place = folder.join(file);
        fs::create_dir_all(place.parent().expect("a parent")).expect("a folder");
        fs::write(place, text).expect("a file");
    }
    folder
}

fn deploy(mesh: &Mesh, name: &str, folder: &Path, shows: &str) {
    let folder = folder.to_str().expect("a plain path");
    let deployed = mesh.cli_within(INSTALL, &["deploy", name, "--zip", folder]).ok();
    assert!(deployed.stdout.contains(shows), "the tools are shown: {deployed}");
}

fn answers(mesh: &Mesh, name: &str, words: &[&str], expected: &str) {
    mesh.wait(&format!("{name} to answer"), INSTALL, || {
        let call = mesh.cli(&[&["call", name], words].concat());
        if call.code == Some(0) && call.stdout.contains(expected) { Ok(()) } else { Err(call.to_string()) }
    });
}

#[test]
fn t36_zipped_projects_are_deployed_called_and_there_again_after_kills() {
    let mut mesh = Mesh::start();
    let node = project(
        &mesh,
        "node",
        &[("package.json", NODE_PACKAGE), ("server.js", NODE), ("node_modules/is-odd/index.js", "throw 1")],
    );
    deploy(&mesh, "zipped-node", &node, "odd");
    answers(&mesh, "zipped-node", &["odd", "n=3"], "odd: true");
    let python = project(&mesh, "python", &[("pyproject.toml", PYTHON_PROJECT), ("zipped_python.py", PYTHON)]);
    deploy(&mesh, "zipped-python", &python, "double");
    answers(&mesh, "zipped-python", &["double", "n=4"], "doubled: 8");
    let row = mesh.service("zipped-node").expect("it is in the catalog");
    assert_eq!(row["source_type"], "zip", "{row}");
    assert_eq!(row["version"].as_str().map(str::len), Some(64), "the version is the SHA-256: {row}");

    // What was uploaded is a file of the mesh, and stays as long as something is built from it.
    let files = mesh.cli(&["file", "list", "--json"]).ok().json();
    let rows = files["files"].as_array().expect("a list");
    let packed = rows.iter().find(|row| row["name"] == "node.zip").expect("it is listed");
    let id = packed["id"].as_str().expect("an id");
    let place = mesh.root().join("fetched.zip");
    let got = mesh.cli(&["file", "get", id, "--json", "--output", place.to_str().expect("plain")]).ok().json();
    let bytes = fs::read(&place).expect("it is there");
    assert!(bytes.starts_with(b"PK") && got["bytes"] == bytes.len() && packed["size"] == bytes.len(), "{got} {packed}");
    let smaller = mesh.cli(&["file", "get", id, "--max", "16"]).code_is(1);
    assert!(smaller.said().contains("larger than 16 bytes"), "{smaller}");
    let kept = mesh.cli(&["file", "delete", id]).code_is(4);
    assert!(kept.said().contains("zipped-node"), "{kept}");

    // The runner's cache serves them.
    let earlier = mesh.kill_runner();
    mesh.wait_gone("the earlier life", &earlier, SETTLE);
    answers(&mesh, "zipped-node", &["odd", "n=4"], "odd: false");
    answers(&mesh, "zipped-python", &["double", "n=5"], "doubled: 10");

    // Without a cache it is sent again and built again; and the broker, too, began anew.
    let _ = mesh.stop();
    let cache = mesh.data().join("runner").join("cache");
    assert!(cache.join("packages/zip").is_dir(), "what is removed was there");
    fs::remove_dir_all(&cache).expect("the cache goes");
    mesh.start_up();
    answers(&mesh, "zipped-node", &["odd", "n=5"], "odd: true");
    answers(&mesh, "zipped-python", &["double", "n=6"], "doubled: 12");
}

#[test]
fn what_cannot_be_uploaded_is_told_before_anything_is_sent() {
    let mesh = Mesh::start();
    let text = mesh.root().join("text");
    fs::write(&text, "no archive").expect("a file");
    for (path, words) in [(text.as_path(), "is no zip archive"), (Path::new("/nowhere"), "cannot read")] {
        let refused = mesh.cli(&["deploy", "zipped", "--zip", path.to_str().expect("plain")]).code_is(2);
        assert!(refused.said().contains(words), "{refused}");
    }
    let both = mesh.cli(&["deploy", "zipped", "--zip", "x", "--git", "https://h/p"]).code_is(2);
    assert!(both.said().contains("cannot be used with"), "{both}");
    assert!(mesh.service("zipped").is_none());
}
