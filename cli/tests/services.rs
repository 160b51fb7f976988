//! Deploy, undeploy, catalog, schema and logs against a broker that follows a script.

use serde_json::{Value, json};

use crate::harness::{FakeBroker, Home};

fn status(status: &str) -> Value {
    json!({"type": "mcp_deploy_status", "server_name": "time", "status": status})
}

fn with(mut message: Value, fields: Value) -> Value {
    message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    message
}

/// A broker that answers every request but the hello with `answers`.
fn broker(answers: Vec<Value>) -> FakeBroker {
    FakeBroker::start(move |request| match request["type"].as_str() {
        Some("hello") => vec![],
        _ => answers.clone(),
    })
}

fn good_deploy() -> FakeBroker {
    broker(vec![
        status("building"),
        with(status("building"), json!({"progress": "fetching\u{1b}[2J mcp-server-time"})),
        status("starting"),
        with(
            status("running"),
            json!({"tools": [
                {"name": "get_current_time", "description": "The time\nin a zone", "inputSchema": {"type": "object"}},
                {"name": "convert\u{202e}_time", "inputSchema": {}}
            ]}),
        ),
    ])
}

const DEPLOY: &[&str] = &["deploy", "time", "--uvx", "mcp-server-time"];

#[test]
fn a_repository_is_sent_as_its_words_say() {
    let broker = good_deploy();
    let words = [
        "deploy",
        "time",
        "--git",
        "https://h.test/a/b.git",
        "--branch",
        "v1",
        "--subdir",
        "packages/a",
        "--build-command",
        "npm run 'build all'",
        "--runtime",
        "bun",
    ];
    let token = [("CLAUDEMESH_GIT_TOKEN", "t-1")];
    let _ = Home::of(&broker.url).run_with(&words, &token, "").exits(0);
    assert_eq!(
        broker.next("mcp_deploy"),
        json!({"type": "mcp_deploy", "server_name": "time", "config": {"runtime": "bun"}, "source": {
            "type": "git", "url": "https://h.test/a/b.git", "branch": "v1", "subdirectory": "packages/a",
            "build_command": ["npm", "run", "build all"], "auth": "t-1",
        }})
    );
    let broker = good_deploy();
    let _ = Home::of(&broker.url).run_with(&["deploy", "time", "--git", "git@h.test:a/b"], &token, "").exits(0);
    assert_eq!(
        broker.next("mcp_deploy")["source"],
        json!({"type": "git", "url": "git@h.test:a/b"}),
        "no token in clear"
    );
}

#[test]
fn a_runners_cache_is_shown_and_cleared_without_a_runner() {
    let data = tempfile::tempdir().unwrap();
    let place = data.path().to_str().unwrap();
    for (name, bytes) in [("left-pad", 5_000_000), ("right-pad", 100)] {
        let folder = data.path().join("cache/packages/npx").join(name).join("1.3.0");
        std::fs::create_dir_all(&folder).unwrap();
        let receipt = json!({
            "format": 2, "version": "1.3.0", "program": "x", "start": "direct", "programs": "bin", "bytes": bytes,
        });
        std::fs::write(folder.join("receipt.json"), receipt.to_string()).unwrap();
    }
    let home = Home::empty();
    let listed = home.run(&["runner", "cache", "list", "--data-dir", place]).exits(0);
    assert!(listed.stdout.contains("left-pad") && listed.stdout.contains("5 MiB"), "{}", listed.stdout);
    let cleaned = home.run(&["runner", "cache", "clean", "--keep", "1MiB", "--data-dir", place, "--json"]).exits(0);
    let document: Value = serde_json::from_str(&cleaned.stdout).unwrap();
    assert_eq!((&document["bytes"], &document["items"][0]["package"]), (&json!(5_000_000), &json!("left-pad")));
    let rest: Value =
        serde_json::from_str(&home.run(&["runner", "cache", "list", "--data-dir", place, "--json"]).exits(0).stdout)
            .unwrap();
    assert_eq!(rest["items"].as_array().unwrap().len(), 1, "{rest}");
    let nowhere = home.run(&["runner", "cache", "list", "--data-dir", "/no/such/runner"]).exits(1);
    assert!(nowhere.stderr.contains("no runner has lived in"), "{}", nowhere.stderr);
}

