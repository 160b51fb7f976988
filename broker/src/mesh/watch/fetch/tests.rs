#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Write as _;
use std::sync::Mutex;
use std::time::SystemTime;

use ::tests::harness::{Page, Site};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// Answers for names as a test says: the answers of a name one after another, the last one for ever.
#[derive(Default)]
struct Names(Mutex<Vec<(String, Vec<IpAddr>)>>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + 'a>> {
        let mut names = self.0.lock().unwrap();
        let all = names.iter().filter(|(known, _)| known == name).count();
        let found = names.iter().position(|(known, _)| known == name);
        let answer = match found {
            Some(at) if all > 1 => Ok(names.remove(at).1),
            Some(at) => Ok(names[at].1.clone()),
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(async move { answer })
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Allows 127.0.0.1 alone; 127.0.0.2 stands for what is inside.
fn fetcher(names: &[(&str, &[&str])]) -> Arc<Fetcher> {
    let guard = Guard::new(vec!["127.0.0.1".parse().unwrap()]);
    let names = names.iter().map(|(name, found)| ((*name).to_owned(), found.iter().map(|text| ip(text)).collect()));
    Fetcher::with(guard, "test".to_owned(), Box::new(Names(Mutex::new(names.collect()))))
}

fn target(url: &str) -> Target {
    Target { url: Url::parse(url).unwrap(), headers: Vec::new(), body: true }
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<Answer, FetchError> {
    fetcher.fetch(&target(url), None).await
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_an_address_says_comes_whole() {
    let site = Site::start();
    let fetcher = fetcher(&[]);
    site.put("/plain", Page::of("hello"));
    site.put("/gzip", Page::of(gzip(b"packed")).with("Content-Encoding", "gzip"));
    site.put("/hop", Page::redirect("/plain"));
    site.put("/gone", Page::status(404));
    assert_eq!(get(&fetcher, &site.url("/plain?a=b")).await.unwrap().body, b"hello");
    assert_eq!(get(&fetcher, &site.url("/gzip")).await.unwrap().body, b"packed");
    assert_eq!(get(&fetcher, &site.url("/hop")).await.unwrap().body, b"hello");
    let gone = get(&fetcher, &site.url("/gone")).await.unwrap();
    assert_eq!((gone.status, gone.body.as_slice()), (404, &[][..]), "a page about an error is no body");
    let asked = &site.asked("/plain?a=b")[0];
    assert_eq!(asked.header("host").unwrap(), format!("127.0.0.1:{}", site.port()));
    assert_eq!(asked.header("user-agent"), Some("test"));
}

#[tokio::test]
async fn h38_a_body_has_an_end() {
    let site = Site::start();
    let fetcher = fetcher(&[]);
    site.put("/most", Page::of(vec![b'x'; MAX_BODY_BYTES]));
    site.put("/huge", Page::of(vec![b'x'; MAX_BODY_BYTES + 1]));
    site.put("/endless", Page::endless());
    let bomb = gzip(&vec![0; 40 * MAX_BODY_BYTES]);
    assert!(bomb.len() < MAX_BODY_BYTES);
    site.put("/bomb", Page::of(bomb).with("Content-Encoding", "gzip"));
    let packed = gzip(b"packed");
    site.put("/half", Page::of(&packed[..packed.len() - 9]).with("Content-Encoding", "gzip"));
    site.put("/other", Page::of("x").with("Content-Encoding", "br"));
    site.put("/cut", Page::cut_off("half of it"));
    assert_eq!(get(&fetcher, &site.url("/most")).await.unwrap().body.len(), MAX_BODY_BYTES);
    for path in ["/huge", "/endless", "/bomb"] {
        assert_eq!(get(&fetcher, &site.url(path)).await, Err(FetchError::TooLarge), "{path}");
    }
    for path in ["/half", "/other"] {
        let error = get(&fetcher, &site.url(path)).await;
        assert!(matches!(error, Err(FetchError::Encoding(_))), "{path}: {error:?}");
    }
    assert!(matches!(get(&fetcher, &site.url("/cut")).await, Err(FetchError::Http(_))));
}

#[tokio::test]
async fn h38_redirects_have_an_end() {
    let site = Site::start();
    let fetcher = fetcher(&[]);
    site.put("/loop", Page::redirect("/loop"));
    for n in 0..MAX_REDIRECTS {
        site.put(&format!("/{n}"), Page::redirect(&format!("/{}", n + 1)));
    }
    site.put(&format!("/{MAX_REDIRECTS}"), Page::of("there"));
    assert_eq!(get(&fetcher, &site.url("/loop")).await, Err(FetchError::TooManyRedirects));
    assert_eq!(site.asked("/loop").len(), MAX_REDIRECTS + 1);
    assert_eq!(get(&fetcher, &site.url("/0")).await.unwrap().body, b"there");
    for (path, to) in [("/file", "file:///etc/passwd"), ("/ftp", "ftp://127.0.0.1/"), ("/bad", "http://")] {
        site.put(path, Page::redirect(to));
        let error = get(&fetcher, &site.url(path)).await;
        assert!(matches!(error, Err(FetchError::Redirect(_))), "{path}: {error:?}");
    }
    let https = Url::parse("https://a/").unwrap();
    assert_eq!(next(&https, "http://a/"), Err(FetchError::Redirect("from https to http")));
    assert_eq!(next(&https, "//b/c#d").unwrap().as_str(), "https://b/c");
    assert_eq!(next(&https, "https://u:p@b/").unwrap().as_str(), "https://b/");
}

#[tokio::test(start_paused = true)]
async fn h38_a_look_has_an_end() {
    // Paused time runs ahead when nobody has anything to do: the ten seconds are over at once.
    let site = Site::start();
    site.put("/never", Page::never());
    assert_eq!(get(&fetcher(&[]), &site.url("/never")).await, Err(FetchError::Timeout));
}

#[tokio::test]
async fn h38_a_redirect_to_a_host_that_is_looked_at_by_many_is_left_out_and_no_failure() {
    let (first, busy) = (Site::start(), Site::start());
    first.put("/", Page::redirect(&busy.url("/")));
    busy.put("/", Page::of("there"));
    let fetcher = fetcher(&[]);
    let mut held = Vec::new();
    for n in 0..MAX_LOOKS_PER_HOST {
        held.push(fetcher.turns.take(&format!("m{n}"), &format!("127.0.0.1:{}", busy.port())).await.unwrap());
    }
    assert_eq!(get(&fetcher, &first.url("/")).await, Err(FetchError::Busy));
    held.pop();
    assert_eq!(get(&fetcher, &first.url("/")).await.unwrap().body, b"there");
}

#[tokio::test]
async fn h37_no_name_and_no_redirect_leads_inside() {
    let outside = Site::start();
    let inside = Site::at(ip("127.0.0.2"), 0);
    inside.put("/", Page::of("secret"));
    outside.put("/", Page::of("public"));
    let fetcher = fetcher(&[
        ("inside.test", &["127.0.0.2"]),
        ("both.test", &["127.0.0.2", "127.0.0.1"]),
        ("turns.test", &["127.0.0.1"]),
        ("turns.test", &["127.0.0.2"]),
        ("nothing.test", &[]),
    ]);
    let (port, in_port) = (outside.port(), inside.port());
    for (path, to) in [
        ("/address", format!("http://127.0.0.2:{in_port}/")),
        ("/name", format!("http://inside.test:{in_port}/")),
        ("/number", format!("http://2130706434:{in_port}/")),
        ("/hex", format!("http://0x7f.2:{in_port}/")),
        ("/mapped", format!("http://[::ffff:127.0.0.2]:{in_port}/")),
    ] {
        outside.put(path, Page::redirect(&to));
        for url in [to, outside.url(path)] {
            let error = get(&fetcher, &url).await;
            assert!(matches!(error, Err(FetchError::Refused(_))), "{url}: {error:?}");
        }
    }
    // Of several addresses the one that is allowed is taken.
    assert_eq!(get(&fetcher, &format!("http://both.test:{port}/")).await.unwrap().body, b"public");
    // A name that leads outside at first and inside later: what is connected to is what was judged.
    assert_eq!(get(&fetcher, &format!("http://turns.test:{port}/")).await.unwrap().body, b"public");
    let error = get(&fetcher, &format!("http://turns.test:{in_port}/")).await.unwrap_err();
    assert_eq!(error, FetchError::Refused("turns.test".to_owned()));
    assert!(!error.to_string().contains("127.0.0.2"), "what is inside is not told: {error}");
    for name in ["nothing.test", "unknown.test"] {
        assert_eq!(get(&fetcher, &format!("http://{name}/")).await, Err(FetchError::NoAddress(name.to_owned())));
    }
    assert!(inside.asked("/").is_empty(), "nobody came inside");
    assert!(!fetcher.allows(&Url::parse("http://127.0.0.2/").unwrap()));
    assert!(!fetcher.allows(&Url::parse("http://[::1]/").unwrap()));
}

#[tokio::test]
async fn h22_a_members_headers_go_to_the_origin_that_it_named() {
    let (first, second) = (Site::start(), Site::start());
    first.put("/here", Page::redirect("/there"));
    first.put("/there", Page::redirect(&second.url("/away")));
    second.put("/away", Page::of("ok"));
    let key = (HeaderName::from_static("x-api-key"), SecretString::from("s3cret"));
    let target = Target { headers: vec![key], ..target(&first.url("/here")) };
    assert_eq!(fetcher(&[]).fetch(&target, None).await.unwrap().body, b"ok");
    for path in ["/here", "/there"] {
        assert_eq!(first.asked(path)[0].header("x-api-key"), Some("s3cret"));
    }
    assert_eq!(second.asked("/away")[0].header("x-api-key"), None);
}

#[tokio::test]
async fn h38_a_server_that_knows_says_as_before() {
    let site = Site::start();
    let fetcher = fetcher(&[]);
    site.on("/etag", |asked| match asked.header("if-none-match") {
        Some("\"1\"") => Page::status(304),
        _ => Page::of("one").with("ETag", "\"1\""),
    });
    let target = target(&site.url("/etag"));
    let first = fetcher.fetch(&target, None).await.unwrap();
    let second = fetcher.fetch(&target, first.validator.as_ref()).await.unwrap();
    assert_eq!((second.status, &second.validator), (304, &first.validator));
    // What changed within the second of its date can change again without a newer one.
    let modified = |ago: u64| httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(ago));
    let now = modified(0);
    site.put("/old", Page::of("x").with("Last-Modified", &modified(60)).with("Date", &now));
    site.put("/new", Page::of("x").with("Last-Modified", &modified(1)).with("Date", &now));
    assert!(get(&fetcher, &site.url("/old")).await.unwrap().validator.is_some());
    assert!(get(&fetcher, &site.url("/new")).await.unwrap().validator.is_none());
}

#[tokio::test]
async fn a_server_says_when_it_wants_to_be_asked_again() {
    let site = Site::start();
    let fetcher = fetcher(&[]);
    let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(120));
    site.put("/s", Page::status(429).with("Retry-After", "120"));
    site.put("/d", Page::status(503).with("Retry-After", &later));
    site.put("/x", Page::status(429).with("Retry-After", "soon"));
    assert_eq!(get(&fetcher, &site.url("/s")).await.unwrap().retry_after_ms, Some(120_000));
    let wait = get(&fetcher, &site.url("/d")).await.unwrap().retry_after_ms.unwrap();
    assert!((100_000..=120_000).contains(&wait), "{wait}");
    assert_eq!(get(&fetcher, &site.url("/x")).await.unwrap().retry_after_ms, None);
}

#[tokio::test(start_paused = true)]
async fn h50_one_member_and_one_host_leave_room_for_others() {
    let turns = Turns::default();
    let mut held = Vec::new();
    for n in 0..MAX_LOOKS_PER_MEMBER {
        held.push(turns.take("ana", &format!("host-{n}")).await.unwrap());
    }
    assert!(turns.take("ana", "another").await.is_none(), "one member has its share");
    for n in 0..MAX_LOOKS_PER_HOST {
        held.push(turns.take(&format!("member-{n}"), "busy").await.unwrap());
    }
    assert!(turns.take("ben", "busy").await.is_none(), "one host is not overrun");
    assert!(turns.take("ben", "quiet").await.is_some());
    let mut n = 0;
    while turns.under_way() < MAX_LOOKS {
        held.push(turns.take(&format!("m{n}"), &format!("h{n}")).await.unwrap());
        n += 1;
    }
    assert!(turns.take("cleo", "elsewhere").await.is_none(), "sockets are bounded");
    held.clear();
    assert!(turns.take("ana", "another").await.is_some());
    assert_eq!(turns.under_way(), 0);
}
