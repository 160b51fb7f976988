//! The roster as others are shown it.

use protocol::identity::PublicKey;
use protocol::wire::Peer;

use super::{Life, Roster, Session};
use crate::store::MemberId;

impl Roster {
    /// Those that are here or expected back, as a member sees them: its own sessions, and those that show themselves.
    /// In the order in which they came.
    #[must_use]
    pub fn list(&self, viewer: &MemberId, key_of: impl Fn(&MemberId) -> Option<PublicKey>) -> Vec<Peer> {
        let mut shown: Vec<&Session> =
            self.present().filter(|session| session.visible || session.member == *viewer).collect();
        shown.sort_by_key(|session| (session.about.connected_at, session.address));
        shown.into_iter().map(|session| peer(session, key_of(&session.member))).collect()
    }

    /// The session of a member that a word names: its key, or its id. Those that are here first.
    #[must_use]
    pub fn own(&self, member: &MemberId, word: &str) -> Option<&Session> {
        let key = word.parse::<PublicKey>().ok();
        let named = |session: &&Session| session.session_id == word || key.is_some_and(|key| session.shown == key);
        let rank = |session: &&Session| (session.presence().is_some(), session.is_present(), session.last_seen);
        self.sessions_of(member).filter(named).max_by_key(rank)
    }
}

fn peer(session: &Session, member: Option<PublicKey>) -> Peer {
    let about = &session.about;
    Peer {
        pubkey: session.shown,
        display_name: session.name.clone(),
        status: session.status,
        summary: session.summary.clone(),
        groups: session.groups.clone(),
        session_id: session.session_id.clone(),
        connected_at: about.connected_at.to_string(),
        cwd: Some(about.cwd.clone()),
        hostname: about.hostname.clone(),
        peer_type: about.peer_type,
        channel: about.channel.clone(),
        model: about.model.clone(),
        stats: session.stats.clone(),
        visible: Some(session.visible),
        profile: session.profile.clone(),
        member_pubkey: member,
        session_cert: about.session_cert,
        online: Some(matches!(session.life, Life::Live(_))),
    }
}
