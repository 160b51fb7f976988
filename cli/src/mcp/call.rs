//! A call of a service's tool: out as it came in, back as it was given.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::link::Link;
use super::stdio::{Progress, Reply, Say};
use crate::client::{ClientError, Deadline, Mesh};
use crate::error::CliError;
use crate::text::Foreign;
use crate::wire::{self, CallResult};

/// How long a call waits for a connection that is being made again.
pub(super) const CONNECTION_WAIT: Duration = Duration::from_secs(20);
/// How long a call may take: the longest that a broker allows, and a moment for its answer.
const LONGEST: Duration = Duration::from_secs(60 * 60 + 5);

/// Takes a call back unless it has ended.
struct Running {
    mesh: Arc<Mesh>,
    call_id: String,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (mesh, call_id) = (Arc::clone(&self.mesh), std::mem::take(&mut self.call_id));
        tokio::spawn(async move {
            // A connection that is gone has taken the call with it.
            let _ = mesh.client.tell(wire::CANCEL_TYPE, &wire::Cancel { call_id }).await;
        });
    }
}

/// The word for a service that is not there, or not for us.
const NOT_FOUND: &str = "not_found";

/// Calls a tool, and tells of its progress. Dropped, it is taken back.
pub(super) async fn call(link: &Link, service: &str, tool: &str, args: Box<RawValue>, say: &Say) -> Reply {
    match ask(link, service, tool, args, say).await {
        Ok(answer) => reply(answer),
        Err(error) => error.into(),
    }
}

/// The same; `missed` is told when the service is not there any more.
pub(super) async fn call_or_miss(
    link: &Link,
    service: &str,
    tool: &str,
    args: Box<RawValue>,
    say: &Say,
    missed: impl FnOnce(),
) -> Reply {
    let answer = match ask(link, service, tool, args, say).await {
        Ok(answer) => answer,
        Err(error) => return error.into(),
    };
    if answer.error_code.as_ref().and_then(Value::as_str) == Some(NOT_FOUND) {
        missed();
    }
    reply(answer)
}

async fn ask(link: &Link, service: &str, tool: &str, args: Box<RawValue>, say: &Say) -> Result<CallResult, CliError> {
    let mut step = 0;
    let mesh = link.mesh(CONNECTION_WAIT, async |words| say.words(&mut step, words).await).await?;
    let call_id = Uuid::now_v7().to_string();
    let mut route = link.route(&call_id);
    let mut running = Running { mesh: Arc::clone(&mesh), call_id: call_id.clone(), ended: false };
    let request =
        wire::Call { server_name: service.to_owned(), tool_name: tool.to_owned(), args, timeout_ms: None, call_id };
    let answer = async {
        let mut replies = mesh.client.start_request(&request).await?;
        replies.next(Deadline::after(LONGEST)).await
    };
    tokio::pin!(answer);
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            news = route.next() => say.progress(&progress(&news)).await,
        }
    };
    running.ended = true;
    answer.map_err(|error| match error {
        ClientError::Lost(_) => CliError::unreachable("reconnecting: the connection to the broker was lost")
            .hint("the call may or may not have taken effect: look before you repeat it"),
        error => CliError::from(error),
    })
}

fn progress(news: &wire::Progress) -> Progress {
    Progress {
        progress: news.progress.unwrap_or_default(),
        total: news.total,
        message: news.message.as_ref().map(Foreign::line),
    }
}

/// The server's own words stay its own: a result as it is, an error of the protocol with its code. What the mesh says
/// itself is a result that failed, since that is what a model is shown.
fn reply(answer: CallResult) -> Reply {
    let CallResult { result, error, error_code, error_data, .. } = answer;
    if let Some(result) = result {
        return Reply::Result(result);
    }
    let message = error.as_ref().map(Foreign::block).filter(|message| !message.is_empty());
    let message = message.unwrap_or_else(|| "the call failed, and no reason was given".to_owned());
    match error_code.as_ref().and_then(Value::as_i64) {
        Some(code) => {
            let own = message.strip_prefix(&format!("MCP error {code}: ")).unwrap_or(&message).to_owned();
            Reply::Error { code, message: own, data: error_data }
        }
        None => {
            let code = error_code.as_ref().and_then(Value::as_str).unwrap_or_default();
            CliError::from_code(&crate::text::line(code), message).into()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn of(answer: Value) -> Reply {
        reply(serde_json::from_str(&answer.to_string()).unwrap())
    }

    #[test]
    fn h19_a_result_is_the_bytes_it_was_and_an_error_keeps_code_and_data() {
        let raw = r#"{"result":{"z":1.0,  "a":[1e2,"\u00e9"]}}"#;
        let Reply::Result(result) = reply(serde_json::from_str(raw).unwrap()) else { panic!() };
        assert_eq!(result.get(), r#"{"z":1.0,  "a":[1e2,"\u00e9"]}"#);
        let refused =
            json!({"error": "MCP error -32602: Tool x not found", "errorCode": -32602, "errorData": {"b": 1}});
        let Reply::Error { code, message, data } = of(refused) else { panic!() };
        assert_eq!((code, message.as_str(), data.unwrap().get()), (-32602, "Tool x not found", r#"{"b":1}"#));
    }

    #[test]
    fn what_the_mesh_says_is_a_failed_result_with_what_to_do() {
        let Reply::Result(result) = of(json!({"error": "no \u{202e}such", "errorCode": "outcome_unknown"})) else {
            panic!()
        };
        let result: Value = serde_json::from_str(result.get()).unwrap();
        assert_eq!(result["isError"], true);
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("no such (the call may or may not"), "{text}");
    }
}
