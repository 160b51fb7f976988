//! Invites, joining, certificates and removal.

use protocol::identity::{PublicKey, SigningKey};
use protocol::trust::{Invite, InviteTerms, MemberCert, Removal, Role};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{certified, hello, join, key_of, send};
use crate::harness::{ADMIN, Broker, Client, MEMBER, OTHER, OWNER, Who, now_ms, post};

const NEW: Who = Who::with_seed("Eve", 50);

fn invite_key() -> SigningKey {
    SigningKey::from_seed(&[77; 32])
}

fn invite(broker: &Broker, role: Role, signer: Who) -> Invite {
    let terms = InviteTerms {
        mesh_id: broker.mesh(),
        mesh_slug: "default",
        broker_url: "ws://localhost:7900/ws",
        expires_at: now_ms() / 1_000 + 3_600,
        role,
    };
    Invite::sign(&terms, invite_key().public(), &signer.key()).unwrap()
}

fn made_known(invite: &Invite, uses: u32) -> Value {
    made_known_as(invite, &invite.role, uses)
}

/// Made known with a role and an end that the broker takes, whatever the invite says.
fn made_known_as(invite: &Invite, role: &str, uses: u32) -> Value {
    let digest = hex::encode(Sha256::digest(invite.token().as_bytes()));
    let expires_at = now_ms() / 1_000 + 3_600;
    json!({ "type": "invite_create", "tokenSha256": digest, "role": role, "uses": uses, "expiresAt": expires_at })
}

fn request(invite: &Invite, who: Who) -> Value {
    json!({ "invite_token": invite.token(), "invite_payload": invite, "peer_pubkey": who.key().public(), "display_name": who.name })
}

async fn joined(broker: &Broker, request: &Value) -> Value {
    post(broker, "/join", &[], request).await.body
}

#[tokio::test]
async fn h29_an_invite_lets_in_whom_it_was_made_for_and_no_more() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let invite = invite(&broker, Role::Member, OWNER);
    assert_eq!(joined(&broker, &request(&invite, NEW)).await["ok"], false, "the broker was not told of it");
    assert_eq!(ada.ask(made_known(&invite, 2)).await["type"], "invite_result");
    // Another role, another mesh, another signer: whatever is altered, it is not the owner's any more.
    for spoil in [
        ("role", json!("admin")),
        ("mesh_id", json!("0198c0de-0000-7000-8000-000000000001")),
        ("expires_at", json!(9_999_999_999u64)),
    ] {
        let mut altered = serde_json::to_value(&invite).unwrap();
        altered[spoil.0] = spoil.1.clone();
        let altered: Invite = serde_json::from_value(altered).unwrap();
        // Whoever may make invites known may not make them up: the owner has not signed this one.
        ada.ask(made_known_as(&altered, "member", 1)).await;
        assert_eq!(joined(&broker, &request(&altered, NEW)).await["ok"], false, "{}", spoil.0);
        let mut mixed = request(&invite, NEW);
        mixed["invite_payload"] = serde_json::to_value(&altered).unwrap();
        assert_eq!(joined(&broker, &mixed).await["ok"], false, "token and payload differ: {}", spoil.0);
    }
    let forged = self::invite(&broker, Role::Member, MEMBER);
    assert_eq!(ada.ask(made_known(&forged, 1)).await["type"], "invite_result");
    assert_eq!(joined(&broker, &request(&forged, NEW)).await["ok"], false);
    let first = joined(&broker, &request(&invite, NEW)).await;
    assert_eq!(first["ok"], true, "{first}");
    let again = joined(&broker, &request(&invite, NEW)).await;
    assert_eq!((&again["alreadyMember"], &again["memberId"]), (&json!(true), &first["memberId"]));
    assert_eq!(joined(&broker, &request(&invite, Who::with_seed("Fay", 51))).await["ok"], true);
    let third = joined(&broker, &request(&invite, Who::with_seed("Gil", 52))).await;
    assert_eq!((&third["ok"], &third["error"]), (&json!(false), &json!("the invite is used up")));
    let listed = ada.ask(json!({ "type": "invite_list" })).await;
    let used_up = |entry: &Value| entry["used"] == 2 && entry["state"] == "used_up";
    assert!(listed["invites"].as_array().unwrap().iter().any(used_up), "{listed}");
}

