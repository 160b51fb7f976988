//! A picture on a terminal that is painted over itself: only lines that changed are written, all of them in one write, so
//! nothing flickers; nothing is hidden and no other screen is used, so the last picture stays when the program ends.

use std::io::{self, Write};

/// What a terminal that does not say its size is taken for.
const FALLBACK: Size = Size { columns: 80, rows: 24 };

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    columns: usize,
    rows: usize,
}

/// The lines that stand on the terminal, above the cursor.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    painted: Vec<String>,
    size: Option<Size>,
}

impl Screen {
    /// Shows these lines in place of the last ones. Whether anybody still reads.
    pub(crate) fn paint(&mut self, lines: &[String]) -> bool {
        let text = self.update(lines, size());
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    /// What to write.
    fn update(&mut self, lines: &[String], size: Size) -> String {
        let lines = fitting(lines, size);
        // After another size nothing is where it was put: all of it anew.
        let before = if self.size == Some(size) { self.painted.as_slice() } else { &[] };
        let mut text = String::new();
        if !self.painted.is_empty() {
            text.push_str(&format!("\r\u{1b}[{}A", self.painted.len()));
        }
        for (place, line) in lines.iter().enumerate() {
            if before.get(place) != Some(line) {
                text.push_str(line);
                text.push_str("\u{1b}[K");
            }
            text.push_str("\r\n");
        }
        if lines.len() < self.painted.len() || before.is_empty() {
            text.push_str("\u{1b}[J");
        }
        self.painted = lines;
        self.size = Some(size);
        text
    }
}

fn size() -> Size {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
        }
        _ => FALLBACK,
    }
}

/// As much as can be painted over: a line that wraps, or one that has scrolled away, could not be.
fn fitting(lines: &[String], size: Size) -> Vec<String> {
    // The cursor has the last row.
    let room = size.rows.saturating_sub(1).max(1);
    let clip = |line: &String| clip(line, size.columns);
    if lines.len() <= room {
        return lines.iter().map(clip).collect();
    }
    let shown = room - 1;
    let more = format!("… {} more lines: a larger window, --path or --depth shows them", lines.len() - shown);
    lines.iter().take(shown).map(clip).chain([clip(&more)]).collect()
}

/// The first `columns` characters, without counting what only colours.
fn clip(line: &str, columns: usize) -> String {
    let mut clipped = String::with_capacity(line.len());
    let (mut count, mut colouring) = (0, false);
    for c in line.chars() {
        if colouring {
            colouring = c != 'm';
        } else if c == '\u{1b}' {
            colouring = true;
        } else if count == columns {
            clipped.push_str("\u{1b}[0m");
            return clipped;
        } else {
            count += 1;
        }
        clipped.push(c);
    }
    clipped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const SMALL: Size = Size { columns: 6, rows: 4 };

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut screen = Screen::default();
        assert_eq!(screen.update(&lines(&["a", "b"]), SMALL), "a\u{1b}[K\r\nb\u{1b}[K\r\n\u{1b}[J");
        assert_eq!(screen.update(&lines(&["a", "c"]), SMALL), "\r\u{1b}[2A\r\nc\u{1b}[K\r\n");
        assert_eq!(screen.update(&lines(&["a"]), SMALL), "\r\u{1b}[2A\r\n\u{1b}[J");
        assert_eq!(screen.update(&lines(&["a"]), SMALL), "\r\u{1b}[1A\r\n");
    }

    #[test]
    fn another_size_paints_all_of_it() {
        let mut screen = Screen::default();
        screen.update(&lines(&["a"]), SMALL);
        let wide = Size { columns: 9, ..SMALL };
        assert_eq!(screen.update(&lines(&["a"]), wide), "\r\u{1b}[1Aa\u{1b}[K\r\n\u{1b}[J");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(fitting(&lines(&["a", "b", "c"]), SMALL), ["a", "b", "c"]);
        let shown = fitting(&lines(&["a", "b", "c", "d"]), Size { columns: 60, rows: 4 });
        assert_eq!(shown[..2], ["a", "b"]);
        assert!(shown.len() == 3 && shown.last().is_some_and(|line| line.starts_with("… 2 more lines")), "{shown:?}");
    }

    #[test]
    fn a_long_line_is_cut_and_colours_do_not_count() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdefg", 6), "abcdef\u{1b}[0m");
        assert_eq!(clip("\u{1b}[32mabcdef\u{1b}[0m", 6), "\u{1b}[32mabcdef\u{1b}[0m");
        assert_eq!(clip("\u{1b}[32mabcdefg\u{1b}[0m", 6), "\u{1b}[32mabcdef\u{1b}[0m");
    }
}
