//! Links that lead out of a tree, and files that are none.
//!
//! In what was fetched no link leads out. What tools have built may also have links to programs of this machine, as
//! environments and compilers leave them (`.venv/bin/python3`, `build/node_gyp_bins/python3`), and no others.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use crate::prepare::error::PrepareError;

/// Links that one path may lead through, as the kernel counts them.
const MAX_HOPS: usize = 40;

/// Refuses a tree in which a link leads out, or in which something is neither file nor folder nor link. Blocks.
pub(super) fn check(tree: &Path) -> Result<(), PrepareError> {
    walk(tree, |_| false)
}

/// The same of a tree in which tools have worked: a link may lead to a program of this machine. Blocks.
pub(super) fn check_built(tree: &Path) -> Result<(), PrepareError> {
    walk(tree, is_program)
}

/// Whether what a link leads to is a file that can be executed.
fn is_program(link: &Path) -> bool {
    fs::metadata(link).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn walk(tree: &Path, may_leave: impl Fn(&Path) -> bool) -> Result<(), PrepareError> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let place = tree.join(&folder);
        let entries = fs::read_dir(&place).map_err(PrepareError::disk("read", &place))?;
        for entry in entries {
            let entry = entry.map_err(PrepareError::disk("read", &place))?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(PrepareError::disk("read", &place))?;
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_symlink() && !stays(tree, &path) && !may_leave(&tree.join(&path)) {
                return Err(refused(&path, "is a link that leads out of the tree"));
            } else if !kind.is_symlink() && !kind.is_file() {
                return Err(refused(&path, "is neither a file nor a folder"));
            }
        }
    }
    Ok(())
}

fn refused(path: &Path, why: &str) -> PrepareError {
    PrepareError::Project { what: path.to_string_lossy().escape_debug().to_string(), why: why.to_owned() }
}

/// Whether `path`, relative to `tree`, ends inside it after every link on the way was followed as the kernel would. What
/// does not exist stays where it is named.
fn stays(tree: &Path, path: &Path) -> bool {
    let mut at: Vec<OsString> = Vec::new();
    let mut ahead: VecDeque<Step> = steps(path).into();
    let mut hops = 0;
    while let Some(step) = ahead.pop_front() {
        match step {
            Step::Out => return false,
            Step::Up => {
                if at.pop().is_none() {
                    return false;
                }
            }
            Step::Into(name) => {
                at.push(name);
                let here = at.iter().fold(tree.to_owned(), |path, part| path.join(part));
                let Ok(target) = fs::read_link(&here) else { continue };
                hops += 1;
                if hops > MAX_HOPS {
                    return false;
                }
                at.pop();
                for step in steps(&target).into_iter().rev() {
                    ahead.push_front(step);
                }
            }
        }
    }
    true
}

enum Step {
    Into(OsString),
    Up,
    Out,
}

fn steps(path: &Path) -> Vec<Step> {
    let step = |part| match part {
        Component::Normal(name) => Some(Step::Into(name.to_owned())),
        Component::ParentDir => Some(Step::Up),
        Component::CurDir => None,
        Component::RootDir | Component::Prefix(_) => Some(Step::Out),
    };
    path.components().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(links: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("tree/a/b/c")).unwrap();
        fs::write(root.path().join("tree/a/file"), "").unwrap();
        fs::write(root.path().join("secret"), "").unwrap();
        for (name, target) in links {
            symlink(target, root.path().join("tree").join(name)).unwrap();
        }
        root
    }

    #[test]
    fn h13_a_link_that_leaves_the_tree_is_refused() {
        let inside: [&[(&str, &str)]; 4] = [
            &[("file", "a/file"), ("a/b/up", "../file"), ("a/b/c/top", "../../..")],
            &[("dangling", "not/there/yet"), ("self", ".")],
            &[("a/b/c/top", "../../.."), ("again", "a/b/c/top/a/file")],
            &[("one", "two"), ("two", "a/./b//c")],
        ];
        for links in inside {
            check(&tree(links).path().join("tree")).unwrap();
        }
        let outside: [(&[(&str, &str)], &str); 6] = [
            (&[("x", "/etc/passwd")], "x"),
            (&[("x", "../secret")], "x"),
            (&[("a/x", "../../secret")], "a/x"),
            // Each of the two is harmless as a text.
            (&[("a/b/c/top", "../../.."), ("x", "a/b/c/top/../secret")], "x"),
            (&[("x", "not/there/../../../secret")], "x"),
            (&[("x", "y"), ("y", "x")], ""),
        ];
        for (links, named) in outside {
            let error = check(&tree(links).path().join("tree")).unwrap_err().to_string();
            assert!(error.starts_with(named) && error.contains("leads out"), "{links:?}: {error}");
        }
    }

    #[test]
    fn h13_what_was_built_may_have_links_to_programs_and_to_nothing_else_outside() {
        check_built(&tree(&[("python3", "/bin/sh"), ("a/b/again", "../../python3")]).path().join("tree")).unwrap();
        let outside =
            [("x", "/etc/passwd"), ("x", "../secret"), ("x", "/etc"), ("x", "/not/there"), ("x", "/dev/null")];
        for link in outside {
            let error = check_built(&tree(&[link]).path().join("tree")).unwrap_err().to_string();
            assert!(error.starts_with('x') && error.contains("leads out"), "{link:?}: {error}");
        }
    }

    #[test]
    fn a_pipe_is_no_file() {
        let root = tree(&[]);
        nix::unistd::mkfifo(&root.path().join("tree/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = check(&root.path().join("tree")).unwrap_err().to_string();
        assert!(error.contains("pipe is neither"), "{error}");
    }
}
