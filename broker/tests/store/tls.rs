//! The way to a server that is not on this machine: verified TLS, or a refusal in words.

use std::path::{Path, PathBuf};

use broker::config::{DatabaseTls, DatabaseUrl};
use broker::store::first_start::{self, DirState};
use broker::store::{DirLock, OpenError, Store};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tests::harness::postgres::{Database, Server, with_database};

/// What the server asks for on its TLS port.
const PASSWORD: &str = "hunter2 @/%";
const PASSWORD_IN_URL: &str = "hunter2%20%40%2F%25";

/// An authority, and its certificate as a file.
fn authority(dir: &Path, name: &str) -> (CertifiedIssuer<'static, KeyPair>, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = dir.join(format!("{name}.pem"));
    std::fs::write(&file, issuer.pem()).unwrap();
    (issuer, file)
}

/// A server whose certificate is for `localhost` and no other name, and the authority that vouches for it.
fn server(dir: &Path) -> (Server, Database, PathBuf) {
    let (issuer, authority) = authority(dir, "ours");
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (cert_file, key_file) = (dir.join("server.pem"), dir.join("server.key"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let server = Server::start_tls(&cert_file, &key_file);
    let database = Database::create_on(server.url());
    database.rows(&format!("ALTER ROLE claudemesh PASSWORD '{PASSWORD}'"));
    (server, database, authority)
}

async fn opened(url: &str) -> Result<Store, OpenError> {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let url: DatabaseUrl = url.parse().unwrap();
    if first_start::inspect(&lock, Some(&url)).await? == DirState::Empty {
        first_start::create(&lock, Some(&url), None).await?;
    }
    Store::open(&lock, Some(&url)).await
}

/// The whole of what a person is told.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[actix_rt::test]
async fn a_server_is_believed_when_our_authority_vouches_for_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (server, database, ours) = server(dir.path());
    let port = server.tls_port.unwrap();
    let name = database.url().rsplit_once('/').unwrap().1;
    let url = |host: &str, rest: &str| {
        with_database(&format!("postgres://claudemesh:{PASSWORD_IN_URL}@{host}:{port}/postgres?{rest}"), name)
    };
    let roots = |file: &Path| format!("sslrootcert={}", file.display());

    let store = opened(&url("localhost", &format!("sslmode=verify-full&{}", roots(&ours)))).await.unwrap();
    store.next_epoch().await.unwrap();
    let in_tls = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                  WHERE ssl AND datname = current_database()";
    assert_eq!(database.rows(in_tls)[0][0].as_deref(), Some("2"), "a writer and a reader");
    drop(store);

    let (_issuer, theirs) = authority(dir.path(), "theirs");
    let refusals = [
        ("another authority", url("localhost", &roots(&theirs)), "UnknownIssuer"),
        ("the system's authorities", url("localhost", "sslmode=require"), "UnknownIssuer"),
        ("another name", url("127.0.0.1", &roots(&ours)), "not valid for name"),
        ("no TLS, which this server does not take", url("localhost", "sslmode=disable"), "no encryption"),
        ("no such file", url("localhost", "sslrootcert=/nonexistent.pem"), "/nonexistent.pem (sslrootcert)"),
        ("no certificate in it", url("localhost", "sslrootcert=/dev/null"), "no usable certificate"),
    ];
    for (what, url, expected) in refusals {
        let said = words(&opened(&url).await.expect_err(what));
        assert!(said.contains(expected), "{what}: {said}");
        assert!(said.contains(name) && !said.contains("hunter2"), "{what}: {said}");
    }
    let wrong = url("localhost", &roots(&ours)).replace(PASSWORD_IN_URL, "wrong");
    let said = words(&opened(&wrong).await.expect_err("a wrong password"));
    assert!(said.contains("password authentication failed"), "{said}");
}

/// A server without TLS gets no word of ours: neither our name nor a password.
#[actix_rt::test]
async fn a_server_that_has_no_tls_is_refused_before_anything_is_said() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut first = [0; 8];
        socket.read_exact(&mut first).await.unwrap();
        // The answer of a server that has none, in the way; one `N` where TLS was asked for.
        socket.write_all(b"N").await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (first, rest)
    });
    // The address says it all: no word about TLS, and a host that is not this machine by name.
    let url = format!("postgres://claudemesh:hunter2@db.invalid:{port}/d?hostaddr=127.0.0.1");
    assert_eq!(*url.parse::<DatabaseUrl>().unwrap().tls(), DatabaseTls::Verified { roots: None });
    let said = words(&opened(&url).await.expect_err("it went on without TLS"));
    assert!(said.contains("does not support TLS"), "{said}");
    let (first, rest) = heard.await.unwrap();
    assert_eq!(first, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f], "SSLRequest");
    assert_eq!(rest, b"", "it said more");
}
