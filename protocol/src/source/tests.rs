#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;

fn npx(package: &str) -> Source {
    Source::Npx { package: package.into() }
}
fn uvx(package: &str) -> Source {
    Source::Uvx { package: package.into() }
}
fn repository(url: &str) -> Source {
    Source::Git { url: url.into(), branch: None, auth: None }
}
fn branch(branch: &str) -> Source {
    Source::Git { url: "https://h/p".into(), branch: Some(branch.into()), auth: None }
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
        Source::Zip { file_id: "0198c0de-1".into() },
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
    for id in ["", "../x", "a/b", "-a", "a.b"] {
        assert_eq!(Source::Zip { file_id: id.into() }.validate().unwrap_err().field, "file_id", "{id:?}");
    }
    for words in [&[][..], &[""], &["-x"], &["a", "b\0"], &["a\n"]] {
        assert_eq!(argv(words).validate().unwrap_err().field, "argv", "{words:?}");
    }
}

#[test]
fn a_git_token_is_checked_and_never_shown() {
    let source = Source::Git { url: "https://h/p".into(), branch: None, auth: Some("planted token".into()) };
    let error = source.validate().unwrap_err();
    assert_eq!(error.field, "auth");
    assert!(!format!("{error} {source:?}").contains("planted"));
}
