//! Frames that are too large, in pieces, or no text.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Broker, Client, OWNER, SOON};

const LIMIT: u32 = 4_096;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;

/// A frame of a client as bytes (RFC 6455, section 5.2), masked with zeros.
fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(last, opcode, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

fn head(last: bool, opcode: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![if last { 0x80 } else { 0 } | opcode, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes
}

async fn small_limit() -> (Broker, Client) {
    let broker = Broker::start(|setup| setup.max_message_bytes = LIMIT).await;
    let client = Client::join(&broker, OWNER).await;
    (broker, client)
}

async fn is_served(client: &mut Client) {
    assert_eq!(client.ask(json!({ "type": "mcp_catalog" })).await["type"], "mcp_catalog_result");
}

#[tokio::test]
async fn h46_a_frame_over_the_limit_is_skipped_and_the_socket_stays() {
    let (_broker, mut client) = small_limit().await;
    for size in [LIMIT as usize + 1, 70_000, 3_000_000] {
        client.send(&json!({ "type": "mcp_catalog", "pad": "x".repeat(size) })).await;
        let error = client.next().await;
        assert_eq!(error["code"], "too_large", "{error}");
        assert!(error["message"].as_str().unwrap().contains(&LIMIT.to_string()));
        is_served(&mut client).await;
    }
    // One that just fits is read.
    let mut fits = json!({ "type": "mcp_catalog", "_reqId": "f", "pad": "" });
    fits["pad"] = "x".repeat(LIMIT as usize - fits.to_string().len()).into();
    client.send(&fits).await;
    assert_eq!(client.answer("f").await["type"], "mcp_catalog_result");
}

#[tokio::test]
async fn h46_the_fragments_of_a_message_count_as_one() {
    let (_broker, mut client) = small_limit().await;
    let piece = vec![b' '; 1_500];
    let mut bytes = frame(false, TEXT, &piece);
    bytes.extend(frame(false, CONTINUATION, &piece));
    bytes.extend(frame(false, CONTINUATION, &piece));
    bytes.extend(frame(true, CONTINUATION, &piece));
    client.socket.get_mut().write_all(&bytes).await.unwrap();
    assert_eq!(client.next().await["code"], "too_large");
    is_served(&mut client).await;
    assert_eq!(client.events_so_far().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_message_in_fragments_is_read_whole_with_a_ping_in_between() {
    let (_broker, mut client) = small_limit().await;
    let text = br#"{"type":"mcp_catalog","_reqId":"whole"}"#;
    let mut bytes = frame(false, TEXT, &text[..10]);
    bytes.extend(frame(true, 9, b"are you there"));
    bytes.extend(frame(false, CONTINUATION, &text[10..20]));
    bytes.extend(frame(true, CONTINUATION, &text[20..]));
    client.socket.get_mut().write_all(&bytes).await.unwrap();
    assert_eq!(client.answer("whole").await["type"], "mcp_catalog_result");
}

/// The end of a good message and the beginning of one that is cut arrive together: the cut is of the second.
#[tokio::test]
async fn a_message_that_is_cut_does_not_take_the_one_before_it_along() {
    let (_broker, mut client) = small_limit().await;
    let good = br#"{"type":"mcp_catalog","_reqId":"good"}"#;
    let mut bytes = frame(false, TEXT, &good[..10]);
    bytes.extend(frame(true, CONTINUATION, &good[10..]));
    bytes.extend(frame(false, TEXT, b"{"));
    bytes.extend(frame(true, CONTINUATION, &vec![b' '; LIMIT as usize]));
    bytes.extend(frame(true, TEXT, br#"{"type":"mcp_catalog","_reqId":"after"}"#));
    client.socket.get_mut().write_all(&bytes).await.unwrap();
    assert_eq!(client.answer("good").await["type"], "mcp_catalog_result");
    assert_eq!(client.answer("after").await["type"], "mcp_catalog_result");
    let error = client.next().await;
    assert_eq!(error["code"], "too_large", "the cut message is refused once, and as what it is: {error}");
    is_served(&mut client).await;
}

#[tokio::test]
async fn h46_what_is_far_too_large_is_never_held() {
    const CHUNK: usize = 1024 * 1024;
    const CHUNKS: usize = 300;
    let (broker, mut client) = small_limit().await;
    is_served(&mut client).await;
    let before = broker.peak_memory_kib();
    let socket = client.socket.get_mut();
    socket.write_all(&head(true, TEXT, (CHUNK * CHUNKS) as u64)).await.unwrap();
    let chunk = vec![b'x'; CHUNK];
    for _ in 0..CHUNKS {
        timeout(SOON, socket.write_all(&chunk)).await.unwrap().unwrap();
    }
    assert_eq!(client.next().await["code"], "too_large");
    is_served(&mut client).await;
    let grown = broker.peak_memory_kib() - before;
    assert!(grown < 16 * 1024, "{grown} KiB more while 300 MiB went by");
}

#[tokio::test]
async fn a_frame_that_is_no_text_is_refused_and_a_ping_is_answered() {
    let (_broker, mut client) = small_limit().await;
    client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.next().await["code"], "bad_json");
    client.socket.send(Message::Ping("echo this".into())).await.unwrap();
    let pong = timeout(SOON, client.socket.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(pong, Message::Pong("echo this".into()));
    is_served(&mut client).await;
}

#[tokio::test]
async fn a_broken_frame_ends_its_own_socket_only() {
    let (broker, mut client) = small_limit().await;
    let mut other = Client::join(&broker, OWNER).await;
    // A continuation of nothing; bytes that are no UTF-8; a control frame that is too long.
    for bytes in [frame(true, CONTINUATION, b"x"), frame(true, TEXT, &[0xff, 0xfe]), frame(true, 9, &[0; 200])] {
        client.socket.get_mut().write_all(&bytes).await.unwrap();
        client.closed().await;
        is_served(&mut other).await;
        client = Client::join(&broker, OWNER).await;
    }
}
