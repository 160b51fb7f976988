//! The server of a session: messages, peers and services as tools.
//!
//! The session is a peer that others see. `CLAUDEMESH_SESSION_ID` names it: whoever brings the same id again has the same
//! address, so what was sent to it is not lost. Two processes of one id at a time would be one peer twice: the second one
//! has the tools, and is nobody.
//!
//! | module | what it does |
//! |---|---|
//! | [`definitions`] | what a model is told |
//! | [`seat`] | who the session is |
//! | [`people`] · [`services`] · [`hosted`] · [`vault`] · [`watches`] | the tools |
//! | [`mailroom`] · [`events`] | what comes unasked |
//! | [`late`] | services that came up meanwhile |

mod definitions;
mod events;
mod hosted;
mod late;
mod mailroom;
mod people;
mod seat;
mod services;
mod vault;
mod watches;

use std::sync::Arc;

use protocol::config::MessageMode;
use protocol::wire::Push;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::link::{Link, Tenant};
use super::stdio::{About, Asked, Lane, Outlet, Reply, Say, serve as serve_pipes};
use super::{call, launcher};
use crate::client::{Frame, Mesh};
use crate::error::CliError;
use crate::mail;
use crate::output::Printer;
use crate::profile::Profile;
use crate::share::calls::FORWARD_TYPE;
use crate::wire::mesh::PUSH_TYPE;

use hosted::Hosted;
use late::Late;
use mailroom::Mailroom;
use seat::SessionSeat;

/// The name that a client knows it by.
const NAME: &str = "claudemesh";

/// Serves a session until the input ends or the launcher is gone.
pub(crate) async fn serve(printer: Printer, slug: Option<String>) -> Result<(), CliError> {
    let profile = Profile::from_environment()?;
    let (outlet, lines) = Outlet::new();
    let seat = Arc::new(SessionSeat::new(profile, slug.clone(), printer));
    let session = Arc::new(Session {
        slug,
        printer,
        link: Link::new(),
        outlet: outlet.clone(),
        mailroom: Mailroom::new(seat.message_mode().unwrap_or(MessageMode::Inbox), outlet.clone()),
        late: Late::default(),
        changes: Notify::new(),
        hosted: Hosted::default(),
    });
    let follow = Follow { session: Arc::clone(&session), has_begun: false };
    let keeper = tokio::spawn(session.link.clone().keep(Arc::clone(&seat), follow));
    let services = tokio::spawn(Arc::clone(&session).follow_services());
    let about =
        About { name: NAME.to_owned(), instructions: Some(definitions::INSTRUCTIONS.to_owned()), channel: true };
    let served = tokio::select! {
        served = serve_pipes(Arc::clone(&session), about, (outlet, lines), tokio::io::stdin(), tokio::io::stdout()) => served,
        () = launcher::gone() => Ok(()),
    };
    for task in [keeper, services] {
        task.abort();
        // Its end is what is waited for: it holds the connection.
        let _ = task.await;
    }
    session.hosted.clear();
    session.link.close().await;
    seat.leave();
    served
}

struct Session {
    slug: Option<String>,
    printer: Printer,
    link: Link,
    outlet: Outlet,
    mailroom: Mailroom,
    late: Late,
    /// The services may be others than before.
    changes: Notify,
    hosted: Hosted,
}

#[derive(Deserialize)]
struct ToolCall {
    server_name: String,
    tool_name: String,
    #[serde(default)]
    args: Option<Box<RawValue>>,
}

impl Session {
    /// The connection; waits for one, and says so.
    async fn mesh(&self, say: &Say) -> Result<Arc<Mesh>, CliError> {
        let mut step = 0;
        self.link.mesh(call::CONNECTION_WAIT, async |words| say.words(&mut step, words).await).await
    }

    /// Asks for the services whenever they may have changed, and tells the client if its tools are others.
    async fn follow_services(self: Arc<Self>) {
        loop {
            self.changes.notified().await;
            let Some(mesh) = self.link.now() else { continue };
            match self.late.refresh(&mesh).await {
                Ok(true) => self.outlet.tools_changed().await,
                Ok(false) => {}
                // The next connection asks again.
                Err(error) => tracing::info!(why = error.message, "the services cannot be listed"),
            }
        }
    }

    async fn call_service(&self, asked: &Asked) -> Reply {
        let wanted: ToolCall = match read(&asked.arguments) {
            Ok(wanted) => wanted,
            Err(error) => return error.into(),
        };
        let arguments = wanted.args.filter(|args| args.get() != "null");
        let arguments = arguments.unwrap_or_else(|| empty_object(&asked.arguments));
        call::call(&self.link, &wanted.server_name, &wanted.tool_name, arguments, &asked.say).await
    }

