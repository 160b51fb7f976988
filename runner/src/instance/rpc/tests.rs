#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn understood(line: &'static str) -> Option<Vec<Incoming>> {
    understand(&Bytes::from_static(line.as_bytes()))
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn lines_are_told_apart() {
    let result = |id, text| Some(vec![Incoming::Result { id, result: bytes(text) }]);
    let table = [
        (r#"{"jsonrpc":"2.0","id":5,"result":{"b":1.0,  "a":[]}}"#, result(5, r#"{"b":1.0,  "a":[]}"#)),
        (r#"  {"result":{},"jsonrpc":"2.0","id":7}"#, result(7, "{}")),
        (r#"{"id":7,"result":null}"#, result(7, "null")),
        (
            r#"{"id":7,"error":{"code":-1,"message":"no","data":[1]}}"#,
            Some(vec![Incoming::Error { id: 7, error: bytes(r#"{"code":-1,"message":"no","data":[1]}"#) }]),
        ),
        (r#"{"id":7,"result":1,"error":null}"#, result(7, "1")),
        (r#"{"id":"7","result":1}"#, Some(vec![Incoming::Foreign])),
        (r#"{"id":-7,"result":1}"#, Some(vec![Incoming::Foreign])),
        (r#"{"result":1}"#, Some(vec![Incoming::Foreign])),
        (
            r#"{"id":"x-1","method":"sampling/createMessage","params":{}}"#,
            Some(vec![Incoming::Request { id: bytes(r#""x-1""#), method: "sampling/createMessage".to_owned() }]),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
            Some(vec![Incoming::Notification { method: "notifications/progress".to_owned(), params: bytes("") }]),
        ),
        (
            r#"[{"id":1,"result":1},{"id":2,"result":2}]"#,
            Some(vec![Incoming::Result { id: 1, result: bytes("1") }, Incoming::Result { id: 2, result: bytes("2") }]),
        ),
        ("Server running on stdio", None),
        ("", None),
        ("{}", None),
        ("[]", None),
        ("42", None),
        (r#"{"id":7}"#, None),
        (r#"{"id":7,"result":{}"#, None),
    ];
    for (line, expected) in table {
        assert_eq!(understood(line), expected, "{line}");
    }
}

#[test]
fn h19_a_result_is_a_slice_of_its_line() {
    let line = Bytes::from(br#"{"id":1,"result":{"text":"x"}}"#.to_vec());
    let Some(messages) = understand(&line) else { panic!() };
    let Incoming::Result { result, .. } = &messages[0] else { panic!() };
    assert!(line.as_ptr_range().contains(&result.as_ptr()), "it was copied");
}

#[test]
fn what_goes_out_is_one_line() {
    let line = request(9, "tools/call", b"{\n\"name\":\r\n\"a\\nb\"}");
    assert_eq!(line, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{ \"name\":  \"a\\nb\"}}\n");
    assert_eq!(request(1, "ping", b""), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n");
    assert_eq!(notification("a\"\nb", b""), "{\"jsonrpc\":\"2.0\",\"method\":\"a\\\"\\nb\"}\n");
    assert_eq!(answer(b"\"q\"", "ping"), "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":{}}\n");
    let refused: serde_json::Value = serde_json::from_slice(&answer(b"3", "roots/list")).unwrap();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&3.into(), &(-32601).into()));
}

#[test]
fn parameters_cannot_add_to_the_envelope() {
    for (params, expected) in [
        (&br#"{"a":1}"#[..], true),
        (b"[1]", true),
        (br#"{},"id":1"#, false),
        (b"{} {}", false),
        (b"", false),
        (b"\"a\nb\"", false),
    ] {
        assert_eq!(is_json(params), expected, "{}", String::from_utf8_lossy(params));
    }
}

#[test]
fn a_line_that_is_too_long_still_names_its_request() {
    for (line, expected) in [
        (format!(r#"{{"jsonrpc":"2.0","id":77,"result":"{}"}}"#, "x".repeat(900)), Some(77)),
        (format!(r#"{{"id": 77,"result":"{}"}}"#, "x".repeat(900)), Some(77)),
        (format!(r#"{{"result":"{}","jsonrpc":"2.0","id":77}}"#, "x".repeat(900)), Some(77)),
        (format!(r#"{{"result":"{}","id":77,"jsonrpc":"2.0"}}"#, "x".repeat(900)), Some(77)),
        ("x".repeat(1_000), None),
    ] {
        let mut reader = LineReader::new(512);
        reader.feed(line.as_bytes());
        reader.feed(b"\nnext\n");
        let Some(Line::Cut { head, tail, length }) = reader.take() else { panic!("not cut") };
        assert_eq!((id_of_cut_line(&head, &tail), length), (expected, line.len()));
        assert_eq!(reader.take(), Some(Line::Whole(bytes("next"))));
    }
}

proptest! {
    /// However the bytes arrive, the lines are the same.
    #[test]
    fn pieces_do_not_matter(text in "[a-z\n]{0,200}", cuts in prop::collection::vec(0_usize..200, 0..8)) {
        let mut whole = LineReader::new(16);
        whole.feed(text.as_bytes());
        let expected: Vec<Line> = std::iter::from_fn(|| whole.take()).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(text.len())).chain([text.len()]).collect();
        cuts.sort_unstable();
        let mut reader = LineReader::new(16);
        let mut lines = Vec::new();
        let mut start = 0;
        for end in cuts {
            reader.feed(&text.as_bytes()[start..end]);
            start = end;
            lines.extend(std::iter::from_fn(|| reader.take()));
        }
        // The kept head depends on the pieces only when it is shorter than END_BYTES; lengths and order do not.
        let shape = |lines: &[Line]| lines.iter().map(|line| match line {
            Line::Whole(bytes) => (bytes.len(), bytes.to_vec()),
            Line::Cut { length, tail, .. } => (*length, tail.clone()),
        }).collect::<Vec<_>>();
        prop_assert_eq!(shape(&lines), shape(&expected));
    }
}

#[tokio::test]
async fn h46_a_flood_of_short_lines_gives_way_to_others() {
    const LINES: usize = 100_000;
    let mut reader = LineReader::default();
    reader.feed(&b"{}\n".repeat(LINES));
    let read = std::cell::Cell::new(0);
    let reading = async {
        while let Some(_line) = reader.next(&mut tokio::io::empty()).await.unwrap() {
            read.set(read.get() + 1);
        }
    };
    tokio::pin!(reading);
    let turn = std::future::poll_fn(|cx| std::task::Poll::Ready(reading.as_mut().poll(cx)));
    assert!(turn.await.is_pending());
    assert!((1..LINES / 100).contains(&read.get()), "{} lines in one turn", read.get());
    reading.await;
    assert_eq!(read.get(), LINES);
}

#[test]
fn h20_a_server_is_asked_for_progress_where_the_parameters_leave_room() {
    let line = |params: &str| String::from_utf8(request_with_progress(7, "m", params.as_bytes()).to_vec()).unwrap();
    let with = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"method":"m","params":{params}}}"#) + "\n";
    assert_eq!(line(r#"{"name":"x"}"#), with(r#"{"_meta":{"progressToken":7},"name":"x"}"#));
    assert_eq!(line(" { }"), with(r#"{"_meta":{"progressToken":7} }"#));
    for own in [r#"{"_meta":{"a":1}}"#, "[1]", "3"] {
        assert_eq!(line(own), with(own), "left as they are");
    }
}