#[test]
fn a_deploy_shows_its_way_and_ends_with_the_tools() {
    let broker = good_deploy();
    let ended = Home::of(&broker.url).run(DEPLOY).exits(0);
    assert_eq!(ended.stderr, "building: taken by the broker\nbuilding: fetching mcp-server-time\nstarting: …\n");
    assert_eq!(
        ended.stdout,
        "time is running, 2 tools:\n\
         TOOL              DESCRIPTION\n\
         get_current_time  The time in a zone\n\
         convert_time\n"
    );
    assert_eq!(
        broker.next("mcp_deploy"),
        json!({"type": "mcp_deploy", "server_name": "time", "source": {"type": "uvx", "package": "mcp-server-time"}, "config": {}})
    );
    broker.next("!closed");
}

#[test]
fn a_deploy_says_everything_it_was_told() {
    let broker = broker(vec![status("running")]);
    let words = [
        "deploy",
        "time",
        "--scope",
        "groups:a,b",
        "--env",
        "A=1",
        "--env",
        "B=x=y",
        "--restart",
        "transient",
        "--max-restarts",
        "3",
        "--within",
        "2m",
        "--start-timeout",
        "500ms",
        "--retry",
        "never",
        "--strategy",
        "rest_for_one",
        "--instances",
        "3",
        "--call-timeout",
        "30s",
        "--stop-timeout",
        "1s",
        "--build-timeout",
        "5m",
        "--concurrency",
        "16",
        "--circuit-timeouts",
        "3",
        "--health-idle",
        "10s",
        "--health-timeout",
        "2s",
        "--health-misses",
        "2",
        "--backoff",
        "100ms",
        "--backoff-max",
        "8s",
        "--stable",
        "20s",
        "--memory-mb",
        "64",
        "--command",
        "--",
        "/bin/server",
        "--flag",
        "a b",
    ];
    Home::of(&broker.url).run(&words).exits(0);
    assert_eq!(
        broker.next("mcp_deploy"),
        json!({
            "type": "mcp_deploy", "server_name": "time", "scope": {"groups": ["a", "b"]},
            "source": {"type": "command", "argv": ["/bin/server", "--flag", "a b"]},
            "config": {
                "env": {"A": "1", "B": "x=y"}, "memory_mb": 64,
                "policy": {"restart": "transient", "max_restarts": 3, "within_ms": 120_000, "start_timeout_ms": 500, "retry": "never",
                    "strategy": "rest_for_one", "instances": 3, "call_timeout_ms": 30_000, "stop_timeout_ms": 1_000,
                    "build_timeout_ms": 300_000, "concurrency": 16, "circuit_timeouts": 3, "health_idle_ms": 10_000,
                    "health_timeout_ms": 2_000, "health_misses": 2, "backoff_first_ms": 100, "backoff_max_ms": 8_000,
                    "stable_ms": 20_000},
            },
        })
    );
    Home::of(&broker.url)
        .run(&["deploy", "time", "--npx", "p@1", "--arg", "--local-timezone", "--arg", "UTC"])
        .exits(0);
    let npx = broker.next("mcp_deploy");
    assert!(npx["config"].get("policy").is_none(), "nothing was asked for: {npx}");
    assert_eq!(npx["source"], json!({"type": "npx", "package": "p@1"}));
    assert_eq!(npx["args"], json!(["--local-timezone", "UTC"]));
    Home::of(&broker.url).run(&["deploy", "time", "--npx", "p@1", "--exclusive"]).exits(0);
    assert_eq!(broker.next("mcp_deploy")["config"]["policy"], json!({"exclusive": true}));
}

