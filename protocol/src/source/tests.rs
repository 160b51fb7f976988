#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn npx(package: &str) -> Source {
    Source::Npx { package: package.into() }
}
fn uvx(package: &str) -> Source {
    Source::Uvx { package: package.into(), with: Vec::new() }
}
fn with(packages: &[&str]) -> Source {
    Source::Uvx { package: "pkg".into(), with: words(packages) }
}
fn git(url: &str, branch: Option<&str>, subdirectory: Option<&str>, build_command: &[&str]) -> Source {
    Source::Git {
        url: url.into(),
        branch: branch.map(str::to_owned),
        subdirectory: subdirectory.map(str::to_owned),
        build_command: words(build_command),
        auth: None,
    }
}
fn repository(url: &str) -> Source {
    git(url, None, None, &[])
}
fn branch(branch: &str) -> Source {
    git("https://h/p", Some(branch), None, &[])
}
fn subdirectory(path: &str) -> Source {
    git("https://h/p", None, Some(path), &[])
}
fn build(argv: &[&str]) -> Source {
    git("https://h/p", None, None, argv)
}
fn with_token(url: &str, token: &str) -> Source {
    let mut source = repository(url);
    source.put_token(Some(token.into()));
    source
}
fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
fn argv(words: &[&str]) -> Source {
    Source::Command { argv: words.iter().map(|&w| w.to_owned()).collect() }
}

#[test]
fn what_people_write_is_accepted() {
    let good = [
        npx("cowsay"),
        npx("@modelcontextprotocol/server-everything"),
        npx("@upstash/context7-mcp@1.0.14"),
        npx("left-pad@^1.2.0"),
        npx("x@latest"),
        uvx("mcp-server-time"),
        uvx("mcp[cli]==1.2.3"),
        uvx("ruff@0.4.1"),
        uvx("a[b,c]"),
        repository("https://example.com/a/b.git"),
        repository("ssh://git@example.com:22/a/b"),
        repository("git@example.com:a/b.git"),
        repository("file:///srv/a"),
        branch("main"),
        branch("feature/x-1.2"),
        branch("0123456789abcdef0123456789abcdef01234567"),
        subdirectory("packages/my server"),
        subdirectory("./a/"),
        build(&["npm", "run", "build", "--workspace=a b"]),
        build(&["./scripts/build.sh", "$HOME"]),
        with_token("https://h/p", "token"),
        with(&["mcp[cli]", "httpx==0.28.1"]),
        zip("0198c0de-1"),
        argv(&["/usr/bin/env", "-i", "x y", "--flag"]),
    ];
    for source in good {
        assert_eq!(source.validate(), Ok(()), "{source:?}");
    }
}

