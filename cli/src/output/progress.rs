//! Progress on stderr: one line that keeps changing on a terminal, plain lines elsewhere, nothing with `--json`.

use std::io::{self, Write};

use super::Style;

/// Frames of the wheel; one step an update.
const WHEEL: [&str; 4] = ["-", "\\", "|", "/"];

/// The most characters of a changing line: a longer one would wrap, and `\r` only goes back to the start of the last row.
const LINE_CHARS: usize = 76;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all.
    Silent,
    /// A line per new step.
    Lines,
    /// One line, overwritten.
    OneLine,
}

/// A progress display. Dropped, it leaves a clean line behind.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: Mode,
    style: Style,
    step: usize,
    last: String,
}

impl Progress {
    pub(super) fn new(mode: Mode, style: Style) -> Self {
        Self { mode, style, step: 0, last: String::new() }
    }

    /// Says where things stand: a state, and one clean line of detail (may be empty).
    pub(crate) fn update(&mut self, state: &str, detail: &str) {
        if let Some(text) = self.render(state, detail) {
            let mut err = io::stderr().lock();
            let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        }
    }

    /// Turns the wheel without news, so that a person sees that the wait is alive.
    pub(crate) fn tick(&mut self) {
        if self.mode == Mode::OneLine && !self.last.is_empty() {
            let text = self.wheel();
            let mut err = io::stderr().lock();
            let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        }
    }

    /// Takes the changing line away.
    pub(crate) fn clear(&mut self) {
        if self.mode == Mode::OneLine && !self.last.is_empty() {
            let mut err = io::stderr().lock();
            let _ = err.write_all(b"\r\x1b[K").and_then(|()| err.flush());
        }
        self.last.clear();
    }

    fn render(&mut self, state: &str, detail: &str) -> Option<String> {
        let line = match detail {
            "" => format!("{state}: …"),
            detail => format!("{state}: {detail}"),
        };
        match self.mode {
            Mode::Silent => None,
            Mode::Lines if line == self.last => None,
            Mode::Lines => {
                let text = format!("{line}\n");
                self.last = line;
                Some(text)
            }
            Mode::OneLine => {
                self.last = line;
                Some(self.wheel())
            }
        }
    }

    fn wheel(&mut self) -> String {
        let wheel = WHEEL.iter().cycle().nth(self.step % WHEEL.len());
        self.step = self.step.wrapping_add(1);
        let shown: String = self.last.chars().take(LINE_CHARS).collect();
        format!("\r\u{1b}[K{} {shown}", self.style.yellow(wheel.copied().unwrap_or_default()))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_each_step_once() {
        let mut progress = Progress::new(Mode::Lines, Style::default());
        assert_eq!(progress.render("building", ""), Some("building: …\n".into()));
        assert_eq!(progress.render("building", ""), None);
        assert_eq!(progress.render("building", "fetching x"), Some("building: fetching x\n".into()));
        assert_eq!(progress.render("starting", ""), Some("starting: …\n".into()));
    }

    #[test]
    fn the_changing_line_never_wraps() {
        let mut progress = Progress::new(Mode::OneLine, Style::default());
        let shown = progress.render("building", &"x".repeat(500)).unwrap_or_default();
        assert_eq!(shown.chars().count(), "\r\u{1b}[K- ".chars().count() + LINE_CHARS);
        let next = progress.wheel();
        assert!(next.starts_with("\r\u{1b}[K\\ building"), "{next:?}");
    }

    #[test]
    fn silence_is_silence() {
        let mut progress = Progress::new(Mode::Silent, Style::default());
        assert_eq!(progress.render("building", "x"), None);
    }
}
