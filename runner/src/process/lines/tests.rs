#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use proptest::prelude::*;

use super::LineSplitter;

fn split(max: usize, chunks: &[&[u8]]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut splitter = LineSplitter::new(max);
    for chunk in chunks {
        splitter.push(chunk, &mut |line| lines.push(line.to_owned()));
    }
    splitter.finish(&mut |line| lines.push(line.to_owned()));
    lines
}

#[test]
fn lines_of_a_table() {
    let cut = " [line cut at 4 bytes]";
    let table: &[(&[&[u8]], Vec<String>)] = &[
        (&[], vec![]),
        (&[b""], vec![]),
        (&[b"\n"], vec!["".into()]),
        (&[b"ab\ncd\n"], vec!["ab".into(), "cd".into()]),
        (&[b"a", b"b\nc", b"d"], vec!["ab".into(), "cd".into()]),
        (&[b"abcd\n"], vec!["abcd".into()]),
        (&[b"abcd\r\n"], vec!["abcd".into()]),
        (&[b"abcd\r", b"\n"], vec!["abcd".into()]),
        (&[b"abcd\r", b"x\n"], vec![format!("abcd{cut}")]),
        (&[b"abcde\nf\n"], vec![format!("abcd{cut}"), "f".into()]),
        (&[b"abcdefgh", b"ijkl", b"m\nn"], vec![format!("abcd{cut}"), "n".into()]),
        (&[b"abcdefgh"], vec![format!("abcd{cut}")]),
        (&[b"a\xffb\n"], vec!["a\u{fffd}b".into()]),
        // A character of two bytes across the cut disappears as a whole...
        (&["abc\u{e9}f\n".as_bytes()], vec![format!("abc{cut}")]),
        // ...one that ends at the cut stays...
        (&["ab\u{e9}f\n".as_bytes()], vec![format!("ab\u{e9}{cut}")]),
        (&["\u{1f600}f\n".as_bytes()], vec![format!("\u{1f600}{cut}")]),
        // ...and what was never UTF-8 is replaced, not dropped.
        (&[b"abc\xffde\n"], vec![format!("abc\u{fffd}{cut}")]),
        (&["\u{e9}".as_bytes().get(..1).unwrap(), "\u{e9}\n".as_bytes().get(1..).unwrap()], vec!["\u{e9}".into()]),
    ];
    for (chunks, expected) in table {
        assert_eq!(&split(4, chunks), expected, "{chunks:?}");
    }
}

#[test]
fn a_line_of_100_mb_is_cut_and_never_held() {
    let chunk = vec![b'x'; 1 << 20];
    let mut lines = 0_usize;
    let mut splitter = LineSplitter::new(super::MAX_LINE);
    for _ in 0..100 {
        splitter.push(&chunk, &mut |line| {
            lines += 1;
            assert!(line.len() < super::MAX_LINE + 64);
        });
        assert!(splitter.held.capacity() <= 4 * super::MAX_LINE);
    }
    splitter.push(b"\nnext\n", &mut |line| {
        lines += 1;
        assert_eq!(line, "next");
    });
    assert_eq!(lines, 2);
}

proptest! {
    #[test]
    fn chunking_makes_no_difference(
        text in proptest::collection::vec(prop_oneof![
            4 => Just(b'a'), 2 => Just(b'\n'), 1 => Just(b'\r'),
            1 => Just(0xC3_u8), 1 => Just(0xA9_u8), 1 => Just(0xF0_u8), 1 => any::<u8>(),
        ], 0..200),
        cuts in proptest::collection::vec(0_usize..200, 0..20),
        max in 1_usize..12,
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(split(max, &chunks), split(max, &[&text]));
    }

    #[test]
    fn short_text_is_what_the_standard_library_says(text in "[a-z\u{e9}\r\n]{0,60}") {
        let expected: Vec<String> = text.lines().map(str::to_owned).collect();
        // `str::lines` keeps a lone `\r` at the very end; a log does not want it.
        prop_assume!(!text.ends_with('\r'));
        prop_assert_eq!(split(1000, &[text.as_bytes()]), expected);
    }
}