    async fn own_tool(&self, asked: &Asked) -> Result<String, CliError> {
        let Asked { name, arguments, say } = asked;
        match name.as_str() {
            "send_message" => self.send_message(read(arguments)?, say).await,
            "check_messages" => self.mailroom.read(&*self.mesh(say).await?).await,
            "list_peers" => self.list_peers(say).await,
            "set_summary" => self.set_summary(read(arguments)?, say).await,
            "set_status" => self.set_status(read(arguments)?, say).await,
            "join_group" => self.join_group(read(arguments)?, say).await,
            "leave_group" => self.leave_group(read(arguments)?, say).await,
            "message_status" => self.message_status(read(arguments)?, say).await,
            "mesh_info" => self.mesh_info(say).await,
            "mesh_mcp_deploy" => self.deploy(read(arguments)?, say).await,
            "mesh_mcp_undeploy" => self.undeploy(read(arguments)?, say).await,
            "mesh_mcp_update" => self.update(read(arguments)?, say).await,
            "mesh_mcp_logs" => self.logs(read(arguments)?, say).await,
            "mesh_mcp_scope" => self.scope(read(arguments)?, say).await,
            "mesh_mcp_schema" => self.schema(read(arguments)?, say).await,
            "mesh_mcp_catalog" => self.catalog(say).await,
            "mesh_mcp_register" => self.register(read(arguments)?, say).await,
            "mesh_mcp_list" => self.list_hosted(say).await,
            "mesh_mcp_remove" => self.remove(read(arguments)?, say).await,
            "vault_set" => self.vault_set(read(arguments)?, say).await,
            "vault_list" => self.vault_list(say).await,
            "vault_delete" => self.vault_delete(read(arguments)?, say).await,
            "mesh_watch" => self.watch(read(arguments)?, say).await,
            "mesh_unwatch" => self.unwatch(read(arguments)?, say).await,
            "mesh_watches" => self.watches(say).await,
            other => Err(CliError::usage(format!("there is no tool {}", crate::text::line(other)))),
        }
    }
}

/// A tool's arguments.
fn read<T: DeserializeOwned>(arguments: &RawValue) -> Result<T, CliError> {
    // serde's words name the member and not its value, but for a word that is none of a list.
    serde_json::from_str(arguments.get()).map_err(|error| {
        CliError::usage(format!("the arguments do not fit: {}", crate::text::line(&error.to_string())))
    })
}

fn empty_object(otherwise: &RawValue) -> Box<RawValue> {
    serde_json::value::to_raw_value(&serde_json::json!({})).unwrap_or_else(|_| otherwise.to_owned())
}

impl Lane for Session {
    async fn list(&self) -> Vec<Arc<RawValue>> {
        let mut tools = definitions::tools();
        tools.extend(self.late.shown());
        tools
    }

    async fn call(&self, asked: Asked) -> Reply {
        if asked.name == "mesh_tool_call" {
            return self.call_service(&asked).await;
        }
        if asked.name.starts_with(late::PREFIX) {
            return match self.late.get(&asked.name) {
                Some(tool) => call::call(&self.link, &tool.service, &tool.tool, asked.arguments, &asked.say).await,
                None => Reply::failed("this tool's service is not there any more: mesh_mcp_catalog lists what is"),
            };
        }
        match self.own_tool(&asked).await {
            Ok(text) => Reply::text(text),
            Err(error) => error.into(),
        }
    }
}

/// What comes unasked.
struct Follow {
    session: Arc<Session>,
    /// The client's handshake is over.
    has_begun: bool,
}

impl Tenant for Follow {
    async fn connected(&mut self, mesh: &Arc<Mesh>) -> Result<(), CliError> {
        self.session.late.connected(mesh);
        self.session.changes.notify_one();
        self.session.mailroom.connected(mesh).await?;
        self.session.hosted.offer_again(mesh).await;
        mail::resend(mesh, self.session.printer).await
    }

    async fn took(&mut self, mesh: &Mesh, frames: Vec<Frame>) -> Result<(), CliError> {
        let mut letters = Vec::new();
        for frame in frames {
            match frame.kind() {
                PUSH_TYPE => match frame.read::<Push>() {
                    Ok(push) if push.subtype.is_some() && push.seq.is_none() => self.happened(&push).await,
                    _ => letters.push(frame),
                },
                "mcp_tools_changed" => self.session.changes.notify_one(),
                FORWARD_TYPE => self.session.hosted.forwarded(&frame),
                _ => {}
            }
        }
        self.session.mailroom.took(mesh, letters).await
    }

    async fn woken(&mut self) {
        if self.has_begun {
            return std::future::pending().await;
        }
        let mut ready = self.session.outlet.ready();
        // The sender is the session's.
        let _ = ready.wait_for(|ready| *ready).await;
        self.has_begun = true;
    }
}

impl Follow {
    async fn happened(&self, push: &Push) {
        let event = push.event.as_deref().unwrap_or_default();
        let data = push.event_data.as_ref().unwrap_or(&serde_json::Value::Null);
        if events::is_about_services(event) {
            self.session.changes.notify_one();
        }
        if let Some(words) = events::words(event, data) {
            self.session.mailroom.tell(event, &words).await;
        }
    }
}
