//! Where the built programs are: beside the test, in the same profile.

use std::path::{Path, PathBuf};

/// The program under test.
#[must_use]
pub fn claudemesh() -> PathBuf {
    find("claudemesh")
}

/// The MCP server with faults to order.
#[must_use]
pub fn fixture() -> PathBuf {
    find("fixture-mcp")
}

/// The fast MCP server of the load programs.
#[must_use]
pub fn echo() -> PathBuf {
    find("load-echo")
}

/// The chain without logic that the load programs compare with.
#[must_use]
pub fn chain() -> PathBuf {
    find("load-chain")
}

/// The program that compares the paths of a call.
#[must_use]
pub fn compare() -> PathBuf {
    find("load-compare")
}

/// The program that measures messages.
#[must_use]
pub fn mail() -> PathBuf {
    find("load-mail")
}

/// The program that measures services beside each other.
#[must_use]
pub fn services() -> PathBuf {
    find("load-services")
}

/// A receiver in a process of its own.
#[must_use]
pub fn mail_peer() -> PathBuf {
    find("mail-peer")
}

/// The Claude Code client, where `scripts/setup.sh test` puts it.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn client() -> PathBuf {
    let path = project().join(".node/node_modules/.bin/claude");
    assert!(
        path.exists(),
        "the Claude Code client is not installed in {}: type scripts/setup.sh test, which says why if it cannot",
        project().join(".node").display()
    );
    path
}

/// The project's folder.
#[must_use]
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate lies in the project's folder").to_path_buf()
}

/// A folder that outlives a run, for what is fetched over the network.
#[must_use]
pub fn download_cache() -> PathBuf {
    let folder = profile_folder().join("story-downloads");
    std::fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder
}

/// `target/<profile>`: a test's executable lies in `deps` under it, a program in it.
fn profile_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("a running program has a path");
    let folder = executable.parent().expect("an executable lies in a folder");
    if folder.file_name().is_some_and(|name| name == "deps") {
        folder.parent().expect("deps lies in the profile's folder").to_path_buf()
    } else {
        folder.to_path_buf()
    }
}

fn find(name: &str) -> PathBuf {
    let path = profile_folder().join(name);
    assert!(
        path.is_file(),
        "{} is not built: type `make test`, or `cargo build --workspace --bins` first",
        path.display()
    );
    path
}
