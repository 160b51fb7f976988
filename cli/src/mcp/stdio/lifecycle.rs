//! rmcp's part: who this server is, in both eras, and the subscriptions of the newer one.

use std::collections::BTreeMap;

use rmcp::model::{Implementation, JsonObject, ServerCapabilities, ServerConfig, SubscriptionFilter};
use rmcp::service::SubscriptionContext;
use rmcp::{ErrorData, ServerHandler, ServiceExt as _};
use tokio::io::DuplexStream;
use tokio::sync::watch;

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    /// Its name.
    pub(crate) name: String,
    /// What a model is told about all of its tools; this program's own words only.
    pub(crate) instructions: Option<String>,
    /// Whether it says things unasked, on the channel that a session listens to.
    pub(crate) channel: bool,
}

/// The capability of a server that puts messages into the conversation.
const CHANNEL: &str = "claude/channel";

/// See the module.
pub(super) struct Lifecycle {
    pub(super) about: About,
    pub(super) changes: watch::Receiver<u64>,
}

impl Lifecycle {
    /// Serves until the stream ends.
    pub(super) async fn run(self, stream: DuplexStream) -> Result<(), String> {
        match self.serve(stream).await {
            Ok(running) => running.waiting().await.map(drop).map_err(|error| error.to_string()),
            // A client that went away, or never used the handshake: its requests were answered without it.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl ServerHandler for Lifecycle {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        if self.about.channel {
            capabilities.experimental = Some(BTreeMap::from([(CHANNEL.to_owned(), JsonObject::new())]));
        }
        let server = Implementation::new(&self.about.name, env!("CARGO_PKG_VERSION"));
        let info = ServerConfig::new(capabilities).with_server_info(server);
        match &self.about.instructions {
            Some(instructions) => info.with_instructions(instructions),
            None => info,
        }
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let mut filter = SubscriptionFilter::default();
        filter.tools_list_changed = Some(true);
        Some(filter)
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        let wants = context.accepted().tools_list_changed == Some(true);
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = changes.changed() => match changed {
                    // One that cannot be told has ended its subscription.
                    Ok(()) if wants => drop(context.sink().notify_tool_list_changed().await),
                    Ok(()) => {}
                    Err(_) => return Ok(()),
                },
            }
        }
    }
}
