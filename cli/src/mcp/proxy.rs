//! The server of one service: its tools as they are, its results as they are.
//!
//! It is no peer: it calls, and nobody sees it. The list of tools is kept on disk, so that a client that starts while the
//! broker is away is answered at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::wire::{PeerType, ServerName, SessionKind};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::link::{Link, Seat, Tenant};
use super::stdio::{About, Asked, Lane, Outlet, Reply, serve as serve_pipes};
use super::tools::{Given, room_of_proxy};
use super::{call, launcher};
use crate::client::{Appearance, ClientError, Frame, Mesh, Pushes};
use crate::error::CliError;
use crate::output::Printer;
use crate::profile::Profile;
use crate::wire;

/// How long the first list of all waits for the broker. A client gives a server about half a minute to start.
const FIRST_LIST_WAIT: Duration = Duration::from_secs(15);
/// How long the broker may take for a list.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// How often the list is looked at again while nobody says anything: brokers of before told peers alone of a service that
/// goes, or is replaced by one with other tools, and a word may be missed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Says that a service has other tools than before.
const TOOLS_CHANGED_TYPE: &str = "mcp_tools_changed";

/// What is kept on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    tools: Vec<Box<RawValue>>,
}

/// Serves one service until the input ends or the launcher is gone.
pub(crate) async fn serve(printer: Printer, slug: Option<String>, service: String) -> Result<(), CliError> {
    let profile = Profile::from_environment()?;
    let proxy = Arc::new(Proxy::new(profile, slug, printer, service));
    proxy.take_kept();
    let (outlet, lines) = Outlet::new();
    let link = proxy.link.clone();
    let keeper = tokio::spawn(
        link.clone()
            .keep(Arc::clone(&proxy), Follow { proxy: Arc::clone(&proxy), outlet: outlet.clone(), is_doubted: false }),
    );
    let about = About { name: format!("mesh:{}", proxy.service), ..About::default() };
    let served = tokio::select! {
        served = serve_pipes(Arc::clone(&proxy), about, (outlet, lines), tokio::io::stdin(), tokio::io::stdout()) => served,
        () = launcher::gone() => Ok(()),
    };
    keeper.abort();
    // Its end, whichever, is what is waited for: it holds the connection.
    let _ = keeper.await;
    link.close().await;
    served
}

struct Proxy {
    service: String,
    slug: Option<String>,
    profile: Profile,
    printer: Printer,
    link: Link,
    /// How many of a name's characters a client has left for it.
    room: usize,
    /// None as long as nobody has said.
    tools: watch::Sender<Option<Given>>,
    /// The mesh's id, once `config.json` could be read.
    mesh_id: Mutex<Option<String>>,
    /// The list may be another one without anybody having said so.
    doubted: Notify,
}

impl Proxy {
    fn new(profile: Profile, slug: Option<String>, printer: Printer, service: String) -> Self {
        // The entry is called after the process that wrote it, which is an ancestor of ours: its number is about as long.
        let digits = std::process::id().to_string().len();
        let room = room_of_proxy(&service, digits);
        let (link, tools) = (Link::new(), watch::Sender::new(None));
        Self { service, slug, profile, printer, link, room, tools, mesh_id: Mutex::new(None), doubted: Notify::new() }
    }

    fn mesh_id(&self) -> Option<String> {
        let mut known = self.mesh_id.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let membership = self.profile.membership(self.slug.as_deref());
            *known = membership.ok().map(|membership| membership.mesh.mesh_id);
        }
        known.clone()
    }

    /// Begins with the list of the last time.
    fn take_kept(&self) {
        let bytes = self.mesh_id().and_then(|mesh| self.profile.kept_tools(&mesh, &self.service));
        if let Some(Kept { tools }) = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            self.tools.send_replace(Some(Given::new(&tools, self.room)));
        }
    }

    /// Asks for the list, and tells the client if it is another one.
    async fn refresh(&self, mesh: &Mesh, outlet: &Outlet) -> Result<(), CliError> {
        let request = wire::RawSchema(wire::Schema { server_name: self.service.clone(), tool_name: None });
        let tools = match mesh.client.request(&request, LIST_LIMIT).await {
            Ok(answer) => answer.tools,
            // It is not there, or not for us: then it has no tools, and what is on disk is for when it comes back.
            Err(error) if error.is_not_found() => return self.show(Given::default(), outlet).await,
            Err(ClientError::Lost(why)) => return Err(CliError::unreachable(why)),
            Err(error) => return Err(error.into()),
        };
        let given = Given::new(&tools, self.room);
        if let Ok(bytes) = serde_json::to_vec(&Kept { tools }) {
            // Without it the next start asks the broker first.
            let _ = self.profile.keep_tools(mesh.id(), &self.service, &bytes);
        }
        self.show(given, outlet).await
    }

    async fn show(&self, given: Given, outlet: &Outlet) -> Result<(), CliError> {
        let is_news = !self.tools.borrow().as_ref().is_some_and(|before| before.is_shown_as(&given));
        self.tools.send_replace(Some(given));
        if is_news {
            outlet.tools_changed().await;
        }
        Ok(())
    }
}

impl Seat for Proxy {
    async fn connect(&self) -> Result<Mesh, CliError> {
        let membership = self.profile.membership(self.slug.as_deref())?;
        let file = self.profile.session(&membership.mesh.mesh_id)?;
        let appearance = Appearance {
            kind: SessionKind::Proxy,
            peer_type: PeerType::Connector,
            channel: None,
            groups: self.profile.session_settings()?.groups,
        };
        Mesh::connect_as(self.profile.clone(), membership, self.printer, Pushes::Dropped, file, appearance).await
    }
}

impl Lane for Proxy {
    async fn list(&self) -> Vec<Arc<RawValue>> {
        self.doubted.notify_one();
        let mut tools = self.tools.subscribe();
        // When nothing comes the list is empty, and the client is told when there is one.
        let _ = timeout(FIRST_LIST_WAIT, tools.wait_for(Option::is_some)).await;
        let shown = tools.borrow().as_ref().map(Given::shown);
        shown.unwrap_or_default()
    }

    async fn call(&self, asked: Asked) -> Reply {
        let tool = {
            let tools = self.tools.borrow();
            tools.as_ref().map_or(asked.name.as_str(), |given| given.own_name(&asked.name)).to_owned()
        };
        let missed = || self.doubted.notify_one();
        call::call_or_miss(&self.link, &self.service, &tool, asked.arguments, &asked.say, missed).await
    }
}

/// What comes unasked.
struct Follow {
    proxy: Arc<Proxy>,
    outlet: Outlet,
    is_doubted: bool,
}

impl Tenant for Follow {
    async fn connected(&mut self, mesh: &Arc<Mesh>) -> Result<(), CliError> {
        self.proxy.refresh(mesh, &self.outlet).await
    }

    async fn took(&mut self, mesh: &Mesh, frames: Vec<Frame>) -> Result<(), CliError> {
        let concerns_us = |frame: &Frame| {
            frame.kind() == TOOLS_CHANGED_TYPE
                && frame.read::<ServerName>().is_ok_and(|named| named.server_name == self.proxy.service)
        };
        if frames.iter().any(concerns_us) || std::mem::take(&mut self.is_doubted) {
            return self.proxy.refresh(mesh, &self.outlet).await;
        }
        Ok(())
    }

    async fn woken(&mut self) {
        // Whichever comes first; the end of the wait is as good a reason.
        let _ = timeout(LOOK_AGAIN, self.proxy.doubted.notified()).await;
        self.is_doubted = true;
    }
}
