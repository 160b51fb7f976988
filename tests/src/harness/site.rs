//! A web server that says what a story wants: pages that change, pages without end, answers that never come.
//!
//! Each connection is one request on a thread of its own. What was asked is noted in order. A secure one has a certificate
//! that nobody signed but itself: whoever is to believe it is told so by [`Site::trusted`].

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::NamedTempFile;

use super::{SETTLE, wait_until};

/// A request that takes longer to come is none.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// What a page without end sends at a time.
const PART: [u8; 16 * 1024] = [b'x'; 16 * 1024];
/// The largest head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

impl Asked {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Whole(Vec<u8>),
    /// Less than its head promises.
    CutOff(Vec<u8>),
    Endless,
    Never,
}

impl Page {
    /// 200 with this body.
    #[must_use]
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Whole(body.into()) }
    }

    /// 200 with a JSON object of one value.
    #[must_use]
    pub fn value(value: &str) -> Self {
        Self::of(serde_json::json!({ "value": value }).to_string())
    }

    /// A status with a page of its own.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::of(format!("<html>{status}</html>")) }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self::status(302).with("Location", to)
    }

    /// A body without end.
    #[must_use]
    pub fn endless() -> Self {
        Self { body: Body::Endless, ..Self::of("") }
    }

    /// A request that is never answered.
    #[must_use]
    pub fn never() -> Self {
        Self { body: Body::Never, ..Self::of("") }
    }

    /// A body that ends before it should.
    #[must_use]
    pub fn cut_off(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Body::CutOff(body.into()), ..Self::of("") }
    }

    /// With a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Says = Arc<dyn Fn(&Asked) -> Page + Send + Sync>;

#[derive(Default)]
struct Shared {
    pages: Mutex<HashMap<String, Says>>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

/// The server. Dropped, it answers nobody any more.
pub struct Site {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Its certificate's file, where it has one.
    certificate: Option<NamedTempFile>,
}

impl Default for Site {
    fn default() -> Self {
        Self::start()
    }
}

impl Site {
    /// On a free port of 127.0.0.1.
    #[must_use]
    pub fn start() -> Self {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
    }

    /// On an address of this machine.
    #[must_use]
    pub fn at(address: IpAddr, port: u16) -> Self {
        Self::listen(address, port, None)
    }

    /// Over TLS on a free port of 127.0.0.1, with a certificate for this name or address.
    #[must_use]
    pub fn secure(name: &str) -> Self {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(own.cert.pem().as_bytes()).expect("a file");
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("the provider has them").with_no_client_auth();
        let config = builder.with_single_cert(vec![own.cert.der().clone()], key.into()).expect("a key of its own");
        Self::listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, Some((Arc::new(config), file)))
    }

    fn listen(address: IpAddr, port: u16, tls: Option<(Arc<ServerConfig>, NamedTempFile)>) -> Self {
        let listener = TcpListener::bind((address, port)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let (config, certificate) = tls.unzip();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.over.load(Ordering::Acquire) {
                    return;
                }
                let (shared, config) = (Arc::clone(&serving), config.clone());
                thread::spawn(move || converse(&stream, config, &shared));
            }
        });
        Self { address, shared, certificate }
    }

    /// What a program needs in its environment to believe a secure one.
    ///
    /// # Panics
    /// Without a certificate.
    #[must_use]
    pub fn trusted(&self) -> (String, String) {
        let file = self.certificate.as_ref().expect("a secure site");
        ("SSL_CERT_FILE".to_owned(), file.path().to_str().expect("a plain path").to_owned())
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// From now on this path says this.
    pub fn put(&self, path: &str, page: Page) {
        self.on(path, move |_| page.clone());
    }

    /// From now on this path says what this makes of a request.
    pub fn on(&self, path: &str, says: impl Fn(&Asked) -> Page + Send + Sync + 'static) {
        let mut pages = self.shared.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(path.to_owned(), Arc::new(says));
    }

    /// What was asked for at a path so far.
    #[must_use]
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// Waits until a path was asked for so often, more than it was until now.
    pub fn wait_asked(&self, path: &str, more: usize) {
        let before = self.asked(path).len();
        let asked = wait_until(path, SETTLE, || match self.asked(path).len() - before {
            times if times >= more => Ok(()),
            times => Err(format!("it was asked for {times} times")),
        });
        asked.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        // It waits for somebody to come.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(stream: &TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) {
    let _ = stream.set_read_timeout(Some(READ_WITHIN));
    match tls.map(ServerConnection::new) {
        None => serve(stream, shared),
        Some(session) => {
            let mut secured = StreamOwned::new(session.expect("the configuration is whole"), stream);
            serve(&mut secured, shared);
            secured.conn.send_close_notify();
            let _ = secured.flush();
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn serve(mut stream: impl Read + Write, shared: &Shared) {
    let Some(asked) = head(&mut stream) else { return };
    let path = asked.path.split('?').next().unwrap_or_default().to_owned();
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let says = shared.pages.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
    let page = says.map_or_else(|| Page::status(404), |says| says(&asked));
    let mut text = format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", page.status);
    for (name, value) in &page.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    match &page.body {
        Body::Never => {
            let mut byte = [0];
            while !shared.over.load(Ordering::Acquire) {
                if !stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    break;
                }
            }
        }
        Body::Endless => {
            let began = stream.write_all(format!("{text}\r\n").as_bytes());
            while began.is_ok() && !shared.over.load(Ordering::Acquire) && stream.write_all(&PART).is_ok() {}
        }
        Body::Whole(body) | Body::CutOff(body) => {
            let promised = body.len() + if matches!(page.body, Body::CutOff(_)) { 100 } else { 0 };
            // A 304 has no body.
            if page.status != 304 {
                text.push_str(&format!("Content-Length: {promised}\r\n"));
            }
            let _ = stream.write_all(format!("{text}\r\n").as_bytes());
            if page.status != 304 {
                let _ = stream.write_all(body);
            }
        }
    }
}

fn head(stream: &mut impl Read) -> Option<Asked> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if bytes.len() > MAX_HEAD || stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    Some(Asked { path, headers: lines.filter_map(header).collect() })
}
