//! The part of a page that a program writes.

/// Begins it.
pub(crate) const BEGIN: &str = "<!-- measured: from here on this is written by `make bench` -->";
/// Ends it.
pub(crate) const END: &str = "<!-- measured: until here -->";

/// The page with this between its markers.
pub(crate) fn replace(page: &str, between: &str) -> Result<String, String> {
    let once = |marker: &str| match page.matches(marker).count() {
        1 => Ok(page.find(marker).unwrap_or_default()),
        count => Err(format!("the line {marker:?} must be there once, not {count} times")),
    };
    let (begin, end) = (once(BEGIN)? + BEGIN.len(), once(END)?);
    if end < begin {
        return Err(format!("{END:?} comes before {BEGIN:?}"));
    }
    Ok(format!("{}\n\n{}\n\n{}", &page[..begin], between.trim(), &page[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let renewed = replace(&page, "\nnew\n").unwrap();
        assert_eq!(renewed, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replace(&renewed, "new").unwrap(), renewed);
    }

    #[test]
    fn a_page_without_its_markers_is_left_alone() {
        assert!(replace("nothing", "new").unwrap_err().contains("must be there once, not 0"));
        assert!(replace(&format!("{BEGIN}{BEGIN}{END}"), "new").unwrap_err().contains("not 2 times"));
        assert!(replace(&format!("{END}{BEGIN}"), "new").unwrap_err().contains("comes before"));
    }
}
