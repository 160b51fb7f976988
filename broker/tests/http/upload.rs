//! `POST /upload` and `GET /files/…` by hand, as a hostile member or a stranger would send them.

use std::path::Path;

use protocol::identity::UploadClaim;
use protocol::link::mux::Delivered;
use protocol::link::{FILE_MISSING, Header, Outcome, ServiceState};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{ADMIN, Broker, Client, Load, MEMBER, OTHER, OWNER, SOON, Who, get, now_ms, report};

/// An upload, right unless something of it was changed.
#[derive(Clone)]
struct Upload {
    who: Who,
    mesh: String,
    member: String,
    name: String,
    timestamp: u64,
    sha256: String,
    signature: Option<String>,
    /// The header, or none.
    length: Option<u64>,
    body: Vec<u8>,
}

impl Upload {
    fn of(broker: &Broker, who: Who, body: &[u8]) -> Self {
        Self {
            who,
            mesh: broker.mesh().to_owned(),
            member: broker.member_id(who).to_owned(),
            name: "a%20b.zip".to_owned(),
            timestamp: now_ms(),
            sha256: hex::encode(Sha256::digest(body)),
            signature: None,
            length: Some(u64::try_from(body.len()).unwrap()),
            body: body.to_vec(),
        }
    }

    fn head(&self, broker: &Broker) -> String {
        let claim = UploadClaim {
            mesh_id: &self.mesh,
            member_id: &self.member,
            file_name: &self.name,
            timestamp_ms: self.timestamp,
            sha256: &self.sha256,
        };
        let signature = self.signature.clone().unwrap_or_else(|| claim.sign(&self.who.key()).unwrap().to_string());
        let length = self.length.map(|bytes| format!("Content-Length: {bytes}\r\n")).unwrap_or_default();
        format!(
            "POST /upload HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Mesh-Id: {}\r\nX-Member-Id: {}\r\n\
             X-File-Name: {}\r\nX-Timestamp: {}\r\nX-Content-Sha256: {}\r\nX-Signature: {signature}\r\n\
             X-Tags: one, two\r\n{length}\r\n",
            broker.address(),
            self.mesh,
            self.member,
            self.name,
            self.timestamp,
            self.sha256,
        )
    }

    async fn send(&self, broker: &Broker) -> (u16, Value) {
        let mut stream = TcpStream::connect(broker.address()).await.unwrap();
        stream.write_all(self.head(broker).as_bytes()).await.unwrap();
        // Refused for its headers, it may be cut while it is sent.
        let _ = stream.write_all(&self.body).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an answer");
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{read:?}: {text:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), first(body))
    }

    async fn refused(&self, broker: &Broker, status: u16, code: &str) {
        let (got, body) = self.send(broker).await;
        assert_eq!((got, &body["code"], &body["ok"]), (status, &json!(code), &json!(false)), "{body}");
    }

    async fn taken(&self, broker: &Broker) -> String {
        let (status, body) = self.send(broker).await;
        assert_eq!((status, &body["ok"]), (200, &json!(true)), "{body}");
        body["fileId"].as_str().unwrap().to_owned()
    }
}

/// Bytes that were announced to nobody are taken for another request: what answers that stands behind.
fn first(body: &str) -> Value {
    serde_json::Deserializer::from_str(body).into_iter().next().and_then(Result::ok).unwrap_or_default()
}

/// Whatever lies in the folders of the meshes, half files included.
fn on_disk(broker: &Broker) -> Vec<String> {
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().collect::<Vec<_>>();
    let meshes = list(&broker.setup.data_dir.join("files"));
    let files = meshes.iter().flat_map(|mesh| list(&mesh.path()));
    files.map(|file| file.file_name().into_string().unwrap()).collect()
}

