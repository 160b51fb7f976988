//! How a secret comes in, and how it goes out.

use std::fs::File;
use std::io::{BufRead as _, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use protocol::SecretString;
use protocol::vault::{Authenticity, MAX_VALUE_BYTES, Opened};
use protocol::wire::VaultEntry;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;
use zeroize::Zeroizing;

use crate::command::Context;
use crate::error::CliError;
use crate::output::Printer;
use crate::text;

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// The value, or where it is; it is not shown.
#[derive(Debug, Clone)]
pub(super) struct Given(SecretString);

impl FromStr for Given {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.into()))
    }
}

/// Reads the value that is meant.
pub(super) fn read(given: Option<Given>, file: bool, printer: &Printer) -> Result<Zeroizing<Vec<u8>>, CliError> {
    match given {
        None if file => Err(CliError::usage("the file is not named").hint("name it, or use - for standard input")),
        None => prompt(),
        Some(Given(word)) if word.expose() == STANDARD_INPUT => {
            let plain = bounded(std::io::stdin().lock(), "standard input")?;
            Ok(if file { plain } else { one_text(plain) })
        }
        Some(Given(path)) if file => from_file(Path::new(path.expose())),
        Some(Given(word)) => {
            printer.warning(
                "a value on the command line stays in the shell's history, and others on this machine can see it: \
                 leave it out to be asked for it, or use - to send it in",
            );
            Ok(Zeroizing::new(word.expose().as_bytes().to_vec()))
        }
    }
}

/// The text that a file or a pipe holds: the line break at its end is no part of it.
pub(crate) fn one_text(mut plain: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if plain.last() == Some(&b'\n') {
        plain.pop();
    }
    plain
}

/// The value that a file holds.
pub(crate) fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let shown = text::line(&path.to_string_lossy());
    let opened = File::open(path).map_err(|error| CliError::failed(format!("cannot read {shown}: {error}")))?;
    bounded(opened, &shown)
}

/// All there is, if that is a value that can be kept. The buffer never grows: no half of a secret is left behind by that.
fn bounded(from: impl Read, what: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(MAX_VALUE_BYTES + 2));
    let limit = u64::try_from(MAX_VALUE_BYTES + 2).unwrap_or(u64::MAX);
    from.take(limit)
        .read_to_end(&mut plain)
        .map_err(|error| CliError::failed(format!("cannot read {what}: {error}")))?;
    if plain.len() > MAX_VALUE_BYTES + 1 {
        return Err(CliError::usage(format!("{what} has more than the {MAX_VALUE_BYTES} bytes of a value")));
    }
    Ok(plain)
}

/// Asks at the terminal; what is typed is not shown.
fn prompt() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::usage("no value, and no terminal to ask at").hint("use - to read standard input"));
    }
    let _ = std::io::stderr().write_all(b"Value (not shown): ");
    let mut line = Zeroizing::new(String::with_capacity(MAX_VALUE_BYTES));
    let hidden = Hidden::begin()?;
    let read = stdin.lock().take(u64::try_from(MAX_VALUE_BYTES).unwrap_or(u64::MAX)).read_line(&mut line);
    drop(hidden);
    let _ = std::io::stderr().write_all(b"\n");
    read.map_err(|error| CliError::failed(format!("cannot read the value: {error}")))?;
    let value = line.strip_suffix('\n').unwrap_or(&line);
    if value.is_empty() {
        return Err(CliError::usage("nothing was typed").hint("an empty value is set by: printf '' | … -"));
    }
    Ok(Zeroizing::new(value.as_bytes().to_vec()))
}

/// The terminal shows nothing that is typed, for as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Result<Self, CliError> {
        let failed = |error| CliError::failed(format!("cannot keep the terminal from showing the value: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to show.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Writes a value: exactly its bytes, or as JSON, or cleaned for a terminal.
pub(super) fn write(context: &Context, entry: &VaultEntry, opened: &Opened) -> Result<(), CliError> {
    let printer = &context.printer;
    let text = std::str::from_utf8(&opened.plain);
    if printer.is_json() {
        let signed = opened.authenticity != Authenticity::Unsigned;
        let mut document = json!({ "key": entry.key, "type": entry.entry_type, "signed": signed });
        let (name, value) = match text {
            Ok(text) => ("value", text.to_owned()),
            Err(_) => ("valueBase64", BASE64.encode(&opened.plain)),
        };
        if let Some(fields) = document.as_object_mut() {
            fields.insert(name.to_owned(), value.into());
            fields.extend(entry.mount_path.as_deref().map(|path| ("mountPath".to_owned(), path.into())));
            fields.extend(entry.version.map(|version| ("version".to_owned(), version.into())));
        }
        return printer.result(&document, |_| String::new());
    }
    if !printer.out_is_terminal() {
        printer.raw(&opened.plain);
        return Ok(());
    }
    let shown = text
        .map_err(|_| CliError::failed("the value is no text").hint("send it to a program or a file, or use --json"))?;
    printer.result(&(), |_| text::block(shown))
}
