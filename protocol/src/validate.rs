//! Rules for names that people choose.
//!
//! Contract: a refused name comes with the rule that it breaks. Names of services and meshes become directories, metric
//! labels and tool names, so they are a small alphabet; names of people are any text without characters that change how
//! the text around them is shown.

/// Longest service name, mesh slug and display name, in characters.
pub const MAX_NAME_CHARS: usize = 64;
/// The text that users of this system know for a refused service name.
pub const SERVICE_NAME_RULE: &str =
    "service name must be 1-64 chars, alphanumeric/hyphens/underscores, starting with alphanumeric";
/// The same for a mesh's slug.
pub const SLUG_RULE: &str =
    "mesh slug must be 1-64 chars, lower-case alphanumeric/hyphens/underscores, starting with alphanumeric";
/// The same for a display name.
pub const DISPLAY_NAME_RULE: &str = "display name must have at least one visible character";

/// The same for a group's name.
pub const GROUP_NAME_RULE: &str = "group name must be 1-64 visible chars without `@`, `|` and `,`, and not `all`";

/// Longest key of a vault's entry, in characters.
pub const MAX_VAULT_KEY_CHARS: usize = 128;
/// The same for the key of a vault's entry.
pub const VAULT_KEY_RULE: &str = "vault key must be 1-128 visible chars without `|` and `:`, not beginning with `-`, \
     without spaces at its ends";
/// Longest path of a secret file.
pub const MAX_MOUNT_PATH_BYTES: usize = 1024;
/// The same for the path of a secret file.
pub const MOUNT_PATH_RULE: &str = "mount path must be absolute, at most 1024 bytes of visible chars without `|`, \
     and its parts neither empty nor `.` nor `..`";

