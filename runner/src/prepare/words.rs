//! What a tool said, made fit to show: no terminal codes, no credentials, and
//! of a long output only the lines that carry the reason.

use protocol::SecretString;

/// How many lines of a failed tool are kept.
const MAX_WORDS: usize = 20;
/// Of a cut output, how many lines of its beginning stay: npm names the error
/// code first and the failing script's own output last.
const HEAD_WORDS: usize = 5;

/// One output line without terminal codes, control characters, or the user
/// part of a URL (registry settings may carry a password there).
pub(super) fn clean(line: &str) -> String {
    redact(&strip_codes(line)).trim_end().to_owned()
}

/// Covers a secret wherever a tool's output repeats it: a server is free to send back what it was sent.
#[derive(Clone, Default)]
pub(super) struct Mask(Option<SecretString>);

impl Mask {
    pub(super) fn of(secret: &SecretString) -> Self {
        Self(Some(secret.clone()).filter(|secret| !secret.is_empty()))
    }

    pub(super) fn over(&self, line: String) -> String {
        match &self.0 {
            Some(secret) if line.contains(secret.expose()) => line.replace(secret.expose(), "***"),
            _ => line,
        }
    }
}

fn strip_codes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // CSI: parameters, then one final byte in @..~
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC: a string up to BEL or ESC \
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                // Any other escape is two characters; both are gone now.
                Some(_) | None => {}
            },
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn redact(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let authority_end =
            after.find(|c: char| c == '/' || c.is_whitespace() || c == '"' || c == '\'').unwrap_or(after.len());
        let (authority, tail) = after.split_at(authority_end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("***@");
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// The reason in npm's output: its `npm error` lines without the empty ones and
/// the pointer to a log file that is about to be deleted. Without any, the end
/// of the output.
pub(super) fn of_npm(stderr: &[String]) -> Vec<String> {
    let errors: Vec<String> = stderr
        .iter()
        .filter(|line| npm_error_text(line).is_some_and(|text| !is_npm_padding(text)))
        .map(|line| squeeze(line))
        .collect();
    if errors.is_empty() {
        let rest = stderr.iter().filter(|line| !line.starts_with("npm warn"));
        return cut(rest.cloned());
    }
    cut(errors.into_iter())
}

fn npm_error_text(line: &str) -> Option<&str> {
    line.strip_prefix("npm error").or_else(|| line.strip_prefix("npm ERR!")).map(str::trim)
}

fn is_npm_padding(text: &str) -> bool {
    text.is_empty() || text.chars().all(|c| c.is_ascii_digit()) || text.contains("complete log of this run")
}

/// The reason in uv's output: from its first error line to the end; without
/// one, the end of the output.
pub(super) fn of_uv(stderr: &[String]) -> Vec<String> {
    let is_error = |line: &String| {
        let line = line.trim_start();
        line.starts_with("error") || line.starts_with('×')
    };
    let from = stderr.iter().position(is_error).unwrap_or(0);
    cut(stderr.iter().skip(from).map(|line| squeeze(line)))
}

/// The reason in git's output: what it, its helper or the server calls an error; without any, the end of the output.
pub(super) fn of_git(stderr: &[String]) -> Vec<String> {
    let is_reason = |line: &&String| ["fatal:", "error:", "remote:", "ssh:"].iter().any(|sign| line.starts_with(sign));
    let reasons: Vec<String> = stderr.iter().filter(is_reason).map(|line| squeeze(line)).collect();
    if reasons.is_empty() { cut(stderr.iter().map(|line| squeeze(line))) } else { cut(reasons.into_iter()) }
}

/// The end of an output that has no form of its own.
pub(super) fn of_any(lines: &[String]) -> Vec<String> {
    cut(lines.iter().map(|line| squeeze(line)))
}

/// As [`npm_unreachable`], for git.
pub(super) fn git_unreachable(words: &[String]) -> bool {
    const SIGNS: &[&str] = &[
        "Could not resolve host",
        "Could not resolve proxy",
        "Couldn't connect to server",
        "Failed to connect",
        "Connection refused",
        "Connection reset",
        "Connection timed out",
        "Operation timed out",
        "Network is unreachable",
        "No route to host",
    ];
    words.iter().any(|word| SIGNS.iter().any(|sign| word.contains(sign)))
}

/// Whether a server does not hand out a commit by its name alone.
pub(super) fn git_wants_a_ref(words: &[String]) -> bool {
    const SIGNS: &[&str] = &["not our ref", "unadvertised object", "does not support shallow"];
    words.iter().any(|word| SIGNS.iter().any(|sign| word.contains(sign)))
}

/// Whether npm failed for want of the network or the registry, rather than
/// because of the package.
pub(super) fn npm_unreachable(words: &[String]) -> bool {
    const CODES: &[&str] = &[
        "EAI_AGAIN",
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENOTFOUND",
        "EPIPE",
        "ERR_SOCKET_TIMEOUT",
        "ETIMEDOUT",
        "E429",
    ];
    words.iter().filter_map(|word| npm_error_text(word)).any(|text| {
        text.strip_prefix("code ").is_some_and(|code| {
            let server_error = code.len() == 4 && code.starts_with("E5");
            server_error || CODES.contains(&code)
        })
    })
}

/// As [`npm_unreachable`], for uv.
pub(super) fn uv_unreachable(words: &[String]) -> bool {
    const SIGNS: &[&str] = &[
        "Failed to fetch",
        "Request failed after",
        "error sending request",
        "Could not connect",
        "dns error",
        "operation timed out",
    ];
    words.iter().any(|word| SIGNS.iter().any(|sign| word.contains(sign)))
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
    let excess = kept.len().saturating_sub(MAX_WORDS);
    if excess > 0 {
        // One more goes, to make room for the line that says so.
        let gap = HEAD_WORDS..HEAD_WORDS + excess + 1;
        kept.splice(gap, [format!("({} lines left out)", excess + 1)]);
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(clean).collect()
    }

    #[test]
    fn codes_and_credentials_do_not_survive() {
        let table = [
            ("\u{1b}[1;31merror\u{1b}[0m: no", "error: no"),
            ("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\ after", "link after"),
            ("a\tb\r", "a b"),
            ("\u{1b}[2K\u{1b}[1Gdone", "done"),
            ("broken \u{1b}[", "broken"),
            ("GET https://me:s3cret@host.test/x 404", "GET https://***@host.test/x 404"),
            ("https://a@b@host/x and https://t@k", "https://***@host/x and https://***@k"),
            ("https://host/@scope/pkg", "https://host/@scope/pkg"),
            ("é \u{0} ü", "é  ü"),
        ];
        for (input, expected) in table {
            assert_eq!(clean(input), expected, "{input:?}");
        }
    }

    #[test]
    fn npm_keeps_the_reason_and_drops_the_padding() {
        let said = lines(
            "npm warn deprecated x@1\nnpm error code E404\nnpm error 404 Not Found - GET https://r.test/nope\n\
             npm error 404\nnpm error 404  'nope@*' could not be found\nnpm error\n\
             npm error A complete log of this run can be found in: /h/.npm/_logs/x.log",
        );
        assert_eq!(
            of_npm(&said),
            [
                "npm error code E404",
                "npm error 404 Not Found - GET https://r.test/nope",
                "npm error 404 'nope@*' could not be found",
            ]
        );
        assert!(!npm_unreachable(&of_npm(&said)));
    }

    #[test]
    fn output_without_npm_errors_shows_its_end() {
        let said = lines("npm warn x\nsh: 1: node: not found\n\n");
        assert_eq!(of_npm(&said), ["sh: 1: node: not found"]);
    }

    #[test]
    fn uv_keeps_everything_from_its_first_error() {
        let said = lines(
            "Using CPython 3.11\nResolved 3 packages\nerror: No solution found\n  cause: Because x was not found",
        );
        assert_eq!(of_uv(&said), ["error: No solution found", "cause: Because x was not found"]);
        assert!(!uv_unreachable(&of_uv(&said)));
        let old = lines("  × No solution found when resolving dependencies:\n  ╰─▶ Because x was not found");
        assert_eq!(of_uv(&old).len(), 2);
    }

    #[test]
    fn an_unreachable_registry_is_told_from_a_missing_package() {
        for code in ["ENOTFOUND", "ECONNREFUSED", "E503", "ERR_SOCKET_TIMEOUT"] {
            assert!(npm_unreachable(&[format!("npm error code {code}")]), "{code}");
        }
        for code in ["E404", "E403", "ETARGET", "EACCES", "EINTEGRITY"] {
            assert!(!npm_unreachable(&[format!("npm error code {code}")]), "{code}");
        }
        assert!(uv_unreachable(&["cause: Failed to fetch: https://r.test/x/".to_owned()]));
    }

    #[test]
    fn git_keeps_its_reason_and_tells_an_absent_server_from_one_that_refuses() {
        let refused = lines("hint: x\nremote: Not found.\nfatal: Authentication failed for 'https://u:p@h/p/'");
        assert_eq!(of_git(&refused), ["remote: Not found.", "fatal: Authentication failed for 'https://***@h/p/'"]);
        assert!(!git_unreachable(&of_git(&refused)));
        for absent in [
            "fatal: unable to access 'https://h/p/': Could not resolve host: h",
            "ssh: connect to host h port 22: Connection refused",
            "fatal: unable to access 'https://h/p/': Failed to connect to h port 443 after 1 ms: Couldn't connect to server",
        ] {
            assert!(git_unreachable(&of_git(&lines(absent))), "{absent}");
        }
        assert_eq!(of_git(&lines("first\nlast")), ["first", "last"]);
    }

    #[test]
    fn h24_a_token_that_a_server_sends_back_is_covered() {
        let mask = Mask::of(&"planted-token".into());
        assert_eq!(mask.over("remote: bad planted-token!".to_owned()), "remote: bad ***!");
        assert_eq!(Mask::default().over("as it is".to_owned()), "as it is");
        assert_eq!(Mask::of(&"".into()).over("as it is".to_owned()), "as it is");
    }

    #[test]
    fn a_long_story_is_cut_in_the_middle() {
        let said: Vec<String> = (0..100).map(|n| format!("npm error line {n}")).collect();
        let words = of_npm(&said);
        assert_eq!(words.len(), MAX_WORDS);
        assert_eq!(words[0], "npm error line 0");
        assert_eq!(words[HEAD_WORDS], "(81 lines left out)");
        assert_eq!(words[MAX_WORDS - 1], "npm error line 99");
    }
}
