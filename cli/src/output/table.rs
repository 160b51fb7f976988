//! Tables for people: aligned columns, a heading, no frame, nothing that a `cut` or a copy would have to undo.

use comfy_table::{Table, presets};

use super::Style;

/// What stands in a cell that has nothing to say.
pub(crate) const NOTHING: &str = "-";

/// Lays out `rows` under `headings`. The cells must be clean lines already.
pub(crate) fn render(style: Style, headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        // Columns are two spaces apart, and the first starts at the margin.
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let mut lines = text.lines().map(str::trim_end);
    let heading = lines.next().map(|line| style.dim(line)).unwrap_or_default();
    std::iter::once(heading).chain(lines.map(str::to_owned)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn columns_line_up_whatever_the_width_of_the_letters() {
        let shown =
            render(Style::default(), &["name", "state"], vec![cells(&["time", "running"]), cells(&["日本", "x"])]);
        assert_eq!(shown, "NAME  STATE\ntime  running\n日本  x");
    }

    #[test]
    fn the_heading_alone_is_painted() {
        let shown = render(Style::coloured(), &["name"], vec![cells(&["time"])]);
        assert_eq!(shown, "\u{1b}[2mNAME\u{1b}[0m\ntime");
    }
}
