//! What a command says, and to whom.
//!
//! Contract:
//! - **stdout** is the result: text for people, or with `--json` exactly one JSON document on one line, on failure too.
//! - **stderr** is everything else: progress, notes, and for a failure `error: …` followed, where there is one, by `hint: …`.
//! - `--quiet` leaves out progress, notes and confirmations; results and errors stay.
//! - Colours only on a terminal, never with `NO_COLOR` (not empty), `TERM=dumb` or `--json`.
//! - A reader that went away (`| head`) is no failure.

pub(crate) mod age;
pub(crate) mod progress;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod tree;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;
use crate::text;

/// Paints, or does not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    fn for_stream(is_terminal: bool, json: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: is_terminal && !json && !refused && !is_dumb() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// For what is wrong.
    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// For what is on its way.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// For what is well.
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For headings and what matters less.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// A state of a service or a node in the colour of its meaning; padding is the caller's.
    pub(crate) fn state(self, state: &str, shown: &str) -> String {
        match state {
            "running" | "up" | "ready" | "ok" => self.green(shown),
            "crashed" | "failed" | "parked" | "unreachable" => self.red(shown),
            "stopped" => self.dim(shown),
            _ => self.yellow(shown),
        }
    }

    #[cfg(test)]
    pub(crate) fn coloured() -> Self {
        Self { colour: true }
    }
}

/// The two streams and how they are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    out: Style,
    err: Style,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Printer {
    /// A printer for this process's own streams.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let (out_is_terminal, err_is_terminal) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            json,
            quiet,
            out: Style::for_stream(out_is_terminal, json),
            err: Style::for_stream(err_is_terminal, json),
            out_is_terminal,
            err_is_terminal,
        }
    }

    /// How results are painted.
    pub(crate) fn style(&self) -> Style {
        self.out
    }

    /// Whether a result is shown on a terminal.
    pub(crate) fn out_is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Whether a result is one JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a result can be painted over: standard output is a terminal that understands how.
    pub(crate) fn repaints(&self) -> bool {
        self.out_is_terminal && !self.json && !is_dumb()
    }

    /// The result: `document` for programs, the text of `human` (without its last line break) for people.
    pub(crate) fn result(
        &self,
        document: &impl Serialize,
        human: impl FnOnce(Style) -> String,
    ) -> Result<(), CliError> {
        if self.json {
            self.document(document)
        } else {
            let text = human(self.out);
            if !text.is_empty() {
                write_line(&mut io::stdout().lock(), &text);
            }
            Ok(())
        }
    }

    /// One of many results, as [`Printer::result`]; whether anybody still reads.
    pub(crate) fn next_result(
        &self,
        document: &impl Serialize,
        human: impl FnOnce(Style) -> String,
    ) -> Result<bool, CliError> {
        let text = if self.json { json_line(document)? } else { human(self.out) };
        Ok(try_write_line(&mut io::stdout().lock(), &text).is_ok())
    }

    /// As [`Printer::result`], for a result whose text only confirms what was asked for: `--quiet` leaves it out.
    pub(crate) fn confirm(
        &self,
        document: &impl Serialize,
        human: impl FnOnce(Style) -> String,
    ) -> Result<(), CliError> {
        if self.quiet && !self.json {
            return Ok(());
        }
        self.result(document, human)
    }

    /// Plain text whatever the flags say, for what is meant for another program (completions).
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// A remark beside the result.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            write_line(&mut io::stderr().lock(), text);
        }
    }

    /// Something the person should know about, whatever the flags say.
    pub(crate) fn warning(&self, text: &str) {
        let label = self.err.yellow("warning:");
        write_line(&mut io::stderr().lock(), &format!("{label} {text}"));
    }

    /// A progress display on stderr that suits this printer.
    pub(crate) fn progress(&self) -> progress::Progress {
        let mode = if self.quiet || self.json {
            progress::Mode::Silent
        } else if self.err_is_terminal {
            progress::Mode::OneLine
        } else {
            progress::Mode::Lines
        };
        progress::Progress::new(mode, self.err)
    }

    /// The end of a command that failed.
    pub(crate) fn failure(&self, error: &CliError) {
        let mut err = io::stderr().lock();
        let message = text::line(&error.message);
        write_line(&mut err, &format!("{} {message}", self.err.red("error:")));
        if let Some(hint) = &error.hint {
            write_line(&mut err, &format!("{} {}", self.err.yellow("hint:"), text::line(hint)));
        }
        if self.json
            && let Some(document) = error.to_json()
        {
            // The error above has already said what can be said, if this cannot be written either.
            let _ = self.document(&document);
        }
    }

    fn document(&self, document: &impl Serialize) -> Result<(), CliError> {
        write_line(&mut io::stdout().lock(), &json_line(document)?);
        Ok(())
    }
}

fn json_line(document: &impl Serialize) -> Result<String, CliError> {
    let json = serde_json::to_string(document)
        .map_err(|error| CliError::failed(format!("cannot write the result as JSON: {error}")))?;
    Ok(text::escape_json(&json))
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Writes and forgets: whoever closed the stream does not want to know, and there is nobody else to tell.
fn write_line(stream: &mut impl Write, text: &str) {
    let _ = try_write_line(stream, text);
}

fn try_write_line(stream: &mut impl Write, text: &str) -> io::Result<()> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    writeln!(stream, "{text}").and_then(|()| stream.flush())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_without_colour_changes_nothing() {
        let plain = Style::default();
        assert_eq!(plain.red("x"), "x");
        assert_eq!(plain.state("running", "running  "), "running  ");
        assert_eq!(Style::coloured().red("x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Style::coloured().red(""), "", "nothing needs no colour");
    }

    #[test]
    fn states_have_the_colour_of_their_meaning() {
        let style = Style::coloured();
        for (state, code) in [
            ("running", "32"),
            ("crashed", "31"),
            ("unreachable", "31"),
            ("failed", "31"),
            ("building", "33"),
            ("restarting", "33"),
            ("stopped", "2"),
            ("a state from the future", "33"),
        ] {
            assert_eq!(style.state(state, "s"), format!("\u{1b}[{code}ms\u{1b}[0m"), "{state}");
        }
    }

    #[test]
    fn only_a_terminal_is_painted() {
        assert!(!Style::for_stream(false, false).colour);
        assert!(!Style::for_stream(true, true).colour);
    }

    #[test]
    fn one_line_break_ends_a_line() {
        let mut written = Vec::new();
        write_line(&mut written, "a\nb\n");
        write_line(&mut written, "c");
        assert_eq!(written, b"a\nb\nc\n");
    }
}
