//! The MCP inspector, a client that is not ours, before both servers on stdio.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::harness::{INSTALL, Mesh, Outcome, SETTLE, programs};

/// The newest whose command line runs on Node.js 20.
const PACKAGE: &str = "@modelcontextprotocol/inspector@0.22.0";

/// Its program; fetched once, into the folder that outlives a run.
fn inspector() -> PathBuf {
    let folder = programs::download_cache().join("inspector");
    let program = folder.join("node_modules/.bin/mcp-inspector");
    if !program.is_file() {
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&folder).arg(PACKAGE);
        let _ = Outcome::of(install, INSTALL).ok();
    }
    program
}

/// What it prints when it asks a server this.
fn asks(mesh: &Mesh, inspector: &PathBuf, words: &[&str], question: &[&str]) -> Value {
    let mut command = Command::new(inspector);
    command
        .arg("--cli")
        .args(["-e", &format!("CLAUDEMESH_CONFIG_DIR={}", mesh.config().display())])
        .args(["-e", &format!("CLAUDEMESH_DATA_DIR={}", mesh.data().display())])
        .arg(programs::claudemesh())
        .args(words)
        .args(question)
        .current_dir(mesh.root());
    Outcome::of(command, SETTLE * 2).ok().json()
}

#[test]
fn the_inspector_lists_and_calls_through_both_servers() {
    let mesh = Mesh::start();
    let inspector = inspector();
    let _ = mesh.deploy_fixture("plain", &[], &[]).ok();
    let proxy = ["mcp", "--service", "plain"];
    let list = asks(&mesh, &inspector, &proxy, &["--method", "tools/list"]);
    let schema = mesh.cli(&["schema", "plain", "--json"]).ok().json();
    assert_eq!(list["tools"].as_array().map(Vec::len), schema["tools"].as_array().map(Vec::len), "{list}");
    let echo = ["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "text=hello"];
    assert_eq!(asks(&mesh, &inspector, &proxy, &echo)["content"][0]["text"], "hello");

    let list = asks(&mesh, &inspector, &["mcp"], &["--method", "tools/list"]);
    assert!(list["tools"].to_string().contains("send_message"), "{list}");
    let catalog = ["--method", "tools/call", "--tool-name", "mesh_mcp_catalog"];
    let said = asks(&mesh, &inspector, &["mcp"], &catalog);
    assert!(said["content"][0]["text"].as_str().is_some_and(|text| text.starts_with("plain · running")), "{said}");
}
