//! What an archive may not do, each with an archive that does it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::unpack::Unpacked;
use super::*;

const WIDE: Bounds = Bounds { entries: 100, file_bytes: 1 << 20, bytes: 1 << 22, small: 1 << 22 };

/// An archive of these files; a name that ends with `/` is a folder.
fn packed(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes, mode) in files {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let options = options.unix_permissions(*mode);
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

fn plain(names: &[&str]) -> Vec<u8> {
    let files: Vec<(&str, &[u8], u32)> = names.iter().map(|name| (*name, b"x".as_slice(), 0o644)).collect();
    packed(&files)
}

/// Every `from` in the archive, headers included, as `to` of the same length.
fn changed(mut archive: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let found: Vec<usize> = (0..=archive.len() - from.len()).filter(|at| archive[*at..].starts_with(from)).collect();
    assert!(!found.is_empty(), "nothing was changed");
    found.into_iter().for_each(|at| archive[at..at + to.len()].copy_from_slice(to));
    archive
}

/// Where the `n`th header of the directory begins.
fn header(archive: &[u8], n: usize) -> usize {
    (0..archive.len()).filter(|at| archive[*at..].starts_with(b"PK\x01\x02")).nth(n).unwrap()
}

struct Done {
    root: tempfile::TempDir,
    result: Result<Unpacked, PrepareError>,
}

impl Done {
    fn tree(&self) -> PathBuf {
        self.root.path().join("tree")
    }

    #[track_caller]
    fn refused(self, words: &str) {
        let error = self.result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let outside: Vec<_> = fs::read_dir(self.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(outside.iter().all(|name| name == "tree" || name == "archive"), "{outside:?}");
    }
}

fn unpacked_within(archive: &[u8], bounds: Bounds) -> Done {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("archive");
    fs::write(&file, archive).unwrap();
    let open = File::open(&file).unwrap();
    let result = unpack(open, &root.path().join("tree"), bounds, &AtomicBool::new(false));
    Done { root, result }
}

fn unpacked(archive: &[u8]) -> Done {
    unpacked_within(archive, WIDE)
}

#[test]
fn files_come_out_as_they_went_in_with_the_executable_bit_and_no_other() {
    let done = unpacked(&packed(&[
        ("a/", b"", 0o777),
        ("a/run", b"#!/bin/sh\n", 0o4755),
        ("b/text", b"hello", 0o666),
        ("B/text", b"other", 0o600),
        ("__MACOSX/._text", b"x", 0o644),
    ]));
    assert_eq!(*done.result.as_ref().unwrap(), Unpacked { files: 3, bytes: 20 });
    let mode = |name: &str| done.tree().join(name).metadata().unwrap().permissions().mode() & 0o7777;
    // Whatever the mask of this process takes away besides.
    assert_eq!(mode("a/run") & 0o7133, 0o0111 & mode("a/run"), "{:o}", mode("a/run"));
    assert_ne!(mode("a/run") & 0o100, 0);
    assert_eq!(mode("b/text") & 0o7133, 0);
    assert_eq!(fs::read(done.tree().join("b/text")).unwrap(), b"hello");
    assert_eq!(fs::read(done.tree().join("B/text")).unwrap(), b"other", "names that differ by case are two");
    assert!(!done.tree().join("__MACOSX").exists());
}

#[test]
fn one_folder_and_nothing_beside_it_is_the_tree() {
    let done = unpacked(&plain(&["project-1.0/package.json", "project-1.0/src/index.js"]));
    assert!(done.tree().join("package.json").is_file() && done.tree().join("src/index.js").is_file());
    let done = unpacked(&plain(&["a/x", "b"]));
    assert!(done.tree().join("a/x").is_file());
    let done = unpacked(&plain(&["only"]));
    assert!(done.tree().join("only").is_file());
    // The folder's own content may be named as the folder.
    let done = unpacked(&plain(&["a/a/x"]));
    assert!(done.tree().join("a/x").is_file());
}

#[test]
fn h13_a_name_that_leads_out_is_refused() {
    let inside = plain(&["aa/x", "y"]);
    for (name, words) in [
        ("../x", "no path inside"),
        ("/a/x", "no path inside"),
        ("a\\.x", "no path inside"),
        ("C:/x", "no path inside"),
        ("a//x", "no path inside"),
        ("./ax", "no path inside"),
        ("a/..", "no path inside"),
        ("a\0/x", "control character"),
        ("a\n/x", "control character"),
        ("\u{202e}x", "control character"),
    ] {
        unpacked(&changed(inside.clone(), b"aa/x", name.as_bytes())).refused(words);
    }
    unpacked(&changed(inside, b"aa/x", b"a\xff/x")).refused("not UTF-8");
}

#[test]
fn h13_links_devices_and_repetitions_are_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    writer.start_file("link/x", SimpleFileOptions::default()).unwrap();
    unpacked(&writer.finish().unwrap().into_inner()).refused("neither a file nor a folder");
    // A mode that says pipe, in the upper half of the directory's attributes.
    let mut pipe = plain(&["a", "b"]);
    let at = header(&pipe, 0) + 38;
    pipe[at + 2..at + 4].copy_from_slice(&0o010_644_u16.to_le_bytes());
    unpacked(&pipe).refused("neither a file nor a folder");
    unpacked(&changed(plain(&["aa", "ab"]), b"ab", b"aa")).refused("two entries of one name");
    // A folder, and a file of that very name.
    unpacked(&changed(plain(&["aa/x", "bb"]), b"bb", b"aa")).refused("a");
}

#[test]
fn h46_what_unpacks_to_more_than_it_may_is_refused_while_it_is_unpacked() {
    let zeros = vec![0; 1 << 20];
    let bomb = packed(&[("zeros", &zeros, 0o644), ("y", b"y", 0o644)]);
    assert!(bomb.len() < 4096);
    unpacked_within(&bomb, Bounds { small: 1 << 16, ..WIDE }).refused("unpacked bytes of this archive");
    unpacked_within(&bomb, Bounds { bytes: 1 << 16, ..WIDE }).refused("65536 unpacked bytes");
    unpacked_within(&bomb, Bounds { file_bytes: 1 << 16, ..WIDE }).refused("65536 bytes of one file");
    unpacked_within(&plain(&["a", "b", "c"]), Bounds { entries: 2, ..WIDE }).refused("2 entries");
    let deep = vec!["d"; 33].join("/");
    unpacked(&plain(&[&deep, "y"])).refused("too deep");
    let long = "n".repeat(1_025);
    unpacked(&plain(&[&long, "y"])).refused("too long");
    // All that, when the headers say that it is small.
    let mut lies = bomb;
    let at = header(&lies, 0) + 24;
    lies[at..at + 4].copy_from_slice(&7_u32.to_le_bytes());
    unpacked_within(&lies, Bounds { file_bytes: 1 << 16, ..WIDE }).refused("");
    unpacked(&lies).refused("");
}

#[test]
fn h46_entries_that_share_bytes_and_the_long_form_are_refused() {
    let mut shared = packed(&[("a", b"one", 0o644), ("b", b"one", 0o644)]);
    let offset = |archive: &[u8], n| header(archive, n) + 42;
    let (first, second) = (offset(&shared, 0), offset(&shared, 1));
    shared.copy_within(first..first + 4, second);
    unpacked(&shared).refused("share bytes");
    let mut long = plain(&["a", "b"]);
    let at = long.len() - 22;
    let locator = [b"PK\x06\x07".as_slice(), &[0; 16]].concat();
    long.splice(at..at, locator);
    unpacked(&long).refused("zip64");
}

#[test]
fn what_is_no_archive_or_half_of_one_is_refused() {
    unpacked(b"").refused("cannot be read");
    unpacked(b"not an archive at all").refused("cannot be read");
    let whole = packed(&[("a", &[7; 4096], 0o644), ("b", b"b", 0o644)]);
    unpacked(&whole[..whole.len() - 30]).refused("");
    // A byte of the packed data.
    let mut damaged = whole;
    damaged[40] ^= 0xff;
    unpacked(&damaged).refused("");
}

#[test]
fn what_nobody_waits_for_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("archive");
    fs::write(&file, plain(&["a", "b"])).unwrap();
    let stopped = unpack(File::open(&file).unwrap(), &root.path().join("tree"), WIDE, &AtomicBool::new(true));
    assert!(matches!(stopped, Err(PrepareError::GivenUp { .. })), "{stopped:?}");
}
