//! The way of a package, with an `npm` written for each test.

use futures_util::future::join_all;
use runner::prepare::{PrepareError, Runtime};

use super::stand_in::{OBLIGING, StandIn};
use super::{LIMIT, files_under, npx, prepare};

const UNREACHABLE: &str = r#"
echo "npm error code ECONNREFUSED" >&2
echo "npm error connect ECONNREFUSED 127.0.0.1:9" >&2
exit 1
"#;

#[tokio::test]
async fn a_known_version_needs_no_tool() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await;
    let (first, lines) = prepare(&preparer, &npx("@scope/pkg"), None).await;
    let first = first.unwrap();
    assert_eq!((first.version.as_str(), first.runtime), ("1.2.3", Runtime::Node));
    assert_eq!(tools.asked(), ["view @scope/pkg", "install @scope/pkg@1.2.3"]);
    assert!(lines.contains(&"added 1 package".to_owned()), "{lines:?}");

    tools.remove_npm();
    let fresh = tools.preparer().await;
    let (again, lines) = prepare(&fresh, &npx("@scope/pkg"), Some("1.2.3")).await;
    assert_eq!(again.unwrap(), first);
    let (exact, _) = prepare(&fresh, &npx("@scope/pkg@1.2.3"), None).await;
    assert_eq!(exact.unwrap(), first, "an exact specification is a known version");
    assert_eq!((tools.asked().len(), lines.len()), (2, 0));

    let (unknown, _) = prepare(&fresh, &npx("@scope/pkg"), Some("1.2.4")).await;
    let error = unknown.unwrap_err();
    assert!(matches!(error, PrepareError::RuntimeMissing { .. }), "{error:?}");
}

#[tokio::test]
async fn the_program_is_named_absolutely_with_its_arguments() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await;
    let args = ["--flag".to_owned(), "$HOME *".to_owned()];
    let ready = preparer.prepare(&npx("pkg"), None, &args, LIMIT, &mut |_| {}).await.unwrap();
    let package = tools.cache().join("packages/npx/pkg/1.2.3");
    let argv =
        [tools.root().join("bin/node"), package.join("node_modules/pkg/cli.js"), "--flag".into(), "$HOME *".into()];
    assert_eq!(ready.argv, argv);
    assert_eq!(ready.visible, std::slice::from_ref(&package));
    let path = ready.path_env.into_string().unwrap();
    assert!(path.starts_with(package.join("node_modules/.bin").to_str().unwrap()), "{path}");
    assert!(path.ends_with(&format!(":{}", tools.root().join("bin").display())), "{path}");
}

#[tokio::test]
async fn without_the_registry_the_last_answer_serves() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await;
    let (first, _) = prepare(&preparer, &npx("pkg"), None).await;

    tools.npm(UNREACHABLE);
    let (again, lines) = prepare(&preparer, &npx("pkg"), None).await;
    assert_eq!(again.unwrap(), first.unwrap());
    assert!(lines.iter().any(|line| line.contains("cannot be reached") && line.contains("1.2.3")), "{lines:?}");

    let (other, _) = prepare(&preparer, &npx("pkg@next"), None).await;
    let error = other.unwrap_err();
    assert!(matches!(error, PrepareError::Resolve { .. }), "{error:?}");
    assert!(error.to_string().contains("npm error connect ECONNREFUSED"), "{error}");

    tools.npm("echo 'npm error code E404' >&2; exit 1");
    let (gone, _) = prepare(&preparer, &npx("pkg"), None).await;
    assert!(gone.is_err(), "a registry that answers no is not out of reach");
}

#[tokio::test]
async fn a_new_version_is_installed_beside_the_old() {
    let tools = StandIn::new(OBLIGING);
    let preparer = tools.preparer().await;
    let (old, _) = prepare(&preparer, &npx("pkg"), None).await;
    tools.npm(&OBLIGING.replace("1.2.3", "1.3.0"));
    let (new, _) = prepare(&preparer, &npx("pkg"), None).await;
    assert_eq!(new.unwrap().version, "1.3.0");
    let (back, _) = prepare(&preparer, &npx("pkg"), Some("1.2.3")).await;
    assert_eq!(back.unwrap(), old.unwrap());
}

#[tokio::test]
async fn parallel_requests_for_one_package_install_it_once() {
    let tools = StandIn::new(OBLIGING);
    // Two preparers, as two runners on one cache would be.
    let preparers = [tools.preparer().await, tools.preparer().await];
    let source = npx("pkg");
    let all = (0..8).map(|n| prepare(&preparers[n % 2], &source, None));
    for (result, _) in join_all(all).await {
        assert_eq!(result.unwrap().version, "1.2.3");
    }
    let installs = tools.asked().iter().filter(|line| line.starts_with("install")).count();
    assert_eq!(installs, 1, "{:?}", tools.asked());
}

#[tokio::test]
async fn a_failed_install_speaks_in_npms_words() {
    let tools = StandIn::new(
        "case $1 in view) echo '[\"1.0.0\", \"1.1.0\"]';; *) \
         echo 'npm warn noise' >&2; printf '\\033[31mnpm error\\033[0m code 1\\n' >&2; \
         echo 'npm error gyp needs https://me:pw@host.test/x' >&2; exit 7;; esac",
    );
    let preparer = tools.preparer().await;
    let (result, lines) = prepare(&preparer, &npx("pkg@^1"), None).await;
    match result.unwrap_err() {
        PrepareError::Install { program, spec, status, words } => {
            assert_eq!((program, spec.as_str(), status.to_string().as_str()), ("npm", "pkg@1.1.0", "exit code 7"));
            assert_eq!(words, ["npm error code 1", "npm error gyp needs https://***@host.test/x"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(lines.contains(&"npm warn noise".to_owned()), "{lines:?}");
    assert!(files_under(&tools.cache().join("packages")).is_empty());
}
