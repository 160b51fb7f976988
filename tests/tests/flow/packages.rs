//! Real packages from npm and PyPI, deployed, called through the whole chain, and removed.

use tests::harness::{INSTALL, Mesh, SETTLE};

const EVERYTHING: &str = "@modelcontextprotocol/server-everything";

#[test]
fn an_npx_and_a_uvx_service_are_deployed_called_and_removed() {
    let mesh = Mesh::start();

    let deployed = mesh.cli_within(INSTALL, &["deploy", "everything", "--npx", EVERYTHING]).ok();
    assert!(deployed.stdout.contains("echo"), "the tools are shown: {deployed}");
    let deployed = mesh.cli_within(INSTALL, &["deploy", "time", "--uvx", "mcp-server-time"]).ok();
    assert!(deployed.stdout.contains("get_current_time"), "the tools are shown: {deployed}");
    mesh.look();

    for (name, source) in [("everything", "npx"), ("time", "uvx")] {
        let row = mesh.service(name).expect("it is in the catalog");
        assert_eq!(row["status"], "running", "{row}");
        assert_eq!(row["source_type"], source, "{row}");
        assert!(row["tool_count"].as_u64() > Some(0), "{row}");
    }
    let echo = mesh.cli(&["call", "everything", "echo", "message=hello, mesh"]).ok();
    assert!(echo.stdout.contains("hello, mesh"), "{echo}");
    let time = mesh.cli(&["call", "time", "get_current_time", "timezone=Europe/Berlin"]).ok();
    assert!(time.stdout.contains("Europe/Berlin"), "{time}");

    let before = mesh.below_runner();
    let _ = mesh.cli_within(SETTLE * 2, &["undeploy", "everything"]).ok();
    let _ = mesh.cli_within(SETTLE * 2, &["undeploy", "time"]).ok();
    mesh.wait_gone("both services' processes to go", &before, SETTLE);
    assert!(mesh.below_runner().is_empty(), "something else runs below the runner");
    assert!(mesh.service("everything").is_none() && mesh.service("time").is_none());
}

/// Standing beside it: a service that works is not touched by one that cannot exist.
#[test]
fn a_package_that_does_not_exist_ends_failed_with_the_installers_own_words() {
    let mesh = Mesh::start();
    let _ = mesh.deploy_fixture("sibling", &[], &[]).ok();
    let sibling = mesh.pid("sibling");

    let npx = mesh.cli_within(INSTALL, &["deploy", "ghost", "--npx", "@claudemesh/no-such-package-90210"]);
    let npx = npx.code_is(1);
    let said = npx.said();
    assert!(said.contains("404") && said.contains("no-such-package-90210"), "npm's own words: {npx}");
    assert_eq!(mesh.status("ghost"), "failed");

    let uvx = mesh.cli_within(INSTALL, &["deploy", "phantom", "--uvx", "claudemesh-no-such-package-90210"]);
    let uvx = uvx.code_is(1);
    assert!(uvx.said().contains("no-such-package-90210"), "uv's own words: {uvx}");
    assert!(uvx.said().contains("not found in the package registry"), "uv's own words: {uvx}");
    assert_eq!(mesh.status("phantom"), "failed");

    assert_eq!(mesh.pid("sibling"), sibling, "the sibling was restarted");
    let answer = mesh.cli(&["call", "sibling", "echo", "text=still here"]).ok();
    assert!(answer.stdout.contains("still here"), "{answer}");
}
