//! `call`: calls a tool and prints what it says.
//!
//! Text comes as text; other content as a remark on stderr (`--json` has it whole). A tool that reports an error exits 1.
//! `--json`: `{"result": <CallToolResult as the server gave it>, "attempts"?}`, also when `isError` is set; a call that did
//! not come about is `{"error": {"kind", "exit_code", "message", "hint"?, "code"?, "data"?, "attempts"?}}`.

use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Context, values};
use crate::client::{Client, ClientError, Deadline, Frame};
use crate::error::CliError;
use crate::output::progress::Progress;
use crate::text::{self, Foreign};
use crate::wire::{self, CallResult, ToolResult};

/// How much longer than the broker this side waits: its answer to a call that ran out of time says more than ours.
const GRACE: Duration = Duration::from_secs(2);

/// The word that takes the arguments from stdin.
const STDIN: &str = "-";

/// The most that is read from stdin.
const MAX_STDIN_BYTES: u64 = 16 * 1024 * 1024;

/// The words of `call`.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// The tool
    tool: String,
    /// A JSON object, or k=v pairs (v is JSON if it reads as JSON, else text; k:=v is JSON or an error), or - for stdin
    #[arg(value_name = "ARGUMENTS")]
    arguments: Vec<String>,
    /// How long the call may take
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    timeout: Duration,
}

/// The result for programs.
#[derive(Serialize)]
struct Document<'a> {
    result: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
}

/// Runs `call`.
pub(crate) async fn run(context: &Context, args: CallArgs) -> Result<(), CliError> {
    let arguments = arguments(&args.arguments)?;
    let request = wire::Call {
        server_name: args.name,
        tool_name: args.tool,
        args: arguments,
        timeout_ms: Some(values::milliseconds(args.timeout)),
        call_id: uuid::Uuid::now_v7().to_string(),
    };
    let mut client = context.client().await?;
    let mut progress = context.printer.progress();
    let answer = wait(&mut client, &mut progress, &request, args.timeout).await;
    drop(progress);
    client.close().await;
    report(context, answer.map_err(|error| explain(error, args.timeout))?)
}

fn arguments(words: &[String]) -> Result<Box<RawValue>, CliError> {
    let read = match words {
        [only] if only == STDIN => values::json_object(&stdin()?),
        words => values::tool_arguments(words),
    };
    read.map_err(|why| CliError::usage(why).hint("claudemesh schema NAME TOOL shows what the tool takes"))
}

fn stdin() -> Result<String, CliError> {
    let mut text = String::new();
    let read = std::io::stdin()
        .lock()
        .take(MAX_STDIN_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed(format!("cannot read the arguments from stdin: {error}")))?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_STDIN_BYTES {
        return Err(CliError::usage(format!("the arguments on stdin are larger than {MAX_STDIN_BYTES} bytes")));
    }
    Ok(text)
}

/// Waits for the answer, and shows progress on the way. A call that ran out of time is taken back.
async fn wait(
    client: &mut Client,
    progress: &mut Progress,
    request: &wire::Call,
    timeout: Duration,
) -> Result<CallResult, ClientError> {
    let mut replies = client.start_request(request).await?;
    let answer = {
        let next = replies.next(Deadline::after(timeout + GRACE));
        tokio::pin!(next);
        loop {
            tokio::select! {
                answer = &mut next => break answer,
                frame = client.next_push() => show(progress, &frame, &request.call_id),
            }
        }
    };
    if matches!(answer, Err(ClientError::TimedOut { .. })) {
        let cancel = wire::Cancel { call_id: request.call_id.clone() };
        // The time-out is what there is to say; a connection that is gone has taken the call with it.
        let _ = client.tell(wire::CANCEL_TYPE, &cancel).await;
    }
    answer
}

fn show(progress: &mut Progress, frame: &Frame, call_id: &str) {
    if frame.kind() != wire::PROGRESS_TYPE {
        return;
    }
    // Progress that cannot be read is not worth a word.
    let Ok(news) = frame.read::<wire::Progress>() else {
        return;
    };
    if news.call_id != call_id {
        return;
    }
    let counted = match (news.progress, news.total) {
        (Some(done), Some(total)) => format!("{done} of {total} "),
        (Some(done), None) => format!("{done} "),
        (None, _) => String::new(),
    };
    let message = news.message.map(|message| message.line()).unwrap_or_default();
    progress.update("working", format!("{counted}{message}").trim_end());
}

/// What an error means when a call was under way.
fn explain(error: ClientError, timeout: Duration) -> CliError {
    match error {
        ClientError::TimedOut { .. } => {
            CliError::from_code("timeout", format!("no result within {} s", timeout.as_secs_f64()))
        }
        ClientError::Lost(_) => {
            CliError::from(error).hint("the call may or may not have taken effect: look before you repeat it")
        }
        other => CliError::from(other),
    }
}

