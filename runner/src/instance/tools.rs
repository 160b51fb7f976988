//! The tool list of a server, read to its last page.

use protocol::link::Tool;
use serde::Deserialize;

use super::client::Client;
use crate::service::gate::Answer;

/// Pages of one list.
const PAGES_MAX: usize = 100;
/// Tools of one server.
const TOOLS_MAX: usize = 512;
/// Bytes of one list.
const SCHEMA_BYTES_MAX: usize = 1_024 * 1_024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Tool>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// What is wrong with a list.
pub struct Problem {
    /// In words.
    pub words: String,
    /// One of the bounds of a list was reached.
    pub is_over_a_limit: bool,
}

impl Problem {
    fn limit(words: String) -> Self {
        Self { words, is_over_a_limit: true }
    }

    fn other(words: String) -> Self {
        Self { words, is_over_a_limit: false }
    }
}

/// Reads every page; the caller sets the time limit.
///
/// # Errors
/// [`Problem`].
pub async fn read(client: &Client) -> Result<Vec<Tool>, Problem> {
    let mut tools = Vec::new();
    let mut bytes = 0;
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let params = match &cursor {
            Some(cursor) => serde_json::json!({ "cursor": cursor }).to_string(),
            None => "{}".to_owned(),
        };
        let page = match client.request("tools/list", params.as_bytes()).await {
            Answer::Result(page) => page,
            other => return Err(Problem::other(format!("tools/list was answered with {}", told(&other)))),
        };
        bytes += page.len();
        if bytes > SCHEMA_BYTES_MAX {
            return Err(Problem::limit(format!("its tool list is larger than {SCHEMA_BYTES_MAX} bytes")));
        }
        let page: Page = serde_json::from_slice(&page)
            .map_err(|error| Problem::other(format!("its tool list is not valid: {error}")))?;
        tools.extend(page.tools);
        if tools.len() > TOOLS_MAX {
            return Err(Problem::limit(format!("it has more than {TOOLS_MAX} tools")));
        }
        cursor = page.next_cursor.filter(|cursor| !cursor.is_empty());
        if cursor.is_none() {
            return Ok(tools);
        }
    }
    Err(Problem::limit(format!("its tool list has more than {PAGES_MAX} pages")))
}

/// An answer that is not a result, in words.
#[must_use]
pub fn told(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        message: String,
    }
    match answer {
        Answer::Result(_) => "a result".to_owned(),
        Answer::Error(error) => match serde_json::from_slice::<Said>(error) {
            Ok(Said { code, message }) => format!("error {code}: {message}"),
            Err(_) => "an error that cannot be read".to_owned(),
        },
        Answer::Failed { message, .. } => message.clone(),
    }
}