#[tokio::test]
async fn h29_an_invite_that_was_taken_back_lets_nobody_in_and_only_admins_make_any() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    let invite = invite(&broker, Role::Member, OWNER);
    assert_eq!(ben.ask(made_known(&invite, 1)).await["code"], "forbidden");
    let admins = self::invite(&broker, Role::Admin, OWNER);
    assert_eq!(ada.ask(made_known(&admins, 2)).await["code"], "bad_request", "for an admin it is good once");
    let id = ada.ask(made_known(&invite, 1)).await["inviteId"].clone();
    assert_eq!(ada.ask(json!({ "type": "invite_revoke", "inviteId": id })).await["type"], "invite_result");
    assert_eq!(joined(&broker, &request(&invite, NEW)).await["error"], "the invite was revoked");
}

#[tokio::test]
async fn h29_a_certificate_is_checked_and_shown_and_a_newer_one_counts() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let invite = invite(&broker, Role::Member, OWNER);
    ada.ask(made_known(&invite, 3)).await;
    let new = NEW.key().public();
    let mut forged = request(&invite, NEW);
    let of_another =
        MemberCert::by_invite(invite.clone(), broker.mesh(), MEMBER.key().public(), &invite_key()).unwrap();
    forged["certificate"] = serde_json::to_value(of_another).unwrap();
    assert_eq!(joined(&broker, &forged).await["code"], "bad_signature");
    let mut good = request(&invite, NEW);
    let certificate = MemberCert::by_invite(invite.clone(), broker.mesh(), new, &invite_key()).unwrap();
    good["certificate"] = serde_json::to_value(certificate).unwrap();
    let id = joined(&broker, &good).await["memberId"].clone();
    let shown = async |ada: &mut Client| {
        let list = ada.ask(json!({ "type": "list_members" })).await;
        assert_eq!(list["ownerPubkey"], OWNER.key().public().to_string());
        list["members"].as_array().unwrap().iter().find(|member| member["memberId"] == id).unwrap().clone()
    };
    assert_eq!(shown(&mut ada).await["certificate"]["form"], "invite");
    let signed = |role, serial, by: Who| {
        let certificate = MemberCert::signed(broker.mesh(), new, role, serial, &by.key()).unwrap();
        json!({ "type": "member_set", "memberId": id, "certificate": certificate })
    };
    assert_eq!(ada.ask(signed(Role::Admin, 1, MEMBER)).await["code"], "bad_signature");
    assert_eq!(ada.ask(signed(Role::Admin, 1, OWNER)).await["type"], "member_result");
    assert_eq!(ada.ask(signed(Role::Member, 1, OWNER)).await["code"], "superseded");
    assert_eq!(shown(&mut ada).await["role"], "admin");
}

#[tokio::test]
async fn h29_who_is_removed_is_out_at_once_with_all_that_waited_for_it() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    let mut cleo = join(&broker, OTHER, 13).await;
    ada.ask(send(&key_of(12), "m-1")).await;
    ben.message().await;
    let removal = |serial, by: Who| {
        let removal = Removal::sign(broker.mesh(), MEMBER.key().public(), serial, &by.key()).unwrap();
        json!({ "type": "member_remove", "memberId": broker.member_id(MEMBER), "removal": removal })
    };
    assert_eq!(cleo.ask(removal(1, OTHER)).await["code"], "forbidden");
    assert_eq!(ada.ask(removal(1, OTHER)).await["code"], "bad_signature");
    assert_eq!(ada.ask(removal(1, OWNER)).await["type"], "member_result");
    assert_eq!(ben.closed().await, Some((1008, "removed from the mesh".to_owned())));
    let mut back = Client::connect(&broker).await;
    back.send(&hello(&broker, MEMBER, 12).0).await;
    assert_eq!(back.next().await["code"], "unauthorized");
    assert_eq!(ada.ask(send(&key_of(12), "m-2")).await["code"], "unknown_peer");
    assert_eq!(ada.ask(send(&MEMBER.key().public().to_string(), "m-3")).await["code"], "unknown_peer");
    let waits = async |ada: &mut Client| ada.ask(json!({ "type": "mesh_info" })).await["queued"].clone();
    assert_eq!(waits(&mut ada).await, 0);
    let owner = json!({ "type": "member_remove", "memberId": broker.member_id(OWNER), "removal": Removal::sign(broker.mesh(), OWNER.key().public(), 9, &OWNER.key()).unwrap() });
    assert_eq!(ada.ask(owner).await["code"], "forbidden", "a mesh keeps its owner");
    // Cleo goes by herself.
    let own = Removal::sign(broker.mesh(), OTHER.key().public(), 1, &OTHER.key()).unwrap();
    let left = json!({ "type": "member_remove", "memberId": broker.member_id(OTHER), "removal": own });
    assert_eq!(cleo.ask(left).await["type"], "member_result", "the answer comes before the end");
    assert_eq!(cleo.closed().await.map(|(code, _)| code), Some(1008));
}

