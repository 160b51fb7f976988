//! Whether something secret is where it must not be: in bytes, in the files below a folder, in the memory of a process.
//!
//! Contract: a secret is looked for as it is, in hex, and in base64 of both alphabets wherever it may begin in a group of
//! three bytes. What is found is named by the place, never by the secret. A place that cannot be read fails the test:
//! nothing found there would say nothing.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem::Finder;

/// Read of a process's memory at a time.
const PART: usize = 4 * 1024 * 1024;
/// Every process has more memory than this.
const LEAST: usize = 64 * 1024;
/// A shorter secret would be found by chance.
const SHORTEST: usize = 12;

/// What is looked for.
#[derive(Debug)]
pub struct Secrets(Vec<Needle>);

#[derive(Debug)]
struct Needle {
    what: String,
    finder: Finder<'static>,
}

impl Secrets {
    /// These, each with a name for what is found.
    #[must_use]
    pub fn of(secrets: &[(&str, &str)]) -> Self {
        Self(secrets.iter().flat_map(|(name, secret)| needles(name, secret.as_bytes())).collect())
    }

    /// Which are in these bytes.
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Vec<String> {
        self.0.iter().filter(|needle| needle.finder.find(bytes).is_some()).map(|needle| needle.what.clone()).collect()
    }

    /// Which are in the files below a folder, and where.
    #[must_use]
    pub fn in_folder(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let entry = entry.expect("an entry");
            let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
            if kind.is_dir() {
                found.extend(self.in_folder(&path));
            } else if kind.is_file() {
                let bytes = match fs::read(&path) {
                    Ok(bytes) => bytes,
                    // Gone since the folder was read.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => panic!("{}: {error}", path.display()),
                };
                found.extend(self.in_bytes(&bytes).into_iter().map(|what| format!("{what} in {}", path.display())));
            }
        }
        found
    }

    /// Which are in the memory of a process: all that it can read, but what is a file's own and cannot be written to. A
    /// core dump holds the same.
    #[must_use]
    pub fn in_memory(&self, pid: u32) -> Vec<String> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
        let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory can be read");
        let longest = self.0.iter().map(|needle| needle.finder.needle().len()).max().unwrap_or_default();
        let (mut found, mut read) = (Vec::new(), 0_usize);
        for (start, end, name) in maps.lines().filter_map(mapped) {
            let mut at = start;
            while at < end {
                // Two parts share the length of a needle: none is cut in two.
                let length = PART.min(usize::try_from(end - at).expect("a part of the memory"));
                let mut part = vec![0; length];
                // A guard page, or one that went meanwhile.
                let Ok(count) = memory.read_at(&mut part, at) else { break };
                read += count;
                found.extend(self.in_bytes(&part[..count]).into_iter().map(|what| format!("{what} in {name}")));
                if count < length || at + length as u64 >= end {
                    break;
                }
                at += (length - longest) as u64;
            }
        }
        assert!(read > LEAST, "the memory of {pid} was read: {read} bytes");
        found
    }
}

/// A readable piece of the memory: where it is, and what it is called.
fn mapped(line: &str) -> Option<(u64, u64, &str)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (rights, name) = (words.next()?, words.nth(3).unwrap_or("memory"));
    let of_a_file = name.starts_with('/') && !rights.contains('w');
    let kernels = matches!(name, "[vvar]" | "[vvar_vclock]" | "[vsyscall]");
    if !rights.starts_with('r') || of_a_file || kernels {
        return None;
    }
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?, name))
}

fn needles(name: &str, secret: &[u8]) -> Vec<Needle> {
    assert!(secret.len() >= SHORTEST, "{name} is too short to be looked for");
    let needle = |form: &str, bytes: Vec<u8>| Needle {
        what: format!("{name} ({form})"),
        finder: Finder::new(&bytes).into_owned(),
    };
    let mut all = vec![
        needle("as it is", secret.to_vec()),
        needle("hex", hex::encode(secret).into_bytes()),
        needle("hex", hex::encode_upper(secret).into_bytes()),
    ];
    for before in 0..3 {
        let padded = [vec![0; before], secret.to_vec()].concat();
        // Only the letters that no neighbour has a part in.
        let (first, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        let [standard, url] = [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)]
            .map(|text| text.as_bytes()[first..end].to_vec());
        all.extend((url != standard).then(|| needle("base64", url)));
        all.push(needle("base64", standard));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const PLANTED: &str = "planted?>secret~~5b1e";

    fn secrets() -> Secrets {
        Secrets::of(&[("it", PLANTED)])
    }

    #[test]
    fn every_form_is_found_wherever_it_begins() {
        for before in 0..7 {
            for after in 0..4 {
                let text = format!("{}{PLANTED}{}", "x".repeat(before), "y".repeat(after));
                let forms = [text.clone(), STANDARD.encode(&text), URL_SAFE.encode(&text), hex::encode(&text)];
                for form in forms {
                    assert!(!secrets().in_bytes(form.as_bytes()).is_empty(), "{before} {after}: {form}");
                }
            }
        }
        assert!(secrets().in_bytes(b"planted?>secret~~5b1").is_empty(), "not the whole");
    }

    #[test]
    fn what_lies_in_a_folder_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/hidden"), STANDARD.encode(format!("x{PLANTED}"))).unwrap();
        fs::write(dir.path().join("other"), "nothing").unwrap();
        let found = secrets().in_folder(dir.path());
        assert!(!found.is_empty() && found.iter().all(|place| place.ends_with("in/hidden")), "{found:?}");
    }

    #[test]
    fn what_a_process_has_in_its_memory_is_found() {
        let started = |variable: &str| {
            let mut child = Command::new("sleep").arg("60").env("A_VARIABLE", variable).spawn().unwrap();
            let found = secrets().in_memory(child.id());
            child.kill().unwrap();
            child.wait().unwrap();
            found
        };
        assert_eq!(started("planted?>secret~~5b1"), Vec::<String>::new());
        assert_eq!(started(PLANTED), ["it (as it is) in [stack]"]);
    }
}