#[test]
fn what_could_be_something_else_is_refused() {
    let long = "a".repeat(215);
    let packages = [
        "",
        "-g",
        "--prefix=/",
        "a b",
        "../x",
        "./x",
        "/abs",
        "a/b",
        "a..b",
        "@s",
        "@/n",
        "@s/",
        "@s/../n",
        "a@",
        "git+https://h/p",
        "https://h/p.tgz",
        "file:x",
        "npm:x",
        "a@file:../x",
        "a@-g",
        "a\n",
        "a\u{202e}b",
        "a;b",
        "$(x)",
        "a@1..2",
        "a@https://h/x",
        long.as_str(),
    ];
    for package in packages {
        assert_eq!(npx(package).validate().unwrap_err().field, "package", "{package:?}");
    }
    let python = ["", "-r", "a b", "a[b", "a[]", "a==", "a==-x", "a@https://h/x", "./a", "a/../b", "a;b", "a>1", "a."];
    for package in python {
        assert_eq!(uvx(package).validate().unwrap_err().field, "package", "{package:?}");
    }
    let urls = [
        "",
        "--upload-pack=touch /tmp/x",
        "-x",
        "ext::sh -c x",
        "ext::sh",
        "/abs/path",
        "../x",
        "http://h/p",
        "git://h/p",
        "https://-h/p",
        "https:///p",
        "https://h",
        "https://user:pw@h/p",
        "ssh://-oProxyCommand=x/p",
        "git@-h:p",
        "-a@h:p",
        "git@h:-p",
        "git@h:../p",
        "https://h/a/../b",
        "file://h/p",
        "https://h/p q",
        "h:p",
    ];
    for url in urls {
        assert_eq!(repository(url).validate().unwrap_err().field, "url", "{url:?}");
    }
    let branches =
        ["", "-b", "a b", "a..b", "/a", "a/", "a//b", ".a", "a.lock", "a~1", "a^", "a:b", "a@{1}", "@", "a\\b"];
    for name in branches {
        assert_eq!(branch(name).validate().unwrap_err().field, "branch", "{name:?}");
    }
    let folders = ["", "/", "/etc", "-x", "..", "a/../b", "a/..", "a\\b", "a\nb", "a\u{202e}", ".git", "a/.GIT/hooks"];
    for path in folders {
        assert_eq!(subdirectory(path).validate().unwrap_err().field, "subdirectory", "{path:?}");
    }
    for argv in [&[""][..], &["-c"], &["/bin/sh"], &["../x"], &["a/../../x"], &["a\n"], &["a", "b\0"]] {
        assert_eq!(build(argv).validate().unwrap_err().field, "build_command", "{argv:?}");
    }
    for url in ["ssh://git@h/p", "git@h:p", "file:///p"] {
        assert_eq!(with_token(url, "t").validate().unwrap_err().field, "auth", "{url:?}");
    }
    for package in ["", "-r", "mcp[cli", "./a", "git+https://h/p", "a>1"] {
        assert_eq!(with(&["fine", package]).validate().unwrap_err().field, "with", "{package:?}");
    }
    assert_eq!(with(&["a"; MAX_WITH + 1]).validate().unwrap_err().field, "with");
    for id in ["", "../x", "a/b", "-a", "a.b"] {
        assert_eq!(zip(id).validate().unwrap_err().field, "file_id", "{id:?}");
    }
    for words in [&[][..], &[""], &["-x"], &["a", "b\0"], &["a\n"]] {
        assert_eq!(argv(words).validate().unwrap_err().field, "argv", "{words:?}");
    }
}

#[test]
fn a_git_token_is_checked_and_never_shown() {
    let mut source = with_token("https://h/p", "planted token");
    let error = source.validate().unwrap_err();
    assert_eq!(error.field, "auth");
    assert!(!format!("{error} {source:?}").contains("planted"));
    assert!(serde_json::to_string(&source).unwrap().contains("planted"), "the frame that carries it does");
    let token = source.take_token();
    assert!(!serde_json::to_string(&source).unwrap().contains("planted"), "what is left of it does not");
    source.put_token(token);
    assert_eq!(source, with_token("https://h/p", "planted token"));
}

#[test]
fn a_runtime_fits_its_source_or_is_refused() {
    let table = [
        (npx("a"), [true, false, true]),
        (uvx("a"), [false, true, false]),
        (repository("https://h/p"), [true, true, true]),
        (argv(&["a"]), [false, false, false]),
    ];
    for (source, expected) in table {
        let found = [Runtime::Node, Runtime::Python, Runtime::Bun].map(|runtime| source.runs_on(runtime));
        assert_eq!(found, expected, "{source:?}");
    }
}

fn zip(file_id: &str) -> Source {
    Source::Zip { file_id: file_id.to_owned(), subdirectory: None, build_command: Vec::new() }
}

#[test]
fn h13_an_archive_is_told_what_a_repository_is_told() {
    let of = |folder: &str, build: &[&str]| Source::Zip {
        file_id: "0198c0de-1".to_owned(),
        subdirectory: Some(folder.to_owned()),
        build_command: build.iter().map(|word| (*word).to_owned()).collect(),
    };
    of("packages/server", &["npm", "run", "build"]).validate().unwrap();
    for (source, field) in [
        (of("../x", &[]), "subdirectory"),
        (of("/etc", &[]), "subdirectory"),
        (of("a", &["/bin/sh"]), "build_command"),
        (of("a", &["-x"]), "build_command"),
    ] {
        assert_eq!(source.validate().unwrap_err().field, field);
    }
}
