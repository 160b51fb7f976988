//! Calls that the mesh passes on to a server of this machine, and their answers.

use std::sync::Arc;

use runner::instance::Client;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use super::local::{self, Local};

/// Calls of a server that are carried out at a time; further ones are answered as an error.
pub(crate) const MAX_CALLS: usize = 64;
/// The `type` of a call for a server that is hosted here, and of its answer.
pub(crate) const FORWARD_TYPE: &str = "mcp_call_forward";
pub(crate) const RESPONSE_TYPE: &str = "mcp_call_response";
/// The `type` of the word that a server is hosted no more.
pub(crate) const UNREGISTER_TYPE: &str = "mcp_unregister";

/// `mcp_call_forward`, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Forward {
    call_id: String,
    /// Which server it is for.
    pub(crate) server_name: String,
    tool_name: String,
    args: Box<RawValue>,
}

/// `mcp_call_response`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    call_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Forward {
    /// Its answer.
    pub(crate) fn answered(self, called: Result<Box<RawValue>, String>) -> Response {
        let (result, error) = match called {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        Response { call_id: self.call_id, result, error }
    }
}

/// Carries out the calls of one server, [`MAX_CALLS`] at a time.
pub(crate) struct Calls {
    server: Arc<Client>,
    places: Arc<Semaphore>,
}

impl Calls {
    /// Of this server.
    pub(crate) fn of(server: &Local) -> Self {
        Self { server: server.client(), places: Arc::new(Semaphore::new(MAX_CALLS)) }
    }

    /// Takes a place for a call now; what is returned carries it out.
    pub(crate) fn begin(&self, forward: Forward) -> impl Future<Output = Response> + Send + use<> {
        let (server, place) = (Arc::clone(&self.server), Arc::clone(&self.places).try_acquire_owned());
        async move {
            let called = match place {
                Err(_) => Err(format!("limit: {MAX_CALLS} calls are under way here")),
                Ok(_place) => local::call(&server, &forward.tool_name, &forward.args).await,
            };
            forward.answered(called)
        }
    }
}
