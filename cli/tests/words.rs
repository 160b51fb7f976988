//! The words themselves, the files at home, and a broker that is not there.

use std::fs;

use serde_json::json;

use crate::harness::{FakeBroker, FakeHttp, Home, config, dead_address, mesh};

#[test]
fn help_is_what_scripts_and_people_rely_on() {
    let help = Home::empty().run(&["--help"]).exits(0);
    insta::assert_snapshot!("help", help.stdout);
    let deploy = Home::empty().run(&["deploy", "--help"]).exits(0);
    insta::assert_snapshot!("deploy_help", deploy.stdout);
}

#[test]
fn wrong_words_exit_2_before_anybody_is_asked() {
    for (words, why) in [
        (&["fly"][..], "unrecognized subcommand"),
        (&["deploy", "x"], "required"),
        (&["deploy", "x", "--npx", "a", "--uvx", "b"], "cannot be used with"),
        (&["deploy", "x", "--command"], "required"),
        (&["deploy", "x", "--npx", "a", "--branch", "b"], "cannot be used with"),
        (&["deploy", "x", "--npx", "a", "--with", "b"], "cannot be used with"),
        (&["deploy", "x", "--npx", "a", "--runtime", "python"], "does not fit --npx"),
        (&["deploy", "x", "--uvx", "a", "--runtime", "ruby"], "node, python and bun"),
        (&["deploy", "x", "--git", "--upload-pack=x"], "unexpected argument"),
        (&["deploy", "x", "--git=--upload-pack=x"], "source.url"),
        (&["deploy", "x", "--git", "ext::sh -c x"], "source.url"),
        (&["deploy", "x", "--git", "https://user:pw@h/p"], "pass them as `auth`"),
        (&["deploy", "x", "--git", "https://h/p", "--branch", "a..b"], "source.branch"),
        (&["deploy", "x", "--git", "https://h/p", "--subdir", "../x"], "source.subdirectory"),
        (&["deploy", "x", "--git", "https://h/p", "--build-command", "npm 'run"], "quote"),
        (&["deploy", "x", "--git", "https://h/p", "--build-command", "/bin/sh"], "source.build_command"),
        (&["deploy", "x", "--git", "https://h/p", "--git-token-file", "/no/such/file"], "does not exist"),
        (&["deploy", "x", "--npx", "a", "--", "b"], "cannot be used with"),
        (&["deploy", "bad name", "--npx", "a"], "service name must be 1-64 chars"),
        (&["deploy", "x", "--npx", "a", "--env", "K=$vault:key:file:x"], "$vault:key:file:/path is expected"),
        (&["deploy", "x", "--npx", "a", "--env", "K"], "K=V is expected"),
        (&["deploy", "x", "--npx", "a", "--env", "K=1", "--env", "K=2"], "given twice"),
        (&["deploy", "x", "--npx", "a", "--scope", "everybody"], "groups:A,B"),
        (&["deploy", "x", "--npx", "a", "--timeout", "0"], "more than nothing"),
        (&["deploy", "x", "--npx", "a", "--memory-mb", "0"], "memory-mb"),
        (&["deploy", "x", "--npx", "a", "--restart", "always"], "permanent"),
        (&["logs", "x", "--lines", "0"], "lines"),
        (&["logs", "x", "--lines", "1001"], "lines"),
        (&["call", "x", "t", "novalue"], "neither k=v nor a JSON object"),
        (&["call", "x", "t", "{\"a\":"], "not JSON"),
        (&["call", "x", "t", "a:=b"], "not JSON"),
        (&["call", "x"], "required"),
        (&["send", "ben"], "required"),
        (&["send", "ben", "hi", "--file", "f"], "cannot be used with"),
        (&["send", "ben", " \n"], "nothing to send"),
        (&["send", "ben", "hi", "--priority", "soon"], "priority"),
        (&["inbox", "--wait", "--follow"], "cannot be used with"),
        (&["status", "asleep"], "idle"),
        (&["group", "restrict", "eng"], "required"),
        (&["group", "open", "a|b"], "has no |"),
        (&["invite", "create", "--role", "owner"], "role"),
        (&["invite", "create", "--uses", "0"], "uses"),
        (&["mesh", "require-proofs", "maybe"], "maybe"),
        (&["join", "nonsense"], "this is no invite"),
    ] {
        let ended = Home::of(&format!("ws://{}/ws", dead_address())).run(words).exits(2);
        assert!(ended.stderr.starts_with("error: "), "{words:?}: {ended:?}");
        assert!(ended.stderr.contains(why), "{words:?}: {why:?} is not in {ended:?}");
        assert_eq!(ended.stdout, "", "{words:?}");
    }
}

#[test]
fn no_words_at_all_show_the_help() {
    let ended = Home::empty().run(&[]).exits(2);
    assert!(ended.stderr.contains("Usage:"), "{ended:?}");
}

#[test]
fn version_and_completions_need_nothing() {
    let home = Home::empty();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(home.run(&["version"]).exits(0).stdout, format!("claudemesh {version}\n"));
    assert_eq!(home.run(&["--version"]).exits(0).stdout, format!("claudemesh {version}\n"));
    let json = home.run(&["version", "--json"]).exits(0).json();
    assert_eq!(json["version"], version);
    assert!(json["link"]["major"].is_u64());
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("claudemesh") && script.contains("undeploy"), "{shell}");
    }
}

