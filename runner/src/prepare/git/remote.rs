//! What is said to a server and what it answers: names, and who we are.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use protocol::SecretString;
use zeroize::Zeroizing;

use super::is_commit;
use crate::prepare::error::PrepareError;

/// The user that a token stands for where the address names none. Hosts that take tokens look at the token only.
const USER: &str = "x-access-token";
/// Where `git credential-store` looks, in its home.
const FILE: &str = ".git-credentials";
/// Few digits that still look like a commit.
const ABBREVIATED: std::ops::RangeInclusive<usize> = 7..=63;

/// git's home for the time of a fetch. With it goes what was in it, the token first of all.
pub(super) struct Home {
    path: PathBuf,
}

impl Home {
    pub(super) fn make(stage: &Path, url: &str, token: Option<&SecretString>) -> Result<Self, PrepareError> {
        let path = stage.join("git");
        let home = Self { path };
        home.clear()?;
        let made = fs::DirBuilder::new().mode(0o700).create(&home.path);
        made.map_err(PrepareError::disk("create", &home.path))?;
        if let Some(line) = token.and_then(|token| credentials(url, token)) {
            let file = home.path.join(FILE);
            let open = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&file);
            let written = open.and_then(|mut file| file.write_all(line.as_bytes()));
            written.map_err(PrepareError::disk("write", &file))?;
        }
        Ok(home)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, and says when that fails: then nothing else may run.
    pub(super) fn remove(self) -> Result<(), PrepareError> {
        self.clear()
    }

    fn clear(&self) -> Result<(), PrepareError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(PrepareError::disk("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // It lies in the build's directory, which goes as a whole.
        let _ = self.clear();
    }
}

/// The line of a credentials file: this token, for this host over https.
fn credentials(url: &str, token: &SecretString) -> Option<Zeroizing<String>> {
    let authority = url.strip_prefix("https://")?.split('/').next()?;
    let (user, host) = authority.rsplit_once('@').unwrap_or((USER, authority));
    let mut line = Zeroizing::new(String::with_capacity(user.len() + host.len() + 3 * token.len() + 16));
    line.push_str("https://");
    line.push_str(user);
    line.push(':');
    for byte in token.expose().bytes() {
        // Escaped, all but what means itself everywhere in an address.
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => line.push(char::from(byte)),
            _ => line.push_str(&format!("%{byte:02x}")),
        }
    }
    line.push('@');
    line.push_str(host);
    line.push('\n');
    Some(line)
}

/// What a branch may be the name of, the first that exists is meant.
pub(super) fn names(branch: Option<&str>) -> Vec<String> {
    match branch {
        None => vec!["HEAD".to_owned()],
        // A tag with a text of its own is an object of its own; what it stands for has `^{}` behind its name.
        Some(name) => {
            vec![format!("refs/heads/{name}"), format!("refs/tags/{name}^{{}}"), format!("refs/tags/{name}")]
        }
    }
}

/// The commit behind the first of `names` that the server listed.
pub(super) fn found(lines: &[String], names: &[String]) -> Option<String> {
    let listed = |name: &String| {
        // The tab between them was made a space with every other control character.
        let pairs = lines.iter().filter_map(|line| line.split_once([' ', '\t']));
        pairs.filter(|(_, found)| found == name).map(|(commit, _)| commit).find(|commit| is_commit(commit))
    };
    names.iter().find_map(listed).map(str::to_owned)
}

/// Why there was none.
pub(super) fn nothing(branch: Option<&str>) -> String {
    match branch {
        None => "the repository has no commit".to_owned(),
        Some(name) if ABBREVIATED.contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("the repository has no branch or tag {name}; name a commit by all its digits, in lower case")
        }
        Some(name) => format!("the repository has no branch or tag {name}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_branch_comes_before_a_tag_and_a_tag_is_what_it_stands_for() {
        let [one, two, three] = ["1", "2", "3"].map(|digit| digit.repeat(40));
        let lines = [
            format!("{one} refs/tags/v1"),
            format!("{two} refs/tags/v1^{{}}"),
            format!("{three} refs/heads/main"),
            format!("{one} refs/evil/refs/heads/main"),
        ];
        assert_eq!(found(&lines, &names(Some("v1"))).unwrap(), two);
        assert_eq!(found(&lines, &names(Some("main"))).unwrap(), three);
        assert_eq!(found(&lines, &names(Some("gone"))), None);
        assert_eq!(found(&["--evil HEAD".to_owned()], &names(None)), None);
        assert!(nothing(Some("abcdef1")).contains("all its digits") && !nothing(Some("main")).contains("digits"));
    }

    #[test]
    fn h24_a_token_lies_in_one_private_file_until_the_fetch_ends() {
        let stage = tempfile::tempdir().unwrap();
        let home = Home::make(stage.path(), "https://me@h.test:8443/a/b", Some(&"p@ss/w:rd%".into())).unwrap();
        let file = home.path().join(FILE);
        assert_eq!(fs::read_to_string(&file).unwrap(), "https://me:p%40ss%2fw%3ard%25@h.test:8443\n");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        home.remove().unwrap();
        assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);
        assert_eq!(credentials("https://h/p", &"t".into()).unwrap().as_str(), "https://x-access-token:t@h\n");
        assert!(credentials("ssh://git@h/p", &"t".into()).is_none());
    }
}
