//! What a member asks for, checked: a watch that can be made, or the field that is wrong. Pure.

use hyper::header::{HeaderName, HeaderValue};
use protocol::SecretString;
use protocol::validate::cleaned;
use protocol::wire::{Priority, Seconds, Watch, WatchMode};
use url::Url;

use super::extract::Extract;
use super::fetch::Target;
use super::state::Notify;

/// Longest URL.
pub const MAX_URL_BYTES: usize = 2_048;
/// Most headers, and all of their bytes.
pub const MAX_HEADERS: usize = 16;
/// See [`MAX_HEADERS`].
pub const MAX_HEADER_BYTES: usize = 8 * 1024;
/// Longest label.
pub const MAX_LABEL_CHARS: usize = 128;
/// Longest value that is waited for.
pub const MAX_NOTIFY_BYTES: usize = 1_024;
/// The interval that is meant when none is said.
pub const DEFAULT_INTERVAL_MS: u64 = 30_000;
/// The longest.
pub const MAX_INTERVAL_MS: u64 = 7 * 24 * 3_600_000;
/// Failures in a row after which the owner is told, when none is said; and the most that may be said.
pub const DEFAULT_FAIL_AFTER: u32 = 3;
/// See [`DEFAULT_FAIL_AFTER`].
pub const MAX_FAIL_AFTER: u32 = 1_000;
/// The most looks that a new value may have to settle.
pub const MAX_SETTLE: u32 = 100;

/// Headers that are ours to say.
const OURS: [&str; 13] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "accept-encoding",
    "if-none-match",
    "if-modified-since",
    "proxy-authorization",
    "expect",
];

/// A watch that can be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What is looked at.
    pub target: Target,
    /// What of it.
    pub mode: WatchMode,
    /// Which part of its JSON, as it was said.
    pub extract: Option<(String, Extract)>,
    /// How often.
    pub interval: Seconds,
    /// When the owner is told, and as it was said.
    pub notify: Notify,
    /// What the owner calls it.
    pub label: Option<String>,
    /// How urgent what it says is.
    pub priority: Priority,
    /// Failures in a row after which the owner is told.
    pub fail_after: u32,
    /// Looks at which a new value has to be there.
    pub settle: u32,
}

/// A field that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {words}")]
pub struct BadField {
    field: &'static str,
    words: String,
}

fn bad<T>(field: &'static str, words: impl Into<String>) -> Result<T, BadField> {
    Err(BadField { field, words: words.into() })
}

/// Checks a request. `least_ms` is the shortest interval.
///
/// # Errors
/// [`BadField`].
pub fn checked(watch: Watch, least_ms: u64) -> Result<Wanted, BadField> {
    let mode = watch.mode.unwrap_or(if watch.extract.is_some() { WatchMode::Json } else { WatchMode::Hash });
    if watch.extract.is_some() && mode != WatchMode::Json {
        return bad("extract", "is for mode json");
    }
    let extract = watch.extract.map(|text| match Extract::parse(&text) {
        Ok(extract) => Ok((text, extract)),
        Err(error) => bad("extract", cleaned(&error.to_string())),
    });
    Ok(Wanted {
        target: Target { url: url(&watch.url)?, headers: headers(watch.headers)?, body: mode != WatchMode::Status },
        mode,
        extract: extract.transpose()?,
        interval: interval(watch.interval, least_ms)?,
        notify: notify(watch.notify_on.as_deref())?,
        label: label(watch.label.as_deref())?,
        priority: watch.priority.unwrap_or_default(),
        fail_after: count("fail_after", watch.fail_after, DEFAULT_FAIL_AFTER, MAX_FAIL_AFTER)?,
        settle: count("settle", watch.settle, 1, MAX_SETTLE)?,
    })
}

/// A URL as it may be looked at.
///
/// # Errors
/// [`BadField`].
pub fn url(text: &str) -> Result<Url, BadField> {
    if text.len() > MAX_URL_BYTES {
        return bad("url", format!("is longer than {MAX_URL_BYTES} bytes"));
    }
    let mut url = Url::parse(text).or_else(|_| bad("url", "is no URL, such as https://example.com/status"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return bad("url", "is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return bad("url", "has a name or a password in it, which lists would show: use `headers`");
    }
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return bad("url", "has no host to look at");
    }
    url.set_fragment(None);
    Ok(url)
}

/// Headers as they may be sent.
///
/// # Errors
/// [`BadField`]; it never says a value.
pub fn headers(
    said: impl IntoIterator<Item = (String, SecretString)>,
) -> Result<Vec<(HeaderName, SecretString)>, BadField> {
    let mut headers = Vec::new();
    let mut bytes = 0;
    for (name, value) in said {
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            return bad("headers", format!("has {:?}, which is no name of a header", cleaned(&name)));
        };
        if OURS.contains(&parsed.as_str()) {
            return bad("headers", format!("has {parsed}, which the broker says itself"));
        }
        if HeaderValue::from_str(value.expose()).is_err() {
            return bad("headers", format!("has a value for {parsed} that no header can have"));
        }
        if headers.iter().any(|(other, _)| *other == parsed) {
            return bad("headers", format!("has {parsed} twice"));
        }
        bytes += parsed.as_str().len() + value.len();
        headers.push((parsed, value));
    }
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return bad("headers", format!("has more than {MAX_HEADERS} of them, or {MAX_HEADER_BYTES} bytes"));
    }
    Ok(headers)
}

