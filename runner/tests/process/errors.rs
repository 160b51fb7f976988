//! A start that fails says whose fault it is, and leaves nothing behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command as Std;

use runner::process::{Access, Level, SpawnError, Visible};

use super::fixture::WORD;
use super::{command, has_namespaces, launcher, levels, no_zombie_stays};

#[tokio::test]
async fn the_commands_own_faults_are_told_apart() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = place.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let garbage = file("garbage", "\x01\x02\x03", 0o755);
    let lost = file("lost", "#!/there/is/no/such\n", 0o755);
    for level in levels() {
        let launcher = launcher(level).await;
        for (program, found) in [
            ("/there/is/no/such", false),
            (&*lost, false),
            ("/bin/sh/below", false),
            (&*plain, true),
            (&*garbage, true),
            ("/usr", true),
        ] {
            let error = launcher.spawn(&command([program])).await.err().expect(program);
            assert!(!error.is_transient(), "{level} {program}: {error}");
            match error {
                SpawnError::NotFound { .. } => assert!(!found, "{level} {program}"),
                SpawnError::NotExecutable { .. } => assert!(found, "{level} {program}"),
                other => panic!("{level} {program}: {other}"),
            }
        }
        let mut elsewhere = command(["/bin/true"]);
        elsewhere.cwd = "/there/is/no/such".into();
        let error = launcher.spawn(&elsewhere).await.err().unwrap();
        assert!(matches!(error, SpawnError::WorkingDirectory { .. }), "{level}: {error}");
        assert!(!error.is_transient());
        no_zombie_stays().await;
    }
}

#[tokio::test]
async fn what_is_to_be_shown_must_exist() {
    if !has_namespaces() {
        return;
    }
    let mut command = command(["/bin/true"]);
    command.visible = vec![Visible { path: "/there/is/no/such".into(), access: Access::ReadOnly }];
    let error = launcher(Level::Namespace).await.spawn(&command).await.err().unwrap();
    assert!(matches!(error, SpawnError::Visible { .. }), "{error}");
}

/// Whatever descriptor it is that cannot be opened.
#[tokio::test]
async fn too_few_descriptors_are_a_reason_that_passes() {
    for level in levels() {
        let exe = std::env::current_exe().unwrap();
        let output = Std::new(exe).args([WORD, "exhaust", level.as_str()]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{level}: {said}{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 9, "{level}: {said}");
        assert!(lines[0].contains("Too many open files"), "{level}: {said}");
        assert!(lines[..8].iter().all(|line| line.starts_with("transient ")), "{level}: {said}");
        assert_eq!(lines[8], "exit code 0", "{level}: {said}");
    }
}
