//! Making, joining and leaving meshes; members, invites and groups.

use std::sync::Mutex;

use protocol::identity::{PublicKey, SigningKey};
use protocol::trust::{GroupList, Invite, InviteTerms, MemberCert, Removal, Role, Roll, Standing};
use protocol::wire::MemberEntry;
use serde_json::{Value, json};

use crate::harness::{FakeBroker, FakeHttp, Home};

fn owner() -> SigningKey {
    SigningKey::from_seed(&std::array::from_fn(|i| i as u8))
}
fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn entry(pubkey: PublicKey, certificate: Option<MemberCert>) -> MemberEntry {
    MemberEntry {
        member_id: "m-ben".into(),
        pubkey,
        display_name: "ben".into(),
        role: "member".into(),
        certificate,
        removal: None,
        joined_at: "2026-01-01T00:00:00Z".into(),
        removed_at: None,
    }
}

/// A broker of a mesh whose owner is `owner`, with Ben in it, who joined by a plain link.
fn broker(owner: PublicKey, answer: impl Fn(&Value) -> Vec<Value> + Send + 'static) -> FakeBroker {
    let list = json!({"type": "members_list", "ownerPubkey": owner, "requireProofs": false, "groups": [],
        "members": [entry(key(20).public(), None)]});
    FakeBroker::start(move |request| match request["type"].as_str().unwrap() {
        "list_members" => vec![list.clone()],
        _ => answer(request),
    })
}

fn standing(pubkey: PublicKey, certificate: MemberCert) -> Standing {
    let roll = Roll::new("mesh1", owner().public(), &[entry(pubkey, Some(certificate))], &[]);
    roll.member(&pubkey).unwrap().standing
}

fn invite(broker_url: &str, key: &SigningKey, expires_at: u64) -> Invite {
    let terms = InviteTerms { mesh_id: "mesh1", mesh_slug: "team", broker_url, expires_at, role: Role::Member };
    Invite::sign(&terms, key.public(), &owner()).unwrap()
}

#[test]
fn h29_whoever_joins_by_the_whole_link_is_verified() {
    let http = FakeHttp::start(|_| (200, json!({"ok": true, "memberId": "m-1"}).to_string()));
    let invite = invite(&http.url, &key(9), 4_000_000_000);
    let home = Home::empty();
    // A broker that anybody runs learns no token of ours.
    home.write_token("operator-secret");
    let link = invite.link_with(&[9; 32]);
    let ended = home.run(&["join", link.expose(), "--name", "Ben"]).exits(0);
    assert_eq!(ended.stdout, "You belong to the mesh `team` as Ben.\n");
    let asked = http.next();
    assert_eq!((asked.target.as_str(), asked.authorization), ("/join", None));
    assert!(!asked.body.contains(&"09".repeat(32)), "the seed stays here");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body["invite_token"], invite.token());
    assert_eq!(serde_json::from_value::<Invite>(body["invite_payload"].clone()).unwrap(), invite);
    assert_eq!(body["display_name"], "Ben");
    let member: PublicKey = serde_json::from_value(body["peer_pubkey"].clone()).unwrap();
    let certificate: MemberCert = serde_json::from_value(body["certificate"].clone()).unwrap();
    assert_eq!(standing(member, certificate), Standing::Verified(Role::Member));

    let mesh = &home.config()["meshes"][0];
    assert_eq!(
        (&mesh["memberId"], &mesh["slug"], &mesh["brokerUrl"]),
        (&json!("m-1"), &json!("team"), &json!(http.url))
    );
    assert_eq!(mesh["ownerPubkey"], json!(owner().public()));
    let secret = SigningKey::from_hex(mesh["secretKey"].as_str().unwrap()).unwrap();
    assert_eq!(secret.public(), member);
    home.run(&["join", link.expose()]).exits(1).says("you belong to the mesh `team` already");
}

#[test]
fn a_plain_link_makes_a_member_nobody_vouches_for() {
    let http = FakeHttp::start(|_| (200, json!({"ok": true, "memberId": "m-1"}).to_string()));
    let invite = invite(&http.url, &key(9), 4_000_000_000);
    let home = Home::empty();
    let json = home.run(&["join", &invite.token(), "--name", "Ben", "--json"]).exits(0).json();
    assert_eq!(json["verified"], false);
    let body: Value = serde_json::from_str(&http.next().body).unwrap();
    assert!(body.get("certificate").is_none());
}

