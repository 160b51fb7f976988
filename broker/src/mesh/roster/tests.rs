//! Who is told what, and when.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;

use protocol::wire::PeerType;

use super::*;

fn at(ms: i64) -> UtcMs {
    UtcMs::from_ms(ms)
}

fn address(name: u8) -> Address {
    PublicKey::from_bytes([name; 32])
}

fn session(name: u8, member: &MemberId) -> Session {
    Session {
        address: address(name),
        shown: address(name),
        member: member.clone(),
        session_id: format!("id{name}"),
        kind: Kind::Session,
        name: format!("n{name}"),
        groups: Vec::new(),
        summary: None,
        profile: None,
        stats: None,
        visible: true,
        status: PeerStatus::Idle,
        status_at: at(0),
        life: Life::Away,
        e2e: true,
        about: Arc::new(About {
            member: address(200),
            session_cert: None,
            cwd: "/".to_owned(),
            hostname: None,
            peer_type: Some(PeerType::Ai),
            channel: None,
            model: None,
            connected_at: at(0),
        }),
        first_seen: at(0),
        last_seen: at(0),
    }
}

fn enter(roster: &mut Roster, name: u8, member: &MemberId, presence: &str, now: i64) {
    let (session, _) = roster.welcome(session(name, member));
    roster.enter(session, Some(presence.into()), at(now));
}

/// The events that were told, and to how many.
fn told(roster: &mut Roster) -> Vec<(&'static str, usize)> {
    let told = |fx| match fx {
        Fx::Tell { to, event, .. } => Some((event, to.len())),
        Fx::End(..) | Fx::Write(_) | Fx::Gate { .. } | Fx::Changed(_) => None,
    };
    roster.take_fx().into_iter().filter_map(told).collect()
}

#[test]
fn h32_a_dropped_socket_keeps_its_place_and_comes_back_silently() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "watcher", 0);
    enter(&mut roster, 2, &member, "a", 0);
    assert_eq!(told(&mut roster), [("peer_joined", 1)]);
    for life in 1..20i64 {
        roster.lost(&"a".into(), false, at(life));
        assert_eq!(roster.present().count(), 2, "still listed");
        enter(&mut roster, 2, &member, "a", life);
    }
    assert_eq!(told(&mut roster), []);
    roster.lost(&"a".into(), false, at(100));
    roster.tick(at(99 + LEASE_MS));
    assert_eq!(told(&mut roster), []);
    roster.tick(at(100 + LEASE_MS));
    roster.tick(at(200 + LEASE_MS));
    assert_eq!(told(&mut roster), [("peer_left", 1)], "once");
    assert_eq!(roster.present().count(), 1);
    enter(&mut roster, 2, &member, "b", 500_000);
    assert_eq!(told(&mut roster), [("peer_returned", 1)]);
    roster.lost(&"b".into(), true, at(500_001));
    assert_eq!(told(&mut roster), [("peer_left", 1)], "a goodbye is one at once");
}

#[test]
fn h32_a_session_has_one_presence_and_the_newer_takes_it() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "watcher", 0);
    enter(&mut roster, 2, &member, "old", 0);
    told(&mut roster);
    enter(&mut roster, 2, &member, "new", 1);
    let fx = roster.take_fx();
    assert!(matches!(&fx[..], [Fx::End(presence, _)] if &**presence == "old"), "{fx:?}");
    roster.lost(&"old".into(), false, at(2));
    assert_eq!(roster.live(), 2, "the old socket's end is not the session's");
    assert_eq!(told(&mut roster), []);
}

#[test]
fn h32_who_was_here_when_the_broker_ended_comes_back_silently() {
    let (member, other) = (MemberId::new(), MemberId::new());
    let until = at(LEASE_MS);
    let here = Session { life: Life::Leased { until }, ..session(2, &member) };
    let mut roster = Roster::recall([here, session(3, &other)]);
    enter(&mut roster, 1, &other, "watcher", 0);
    told(&mut roster);
    enter(&mut roster, 2, &member, "a", 1);
    assert_eq!(told(&mut roster), []);
    enter(&mut roster, 3, &other, "b", 1);
    assert_eq!(told(&mut roster), [("peer_returned", 2)]);
}

#[test]
fn h32_what_never_shows_is_told_to_nobody() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "watcher", 0);
    roster.enter(Session { kind: Kind::Cli, ..session(2, &member) }, None, at(0));
    assert_eq!((told(&mut roster), roster.present().count()), (vec![], 1));
    assert!(roster.get(&address(2)).is_some(), "it can be written to all the same");
}

#[test]
fn a_session_gets_back_what_it_said_by_its_key_or_by_its_id() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    let before = Session { summary: Some("building".to_owned()), visible: false, ..session(1, &member) };
    roster.enter(before, Some("a".into()), at(0));
    roster.lost(&"a".into(), true, at(5));
    let (_, by_key) = roster.welcome(session(1, &member));
    assert_eq!(by_key.as_ref().map(|it| (it.summary.as_deref(), it.last_seen)), Some((Some("building"), at(5))));
    let same_id = Session { session_id: "id1".to_owned(), ..session(9, &member) };
    let (welcome, by_id) = roster.welcome(same_id.clone());
    assert_eq!((welcome.visible, by_id), (false, by_key));
    let foreign = Session { member: MemberId::new(), ..same_id };
    assert_eq!(roster.welcome(foreign).1, None, "another member's id opens nothing");
}

