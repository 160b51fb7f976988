//! Invites, and who joins by them.

use broker::store::{
    INVITE_KEPT_MS, Invite, InviteId, InviteRefused, Joined, MAX_OPEN_INVITES_PER_MESH, MemberId, MeshId, NewInvite,
    NewMember, Role, StoreError, UtcMs,
};
use futures_util::future::join_all;

use super::{Backend, Fixture, HOSTILE, NOW, NUL, OWNER, fixture};

on_both! {
    h29_an_invite_lets_in_as_many_as_it_says,
    h29_of_many_who_join_at_once_as_many_get_in_as_the_invite_says,
    h29_each_refusal_has_its_reason,
    a_member_that_joins_again_uses_nothing_up,
    h29_a_removed_key_does_not_come_back_by_an_invite,
    a_mesh_has_so_many_open_invites_and_no_more,
    a_token_is_one_invites_and_its_maker_a_member,
    invites_are_listed_and_revoked_in_their_mesh,
    invites_that_are_long_over_go,
    h27_hostile_names_of_those_who_join_are_only_names,
}

const DAY_MS: i64 = 24 * 3_600_000;

fn new(fixture: &Fixture, token: &str) -> NewInvite {
    NewInvite {
        mesh_id: fixture.first.mesh.id.clone(),
        token_sha256: token.to_owned(),
        role: Role::Member,
        max_uses: 1,
        expires_at: NOW.plus_ms(DAY_MS),
        created_by: fixture.first.owner.id.clone(),
    }
}

fn joiner(fixture: &Fixture, pubkey: &str) -> NewMember {
    NewMember {
        mesh_id: fixture.first.mesh.id.clone(),
        pubkey: pubkey.to_owned(),
        display_name: format!("name of {pubkey}"),
        role: Role::Member,
        certificate: Some("c".to_owned()),
    }
}

impl Fixture {
    async fn invite(&self, token: &str) -> Invite {
        self.store.create_invite(new(self, token), NOW).await.unwrap()
    }

    async fn joins(&self, token: &str, pubkey: &str, now: UtcMs) -> Result<Joined, InviteRefused> {
        self.store.join(token, joiner(self, pubkey), now).await.map_err(|error| match error {
            StoreError::Invite(refused) => refused,
            other => panic!("{other}"),
        })
    }

    async fn used(&self, id: &InviteId) -> i32 {
        let all = self.store.list_invites(&self.first.mesh.id).await.unwrap();
        all.into_iter().find(|invite| invite.id == *id).unwrap().used
    }
}

async fn h29_an_invite_lets_in_as_many_as_it_says(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let two = NewInvite { max_uses: 2, ..new(&fixture, "t") };
    let invite = store.create_invite(two, NOW).await.unwrap();
    assert_eq!((invite.used, invite.revoked_at, invite.created_at), (0, None, NOW));
    for key in ["bob", "eve"] {
        let joined = fixture.joins("t", key, NOW.plus_ms(1)).await.unwrap();
        assert!(!joined.already);
        assert_eq!((joined.member.role, joined.member.created_at), (Role::Member, NOW.plus_ms(1)));
        assert_eq!(store.member_by_pubkey(mesh, key).await.unwrap(), Some(joined.member));
    }
    assert_eq!(fixture.joins("t", "mallory", NOW).await, Err(InviteRefused::UsedUp));
    assert_eq!(store.member_by_pubkey(mesh, "mallory").await.unwrap(), None);
    assert_eq!(fixture.used(&invite.id).await, 2);
}

