//! The acceptance table of the services platform, row by row, with real servers.
//!
//! Where the table's own servers need the internet, `@modelcontextprotocol/server-everything` stands for context7 and
//! `mcp-server-time` for youtube-transcript; [`t01_t03_t13_t15_the_originals`] runs the originals themselves when
//! `CLAUDEMESH_TEST_INTERNET=1`. Every row is asked in two meshes that use the same names for different servers, and by
//! a member whom nobody shared the services with. Rows 6 to 8 are in `services`, 34 in `git`.

use serde_json::{Value, json};
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{INSTALL, Mesh, Outcome, SETTLE};

use super::services::{BESIDE, Other, two_meshes};

const EVERYTHING: [&str; 2] = ["--npx", "@modelcontextprotocol/server-everything"];
const TIME: [&str; 2] = ["--uvx", "mcp-server-time"];
/// What a command ends with when there is no such service, or none for this member.
const NOT_FOUND: i32 = 1;

/// Two meshes of one broker, and a member of the first with whom nothing is shared.
struct World {
    mesh: Mesh,
    outsider: Other,
}

impl World {
    fn new() -> Self {
        let (mesh, outsider) = two_meshes();
        Self { mesh, outsider }
    }

    fn deploy(&self, name: &str, source: [&str; 2]) -> Value {
        self.deploy_in("default", name, source)
    }

    /// With nobody but its deployer.
    fn deploy_in(&self, slug: &str, name: &str, [kind, package]: [&str; 2]) -> Value {
        let words = ["--mesh", slug, "deploy", name, "--scope", "peer", "--json", kind, package];
        let deployed = self.mesh.cli_within(INSTALL, &words).ok().json();
        self.mesh.look();
        deployed
    }

    fn undeploy_in(&self, slug: &str, name: &str) {
        let _ = self.mesh.cli_within(SETTLE * 2, &["--mesh", slug, "undeploy", name]).ok();
    }

    fn beside(&self, words: &[&str]) -> Outcome {
        self.mesh.cli(&[&["--mesh", BESIDE], words].concat())
    }

    /// The rows of a mesh's catalog: name, source and status.
    fn rows(&self, slug: &str) -> Vec<[String; 3]> {
        let catalog = self.mesh.cli(&["--mesh", slug, "catalog", "--json"]).ok().json();
        let word = |row: &Value, name: &str| row[name].as_str().unwrap_or("?").to_owned();
        let rows = catalog["services"].as_array().unwrap_or_else(|| panic!("the catalog is a list: {catalog}"));
        rows.iter().map(|row| ["name", "source_type", "status"].map(|name| word(row, name))).collect()
    }

    /// Neither its row nor its tools, log, events, scope and answers; no more than one who asks for what never was.
    #[track_caller]
    fn outsider_gets_nothing_of(&self, service: &str) {
        self.outsider.sees(service, false);
        for words in [["schema"].as_slice(), &["logs"], &["events"], &["scope"]] {
            let asked = |name: &str| self.outsider.cli(&[words, &[name]].concat());
            let (real, never) = (asked(service).code_is(NOT_FOUND), asked("never-was"));
            assert_eq!(real.said().replace(service, "never-was"), never.said(), "its existence shows");
        }
        let _ = self.outsider.cli(&["call", service, "echo", "message=x"]).code_is(NOT_FOUND);
    }
}

fn row(name: &str, source: &str) -> [String; 3] {
    [name, source, "running"].map(str::to_owned)
}

