//! Carries out what the reconciler decided, one step at a time, beside the mailbox.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use protocol::link::{FILE_MISSING, Outcome as LinkOutcome, ServiceSpec, Source};
use supervision::ExitReason;

use super::actor::ServiceActor;
use super::messages::{Ended, News, Outcome};
use super::state::{Event, Step};
use crate::mesh::MeshContext;
use crate::runners::{CommandReply, Link, NotUp};
use crate::store::{StoreError, UtcMs};

/// Pause before a step is tried again that failed for the system's reasons.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Refusals of a runner that pass by themselves.
const PASSING: [&str; 3] = ["leaving", "not_running", "exclusive"];

impl ServiceActor {
    pub(super) fn carry_out(&mut self, step: Step, ctx: &mut Context<Self>) {
        match step {
            Step::Load(id) => self.load(id, ctx),
            Step::Unload(id) => self.unload(id, ctx),
            Step::Commit(id) => self.commit(id, ctx),
            Step::Gone => self.gone(ctx),
        }
    }

    fn load(&mut self, id: String, ctx: &mut Context<Self>) {
        let (Some(link), Some(spec)) = (self.link_of(&id).cloned(), self.specs.get(&id).cloned()) else {
            let words = "nothing is known of this deployment any more".to_owned();
            return self.happened(Event::Refused(Step::Load(id), words), ctx);
        };
        if self.is_awaited(&id) {
            return self.run(ctx, std::future::ready(Outcome::Again(Step::Load(id), TRY_AGAIN)));
        }
        let (mesh, step) = (Arc::clone(&self.mesh), Step::Load(id));
        self.run(ctx, async move { outcome(step, loaded(&mesh, &link, spec).await) });
    }

    fn unload(&mut self, id: String, ctx: &mut Context<Self>) {
        let Some(link) = self.holder(&id) else {
            return;
        };
        let (key, step) = (self.key.clone(), Step::Unload(id.clone()));
        self.run(ctx, async move { outcome(step, link.unload(&key, &id).await) });
    }

    /// In turn with orders: what the store has switched to is known before anything else is taken in.
    fn commit(&mut self, id: String, ctx: &mut Context<Self>) {
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let step = Step::Commit(id.clone());
        let Ok(deployment) = id.parse() else {
            return self.happened(Event::Refused(step, "no id".to_owned()), ctx);
        };
        let trial = self.trial_from(UtcMs::now());
        let switched = async move {
            match store.set_active(&mesh, &name, &deployment, trial, UtcMs::now()).await {
                // Something newer is pending by now; this one is not wanted any more.
                Ok(_) | Err(StoreError::Superseded { .. }) => true,
                Err(error) => {
                    tracing::error!(service = name, %error, "the switch to a new deployment could not be stored");
                    false
                }
            }
        };
        ctx.wait(switched.into_actor(self).map(move |switched, me, ctx| {
            if switched {
                me.arrived(&id);
                me.happened(Event::Done(step), ctx);
            } else {
                ctx.run_later(TRY_AGAIN, move |me, ctx| me.happened(Event::Lost(step), ctx));
            }
        }));
    }

    pub(super) fn gone(&mut self, ctx: &mut Context<Self>) {
        for tell in self.undeploys.drain(..) {
            tell(&News::Stopped);
        }
        self.mesh.services.forget(&self.cell);
        self.tools_changed();
        // Wherever it was before.
        self.sweep_others();
        self.life.exit(ExitReason::Normal);
        ctx.stop();
    }

    /// Carries a step out beside the mailbox and takes its end in.
    fn run(&mut self, ctx: &mut Context<Self>, work: impl Future<Output = Outcome> + 'static) {
        let me = ctx.address().downgrade();
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn;
        ctx.spawn(
            async move {
                let event = match work.await {
                    Outcome::Done(step) => Event::Done(step),
                    Outcome::Refused(step, words) => Event::Refused(step, words),
                    Outcome::Again(step, pause) => {
                        tokio::time::sleep(pause).await;
                        Event::Lost(step)
                    }
                };
                if let Some(me) = me.upgrade() {
                    // To ourselves and at most one at a time: within any bound.
                    me.do_send(Ended { turn, event });
                }
            }
            .into_actor(self),
        );
    }
}

/// Loads a deployment, and sends the runner the uploaded file that it is built from when the runner has to build it.
async fn loaded(mesh: &MeshContext, link: &Link, spec: ServiceSpec) -> Result<CommandReply, NotUp> {
    if spec.sealed.is_some() && link.is_up() && link.box_key().is_none() {
        // It would ignore the box, and start the program without what it needs.
        let message = format!("the runner {} is too old to open sealed secrets: update it", link.name());
        return Ok(CommandReply::Done(LinkOutcome::Error { code: "sealed".to_owned(), message }));
    }
    let reply = link.load(spec.clone()).await?;
    let (Source::Zip { file_id, .. }, Some(sha256)) = (&spec.source, &spec.version) else { return Ok(reply) };
    match &reply {
        CommandReply::Done(LinkOutcome::Error { code, .. }) if code == FILE_MISSING => {}
        _ => return Ok(reply),
    }
    let bytes = match uploaded(mesh, file_id).await {
        Ok(bytes) => bytes,
        Err(message) => return Ok(CommandReply::Done(LinkOutcome::Error { code: "file".to_owned(), message })),
    };
    match link.file(&spec.deployment, sha256, bytes).await? {
        CommandReply::Done(LinkOutcome::Ok) => link.load(spec).await,
        other => Ok(other),
    }
}

async fn uploaded(mesh: &MeshContext, id: &str) -> Result<Bytes, String> {
    let id = id.parse().map_err(|error| format!("{error}"))?;
    let file = mesh.store.file(&mesh.id, &id).await.map_err(|error| error.to_string())?;
    let file = file.ok_or("the uploaded file is not there any more: upload it again")?;
    mesh.files.bytes(&file).await.map_err(|error| error.to_string())
}

/// Reads the end of a link command.
fn outcome(step: Step, reply: Result<CommandReply, NotUp>) -> Outcome {
    match reply {
        Ok(CommandReply::Done(LinkOutcome::Ok)) => Outcome::Done(step),
        // On its way out, or not quite up: another time it is taken.
        Ok(CommandReply::Done(LinkOutcome::Error { code, .. })) if PASSING.contains(&code.as_str()) => {
            Outcome::Again(step, TRY_AGAIN)
        }
        Ok(CommandReply::Done(LinkOutcome::Error { message, .. })) if matches!(step, Step::Load(_)) => {
            Outcome::Refused(step, message)
        }
        // What must be stopped stays to be stopped.
        Ok(CommandReply::Done(LinkOutcome::Error { message, .. })) => {
            tracing::warn!(?step, message, "the runner refused a command");
            Outcome::Again(step, TRY_AGAIN)
        }
        Ok(CommandReply::Done(LinkOutcome::Fenced { epoch })) => {
            tracing::error!(epoch, "a newer broker commands this runner: this one is out of date");
            Outcome::Again(step, TRY_AGAIN)
        }
        Ok(CommandReply::Logs { .. } | CommandReply::LinkLost) | Err(NotUp::Down | NotUp::Full) => {
            Outcome::Again(step, TRY_AGAIN)
        }
    }
}
