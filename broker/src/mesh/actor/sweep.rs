//! What time brings: leases and statuses that end, messages that expire, rows that nobody needs any more; and members
//! that are none any more.

use std::sync::Arc;

use actix::prelude::*;
use serde_json::json;

use super::MeshActor;
use crate::mesh::MeshContext;
use crate::mesh::admission::CLOSE_POLICY;
use crate::mesh::mail::{Address, PresenceId};
use crate::mesh::peer::Kind;
use crate::mesh::priority::priority_of;
use crate::metrics::MailEnd;
use crate::store::{Expired, StoreError, UtcMs};

/// How often the store is swept.
const SWEEP_EVERY_MS: i64 = 60_000;
/// How often files that are not to stay are looked through.
const FILES_EVERY_MS: i64 = 60 * 60_000;
/// Rows that are swept in one transaction, which others wait for.
const SWEEP_ROWS: u32 = 1_000;
/// Transactions of one sweep and kind.
const SWEEP_STEPS: u32 = 64;
/// Bodies are kept this long after they were accepted, however soon they are delivered.
const BODIES_KEPT_MS: i64 = 60_000;
/// A session's row goes when it was away for so long, and its key is free again.
const SESSIONS_KEPT_MS: i64 = 90 * 24 * 3_600_000;

/// How far the sweeping is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    next: Option<UtcMs>,
    under_way: bool,
    /// When files are looked through again.
    files: Option<UtcMs>,
    /// Bodies of messages up to this number were looked at.
    bodies: i64,
    /// The numbers that were given a while ago.
    marks: Vec<(UtcMs, i64)>,
}

impl Sweep {
    /// Whether files are to be looked through now.
    fn files_are_due(&mut self, now: UtcMs) -> bool {
        let due = self.files.is_none_or(|next| now >= next);
        if due {
            self.files = Some(now.plus_ms(FILES_EVERY_MS));
        }
        due
    }
}

