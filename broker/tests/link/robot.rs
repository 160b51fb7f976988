//! A runner that does what it is told, at once: for tests that ask for much and look at the answers alone.

use std::sync::Arc;

use protocol::link::{Header, Outcome, ServiceState};
use serde_json::json;

use crate::harness::{Conn, report, tool};

/// The life of one; it ends with the test.
pub(super) async fn run(link: Arc<Conn>) {
    loop {
        let Some(delivered) = link.next_within(crate::harness::SOON * 10).await else { return };
        match delivered.header {
            Header::Load { cmd, spec, .. } => {
                link.done(cmd, Outcome::Ok);
                let mut up = report(&spec.service, &spec.deployment, ServiceState::Running);
                (up.version, up.tools) = (Some("1.0.0".to_owned()), Some(vec![tool("t", json!({}))]));
                link.report(false, vec![up]);
            }
            Header::Unload { cmd, .. } => link.done(cmd, Outcome::Ok),
            Header::Logs { cmd, .. } => link.send(Header::LogsResult { cmd, lines: Vec::new(), lost: false }, ""),
            Header::Call(call) => link.reply(call.id, "called"),
            _ => {}
        }
    }
}