#[test]
fn h29_an_invite_that_does_not_hold_is_refused_before_anybody_is_asked() {
    let home = Home::empty();
    let url = "ws://127.0.0.1:1/ws";
    let good = invite(url, &key(9), 4_000_000_000);
    let raised = Invite { role: "admin".into(), ..good.clone() };
    for (link, why) in [
        (invite(url, &key(9), 1).link(), "expired"),
        (raised.link(), "the signature does not hold"),
        (format!("{}#{}", good.link(), "0a".repeat(32)), "not this invite's key"),
        (format!("{}x", good.link()), "this is no invite"),
    ] {
        home.run(&["join", &link]).exits(2).says(why).says("hint: ");
    }
    assert!(!home.config_path().exists());
}

#[test]
fn a_broker_that_refuses_a_join_leaves_nothing_behind() {
    let http = FakeHttp::start(|_| {
        (403, json!({"ok": false, "error": "this invite is used up", "code": "used_up"}).to_string())
    });
    let home = Home::empty();
    let link = invite(&http.url, &key(9), 4_000_000_000).link();
    let ended = home.run(&["join", &link, "--name", "Ben", "--json"]).exits(4).says("used up").says("another invite");
    assert_eq!(ended.json()["error"]["code"], "used_up");
    assert!(!home.config_path().exists());
}

