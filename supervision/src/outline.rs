//! Trees drawn with lines, the second column aligned.

/// One line of a drawing, and the lines below it.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) below: Vec<Line>,
}

/// Draws each of `roots` with what is below it. Ends with a line feed unless there is nothing to draw.
pub(crate) fn draw(roots: &[Line]) -> String {
    let mut rows = Vec::new();
    for root in roots {
        rows.push((root.name.clone(), root.text.as_str()));
        collect(&root.below, "", &mut rows);
    }
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (left, text) in rows {
        let pad = width.saturating_sub(left.chars().count());
        out += format!("{left}{:pad$}  {text}", "").trim_end();
        out.push('\n');
    }
    out
}

fn collect<'a>(lines: &'a [Line], indent: &str, rows: &mut Vec<(String, &'a str)>) {
    for (i, line) in lines.iter().enumerate() {
        let last = i + 1 == lines.len();
        let (branch, deeper) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        rows.push((format!("{indent}{branch}{}", line.name), line.text.as_str()));
        collect(&line.below, &format!("{indent}{deeper}"), rows);
    }
}
