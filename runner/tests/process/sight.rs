//! H12: what a program at level `namespace` can and cannot see.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command as Std;

use runner::process::{Access, Launcher, Level, Process, ProcessError, Visible};

use super::fixture::WORD;
use super::{
    NOBODY, command, exe_for_nobody, has_namespaces, holders, launcher, launcher_hiding, levels, line, output, token,
};

#[tokio::test]
async fn h12_neither_neighbours_nor_the_wardens_show_a_secret() {
    for level in levels() {
        let launcher = launcher(level).await;
        let (argument, secret) = (token(), token());
        let mut keeper = command(["/bin/sh", "-c", "echo ready; read x", &argument]);
        keeper.env.insert("SECRET".into(), secret.clone().into());
        let Process { stdout, stdin, handle, exit, .. } = launcher.spawn(&keeper).await.unwrap();
        assert_eq!(line(&mut tokio::io::BufReader::new(stdout)).await, "ready");

        // Of all on this machine only the program itself holds them.
        assert_eq!(holders("environ", &secret), [handle.facts().pid], "{level}");
        assert_eq!(holders("cmdline", &argument), [handle.facts().pid], "{level}");

        if level == Level::Namespace {
            let look = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>&1; echo; ls /proc";
            let seen = output(&launcher, &command(["/bin/sh", "-c", look])).await;
            assert!(!seen.contains(&secret) && !seen.contains(&argument), "{seen}");
            let pids = seen.lines().filter(|name| name.parse::<u32>().is_ok()).count();
            assert_eq!(pids, 3, "its init, the shell and ls: {seen}");
        }
        drop(stdin);
        exit.await;
    }
}

/// A directory with `name` in it, and in that a file `inside`.
fn tree(root: &std::path::Path, name: &str) -> std::path::PathBuf {
    let path = root.join(name);
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("inside"), name).unwrap();
    path
}

async fn shell(launcher: &Launcher, script: &str, visible: &[(&std::path::Path, Access)]) -> String {
    let mut command = command(["/bin/sh", "-c", script]);
    command.env.insert("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into());
    command.visible =
        visible.iter().map(|(path, access)| Visible { path: path.to_path_buf(), access: *access }).collect();
    output(launcher, &command).await
}

#[tokio::test]
async fn h12_a_hidden_directory_is_empty_but_for_what_is_shown() {
    if !has_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let (other, read, write) = (tree(&root, "other"), tree(&root, "deep/read"), tree(&root, "write"));
    let file = other.join("inside");
    let launcher = launcher_hiding(Level::Namespace, vec![root.clone()]).await;

    let list = format!("cd {} && find . | sort | tr '\\n' ' '", root.display());
    assert_eq!(shell(&launcher, &list, &[]).await, ". ");
    let shown = [(&*read, Access::ReadOnly), (&*write, Access::ReadWrite)];
    let seen = shell(&launcher, &list, &shown).await;
    assert_eq!(seen, ". ./deep ./deep/read ./deep/read/inside ./write ./write/inside ");
    let seen = shell(&launcher, &list, &[(&file, Access::ReadOnly)]).await;
    assert_eq!(seen, ". ./other ./other/inside ");

    let root = root.display();
    let touch =
        format!("cd {root}; for d in . deep deep/read write; do (echo x > $d/new) 2>/dev/null || echo no $d; done");
    let said = shell(&launcher, &touch, &shown).await;
    assert_eq!(said, "no .\nno deep\nno deep/read\n");
    assert_eq!(fs::read_to_string(write.join("new")).unwrap(), "x\n");
    assert!(!read.join("new").exists());
}

#[tokio::test]
async fn h12_root_cannot_uncover_what_is_hidden() {
    if !has_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let read = tree(&root, "read");
    tree(&root, "secret");
    let launcher = launcher_hiding(Level::Namespace, vec![root.clone()]).await;
    let script = format!(
        "cd {0}; (umount -l {0}; umount -l {0}/read; mount -o remount,rw {0}/read; mount -t tmpfs x /mnt; \
         echo x > read/new; unshare -m umount -l {0}; unshare -Urm umount -l {0}; \
         cat /proc/1/root{0}/secret/inside) >/dev/null 2>&1; \
         find {0} | sort | tr '\\n' ' '",
        root.display()
    );
    let seen = shell(&launcher, &script, &[(&read, Access::ReadOnly)]).await;
    assert_eq!(seen, format!("{0} {0}/read {0}/read/inside ", root.display()));
}

/// The warden's memory holds what the runner sent, its descriptors the way to
/// the runner. Under one uid only its not being dumpable keeps them.
#[test]
fn h12_an_ordinary_users_program_cannot_look_into_its_warden() {
    let exe = exe_for_nobody();
    for level in levels() {
        let mut helper = match &exe {
            Some((_place, exe)) => {
                let mut helper = Std::new(exe);
                helper.uid(NOBODY).gid(NOBODY);
                helper
            }
            None => Std::new(std::env::current_exe().unwrap()),
        };
        let output = helper.args([WORD, "peek", level.as_str()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "refused\n", "{level}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn what_is_hidden_inside_what_is_shown_stays_hidden() {
    if !has_namespaces() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    let shown = tree(&root, "shown");
    let secret = tree(&root, "shown/secret");
    let launcher = launcher_hiding(Level::Namespace, vec![secret, root.clone()]).await;
    let list = format!("cd {} && find . | sort | tr '\\n' ' '", root.display());
    let seen = shell(&launcher, &list, &[(&shown, Access::ReadWrite)]).await;
    assert_eq!(seen, ". ./shown ./shown/inside ./shown/secret ");
}

#[tokio::test]
async fn a_probe_says_what_cannot_be_hidden_and_what_is_no_warden() {
    let place = tempfile::NamedTempFile::new().unwrap();
    for path in ["relative".into(), "/there/is/no/such".into(), place.path().to_path_buf()] {
        let refused = Launcher::probe("/proc/self/exe".into(), vec![path.clone()], None).await.unwrap_err();
        assert!(matches!(&refused, ProcessError::Hidden { path: named, .. } if *named == path), "{refused}");
    }
    for exe in ["/bin/true", "/there/is/no/such"] {
        let ProcessError::NoLevel(reasons) = Launcher::probe(exe.into(), Vec::new(), None).await.unwrap_err() else {
            panic!("{exe} is no warden");
        };
        assert_eq!(reasons.iter().map(|(level, _)| *level).collect::<Vec<_>>(), [Level::Namespace, Level::Guard]);
    }
}