#[test]
fn a_broker_that_is_not_there_exits_3_and_says_how_to_start_one() {
    let home = Home::of(&format!("ws://{}/ws", dead_address()));
    for words in [
        &["catalog"][..],
        &["deploy", "x", "--npx", "a"],
        &["undeploy", "x"],
        &["schema", "x"],
        &["call", "x", "t"],
        &["logs", "x"],
        &["peers"],
        &["send", "ben", "hi"],
        &["inbox"],
        &["member", "list"],
        &["leave"],
        &["tree"],
        &["health"],
    ] {
        let ended = home.run(words).exits(3);
        let lines: Vec<_> = ended.stderr.lines().filter(|line| !line.starts_with("no operator token")).collect();
        assert_eq!(lines.len(), 2, "{words:?}: {ended:?}");
        assert!(lines[0].starts_with("error: cannot reach the broker at 127.0.0.1:"), "{words:?}: {ended:?}");
        assert_eq!(lines[1], "hint: is the broker running? claudemesh up", "{words:?}");
        assert_eq!(ended.stdout, "", "{words:?}");
    }
    let json = home.run(&["catalog", "--json"]).exits(3).json();
    assert_eq!(json["error"]["kind"], "unreachable");
    assert_eq!(json["error"]["exit_code"], 3);
    assert_eq!(json["error"]["hint"], "is the broker running? claudemesh up");
}

#[test]
fn a_unix_socket_that_is_not_there_exits_3() {
    Home::of("unix:/nonexistent/claudemesh.sock")
        .run(&["catalog"])
        .exits(3)
        .says("cannot reach the broker at /nonexistent/claudemesh.sock");
}

#[test]
fn something_else_on_the_port_exits_3_and_is_named() {
    let http = FakeHttp::start(|_| (200, "hello".into()));
    Home::of(&http.url)
        .run(&["catalog"])
        .exits(3)
        .says("does not answer like a claudemesh broker")
        .says("hint: compare the mesh's brokerUrl");
}

#[test]
fn a_broker_address_that_makes_no_sense_is_a_fault_of_the_words() {
    for (url, why) in [("wss://x/ws", "no TLS"), ("ftp://x", "neither ws:// nor unix:")] {
        Home::of(url).run(&["catalog"]).exits(2).says(why).says("hint: ");
    }
}

#[test]
fn belonging_to_no_mesh_says_how_to_get_one() {
    Home::empty().run(&["catalog"]).exits(1).says("error: you belong to no mesh yet").says("hint: claudemesh up");
}

#[test]
fn the_mesh_is_chosen_by_its_slug() {
    let broker = FakeBroker::start(|request| match request["type"].as_str().unwrap() {
        "mcp_catalog" => vec![json!({"type": "mcp_catalog_result", "services": []})],
        _ => vec![],
    });
    let home = Home::empty();
    let dead = format!("ws://{}/ws", dead_address());
    home.write_config(&config(&[mesh("a", &dead), mesh("b", &broker.url)]).to_string());
    home.run(&["catalog", "--mesh", "b"]).exits(0);
    home.run(&["--mesh", "a", "catalog"]).exits(3);
    home.run(&["catalog", "--mesh", "c"]).exits(2).says("hint: known: a, b");
    home.run(&["catalog"]).exits(2).says("--mesh SLUG");
}

#[test]
fn a_config_that_cannot_be_read_is_left_alone() {
    for (content, what) in [
        ("{\"version\": 1, \"meshes\": [", "ends too early"),
        ("# not json", "not JSON"),
        ("{\"version\": 9, \"meshes\": []}", "version 9"),
        ("{\"version\": 1, \"meshes\": [{\"secretKey\": 1, \"slug\": \"SECRET\"}]}", "missing or of the wrong kind"),
    ] {
        let home = Home::empty();
        home.write_config(content);
        let ended = home.run(&["catalog"]).exits(1).says(what).says("left as it is").says("hint: ");
        assert!(!ended.stderr.contains("SECRET"), "{ended:?}");
        assert_eq!(fs::read_to_string(home.config_path()).unwrap(), content);
        let names: Vec<_> = fs::read_dir(home.config_path().parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "something was written beside it: {names:?}");
    }
}

#[test]
fn a_key_that_is_none_is_refused_and_not_shown() {
    let home = Home::empty();
    let mut entry = mesh("default", "ws://127.0.0.1:1/ws");
    entry["secretKey"] = json!("5ecre7".repeat(20));
    home.write_config(&config(&[entry]).to_string());
    let ended = home.run(&["catalog"]).exits(1).says("is not the one that belongs to pubkey");
    assert!(!ended.stderr.contains("5ecre7"), "{ended:?}");
}

#[test]
fn keys_that_others_can_read_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::of(&format!("ws://{}/ws", dead_address()));
    fs::set_permissions(home.config_path(), fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["catalog"]).exits(3).says("warning: ").says("chmod 600");
}