async fn h29_of_many_who_join_at_once_as_many_get_in_as_the_invite_says(backend: Backend) {
    let fixture = fixture(backend).await;
    let three = NewInvite { max_uses: 3, ..new(&fixture, "t") };
    fixture.store.create_invite(three, NOW).await.unwrap();
    let keys: Vec<String> = (0..20).map(|number| format!("key {number}")).collect();
    let answers = join_all(keys.iter().map(|key| fixture.joins("t", key, NOW))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(fixture.store.list_members(&fixture.first.mesh.id).await.unwrap().len(), 4);
}

async fn h29_each_refusal_has_its_reason(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let invite = fixture.invite("t").await;
    let refused = async |token: &str, change: &dyn Fn(&mut NewMember), now| {
        let mut asked = joiner(&fixture, "bob");
        change(&mut asked);
        match store.join(token, asked, now).await.unwrap_err() {
            StoreError::Invite(refused) => refused,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused("T", &|_| {}, NOW).await, InviteRefused::Unknown);
    assert_eq!(refused("t", &|asked| asked.mesh_id = MeshId::new(), NOW).await, InviteRefused::Unknown);
    for role in [Role::Admin, Role::Owner] {
        assert_eq!(refused("t", &|asked| asked.role = role, NOW).await, InviteRefused::Role);
    }
    assert_eq!(refused("t", &|_| {}, NOW.plus_ms(DAY_MS)).await, InviteRefused::Expired);
    assert_eq!(fixture.used(&invite.id).await, 0, "a refusal was counted");
    assert!(store.revoke_invite(mesh, &invite.id, NOW).await.unwrap());
    assert_eq!(refused("t", &|_| {}, NOW).await, InviteRefused::Revoked);
    assert_eq!(store.list_members(mesh).await.unwrap().len(), 1, "a refused one is a member");
    // The last moment counts.
    fixture.invite("u").await;
    assert!(fixture.joins("u", "bob", NOW.plus_ms(DAY_MS - 1)).await.is_ok());
}

async fn a_member_that_joins_again_uses_nothing_up(backend: Backend) {
    let fixture = fixture(backend).await;
    let invite = fixture.invite("t").await;
    let owner = fixture.joins("t", OWNER, NOW).await.unwrap();
    assert_eq!(owner, Joined { member: fixture.first.owner.clone(), already: true });
    assert_eq!(fixture.used(&invite.id).await, 0);
    let bob = fixture.joins("t", "bob", NOW).await.unwrap().member;
    // Its answer was lost, and the invite is used up, over and revoked by now.
    fixture.store.revoke_invite(&fixture.first.mesh.id, &invite.id, NOW).await.unwrap();
    let again = fixture.joins("t", "bob", NOW.plus_ms(2 * DAY_MS)).await;
    assert_eq!(again, Ok(Joined { member: bob, already: true }));
    assert_eq!(fixture.used(&invite.id).await, 1);
}

async fn h29_a_removed_key_does_not_come_back_by_an_invite(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let invite = store.create_invite(NewInvite { max_uses: 5, ..new(&fixture, "t") }, NOW).await.unwrap();
    let bob = fixture.joins("t", "bob", NOW).await.unwrap().member;
    store.remove_member(mesh, &bob.id, None, 0, NOW).await.unwrap();
    assert_eq!(fixture.joins("t", "bob", NOW).await, Err(InviteRefused::Removed));
    assert_eq!(store.member_by_pubkey(mesh, "bob").await.unwrap(), None);
    assert_eq!(fixture.used(&invite.id).await, 1);
}

async fn a_mesh_has_so_many_open_invites_and_no_more(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let mut last = None;
    for number in 0..MAX_OPEN_INVITES_PER_MESH {
        last = Some(fixture.invite(&format!("t{number}")).await);
    }
    let refused = async |now| match store.create_invite(new(&fixture, "more"), now).await {
        Err(StoreError::Limit { name: "MAX_OPEN_INVITES_PER_MESH", max: 100 }) => true,
        Ok(invite) => !store.revoke_invite(mesh, &invite.id, now).await.unwrap(),
        Err(other) => panic!("{other}"),
    };
    assert!(refused(NOW).await);
    // One that nobody can join by any more makes room: used up, revoked, or over.
    fixture.joins("t0", "bob", NOW).await.unwrap();
    fixture.invite("after use").await;
    assert!(refused(NOW).await);
    store.revoke_invite(mesh, &last.unwrap().id, NOW).await.unwrap();
    fixture.invite("after revocation").await;
    assert!(refused(NOW).await);
    let late = NewInvite { expires_at: NOW.plus_ms(3 * DAY_MS), ..new(&fixture, "late") };
    store.create_invite(late, NOW.plus_ms(DAY_MS)).await.unwrap();
}

async fn a_token_is_one_invites_and_its_maker_a_member(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = &fixture.store;
    fixture.invite("t").await;
    let error = store.create_invite(new(&fixture, "t"), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Taken { what: "invite", .. }), "{error}");
    assert!(!error.to_string().contains("\"t\""), "{error}");
    let stranger = NewInvite { created_by: MemberId::new(), ..new(&fixture, "u") };
    let error = store.create_invite(stranger, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "member", .. }), "{error}");
    let bob = store.add_member(joiner(&fixture, "bob"), NOW).await.unwrap();
    store.remove_member(&fixture.first.mesh.id, &bob.id, None, 0, NOW).await.unwrap();
    let removed = NewInvite { created_by: bob.id, ..new(&fixture, "u") };
    let error = store.create_invite(removed, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "member", .. }), "{error}");
    // What no invite may be is refused by the database itself.
    for wrong in
        [NewInvite { role: Role::Owner, ..new(&fixture, "u") }, NewInvite { max_uses: 0, ..new(&fixture, "u") }]
    {
        let error = store.create_invite(wrong, NOW).await.unwrap_err();
        assert!(matches!(error, StoreError::Database { .. }), "{error}");
    }
}

