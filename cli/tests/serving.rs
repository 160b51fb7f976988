//! `up`, as a person at a terminal sees it.

use crate::harness::Home;

#[test]
fn up_at_a_terminal_says_where_it_is_and_stops_at_ctrl_c() {
    let home = Home::empty();
    let (shown, code) = home.interrupt_on_terminal(&["up", "--listen", "127.0.0.1:0"], "Ctrl-C");
    assert!(shown.contains("claudemesh is up at ws://127.0.0.1:"), "{shown}");
    assert!(!shown.contains("panicked"), "{shown}");
    assert_eq!(code, Some(0), "{shown}");
    let config = std::fs::read_to_string(home.config_path()).unwrap();
    assert!(config.contains("\"slug\": \"default\""), "the owner's entry is there");
}

#[test]
fn up_on_a_taken_port_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Home::empty().run(&["up", "--listen", &address]).exits(1).says(&address).says("--listen takes another address");
}

#[test]
fn a_database_is_named_without_its_password_and_up_takes_only_one_that_is_meant_for_it() {
    let home = Home::empty();
    let env = [("DATABASE_URL", "postgres://env:hunter2@db.example.org/mesh")];
    let broker = home.run_with(&["broker", "--print-config"], &env, "").exits(0).stdout;
    assert!(broker.contains("database_url = \"postgres://env@db.example.org/mesh\""), "{broker}");
    let up = home.run_with(&["up", "--print-config"], &env, "").exits(0).stdout;
    assert!(up.contains("database_url = \"(not set)\""), "{up}");
    let flag = ["up", "--print-config", "--database-url", "postgres://flag:hunter2@db.example.org/mesh"];
    let flag = home.run(&flag).exits(0).stdout;
    assert!(flag.contains("database_url = \"postgres://flag@db.example.org/mesh\""), "{flag}");
    assert!(!format!("{broker}{up}{flag}").contains("hunter2"));

    let weak = ["up", "--database-url", "postgres://u:hunter2@db.example.org/mesh?sslmode=prefer"];
    let ended = home.run(&weak).exits(2).says("database_url").says("--database-url").says("verify-full");
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[test]
fn a_server_that_is_not_there_is_said_so_and_leaves_nothing_behind() {
    let home = Home::empty();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://u:hunter2@{nobody}/mesh");
    let ended = home.run(&["up", "--listen", "127.0.0.1:0", "--database-url", &url]).exits(1);
    let ended = ended.says("could not reach the database").says("Connection refused").says(&format!("u@{nobody}/mesh"));
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    assert!(!home.config_path().exists(), "a failed first start wrote a client's configuration");
}