impl MeshActor {
    pub(super) fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        self.notice_the_gone();
        // Told or not: whoever changed the members may have found this mailbox full.
        if !Arc::ptr_eq(&self.members, &self.mesh.members.now()) {
            self.members_changed();
        }
        self.roster.tick(now);
        self.mail.tick(now);
        self.sweep_when_due(now, ctx);
        self.follow(ctx);
        self.show_facts();
    }

    /// Whoever's goodbye was lost on its way.
    fn notice_the_gone(&mut self) {
        let over = self.connected.iter().filter(|(_, connected)| connected.outlet.is_over());
        let gone: Vec<PresenceId> = over.map(|(presence, _)| Arc::clone(presence)).collect();
        for presence in gone {
            self.leave(&presence, false);
        }
    }

    fn sweep_when_due(&mut self, now: UtcMs, ctx: &mut Context<Self>) {
        if self.sweep.under_way || self.sweep.next.is_some_and(|next| now < next) {
            return;
        }
        self.sweep.under_way = true;
        self.sweep.next = Some(now.plus_ms(SWEEP_EVERY_MS));
        self.sweep.marks.push((now, self.mesh.store.number()));
        let old = self.sweep.marks.iter().rposition(|(at, _)| now.as_ms() - at.as_ms() >= BODIES_KEPT_MS);
        let up_to = old.and_then(|at| self.sweep.marks.drain(..=at).next_back()).map_or(0, |(_, number)| number);
        let (mesh, from) = (Arc::clone(&self.mesh), self.sweep.bodies);
        let files = self.sweep.files_are_due(now);
        let swept = async move {
            if files && let Err(error) = mesh.files.expire(&mesh.store, now).await {
                tracing::warn!(mesh = mesh.slug, %error, "old files could not be swept");
            }
            swept(&mesh, now, from, up_to).await
        };
        ctx.spawn(swept.into_actor(self).map(move |swept, me, ctx| {
            me.sweep.under_way = false;
            me.sweep.bodies = me.sweep.bodies.max(up_to);
            let (expired, swept) = swept;
            expired.into_iter().for_each(|one| me.expired(&one));
            if let Err(error) = swept {
                tracing::warn!(mesh = me.mesh.slug, %error, "old messages could not be swept");
            }
            me.follow(ctx);
        }));
    }

    fn expired(&mut self, expired: &Expired) {
        let Ok(mailbox) = expired.mailbox.parse::<Address>() else { return };
        let bytes = u64::try_from(expired.bytes).unwrap_or_default();
        let priority = priority_of(expired.priority);
        self.mail.ended(mailbox, priority, expired.message_seq, bytes, self.now());
        self.mesh.metrics.deliveries.count(MailEnd::Expired);
        // One recipient was meant, and never came; of a group some did.
        let sender = expired.sender.parse::<Address>().ok().filter(|_| !expired.target.starts_with(['@', '*']));
        if let Some(sender) = sender.filter(|sender| self.roster.get(sender).is_some()) {
            let data = json!({ "messageId": expired.message.to_string(), "targetSpec": expired.target });
            self.post(sender, "message_expired", &data);
        }
    }

    /// Members, roles or groups are others: who is none any more goes at once, with all that waited for it.
    pub(super) fn members_changed(&mut self) {
        let (now, members) = (self.now(), self.mesh.members.now());
        self.lists = members.lists.clone();
        self.members = Arc::clone(&members);
        let mut removed: Vec<_> = self.connected.values().map(|connected| connected.presence.member.clone()).collect();
        removed.extend(self.roster.members());
        removed.sort();
        removed.dedup();
        removed.retain(|member| members.by_id(member).is_none());
        for member in removed {
            let mut mailboxes = self.roster.forget_member(&member, now);
            self.follow_roster();
            let of_member = self.connected.iter().filter(|(_, connected)| connected.presence.member == member);
            let left: Vec<PresenceId> = of_member.map(|(presence, _)| Arc::clone(presence)).collect();
            for presence in left {
                if let Some(connected) = self.connected.remove(&presence) {
                    mailboxes.push(connected.presence.address);
                    connected.outlet.close(CLOSE_POLICY, "removed from the mesh");
                }
                self.reading.remove(&presence);
                self.mail.detach(&presence, now);
            }
            let entry = members.entries.iter().find(|entry| entry.member_id == member.as_str());
            mailboxes.extend(entry.map(|entry| entry.pubkey));
            self.drop_mail(mailboxes);
        }
        // Those that were removed while nobody was here to see it.
        let left = members.entries.iter().filter(|entry| entry.removed_at.is_some());
        let held: Vec<Address> =
            left.map(|entry| entry.pubkey).filter(|mailbox| self.mail.waiting_in(mailbox) > 0).collect();
        if !held.is_empty() {
            self.drop_mail(held);
        }
        let present: Vec<PresenceId> = self.connected.keys().map(Arc::clone).collect();
        for presence in present {
            self.refresh_standing(&presence);
        }
    }

    fn drop_mail(&mut self, mailboxes: Vec<Address>) {
        mailboxes.iter().for_each(|mailbox| self.mail.forget(*mailbox));
        let (mesh, now) = (Arc::clone(&self.mesh), self.now());
        // Ends with the store's answers.
        actix_rt::spawn(async move {
            // What was accepted for them a moment ago is written before it is dropped.
            mesh.scribe.flush().await;
            for mailbox in mailboxes {
                match mesh.store.drop_mailbox(&mesh.id, &mailbox.to_string(), "removed from the mesh", now).await {
                    Ok(dropped) => {
                        let count = u64::try_from(dropped.len()).unwrap_or(u64::MAX);
                        mesh.metrics.deliveries.add(MailEnd::Dropped, count);
                    }
                    Err(error) => tracing::error!(mesh = mesh.slug, %error, "a mailbox could not be dropped"),
                }
            }
        });
    }

    pub(super) fn show_facts(&self) {
        let kinds = |kind| self.connected.values().filter(|connected| connected.presence.kind == kind).count();
        self.life.fact("sessions", kinds(Kind::Session));
        self.life.fact("expected_back", self.roster.present().count().saturating_sub(self.roster.live()));
        self.life.fact("messages_waiting", self.mail.waiting());
        self.life.fact("messages_in_flight", self.mail.in_flight());
        self.life.fact("members", self.mesh.members.now().len());
        self.mesh.figures.set(&self.mail, self.roster.live());
    }
}

/// Everything that is over, in steps that do not hold others up.
async fn swept(mesh: &MeshContext, now: UtcMs, from: i64, up_to: i64) -> (Vec<Expired>, Result<(), StoreError>) {
    let mut expired = Vec::new();
    // What was delivered is not expired.
    mesh.scribe.flush().await;
    let swept = sweep(mesh, now, from, up_to, &mut expired).await;
    (expired, swept)
}

/// What expired is told even when the rest could not be swept.
async fn sweep(
    mesh: &MeshContext,
    now: UtcMs,
    from: i64,
    up_to: i64,
    expired: &mut Vec<Expired>,
) -> Result<(), StoreError> {
    for _ in 0..SWEEP_STEPS {
        let some = mesh.store.expire(&mesh.id, now, SWEEP_ROWS).await?;
        let last = some.is_empty();
        expired.extend(some);
        if last {
            break;
        }
    }
    for _ in 0..SWEEP_STEPS {
        if mesh.store.prune(&mesh.id, now, SWEEP_ROWS).await? == 0 {
            break;
        }
    }
    let mut next = Some(from).filter(|from| *from < up_to);
    for _ in 0..SWEEP_STEPS {
        let Some(from) = next else { break };
        next = mesh.store.forget_bodies(&mesh.id, from, up_to, SWEEP_ROWS).await?.filter(|stopped| *stopped < up_to);
    }
    mesh.store.prune_sessions(&mesh.id, now.plus_ms(-SESSIONS_KEPT_MS), SWEEP_ROWS).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_through_at_the_start_and_every_hour() {
        let (mut sweep, at) = (Sweep::default(), UtcMs::from_ms);
        let due: Vec<i64> = (0..180).filter(|minute| sweep.files_are_due(at(minute * 60_000))).collect();
        assert_eq!(due, [0, 60, 120]);
    }
}