#[test]
fn h45_a_policy_that_cannot_be_names_the_member_and_asks_nobody() {
    let home = Home::of("ws://127.0.0.1:1/ws");
    for (words, expected) in [
        (vec!["--instances", "9"], "`policy.instances` is 9; it must be between 1 and 8"),
        (vec!["--exclusive", "--instances", "2"], "`policy.instances` is 2; with `policy.exclusive` it must be 1"),
        (vec!["--concurrency", "0"], "`policy.concurrency` is 0; it must be between 1 and 256"),
        (vec!["--stop-timeout", "1h"], "`policy.stop_timeout_ms` is 3600000; it must be between 1 and 600000"),
    ] {
        let ran = home.run(&[vec!["deploy", "time", "--npx", "p"], words].concat());
        let ran = ran.exits(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
}

#[test]
fn a_deploy_in_json_is_its_end_and_nothing_else() {
    let broker = good_deploy();
    let ended = Home::of(&broker.url).run(&[DEPLOY, &["--json"]].concat()).exits(0);
    assert_eq!(ended.stderr, "");
    assert!(!ended.stdout.contains('\u{202e}'), "{ended:?}");
    assert_eq!(
        ended.json(),
        json!({"name": "time", "status": "running", "tools": [
            {"name": "get_current_time", "description": "The time\nin a zone", "inputSchema": {"type": "object"}},
            {"name": "convert\u{202e}_time", "inputSchema": {}}
        ]})
    );
}

#[test]
fn a_terminal_gets_colours_and_one_changing_line_unless_it_does_not_want_them() {
    let broker = good_deploy();
    let home = Home::of(&broker.url);
    let shown = home.run_on_terminal(DEPLOY, &[("TERM", "xterm")]);
    assert!(shown.contains("\u{1b}[32mrunning\u{1b}[0m"), "{shown:?}");
    assert!(shown.contains("\r\u{1b}[K\u{1b}[33m-\u{1b}[0m building: taken by the broker"), "{shown:?}");
    assert!(!shown.contains("building: taken by the broker\r\n"), "the line did not change in place: {shown:?}");
    // The changing line is gone before the result comes.
    assert!(shown.contains("\r\u{1b}[Ktime is"), "{shown:?}");
    for env in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = home.run_on_terminal(DEPLOY, &[env]);
        assert!(!shown.contains("\u{1b}[3") && !shown.contains("\u{1b}[2m"), "{env:?}: {shown:?}");
        assert!(shown.contains("time is running"), "{env:?}: {shown:?}");
    }
    let json = home.run_on_terminal(&[DEPLOY, &["--json"]].concat(), &[("TERM", "xterm")]);
    assert!(json.starts_with("{\"name\":") && !json.contains('\u{1b}'), "{json:?}");
}

#[test]
fn a_quiet_deploy_says_nothing() {
    let broker = good_deploy();
    let ended = Home::of(&broker.url).run(&[DEPLOY, &["--quiet"]].concat()).exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn a_deploy_that_nobody_waits_for_ends_at_the_first_status() {
    let broker = good_deploy();
    let home = Home::of(&broker.url);
    let ended = home.run(&[DEPLOY, &["--no-wait"]].concat()).exits(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("time: building\n", ""));
    let json = home.run(&[DEPLOY, &["--no-wait", "--json"]].concat()).exits(0).json();
    assert_eq!(json, json!({"name": "time", "status": "building"}));
}

#[test]
fn a_failed_deploy_says_why_and_exits_1() {
    let failed = with(
        status("failed"),
        json!({"error": "the process ended with code 3 before it answered\nline one\u{1b}]0;pwned\u{7}\nline two"}),
    );
    let broker = broker(vec![status("building"), failed]);
    let home = Home::of(&broker.url);
    let ended = home.run(DEPLOY).exits(1);
    assert_eq!(ended.stdout, "");
    assert_eq!(
        ended.stderr,
        "building: taken by the broker\n\
         \u{20} | line one\n\
         \u{20} | line two\n\
         error: time failed: the process ended with code 3 before it answered\n\
         hint: claudemesh logs time shows all that it wrote\n"
    );
    assert_eq!(
        home.run(&[DEPLOY, &["--json"]].concat()).exits(1).json(),
        json!({
            "name": "time", "status": "failed", "error": "the process ended with code 3 before it answered",
            "log": ["line one", "line two"],
        })
    );
}

#[test]
fn a_deploy_without_end_exits_5_and_does_not_claim_that_it_failed() {
    let broker = broker(vec![status("building")]);
    Home::of(&broker.url)
        .run(&[DEPLOY, &["--timeout", "200ms"]].concat())
        .exits(5)
        .says("error: time is not running after 0.2 s")
        .says("hint: the deploy may still succeed");
}

#[test]
fn refusals_have_the_exit_code_of_their_kind() {
    for (code, exit) in [
        ("forbidden", 4),
        ("limit", 4),
        ("storage_full", 4),
        ("invalid_name", 2),
        ("bad_request", 2),
        ("deploy_error", 1),
        ("unknown_type", 1),
        ("of_the_future", 1),
    ] {
        let broker = broker(vec![json!({"type": "error", "code": code, "message": "no\u{1b}[31m way"})]);
        let ended = Home::of(&broker.url).run(&[DEPLOY, &["--json"]].concat()).exits(exit);
        let json = ended.json();
        assert_eq!(json["error"]["code"], code);
        assert_eq!(json["error"]["message"], "no way", "{code}");
        assert_eq!(json["error"]["exit_code"], exit, "{code}");
        assert!(ended.stderr.starts_with("error: no way\n"), "{code}: {ended:?}");
    }
}

#[test]
fn a_frame_that_was_too_large_is_an_answer_although_it_names_no_request() {
    let broker =
        broker(vec![json!({"type": "error", "code": "too_large", "message": "over 1048576 bytes", "_reqId": null})]);
    Home::of(&broker.url).run(&["catalog"]).exits(4).says("over 1048576 bytes");
}

#[test]
fn a_refused_hello_exits_4_with_what_to_do() {
    for (code, hint) in [("unauthorized", "invite"), ("timestamp_skew", "clock"), ("bad_signature", "key")] {
        let broker = FakeBroker::start(move |_| {
            vec![json!({"type": "error", "code": code, "message": "no"}), json!({"type": "!close"})]
        });
        Home::of(&broker.url).run(&["catalog"]).exits(4).says("error: no").says(hint);
    }
}

#[test]
fn a_connection_that_breaks_exits_3() {
    for end in ["!drop", "!close"] {
        let broker = broker(vec![json!({"type": end})]);
        Home::of(&broker.url).run(&["catalog"]).exits(3).says("error: the connection to the broker was lost");
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_a_failure_and_no_empty_list() {
    for answer in [
        json!({"type": "mcp_catalog_result"}),
        json!({"type": "mcp_catalog_result", "services": 3}),
        json!({"type": "peers_list", "peers": []}),
    ] {
        let broker = broker(vec![answer.clone()]);
        let ended = Home::of(&broker.url).run(&["catalog"]).exits(1).says("cannot be understood");
        assert_eq!(ended.stdout, "", "{answer}");
    }
}

#[test]
fn silence_exits_5_and_is_no_empty_list() {
    let broker = broker(vec![]);
    let ended = Home::of(&broker.url)
        .run(&["catalog", "--timeout", "200ms"])
        .exits(5)
        .says("error: no answer to mcp_catalog within 0.2 s");
    assert_eq!(ended.stdout, "");
}

#[test]
fn what_is_for_others_does_not_disturb_the_answer() {
    let broker = broker(vec![
        json!({"type": "push", "subtype": "system", "_reqId": null}),
        json!({"type": "!raw", "text": "not json"}),
        json!({"type": "mcp_catalog_result", "services": [{"name": "wrong"}], "_reqId": "someone-elses"}),
        json!({"type": "mcp_catalog_result", "services": [{"name": "right"}]}),
    ]);
    let json = Home::of(&broker.url).run(&["catalog", "--json"]).exits(0).json();
    assert_eq!(json["services"][0]["name"], "right");
}

#[test]
fn a_unix_socket_works_like_a_port() {
    let directory = tempfile::tempdir().unwrap();
    let broker =
        FakeBroker::start_unix(&directory.path().join("s"), |request| match request["type"].as_str().unwrap() {
            "mcp_catalog" => vec![json!({"type": "mcp_catalog_result", "services": []})],
            _ => vec![],
        });
    let ended = Home::of(&broker.url).run(&["catalog"]).exits(0);
    assert_eq!(ended.stdout, "No services deployed in the mesh.\n");
}

#[test]
fn the_catalog_is_a_table_for_people_and_whole_for_programs() {
    let services = json!([
        {"name": "time", "type": "mcp", "description": "d", "status": "running", "tool_count": 2, "deployed_by": "Ada",
         "scope": {"group": "eng"}, "source_type": "uvx", "version": "1.2.3", "created_at": "2020-01-01T00:00:00Z", "extra": 1},
        {"name": "evil", "status": "crashed\u{1b}[1A", "tool_count": 0, "deployed_by": "Mal\u{202e}lory\nroot", "scope": "mesh",
         "source_type": "npx", "created_at": "whenever"}
    ]);
    let broker = broker(vec![json!({"type": "mcp_catalog_result", "services": services})]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["catalog"]).exits(0);
    let mut lines = ended.stdout.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["NAME", "STATE", "TOOLS", "TYPE", "VERSION", "SCOPE", "BY", "SINCE"]
    );
    let first: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(first[..7], ["time", "running", "2", "uvx", "1.2.3", "group:eng", "Ada"]);
    assert!(first[7].ends_with('d'), "{first:?}");
    assert_eq!(
        lines.next().unwrap().split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect::<Vec<_>>(),
        ["evil", "crashed", "0", "npx", "-", "mesh", "Mallory root", "-"]
    );
    assert_eq!(lines.next(), None);

    let json = home.run(&["catalog", "--json"]).exits(0);
    assert!(!json.stdout.contains(['\u{202e}', '\u{1b}']), "{json:?}");
    assert_eq!(json.json()["services"][0], services[0]);
    assert_eq!(json.json()["services"][1]["deployed_by"], services[1]["deployed_by"]);
}

#[test]
fn schema_describes_tools() {
    let tools = json!([{"name": "get", "description": "Gets it.", "inputSchema": {"type": "object",
        "required": ["zone"], "properties": {"zone": {"type": "string"}}}}]);
    let broker = broker(vec![json!({"type": "mcp_schema_result", "server_name": "time", "tools": tools})]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["schema", "time", "get"]).exits(0);
    assert_eq!(ended.stdout, "get\n  Gets it.\n    zone (string, required)\n");
    assert_eq!(broker.next("mcp_schema"), json!({"type": "mcp_schema", "server_name": "time", "tool_name": "get"}));
    let json = home.run(&["schema", "time", "--json"]).exits(0).json();
    assert_eq!(json, json!({"name": "time", "tools": tools}));
}

fn broker_of_nothing() -> FakeBroker {
    broker(vec![json!({"type": "error", "code": "not_found", "message": "not found in mesh"})])
}

#[test]
fn a_tool_that_is_not_there_is_a_failure() {
    let empty = broker(vec![json!({"type": "mcp_schema_result", "tools": []})]);
    let home = Home::of(&empty.url);
    home.run(&["schema", "time", "nope"]).exits(1).says("has no tool `nope`");
    assert_eq!(home.run(&["schema", "time"]).exits(0).stdout, "time has no tools.\n");

    let two = json!([{"name": "convert_time"}, {"name": "get_current_time"}]);
    let broker = FakeBroker::start(move |message| match message.get("tool_name") {
        _ if message["type"] == "hello" => vec![],
        Some(_) => {
            vec![json!({"type": "error", "code": "not_found", "message": "service \"time\" has no tool \"get_time\""})]
        }
        None => vec![json!({"type": "mcp_schema_result", "server_name": "time", "tools": two})],
    });
    let ended = Home::of(&broker.url).run(&["schema", "time", "get_time"]).exits(1).says("has no tool `get_time`");
    let ended = ended.says("hint: did you mean `get_current_time`? it has convert_time, get_current_time");
    assert!(!ended.stderr.contains("catalog"), "{ended:?}");
    // A service that is not there is another matter.
    let nowhere = broker_of_nothing();
    Home::of(&nowhere.url)
        .run(&["schema", "tme", "get_time"])
        .exits(1)
        .says("not found in mesh")
        .says("claudemesh catalog");
}

#[test]
fn logs_are_cleaned_for_people_and_whole_for_programs() {
    let lines = json!(["\u{1b}[32minfo\u{1b}[0m started", "progress 1\rprogress 2", "bell\u{7}"]);
    let broker = broker(vec![json!({"type": "mcp_logs_result", "server_name": "time", "lines": lines})]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["logs", "time", "-n", "3"]).exits(0);
    assert_eq!(ended.stdout, "info started\nprogress 1progress 2\nbell\n");
    assert_eq!(broker.next("mcp_logs"), json!({"type": "mcp_logs", "server_name": "time", "lines": 3}));
    let json = home.run(&["logs", "time", "--json"]).exits(0).json();
    assert_eq!(json, json!({"name": "time", "lines": lines}));
    assert_eq!(broker.next("mcp_logs")["lines"], 50);
}

#[test]
fn no_logs_are_no_failure() {
    let broker = broker(vec![json!({"type": "mcp_logs_result", "lines": []})]);
    let ended = Home::of(&broker.url).run(&["logs", "time"]).exits(0).says("No logs for \"time\".");
    assert_eq!(ended.stdout, "");
}

#[test]
fn undeploy_confirms_or_says_why_not() {
    let good = broker(vec![status("stopped")]);
    let home = Home::of(&good.url);
    assert_eq!(home.run(&["undeploy", "time"]).exits(0).stdout, "Service \"time\" undeployed.\n");
    assert_eq!(good.next("mcp_undeploy"), json!({"type": "mcp_undeploy", "server_name": "time"}));
    let json = home.run(&["undeploy", "time", "--json"]).exits(0).json();
    assert_eq!(json, json!({"name": "time", "status": "stopped"}));
    let bad = broker(vec![with(status("failed"), json!({"error": "it does not stop"}))]);
    Home::of(&bad.url).run(&["undeploy", "time"]).exits(1).says("it does not stop");
}