async fn nothing_is_left(broker: &Broker) {
    let deadline = Instant::now() + SOON;
    while !on_disk(broker).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", on_disk(broker));
        sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_file_is_taken_listed_fetched_and_deleted() {
    let broker = Broker::alone().await;
    let body = vec![7; 3 * 1024 * 1024 + 1];
    let id = Upload::of(&broker, MEMBER, &body).taken(&broker).await;
    assert_eq!(on_disk(&broker), [id.as_str()]);

    let mut other = Client::join(&broker, OTHER).await;
    let list = other.ask(json!({ "type": "list_files" })).await;
    let row = &list["files"][0];
    assert_eq!((&row["id"], &row["name"], &row["size"]), (&json!(id), &json!("a b.zip"), &json!(body.len())), "{list}");
    assert_eq!((&row["tags"], &row["uploadedBy"]), (&json!(["one", "two"]), &json!(MEMBER.name)), "{list}");

    let url = other.ask(json!({ "type": "get_file", "fileId": id })).await;
    assert_eq!((&url["type"], &url["encrypted"]), (&json!("file_url"), &json!(false)), "{url}");
    let path = url["url"].as_str().unwrap();
    let fetched = get(&broker, path, &["Authorization: none"]).await;
    assert_eq!((fetched.status, fetched.text.as_bytes()), (200, body.as_slice()));
    let (right, _) = path.split_once('.').unwrap();
    for wrong in [format!("/files/{id}"), format!("{right}.{}", "0".repeat(64)), format!("/files/{id}?t=x")] {
        assert_eq!(get(&broker, &wrong, &[]).await.status, 404, "{wrong}");
    }

    let delete = || json!({ "type": "delete_file", "fileId": id });
    assert_eq!(other.ask(delete()).await["code"], "forbidden", "another member's");
    let mut admin = Client::join(&broker, ADMIN).await;
    assert_eq!(admin.ask(delete()).await["type"], "ack");
    assert_eq!(admin.ask(delete()).await["code"], "not_found");
    assert_eq!(get(&broker, path, &[]).await.status, 404, "the way to it leads nowhere now");
    nothing_is_left(&broker).await;
}

#[tokio::test]
async fn h22_an_upload_is_its_members_own_and_is_taken_once() {
    let broker = Broker::alone().await;
    let right = Upload::of(&broker, MEMBER, b"bytes");
    let with = |change: &dyn Fn(&mut Upload)| {
        let mut upload = right.clone();
        change(&mut upload);
        upload
    };
    // Another's id, with one's own key.
    let others = broker.member_id(OWNER).to_owned();
    with(&|upload| upload.member = others.clone()).refused(&broker, 401, "bad_signature").await;
    with(&|upload| upload.who = OWNER).refused(&broker, 401, "bad_signature").await;
    with(&|upload| upload.signature = Some("0".repeat(128))).refused(&broker, 401, "bad_signature").await;
    with(&|upload| upload.signature = Some("x".to_owned())).refused(&broker, 400, "bad_request").await;
    with(&|upload| upload.mesh = uuid()).refused(&broker, 401, "unauthorized").await;
    with(&|upload| upload.member = uuid()).refused(&broker, 401, "unauthorized").await;
    with(&|upload| upload.timestamp -= 61_000).refused(&broker, 401, "timestamp_skew").await;
    with(&|upload| upload.timestamp += 65_000).refused(&broker, 401, "timestamp_skew").await;
    // What was signed is what has to come.
    let signed = right.head(&broker);
    let signature = signed.split("X-Signature: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    let renamed = |upload: &mut Upload| {
        upload.name = "other.zip".to_owned();
        upload.signature = Some(signature.clone());
    };
    with(&renamed).refused(&broker, 401, "bad_signature").await;
    nothing_is_left(&broker).await;
    right.taken(&broker).await;
    right.refused(&broker, 409, "replayed").await;
    let broker = broker.killed_and_started().await;
    right.refused(&broker, 409, "replayed").await;
    assert_eq!(on_disk(&broker).len(), 1);
}

fn uuid() -> String {
    "0198c0de-0000-7000-8000-00000000000b".to_owned()
}

#[tokio::test]
async fn h46_what_is_not_what_it_says_leaves_nothing() {
    let broker = Broker::alone().await;
    let with = |change: &dyn Fn(&mut Upload)| {
        let mut upload = Upload::of(&broker, MEMBER, b"bytes that were signed");
        change(&mut upload);
        upload
    };
    with(&|upload| upload.body[0] ^= 1).refused(&broker, 400, "bad_request").await;
    with(&|upload| upload.length = None).refused(&broker, 411, "bad_request").await;
    // More is announced than comes, or less.
    with(&|upload| upload.length = Some(100)).refused(&broker, 400, "bad_request").await;
    with(&|upload| upload.length = Some(5)).refused(&broker, 400, "bad_request").await;
    with(&|upload| upload.length = Some(64 * 1024 * 1024 + 1)).refused(&broker, 413, "too_large").await;
    with(&|upload| upload.sha256 = "AB".repeat(32)).refused(&broker, 400, "bad_request").await;
    with(&|upload| upload.name = "n".repeat(513)).refused(&broker, 400, "bad_request").await;
    nothing_is_left(&broker).await;

    // The line goes dead midway.
    let cut = Upload::of(&broker, MEMBER, &vec![1; 8 * 1024 * 1024]);
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(cut.head(&broker).as_bytes()).await.unwrap();
    stream.write_all(&cut.body[..4 * 1024 * 1024]).await.unwrap();
    let deadline = Instant::now() + SOON;
    while on_disk(&broker).is_empty() {
        assert!(Instant::now() < deadline, "nothing of it came");
        sleep(std::time::Duration::from_millis(5)).await;
    }
    drop(stream);
    nothing_is_left(&broker).await;
    let mut member = Client::join(&broker, MEMBER).await;
    assert_eq!(member.ask(json!({ "type": "list_files" })).await["files"], json!([]));
}

#[tokio::test]
async fn what_a_crash_left_is_swept_at_the_start() {
    let broker = Broker::alone().await;
    let id = Upload::of(&broker, MEMBER, b"kept").taken(&broker).await;
    let lost = Upload::of(&broker, MEMBER, b"lost").taken(&broker).await;
    let folder = broker.setup.data_dir.join("files").join(broker.mesh());
    std::fs::write(folder.join(uuid()), b"an object without a row").unwrap();
    std::fs::write(folder.join(format!("{}#1", uuid())), b"half of one").unwrap();
    std::fs::remove_file(folder.join(&lost)).unwrap();
    let broker = broker.killed_and_started().await;
    assert_eq!(on_disk(&broker), [id.as_str()]);
    let mut member = Client::join(&broker, MEMBER).await;
    let list = member.ask(json!({ "type": "list_files" })).await;
    assert_eq!((list["files"].as_array().unwrap().len(), &list["files"][0]["id"]), (1, &json!(id)), "{list}");
}

#[tokio::test]
async fn h21_a_file_is_deployed_by_its_uploader_and_sent_to_a_runner_that_lacks_it() {
    let (broker, runner) = Broker::with_runner().await;
    let link = runner.accept_with(Vec::new()).await;
    let body = b"bytes of an archive ".repeat(50_000);
    let upload = Upload::of(&broker, MEMBER, &body);
    let id = upload.taken(&broker).await;
    let deploy = |id: &str| {
        let source = json!({ "type": "zip", "file_id": id });
        json!({ "type": "mcp_deploy", "server_name": "zipped", "source": source })
    };
    let mut other = Client::join(&broker, OTHER).await;
    assert_eq!(other.ask(deploy(&id)).await["code"], "forbidden", "another member's file");
    assert_eq!(other.ask(deploy(&uuid())).await["code"], "deploy_error", "no file");

    let mut client = Client::join(&broker, MEMBER).await;
    let request = client.request(deploy(&id)).await;
    let Load { cmd, spec, .. } = link.load().await;
    assert_eq!(spec.version.as_ref(), Some(&upload.sha256), "the version is what was uploaded");
    link.done(cmd, Outcome::Error { code: FILE_MISSING.to_owned(), message: "as the test says".to_owned() });
    let Delivered { header, body: sent } = link.next().await;
    let Header::File { cmd, fence, sha256 } = header else { panic!("the file was due: {header:?}") };
    assert_eq!((&fence.deployment, &sha256), (&spec.deployment, &upload.sha256));
    assert!(sent == body, "all of its bytes, and no others");
    link.done(cmd, Outcome::Ok);
    let again = link.load().await;
    assert_eq!(again.spec, spec);
    link.done(again.cmd, Outcome::Ok);
    link.report(false, vec![report("zipped", &spec.deployment, ServiceState::Running)]);
    assert_eq!(client.outcome(&request).await["status"], "running");
    let refused = client.ask(json!({ "type": "delete_file", "fileId": id })).await;
    assert_eq!(refused["code"], "forbidden", "what a deployment is built from stays: {refused}");
    assert!(refused["message"].as_str().unwrap().contains("zipped"), "{refused}");
}