fn interval(said: Option<Seconds>, least_ms: u64) -> Result<Seconds, BadField> {
    let interval = said.unwrap_or(Seconds { ms: DEFAULT_INTERVAL_MS.max(least_ms) });
    if interval.ms < least_ms || interval.ms > MAX_INTERVAL_MS {
        let (least, most) = (seconds(least_ms), seconds(MAX_INTERVAL_MS));
        return bad("interval", format!("is not between {least} and {most} seconds"));
    }
    Ok(interval)
}

fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { (ms / 1_000).to_string() } else { format!("{}.{:03}", ms / 1_000, ms % 1_000) }
}

/// When the owner is told.
///
/// # Errors
/// [`BadField`].
pub fn notify(said: Option<&str>) -> Result<Notify, BadField> {
    let text = said.unwrap_or("change");
    if text.len() > MAX_NOTIFY_BYTES {
        return bad("notify_on", format!("is longer than {MAX_NOTIFY_BYTES} bytes"));
    }
    if text == "change" {
        return Ok(Notify::Change);
    }
    if let Some(value) = text.strip_prefix("match:") {
        return Ok(Notify::Match(value.to_owned()));
    }
    match text.strip_prefix("not_match:") {
        Some(value) => Ok(Notify::NotMatch(value.to_owned())),
        None => bad("notify_on", "is none of change, match:<value> and not_match:<value>"),
    }
}

/// The words of it.
#[must_use]
pub fn notify_words(notify: &Notify) -> String {
    match notify {
        Notify::Change => "change".to_owned(),
        Notify::Match(value) => format!("match:{value}"),
        Notify::NotMatch(value) => format!("not_match:{value}"),
    }
}

fn label(said: Option<&str>) -> Result<Option<String>, BadField> {
    let Some(said) = said else { return Ok(None) };
    let label = cleaned(said).trim().to_owned();
    if label.chars().count() > MAX_LABEL_CHARS {
        return bad("label", format!("is longer than {MAX_LABEL_CHARS} characters"));
    }
    Ok(Some(label).filter(|label| !label.is_empty()))
}

fn count(field: &'static str, said: Option<u32>, default: u32, most: u32) -> Result<u32, BadField> {
    match said.unwrap_or(default) {
        number if (1..=most).contains(&number) => Ok(number),
        _ => bad(field, format!("is not between 1 and {most}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::WATCH_MIN_INTERVAL_MS;

    fn watch(change: impl Fn(&mut Watch)) -> Result<Wanted, BadField> {
        let mut watch = Watch { url: "https://example.com/a?b=c#d".to_owned(), ..Watch::default() };
        change(&mut watch);
        checked(watch, u64::from(WATCH_MIN_INTERVAL_MS))
    }

    #[test]
    fn what_is_not_said_has_a_meaning() {
        let wanted = watch(|_| {}).unwrap();
        assert_eq!(wanted.target.url.as_str(), "https://example.com/a?b=c");
        assert_eq!((wanted.mode, wanted.interval.ms, wanted.notify), (WatchMode::Hash, 30_000, Notify::Change));
        assert_eq!((wanted.priority, wanted.fail_after, wanted.settle), (Priority::Next, 3, 1));
        assert_eq!(watch(|watch| watch.extract = Some("a.b".to_owned())).unwrap().mode, WatchMode::Json);
        assert_eq!(watch(|watch| watch.label = Some(" a\u{202e}b\n ".to_owned())).unwrap().label.unwrap(), "ab");
    }

    #[test]
    fn h38_what_is_wrong_is_named() {
        type Change = Box<dyn Fn(&mut Watch)>;
        let url = |text: &'static str| -> Change { Box::new(move |watch| watch.url = text.to_owned()) };
        let header = |name: &'static str, value: &'static str| -> Change {
            Box::new(move |watch| {
                watch.headers.insert(name.to_owned(), SecretString::from(value));
            })
        };
        let cases: Vec<(Change, &str)> = vec![
            (url("example.com"), "url"),
            (url("ftp://example.com"), "url"),
            (url("file:///etc/passwd"), "url"),
            (url("http://user:secret@example.com"), "url"),
            (url("http://"), "url"),
            (Box::new(|watch| watch.url = format!("http://a/{}", "x".repeat(3_000))), "url"),
            (Box::new(|watch| watch.interval = Some(Seconds { ms: 4_999 })), "interval"),
            (Box::new(|watch| watch.interval = Some(Seconds { ms: u64::MAX })), "interval"),
            (Box::new(|watch| watch.notify_on = Some("always".to_owned())), "notify_on"),
            (Box::new(|watch| watch.notify_on = Some(format!("match:{}", "x".repeat(2_000)))), "notify_on"),
            (Box::new(|watch| watch.extract = Some("a..b".to_owned())), "extract"),
            (
                Box::new(|watch| {
                    watch.extract = Some("a".to_owned());
                    watch.mode = Some(WatchMode::Status);
                }),
                "extract",
            ),
            (Box::new(|watch| watch.label = Some("x".repeat(200))), "label"),
            (Box::new(|watch| watch.fail_after = Some(0)), "fail_after"),
            (Box::new(|watch| watch.settle = Some(1_000)), "settle"),
            (header("Host", "inside"), "headers"),
            (header("a b", "c"), "headers"),
            (header("a", "s3cret\r\nb: c"), "headers"),
        ];
        for (change, field) in cases {
            let error = watch(change).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(error.to_string().starts_with(&format!("`{field}`")), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        let many = |watch: &mut Watch| {
            watch.headers = (0..17).map(|n| (format!("x-{n}"), SecretString::from("v"))).collect();
        };
        assert_eq!(watch(many).unwrap_err().field, "headers");
    }
}