#[test]
fn h33_working_lapses_and_dnd_does_not() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "a", 0);
    enter(&mut roster, 2, &member, "b", 0);
    for (name, status) in [(1, PeerStatus::Working), (2, PeerStatus::Dnd)] {
        roster.say(&address(name), Say::Status(status), |_| true, at(0)).unwrap();
    }
    roster.take_fx();
    roster.tick(at(WORKING_LAPSES_MS - 1));
    assert_eq!(roster.take_fx(), []);
    roster.tick(at(WORKING_LAPSES_MS));
    assert_eq!(roster.take_fx(), [Fx::Gate { presence: "a".into(), idle: true }]);
    assert_eq!(roster.get(&address(2)).unwrap().status, PeerStatus::Dnd);
}

#[test]
fn h21_a_restricted_group_has_those_that_its_list_names() {
    let (listed, other) = (MemberId::new(), MemberId::new());
    let mut roster = Roster::default();
    enter(&mut roster, 1, &listed, "a", 0);
    enter(&mut roster, 2, &other, "b", 0);
    let lists = GroupLists([("ops".to_owned(), HashSet::from([listed.clone()]))].into());
    let join = |name: &str| Say::Join(Group { name: name.to_owned(), role: None });
    let may = |group: &str| lists.admits(group, &other);
    let refused = roster.say(&address(2), join("@ops"), may, at(0));
    assert_eq!(refused, Err(SayError::Restricted("ops".to_owned())));
    roster.say(&address(2), join("@eng"), may, at(0)).unwrap();
    assert_eq!(lists.of_session(roster.get(&address(1)).unwrap()), ["ops"]);
    assert_eq!(lists.of_session(roster.get(&address(2)).unwrap()), ["eng"]);
    roster.lost(&"b".into(), true, at(10));
    assert!(roster.absent_in("eng", &other, &lists, at(10 + GROUPS_KEPT_MS)));
    assert!(!roster.absent_in("eng", &other, &lists, at(11 + GROUPS_KEPT_MS)));
    assert!(roster.absent_in("ops", &listed, &lists, at(i64::MAX / 2)));
}

#[test]
fn h22_only_sessions_of_the_same_member_are_named() {
    let (member, other, mut roster) = (MemberId::new(), MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "a", 0);
    assert!(roster.own(&member, "id1").is_some());
    assert!(roster.own(&member, &address(1).to_string()).is_some());
    assert!(roster.own(&other, "id1").is_none());
    assert!(roster.own(&other, &address(1).to_string()).is_none());
}

#[test]
fn h29_a_member_that_is_removed_is_gone_at_once() {
    let (member, other, mut roster) = (MemberId::new(), MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "a", 0);
    enter(&mut roster, 2, &other, "b", 0);
    roster.take_fx();
    assert_eq!(roster.forget_member(&member, at(1)), [address(1)]);
    let fx = roster.take_fx();
    assert!(fx.iter().any(|fx| matches!(fx, Fx::End(presence, _) if &**presence == "a")), "{fx:?}");
    assert!(fx.iter().any(|fx| matches!(fx, Fx::Tell { event: "peer_left", to, .. } if to.len() == 1)), "{fx:?}");
    assert!(roster.get(&address(1)).is_none());
}

#[test]
fn a_member_has_a_bounded_number_of_sessions_and_the_oldest_away_goes() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    for n in 0..=MAX_SESSIONS_PER_MEMBER {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&u64::try_from(n).unwrap().to_le_bytes());
        let seen = at(i64::try_from(n).unwrap());
        let address = PublicKey::from_bytes(bytes);
        let life = if n == 0 { Life::Leased { until: at(i64::MAX) } } else { Life::Away };
        roster.put(Session { address, last_seen: seen, life, ..session(1, &member) });
    }
    assert_eq!(roster.sessions_of(&member).count(), MAX_SESSIONS_PER_MEMBER);
    let first = roster.sessions_of(&member).map(|session| session.last_seen).min();
    assert_eq!(first, Some(at(0)), "the one that is expected back stays");
}

#[test]
fn what_is_said_is_bounded_and_cleaned() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    enter(&mut roster, 1, &member, "a", 0);
    let mut say = |say| roster.say(&address(1), say, |_| true, at(0));
    assert_eq!(say(Say::Summary("a\u{202e}b\n".to_owned())), Ok(()));
    assert!(matches!(say(Say::Summary("x".repeat(1_025))), Err(SayError::TooLong { field: "summary", .. })));
    assert!(matches!(say(Say::Join(Group { name: "a|b".to_owned(), role: None })), Err(SayError::Name(_))));
    assert!(matches!(say(Say::Stats(json!("x".repeat(5_000)))), Err(SayError::TooLong { field: "stats", .. })));
    for n in 0..64 {
        assert_eq!(say(Say::Join(Group { name: format!("g{n}"), role: None })), Ok(()));
    }
    assert_eq!(say(Say::Join(Group { name: "one more".to_owned(), role: None })), Err(SayError::Groups));
    assert_eq!(roster.get(&address(1)).unwrap().summary.as_deref(), Some("ab"));
}

#[test]
fn h50_a_member_keeps_no_more_places_than_it_may_have_and_the_oldest_lease_goes() {
    let (member, mut roster) = (MemberId::new(), Roster::default());
    for n in 0..=MAX_PRESENT_PER_MEMBER {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&u64::try_from(n).unwrap().to_le_bytes());
        let presence: PresenceId = format!("p{n}").into();
        let now = at(i64::try_from(n).unwrap());
        let session = Session { address: PublicKey::from_bytes(bytes), ..session(1, &member) };
        roster.enter(session, Some(Arc::clone(&presence)), now);
        roster.lost(&presence, false, now);
    }
    assert_eq!(roster.present().count(), MAX_PRESENT_PER_MEMBER);
}
