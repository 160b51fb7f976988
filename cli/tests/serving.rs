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
