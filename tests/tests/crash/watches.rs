//! A page that changes while the broker is killed again and again: no change is lost that stays, and none is told twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::harness::peer::{Peer, converse};
use tests::harness::{Backend, Client, Mesh, Options, Owner, Page, Rng, SETTLE, Session, Site, processes, scaled};
use tokio::time::timeout;

on_both! {
    h36_no_change_that_stays_is_lost_or_told_twice_while_the_broker_is_killed,
}

/// Between two looks.
const INTERVAL_S: f64 = 0.1;
/// A kill comes up to so long after the page was asked for: before, in and behind the commit that follows.
const KILL_WITHIN_US: u32 = 20_000;

/// Whom to kill when the page is asked for next, and how long after.
type Trap = Arc<Mutex<Option<(u32, Duration)>>>;

fn h36_no_change_that_stays_is_lost_or_told_twice_while_the_broker_is_killed(backend: Backend) {
    let variables = vec![
        ("CLAUDEMESH_WATCH_ALLOW".to_owned(), "127.0.0.1".to_owned()),
        ("CLAUDEMESH_WATCH_MIN_INTERVAL_MS".to_owned(), "100".to_owned()),
    ];
    let mut mesh = Mesh::with(Options { alone: true, backend, variables, ..Options::default() });
    let owner = Owner::of(&mesh).unwrap().crew("m", 1).unwrap().remove(0);
    let (site, trap, shown) = (Site::start(), Trap::default(), Arc::new(Mutex::new(0_u32)));
    let (sprung, count) = (Arc::clone(&trap), Arc::clone(&shown));
    site.on("/counter", move |_| {
        if let Some((pid, after)) = sprung.lock().unwrap().take() {
            thread::spawn(move || {
                thread::sleep(after);
                processes::send(pid, Signal::SIGKILL);
            });
        }
        Page::value(&count.lock().unwrap().to_string())
    });
    let watch = json!({ "type": "watch", "url": site.url("/counter"), "extract": "value", "interval": INTERVAL_S });
    let made = converse(async { Peer::enter(mesh.port(), &Session::new(&owner), Client::Old).await?.ask(watch).await });
    assert_eq!(made.as_ref().map(|ack| &ack["type"]), Ok(&json!("watch_ack")), "{made:?}");
    site.wait_asked("/counter", 2);

    let rounds = scaled(200, 10);
    let mut rng = Rng::seeded(7);
    for round in 1..=rounds {
        let after = Duration::from_micros(u64::from(rng.below(KILL_WITHIN_US)));
        let broker = mesh.broker_pid();
        *trap.lock().unwrap() = Some((broker, after));
        *shown.lock().unwrap() = round;
        mesh.wait("the broker's death", SETTLE, || match processes::entry(broker) {
            Some(entry) if entry.state != 'Z' => Err(format!("it is {}", entry.state)),
            _ => Ok(()),
        });
        mesh.kill_broker();
        mesh.start_up();
        // The second look begins when what follows from the first is settled.
        site.wait_asked("/counter", 2);
    }
    let told = converse(async {
        let mut peer = Peer::enter(mesh.port(), &Session::new(&owner), Client::Old).await?;
        let last = rounds.to_string();
        let all = changes_until(&mut peer, &last);
        timeout(SETTLE, all).await.map_err(|_| "the last change was not told".to_owned())?
    });
    let told = told.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
    let expected: Vec<_> = (1..=rounds).map(|n| ((n - 1).to_string(), n.to_string())).collect();
    assert_eq!(told, expected, "each change once, in order");
}

/// What was told up to a value: each message once, in the order of their numbers.
async fn changes_until(peer: &mut Peer, last: &str) -> Result<Vec<(String, String)>, String> {
    let mut changes = BTreeMap::new();
    loop {
        let push = peer.next().await?;
        if push["event"] != "watch_triggered" {
            continue;
        }
        let text = |field: &str| push["eventData"][field].as_str().unwrap_or_default().to_owned();
        let change = (text("oldValue"), text("newValue"));
        let number = push["seq"].as_i64().ok_or("a durable message has a number")?;
        let ended = change.1 == last;
        // A message that comes again is the same message.
        let id: &Value = &push["messageId"];
        if let Some((known, before)) = changes.insert(number, (id.clone(), change.clone())) {
            assert_eq!((known, before), (id.clone(), change));
        }
        if ended {
            return Ok(changes.into_values().map(|(_, change)| change).collect());
        }
    }
}