fn report(context: &Context, answer: CallResult) -> Result<(), CliError> {
    let Some(raw) = &answer.result else {
        return Err(refused(answer));
    };
    let result: ToolResult = serde_json::from_str(raw.get()).map_err(|error| {
        CliError::failed(format!("the server's result is no tool result: {error}"))
            .hint("--json shows nothing either: report it to the server's author")
    })?;
    if result.content.is_empty() && result.structured_content.is_some() {
        context.printer.note("the result is structured only: --json shows it");
    }
    let document = Document { result: raw, attempts: answer.attempts };
    context.printer.result(&document, |_| texts(&result.content, |remark| context.printer.note(remark)))?;
    if result.is_error {
        // The document has been printed; printing the failure must not add a second one.
        return Err(CliError::failed("the tool reports an error").already_documented());
    }
    Ok(())
}

/// The text blocks, one after the other; a remark for each block of another kind.
fn texts(content: &[Value], remark: impl Fn(&str)) -> String {
    let mut shown = Vec::new();
    for block in content {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => {
                let text = block.get("text").and_then(Value::as_str).unwrap_or_default();
                shown.push(text::block(text));
            }
            kind => remark(&describe(kind.unwrap_or("unknown"), block)),
        }
    }
    shown.join("\n")
}

/// A block that is no text, in one line: `[image image/png, 1234 bytes]`.
fn describe(kind: &str, block: &Value) -> String {
    let field = |name: &str| block.get(name).and_then(Value::as_str);
    let inner = |name: &str| block.get("resource")?.get(name)?.as_str();
    let name = field("uri").or_else(|| inner("uri")).or_else(|| field("name"));
    let mime = field("mimeType").or_else(|| inner("mimeType"));
    let mut parts: Vec<String> = [name, mime].into_iter().flatten().map(text::line).collect();
    if let Some(data) = field("data") {
        parts.push(format!("{} bytes", base64_length(data)));
    }
    format!("[{} {}]", text::line(kind), parts.join(", ")).replace(" ]", "]")
}

/// How many bytes padded base64 stands for.
fn base64_length(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// A call that brought no result.
fn refused(answer: CallResult) -> CliError {
    let message = answer
        .error
        .as_ref()
        .map(Foreign::line)
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| "the call failed, and no reason was given".to_owned());
    let error = match &answer.error_code {
        Some(Value::String(code)) => CliError::from_code(&text::line(code), message),
        Some(number) => {
            let mut error = CliError::failed(message);
            error.code = Some(number.to_string());
            error
        }
        None => CliError::failed(message),
    };
    let mut document = error.plain();
    if let Some(fields) = document.get_mut("error").and_then(Value::as_object_mut) {
        if let Some(data) = answer.error_data {
            // It was read as JSON, so it is.
            fields.insert("data".into(), serde_json::from_str(data.get()).unwrap_or_default());
        }
        if let Some(attempts) = answer.attempts {
            fields.insert("attempts".into(), json!(attempts));
        }
    }
    error.document(document)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn options_may_follow_the_arguments() {
        use crate::args::{Cli, Command};
        use clap::Parser as _;

        let words = ["claudemesh", "call", "time", "now", "zone=UTC", "--timeout", "2s", "--json"];
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::Call(call) = cli.command else { panic!("not a call") };
        assert_eq!((call.arguments, call.timeout), (vec!["zone=UTC".to_owned()], std::time::Duration::from_secs(2)));
        assert!(cli.global.json);
        let stdin = Cli::try_parse_from(["claudemesh", "call", "time", "now", "-"]).unwrap();
        let Command::Call(call) = stdin.command else { panic!("not a call") };
        assert_eq!(call.arguments, ["-"]);
    }

    #[test]
    fn text_is_shown_and_the_rest_remarked_on() {
        let remarks = RefCell::new(Vec::new());
        let content = json!([
            {"type": "text", "text": "one\n\u{1b}[2Jtwo"},
            {"type": "image", "mimeType": "image/png", "data": "AAAAAA=="},
            {"type": "resource_link", "uri": "file:///x\u{202e}", "name": "x"},
            {"type": "resource", "resource": {"uri": "mem://1", "text": "hidden"}},
            {"type": "hologram"},
            3,
            {"type": "text", "text": "three"}
        ]);
        let shown = texts(content.as_array().unwrap(), |remark| {
            remarks.borrow_mut().push(remark.to_owned());
        });
        assert_eq!(shown, "one\ntwo\nthree");
        assert_eq!(
            remarks.into_inner(),
            [
                "[image image/png, 4 bytes]",
                "[resource_link file:///x]",
                "[resource mem://1]",
                "[hologram]",
                "[unknown]"
            ]
        );
    }

    #[test]
    fn failures_keep_their_kind_and_what_came_with_them() {
        for (code, exit) in [
            (json!("outcome_unknown"), 1),
            (json!("timeout"), 5),
            (json!("overloaded"), 4),
            (json!("unreachable"), 3),
            (json!(-32602), 1),
            (Value::Null, 1),
        ] {
            let answer: CallResult = serde_json::from_str(
                &json!({"error": "e", "errorCode": code, "errorData": {"k": 1}, "attempts": 2}).to_string(),
            )
            .unwrap();
            let error = refused(answer);
            assert_eq!(error.kind.exit_code(), exit, "{code}");
            let document = error.to_json().unwrap();
            assert_eq!(document["error"]["data"], json!({"k": 1}), "{code}");
            assert_eq!(document["error"]["attempts"], 2, "{code}");
        }
    }
}