#[test]
fn a_mesh_is_made_with_an_owners_key_of_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let http = FakeHttp::start(|_| (200, json!({"ok": true, "memberId": "m-1", "meshId": "x"}).to_string()));
    let home = Home::empty();
    home.write_token("operator-secret");
    home.run(&["mesh", "create", "team", "--broker", &http.url, "--name", "The team"]).exits(0);
    let asked = http.next();
    assert_eq!((asked.target.as_str(), asked.authorization.as_deref()), ("/meshes", Some("Bearer operator-secret")));
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let of = |name: &str| -> PublicKey { serde_json::from_value(body[name].clone()).unwrap() };
    let (owner, member, mesh_id) = (of("ownerPubkey"), of("memberPubkey"), body["meshId"].as_str().unwrap());
    assert_ne!(owner, member);
    let certificate: MemberCert = serde_json::from_value(body["certificate"].clone()).unwrap();
    let roll = Roll::new(mesh_id, owner, &[entry(member, Some(certificate))], &[]);
    assert_eq!(roll.member(&member).unwrap().standing, Standing::Verified(Role::Owner));

    let path = home.config_path().with_file_name(format!("owners/{mesh_id}.json"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(SigningKey::from_hex(kept["secretKey"].as_str().unwrap()).unwrap().public(), owner);
    let config = home.config().to_string();
    assert!(!config.contains(kept["secretKey"].as_str().unwrap()), "the owner's key is in its own file only");
    let listed = home.run(&["mesh", "list"]).exits(0).stdout;
    assert!(listed.lines().nth(1).unwrap().starts_with("team  The team"), "{listed}");
    assert!(!home.run(&["mesh", "list", "--json"]).exits(0).stdout.contains("secretKey"));
    home.run(&["mesh", "create", "team", "--broker", &http.url]).exits(1).says("another mesh called `team`");
    home.run(&["mesh", "create", "Bad Slug"]).exits(2).says("mesh slug must be");
}

#[test]
fn an_invite_is_told_to_the_broker_as_a_digest() {
    let broker = broker(owner().public(), |request| match request["type"].as_str().unwrap() {
        "invite_create" => vec![json!({"type": "invite_result", "inviteId": "i-1"})],
        _ => vec![],
    });
    let home = Home::of(&broker.url);
    let made = home.run(&["invite", "create", "--uses", "3", "--expires", "2h", "--json"]).exits(0).json();
    let link = Invite::from_link(made["verifiedLink"].as_str().unwrap()).unwrap();
    assert_eq!(made["link"], link.invite.link());
    assert!(link.key.is_some() && link.invite.verify_signature().is_ok());
    let told = broker.next("invite_create");
    assert_eq!((&told["uses"], &told["role"]), (&json!(3), &json!("member")));
    assert_eq!(told["tokenSha256"].as_str().unwrap().len(), 64);
    assert!(!told.to_string().contains(&link.token));
    home.run(&["invite", "create", "--role", "admin", "--uses", "2"]).exits(2).says("is for one");
}

#[test]
fn who_has_not_the_owners_key_makes_no_invites_nor_admins() {
    // The home's member is not this mesh's owner.
    let broker = broker(key(50).public(), |_| vec![]);
    let home = Home::of(&broker.url);
    home.run(&["invite", "create"]).exits(4).says("needs the owner's key");
    home.run(&["member", "role", "ben", "admin"]).exits(4).says("you may not vouch");
    home.run(&["member", "remove", "ben"]).exits(4).says("you may not put this member out");
    home.run(&["group", "restrict", "eng", "--members", "ben"]).exits(4).says("who belongs to a group");
}

#[test]
fn statements_about_members_and_groups_hold() {
    let broker = broker(owner().public(), |request| match request["type"].as_str().unwrap() {
        "member_set" => vec![json!({"type": "member_result", "memberId": "m-ben"})],
        "member_remove" => vec![json!({"type": "member_result", "memberId": "m-ben", "stopped": ["time"]})],
        "group_set" => vec![json!({"type": "group_result", "name": "eng"})],
        _ => vec![],
    });
    let home = Home::of(&broker.url);
    let ben = key(20).public();
    let listed = home.run(&["member", "list"]).exits(0).stdout;
    assert!(listed.contains("unattested"), "{listed}");
    home.run(&["member", "attest", "ben"]).exits(0);
    let certificate: MemberCert = serde_json::from_value(broker.next("member_set")["certificate"].clone()).unwrap();
    assert_eq!(standing(ben, certificate), Standing::Verified(Role::Member));
    home.run(&["member", "role", "ben", "admin"]).exits(0);
    let certificate: MemberCert = serde_json::from_value(broker.next("member_set")["certificate"].clone()).unwrap();
    assert_eq!(standing(ben, certificate), Standing::Verified(Role::Admin));

    let ended = home.run(&["member", "remove", "ben"]).exits(0);
    assert!(ended.stdout.contains("Stopped: time."), "{ended:?}");
    let removal: Removal = serde_json::from_value(broker.next("member_remove")["removal"].clone()).unwrap();
    let roll = Roll::new("mesh1", owner().public(), &[], &[]);
    assert_eq!(roll.check_removal(ben, &removal), Ok(()));

    home.run(&["group", "restrict", "@eng", "--members", "ben"]).exits(0);
    let list: GroupList = serde_json::from_value(broker.next("group_set")["list"].clone()).unwrap();
    assert_eq!((roll.check_group(&list), list.members), (Ok(()), Some(vec![ben])));
    home.run(&["group", "open", "eng"]).exits(0);
    let list: GroupList = serde_json::from_value(broker.next("group_set")["list"].clone()).unwrap();
    assert_eq!((roll.check_group(&list), list.members), (Ok(()), None));
    home.run(&["group", "restrict", "all", "--members", "ben"]).exits(2).says("@all is everybody");
}

#[test]
fn another_owner_than_the_one_that_was_joined_is_not_believed() {
    let broker = broker(key(50).public(), |_| vec![]);
    let home = Home::of(&broker.url);
    let mut config = home.config();
    config["meshes"][0]["ownerPubkey"] = json!(owner().public());
    home.write_config(&config.to_string());
    home.run(&["member", "list"]).exits(4).says("another owner").says("do not go on");
}

#[test]
fn what_is_older_than_what_was_seen_does_not_count() {
    let ben = key(20).public();
    let told = |serial: u64| {
        let certificate = MemberCert::signed("mesh1", ben, Role::Member, serial, &owner()).unwrap();
        let group = GroupList::sign("mesh1", "eng", serial, Some(&[ben]), &owner()).unwrap();
        json!({"type": "members_list", "ownerPubkey": owner().public(), "requireProofs": false, "groups": [group],
            "members": [entry(ben, Some(certificate))]})
    };
    let (newer, older) = (told(3), told(2));
    let asked = Mutex::new(0);
    let broker = FakeBroker::start(move |request| match request["type"].as_str().unwrap() {
        "list_members" => {
            let mut asked = asked.lock().unwrap();
            *asked += 1;
            vec![if *asked == 1 { newer.clone() } else { older.clone() }]
        }
        "list_peers" => vec![json!({"type": "peers_list", "peers": []})],
        _ => vec![],
    });
    let home = Home::of(&broker.url);
    assert!(home.run(&["member", "list"]).exits(0).stdout.contains(" verified"));
    let ended =
        home.run(&["member", "list"]).exits(0).says("an older statement about the member").says("older list of");
    assert!(ended.stdout.contains("unattested"), "{ended:?}");
    home.run(&["send", "@eng", "hi"]).exits(4).says("is older than one you have seen");
    home.run(&["send", "ben", "hi", "--strict"]).exits(4).says("nothing was sent");
}

#[test]
fn leaving_is_said_and_the_mesh_forgotten() {
    let broker = broker(owner().public(), |request| match request["type"].as_str().unwrap() {
        "member_remove" => vec![json!({"type": "member_result", "memberId": "member1"})],
        _ => vec![],
    });
    let home = Home::of(&broker.url);
    home.run(&["leave"]).exits(0);
    let said = broker.next("member_remove");
    assert_eq!(said["memberId"], "member1");
    let removal: Removal = serde_json::from_value(said["removal"].clone()).unwrap();
    assert_eq!(removal.issuer, owner().public());
    assert_eq!(home.config()["meshes"], json!([]));
    assert!(!home.config_path().with_file_name("sessions/mesh1").exists());
    home.run(&["catalog"]).exits(1).says("you belong to no mesh yet");
}