async fn invites_are_listed_and_revoked_in_their_mesh(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let (one, two) = (fixture.invite("1").await, fixture.invite("2").await);
    assert_eq!(store.list_invites(mesh).await.unwrap(), [two.clone(), one.clone()]);
    assert_eq!(store.list_invites(&MeshId::new()).await.unwrap(), []);
    assert!(!store.revoke_invite(&MeshId::new(), &one.id, NOW).await.unwrap());
    assert!(!store.revoke_invite(mesh, &InviteId::new(), NOW).await.unwrap());
    assert!(store.revoke_invite(mesh, &one.id, NOW.plus_ms(1)).await.unwrap());
    assert!(!store.revoke_invite(mesh, &one.id, NOW.plus_ms(2)).await.unwrap());
    let revoked = Invite { revoked_at: Some(NOW.plus_ms(1)), ..one };
    assert_eq!(store.list_invites(mesh).await.unwrap(), [two, revoked]);
}

async fn invites_that_are_long_over_go(backend: Backend) {
    let fixture = fixture(backend).await;
    let (store, mesh) = (&fixture.store, &fixture.first.mesh.id);
    let old = fixture.invite("old").await;
    let over = old.expires_at.plus_ms(INVITE_KEPT_MS);
    let next = |token: &str| NewInvite { expires_at: over.plus_ms(DAY_MS), ..new(&fixture, token) };
    store.create_invite(next("1"), over.plus_ms(-1)).await.unwrap();
    assert_eq!(store.list_invites(mesh).await.unwrap().len(), 2);
    store.create_invite(next("2"), over).await.unwrap();
    assert!(store.list_invites(mesh).await.unwrap().iter().all(|invite| invite.id != old.id));
}

async fn h27_hostile_names_of_those_who_join_are_only_names(backend: Backend) {
    let fixture = fixture(backend).await;
    let store = &fixture.store;
    for text in HOSTILE {
        fixture.invite(text).await;
        let joined = fixture.joins(text, text, NOW).await.unwrap();
        assert_eq!(joined.member.pubkey, text);
    }
    assert_eq!(store.list_members(&fixture.first.mesh.id).await.unwrap().len(), HOSTILE.len() + 1);
    let named = |error: StoreError| match error {
        StoreError::Nul { field } => field,
        other => panic!("{other}"),
    };
    assert_eq!(named(store.create_invite(new(&fixture, NUL), NOW).await.unwrap_err()), "token_sha256");
    assert_eq!(named(store.join(NUL, joiner(&fixture, "b"), NOW).await.unwrap_err()), "token_sha256");
    assert_eq!(named(store.join("t", joiner(&fixture, NUL), NOW).await.unwrap_err()), "pubkey");
}
