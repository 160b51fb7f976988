//! The part of a page that a program writes.

use std::fs;
use std::path::Path;

/// The lines between which a program writes. Each stands once in its page.
#[derive(Debug, Clone, Copy)]
pub struct Markers {
    /// Begins it.
    pub begin: &'static str,
    /// Ends it.
    pub end: &'static str,
}

/// Around what is measured of calls.
pub const CALLS: Markers = Markers {
    begin: "<!-- measured: from here on this is written by `make bench` -->",
    end: "<!-- measured: until here -->",
};

/// Around what is measured of messages.
pub const MESSAGES: Markers = Markers {
    begin: "<!-- messages: from here on this is written by `make bench` -->",
    end: "<!-- messages: until here -->",
};

/// Around what is measured of watches.
pub const WATCHES: Markers = Markers {
    begin: "<!-- watches: from here on this is written by `make bench` -->",
    end: "<!-- watches: until here -->",
};

/// Around what is measured of services beside each other.
pub const SERVICES: Markers = Markers {
    begin: "<!-- services: from here on this is written by `make bench` -->",
    end: "<!-- services: until here -->",
};

impl Markers {
    /// That the page is there and has a place for the tables.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self, file: &Path) -> Result<(), String> {
        self.renewed(file, "").map(drop)
    }

    /// Puts the tables into the page.
    ///
    /// # Errors
    /// What is missing, or the system's words.
    pub fn write(self, file: &Path, tables: &str) -> Result<(), String> {
        fs::write(file, self.renewed(file, tables)?).map_err(|error| format!("--page {}: {error}", file.display()))
    }

    fn renewed(self, file: &Path, tables: &str) -> Result<String, String> {
        let page = fs::read_to_string(file).map_err(|error| format!("--page {}: {error}", file.display()))?;
        self.replace(&page, tables).map_err(|error| format!("--page {}: {error}", file.display()))
    }

    /// The page with this between its markers.
    fn replace(self, page: &str, between: &str) -> Result<String, String> {
        let once = |marker: &str| match page.matches(marker).count() {
            1 => Ok(page.find(marker).unwrap_or_default()),
            count => Err(format!("the line {marker:?} must be there once, not {count} times")),
        };
        let (begin, end) = (once(self.begin)? + self.begin.len(), once(self.end)?);
        if end < begin {
            return Err(format!("{:?} comes before {:?}", self.end, self.begin));
        }
        Ok(format!("{}\n\n{}\n\n{}", &page[..begin], between.trim(), &page[end..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = CALLS.begin;
    const END: &str = CALLS.end;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n{}\n{}\n", MESSAGES.begin, MESSAGES.end);
        let renewed = CALLS.replace(&page, "\nnew\n").unwrap();
        let rest = format!("after\n{}\n{}\n", MESSAGES.begin, MESSAGES.end);
        assert_eq!(renewed, format!("before\n{BEGIN}\n\nnew\n\n{END}\n{rest}"));
        assert_eq!(CALLS.replace(&renewed, "new").unwrap(), renewed);
    }

    #[test]
    fn a_page_without_its_markers_is_left_alone() {
        let replace = |page: &str| CALLS.replace(page, "new");
        assert!(replace("nothing").unwrap_err().contains("must be there once, not 0"));
        assert!(replace(&format!("{BEGIN}{BEGIN}{END}")).unwrap_err().contains("not 2 times"));
        assert!(replace(&format!("{END}{BEGIN}")).unwrap_err().contains("comes before"));
    }
}