/// The names of the tools in a schema.
fn tools(schema: &Outcome) -> Vec<String> {
    let schema = schema.json();
    let tools = schema["tools"].as_array().unwrap_or_else(|| panic!("the tools are a list: {schema}"));
    tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn echoes(outcome: Outcome, word: &str) {
    let text = outcome.ok().json();
    assert!(text["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains(word)), "{text}");
}

/// The answer on the wire, as a session of the first mesh's owner gets it.
fn on_the_wire(mesh: &Mesh, service: &str, tool: &str, arguments: &Value) -> Value {
    let membership = mesh.membership();
    let answer = converse(async { Peer::connect(&membership).await?.ask(call(service, tool, arguments)).await });
    answer.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()))
}

const BERLIN: [&str; 3] = ["get_current_time", "timezone=Europe/Berlin", "--json"];

#[test]
fn t01_deploy_npx_t02_catalog_t03_call_t04_schema_t05_logs() {
    let world = World::new();
    // t01: the same name is another server in the mesh beside it.
    let deployed = world.deploy("docs", EVERYTHING);
    assert_eq!((&deployed["name"], &deployed["status"]), (&json!("docs"), &json!("running")), "{deployed}");
    world.deploy_in(BESIDE, "docs", TIME);

    // t02
    assert_eq!(world.rows("default"), [row("docs", "npx")]);
    assert_eq!(world.rows(BESIDE), [row("docs", "uvx")]);

    // t03
    echoes(world.mesh.cli(&["call", "docs", "echo", "message=hello", "--json"]), "hello");
    echoes(world.beside(&[&["call", "docs"], &BERLIN[..]].concat()), "Europe/Berlin");

    // t04
    let (ours, theirs) =
        (world.mesh.cli(&["schema", "docs", "--json"]).ok(), world.beside(&["schema", "docs", "--json"]).ok());
    let has = |schema: &Outcome, tool: &str| tools(schema).iter().any(|name| name == tool);
    assert!(has(&ours, "echo") && !has(&ours, "get_current_time"), "{ours}");
    assert!(has(&theirs, "get_current_time") && !has(&theirs, "echo"), "{theirs}");
    let one = world.mesh.cli(&["schema", "docs", "echo", "--json"]).ok().json();
    assert!(one.to_string().contains("\"message\""), "what it takes: {one}");

    // t05: what the server itself writes when it starts, and nothing of it in the other's log.
    world.mesh.wait("the server's own line", SETTLE, || {
        let log = world.mesh.cli(&["logs", "docs", "--json"]).ok().json();
        if log["lines"].to_string().contains("STDIO") { Ok(()) } else { Err(log.to_string()) }
    });
    assert!(!world.beside(&["logs", "docs", "--json"]).ok().stdout.contains("STDIO"));
    world.outsider_gets_nothing_of("docs");
}

#[test]
fn t09_undeploy_t10_the_catalog_is_empty_t11_redeploy_t12_call_again() {
    let world = World::new();
    world.deploy("docs", EVERYTHING);
    let ours = world.mesh.below_runner();
    world.deploy_in(BESIDE, "docs", TIME);

    // t09, t10: ours and its processes are gone, the one beside it does not notice.
    world.undeploy_in("default", "docs");
    world.mesh.wait_gone("the service's processes to go", &ours, SETTLE);
    assert!(world.rows("default").is_empty());
    assert_eq!(world.rows(BESIDE), [row("docs", "uvx")]);
    echoes(world.beside(&[&["call", "docs"], &BERLIN[..]].concat()), "Europe/Berlin");

    // t11, t12
    world.deploy("docs", EVERYTHING);
    assert_eq!(world.rows("default"), [row("docs", "npx")]);
    echoes(world.mesh.cli(&["call", "docs", "echo", "message=again", "--json"]), "again");
    world.outsider_gets_nothing_of("docs");
}

#[test]
fn t13_a_second_service_t14_both_are_listed_t15_call_it_t16_undeploy_one_t17_call_undeployed_t18_unknown_tool() {
    let world = World::new();
    world.deploy("docs", EVERYTHING);
    // t13, t14, t15
    world.deploy("clock", TIME);
    world.deploy_in(BESIDE, "clock", EVERYTHING);
    let mut listed = world.rows("default");
    listed.sort();
    assert_eq!(listed, [row("clock", "uvx"), row("docs", "npx")]);
    assert_eq!(world.rows(BESIDE), [row("clock", "npx")]);
    echoes(world.mesh.cli(&[&["call", "clock"], &BERLIN[..]].concat()), "Europe/Berlin");
    world.outsider_gets_nothing_of("clock");

    // t18: what the servers themselves say, on the wire and to a person.
    for service in ["docs", "clock"] {
        let answer = on_the_wire(&world.mesh, service, "no_such_tool", &json!({}));
        assert!(["isError", "MCP error -32602"].contains(&verdict(&answer).as_str()), "{answer}");
        assert!(answer.to_string().contains("no_such_tool"), "the server's own words: {answer}");
        let said = world.mesh.cli(&["call", service, "no_such_tool"]).code_is(1);
        assert!(said.said().contains("no_such_tool"), "{said}");
    }

    // t16
    let pid = world.mesh.pid("clock");
    world.undeploy_in("default", "docs");
    assert_eq!(world.rows("default"), [row("clock", "uvx")]);
    echoes(world.mesh.cli(&[&["call", "clock"], &BERLIN[..]].concat()), "Europe/Berlin");
    assert_eq!(world.mesh.pid("clock"), pid, "the one that stays is not restarted");

    // t17
    let answer = on_the_wire(&world.mesh, "docs", "echo", &json!({ "message": "x" }));
    assert_eq!(answer["error"], "MCP server \"docs\" not found in mesh", "{answer}");
    let gone = world.mesh.cli(&["call", "docs", "echo", "message=x"]).code_is(NOT_FOUND);
    assert!(gone.stderr.contains("MCP server \"docs\" not found in mesh"), "{gone}");
    echoes(world.beside(&["call", "clock", "echo", "message=beside", "--json"]), "beside");
}

#[test]
fn t19_broker_restart_still_running_t20_calls_work_after_it() {
    let mut world = World::new();
    world.deploy("docs", EVERYTHING);
    world.deploy_in(BESIDE, "docs", TIME);
    let mut before = world.mesh.below_runner();
    let runner = world.mesh.runner_pid();

    // t19: the very processes.
    world.mesh.kill_broker();
    world.mesh.start_up();
    world.mesh.wait_for_status("docs", "running", SETTLE);
    let mut after = world.mesh.below_runner();
    before.sort();
    after.sort();
    assert_eq!((world.mesh.runner_pid(), after), (runner, before), "nothing was started again");

    // t20
    echoes(world.mesh.cli(&["call", "docs", "echo", "message=after", "--json"]), "after");
    echoes(world.beside(&[&["call", "docs"], &BERLIN[..]].concat()), "Europe/Berlin");
    world.outsider_gets_nothing_of("docs");
}

/// The table's own servers: they ask the internet for what they answer.
#[test]
fn t01_t03_t13_t15_the_originals() {
    if std::env::var_os("CLAUDEMESH_TEST_INTERNET").is_none_or(|value| value != "1") {
        eprintln!("left out: CLAUDEMESH_TEST_INTERNET=1 runs it");
        return;
    }
    let world = World::new();
    world.deploy("context7", ["--npx", "@upstash/context7-mcp"]);
    let library = ["call", "context7", "resolve-library-id", "query=effects", "libraryName=react", "--json"];
    echoes(world.mesh.cli_within(SETTLE * 2, &library), "/react");
    world.outsider_gets_nothing_of("context7");
    world.deploy("youtube-transcript", ["--npx", "@kimtaeyoon83/mcp-server-youtube-transcript"]);
    let schema = world.mesh.cli(&["schema", "youtube-transcript", "--json"]).ok();
    assert!(tools(&schema).iter().any(|tool| tool == "get_transcript"), "{schema}");
    let video = "url=https://www.youtube.com/watch?v=jNQXAC9IVRw";
    let words = ["call", "youtube-transcript", "get_transcript", video, "lang=en", "--json"];
    echoes(world.mesh.cli_within(SETTLE * 2, &words), "elephants");
}