/// A name that breaks its rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
#[error("{0}")]
pub struct NameError(pub &'static str);

/// Checks a service's name: `^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$`.
///
/// # Errors
/// [`SERVICE_NAME_RULE`].
pub fn service_name(name: &str) -> Result<(), NameError> {
    word(name, |c| c.is_ascii_alphanumeric()).then_some(()).ok_or(NameError(SERVICE_NAME_RULE))
}

/// Checks a mesh's slug: `^[a-z0-9][a-z0-9_-]{0,63}$`.
///
/// # Errors
/// [`SLUG_RULE`].
pub fn slug(slug: &str) -> Result<(), NameError> {
    word(slug, |c| c.is_ascii_lowercase() || c.is_ascii_digit()).then_some(()).ok_or(NameError(SLUG_RULE))
}

/// Checks a group's name, without its `@`. Groups are named by people and only compared, so most characters will do.
///
/// # Errors
/// [`GROUP_NAME_RULE`].
pub fn group_name(name: &str) -> Result<(), NameError> {
    let chars = name.chars().count();
    let plain = !name.chars().any(|c| is_hostile(c) || matches!(c, '@' | '|' | ','));
    let good = (1..=MAX_NAME_CHARS).contains(&chars) && plain && name.trim() == name && name != "all";
    good.then_some(()).ok_or(NameError(GROUP_NAME_RULE))
}

/// Checks the key of a vault's entry. It is only compared; `|` and `:` would be read as the end of it, and a leading `-` as
/// an option.
///
/// # Errors
/// [`VAULT_KEY_RULE`].
pub fn vault_key(key: &str) -> Result<(), NameError> {
    let chars = key.chars().count();
    let plain = !key.chars().any(|c| is_hostile(c) || matches!(c, '|' | ':'));
    let good = (1..=MAX_VAULT_KEY_CHARS).contains(&chars) && plain && key.trim() == key && !key.starts_with('-');
    good.then_some(()).ok_or(NameError(VAULT_KEY_RULE))
}

/// Checks the path under which a process finds a secret file.
///
/// # Errors
/// [`MOUNT_PATH_RULE`].
pub fn mount_path(path: &str) -> Result<(), NameError> {
    let plain = path.len() <= MAX_MOUNT_PATH_BYTES && !path.chars().any(|c| is_hostile(c) || c == '|');
    let parts = path.strip_prefix('/').map(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    (plain && parts == Some(true)).then_some(()).ok_or(NameError(MOUNT_PATH_RULE))
}

/// A display name as it may be shown: hostile characters removed, spaces trimmed, cut at [`MAX_NAME_CHARS`].
///
/// # Errors
/// [`DISPLAY_NAME_RULE`] if nothing is left.
pub fn display_name(name: &str) -> Result<String, NameError> {
    let visible = cleaned(name);
    let cut: String = visible.trim().chars().take(MAX_NAME_CHARS).collect();
    if cut.is_empty() { Err(NameError(DISPLAY_NAME_RULE)) } else { Ok(cut.trim_end().to_owned()) }
}

/// Text without control characters and without those that reorder or hide what stands around them.
#[must_use]
pub fn cleaned(text: &str) -> String {
    text.chars().filter(|&c| !is_hostile(c)).collect()
}

/// Whether a character can change how its surroundings are shown: control characters, line separators, bidirectional
/// marks, embeddings, overrides and isolates, zero-width spaces and joins of words, tag characters.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a program can be given a variable of this name: `^[A-Za-z_][A-Za-z0-9_]*$`, at most 256 characters.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    name.len() <= 256
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn word(text: &str, letter: impl Fn(char) -> bool) -> bool {
    text.len() <= MAX_NAME_CHARS && text.starts_with(&letter) && text.chars().all(|c| letter(c) || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn service_names() {
        let longest = "a".repeat(64);
        for good in ["a", "9", "Context7", "a_b-c", longest.as_str()] {
            assert_eq!(service_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", "-a", "_a", "a b", "a/b", "..", "a.b", "é", "a\n", "a\0", too_long.as_str()] {
            assert_eq!(service_name(bad).unwrap_err().to_string(), SERVICE_NAME_RULE, "{bad:?}");
        }
    }

    #[test]
    fn group_names_are_any_text_that_is_no_trap() {
        for good in ["eng", "front end", "a.b-c_d", "Ä", "'; DROP TABLE member; --"] {
            assert_eq!(group_name(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", "@eng", "a|b", "a,b", " a", "a\n", "a\u{202e}", "all", too_long.as_str()] {
            assert_eq!(group_name(bad), Err(NameError(GROUP_NAME_RULE)), "{bad:?}");
        }
    }

    #[test]
    fn vault_keys_are_any_text_that_is_no_trap() {
        let longest = "a".repeat(MAX_VAULT_KEY_CHARS);
        for good in ["token", "aws/prod key", "a.b-c_d", "Ä", "'; DROP TABLE vault_entry; --", "$x", longest.as_str()]
        {
            assert_eq!(vault_key(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(MAX_VAULT_KEY_CHARS + 1);
        for bad in ["", "a|b", "a:b", "a:file:/x", "-a", " a", "a ", "a\n", "a\0", "a\u{202e}", too_long.as_str()] {
            assert_eq!(vault_key(bad), Err(NameError(VAULT_KEY_RULE)), "{bad:?}");
        }
    }

    #[test]
    fn mount_paths_lead_down_from_the_root() {
        let longest = format!("/{}", "a".repeat(MAX_MOUNT_PATH_BYTES - 1));
        for good in ["/a", "/etc/robot/key.pem", "/a b/…", "/..a/b..", longest.as_str()] {
            assert_eq!(mount_path(good), Ok(()), "{good}");
        }
        let too_long = format!("{longest}a");
        for bad in ["", "/", "a", "./a", "/a/", "//a", "/a//b", "/a/../b", "/.", "/a|b", "/a\n", "/a\0", &too_long] {
            assert_eq!(mount_path(bad), Err(NameError(MOUNT_PATH_RULE)), "{bad:?}");
        }
    }

    #[test]
    fn slugs_are_lower_case() {
        assert_eq!(slug("default"), Ok(()));
        for bad in ["", "Default", "a b", "../a", "-a"] {
            assert_eq!(slug(bad), Err(NameError(SLUG_RULE)), "{bad:?}");
        }
    }

    #[test]
    fn display_names_lose_what_could_deceive() {
        assert_eq!(display_name("  Ana\u{202e}\u{7}\u{200b} \n").unwrap(), "Ana");
        assert_eq!(display_name("Åsa 李").unwrap(), "Åsa 李");
        assert_eq!(display_name(&"x".repeat(100)).unwrap().chars().count(), MAX_NAME_CHARS);
        assert_eq!(display_name("\u{202e}\t "), Err(NameError(DISPLAY_NAME_RULE)));
        assert_eq!(display_name("a\u{e0041}\u{2028}b").unwrap(), "ab");
    }

    #[test]
    fn variable_names() {
        assert!(is_variable_name("_A1"));
        for bad in ["", "1A", "A-B", "A=B", "A\0"] {
            assert!(!is_variable_name(bad), "{bad:?}");
        }
    }
}