#[tokio::test]
async fn h23_a_mesh_may_require_certificates() {
    let broker = Broker::alone().await;
    let (mut ada, _) = Client::join_with(&broker, certified(&broker, OWNER, 11)).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    assert_eq!(ben.ask(json!({ "type": "mesh_set", "requireProofs": true })).await["code"], "forbidden");
    assert_eq!(ada.ask(json!({ "type": "mesh_set", "requireProofs": true })).await["requireProofs"], true);
    let mut old = Client::connect(&broker).await;
    old.send(&hello(&broker, OTHER, 13).0).await;
    assert_eq!(old.next().await["code"], "unauthorized");
    Client::join_with(&broker, certified(&broker, OTHER, 13)).await;
}

#[tokio::test]
async fn a_second_mesh_in_one_broker_is_strictly_apart() {
    const ROOT: Who = Who::with_seed("root", 60);
    const OWNER_OF_B: Who = Who::with_seed("Hal", 61);
    let broker = Broker::alone().await;
    let mesh = uuid::Uuid::now_v7().to_string();
    let (root, member): (PublicKey, PublicKey) = (ROOT.key().public(), OWNER_OF_B.key().public());
    let certificate = MemberCert::signed(&mesh, member, Role::Owner, 1, &ROOT.key()).unwrap();
    let create = json!({ "meshId": mesh, "slug": "second", "ownerPubkey": root, "memberPubkey": member, "displayName": "Hal", "certificate": certificate });
    assert_eq!(post(&broker, "/meshes", &["Authorization: Bearer wrong-token-0123456789"], &create).await.status, 401);
    let mut forged = create.clone();
    forged["certificate"] =
        serde_json::to_value(MemberCert::signed(&mesh, member, Role::Owner, 1, &MEMBER.key()).unwrap()).unwrap();
    assert_eq!(post(&broker, "/meshes", &[], &forged).await.status, 400);
    let made = post(&broker, "/meshes", &[], &create).await;
    assert_eq!(made.body["ok"], true, "{}", made.body);
    assert_eq!(post(&broker, "/meshes", &[], &create).await.status, 409);
    let id = made.body["memberId"].as_str().unwrap().to_owned();
    let hello = crate::harness::Hello::signed(OWNER_OF_B, &mesh, &id, now_ms()).with("sessionPubkey", key_of(70));
    let (mut hal, _) = Client::join_with(&broker, hello).await;
    let mut ada = join(&broker, OWNER, 11).await;
    assert_eq!(ada.ask(send(&key_of(70), "m-1")).await["code"], "unknown_peer");
    assert_eq!(ada.ask(send("*", "m-2")).await["recipients"], 3, "its own mesh's members");
    let list = hal.ask(json!({ "type": "list_peers" })).await;
    assert_eq!(list["peers"].as_array().unwrap().len(), 1);
    assert_eq!(hal.events_so_far().await, Vec::<String>::new());
    let stranger = crate::harness::Hello::signed(ADMIN, &mesh, broker.member_id(ADMIN), now_ms());
    let mut dora = Client::connect(&broker).await;
    dora.send(&stranger.0).await;
    assert_eq!(dora.next().await["code"], "unauthorized");
}
