//! Values on the command line: durations, scopes, environment variables, a tool's arguments. All pure.

use std::time::Duration;

use protocol::SecretString;
use protocol::link::Runtime;
use protocol::validate;
use protocol::wire::Scope;
use serde_json::value::RawValue;

/// The longest time that can be asked for.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Units of a duration, in milliseconds; no unit means seconds. `ms` stands before `m` and `s`, which are parts of it.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// What a vault reference starts with.
const VAULT_REFERENCE: &str = "$vault:";

/// A length of time: `90`, `90s`, `2m`, `500ms`, `1h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = UNITS
        .iter()
        .find_map(|(unit, ms)| text.strip_suffix(unit).map(|number| (number, *ms)))
        .unwrap_or((text, 1_000));
    let number: u64 =
        number.parse().map_err(|_| "a whole number with s, m, h, d or ms is expected, as in 90 or 2m".to_owned())?;
    let duration = Duration::from_millis(number.saturating_mul(unit_ms));
    if duration.is_zero() || duration > LONGEST {
        return Err("it must be more than nothing and at most 7 days".to_owned());
    }
    Ok(duration)
}

/// The same in milliseconds.
pub(crate) fn wire_milliseconds(text: &str) -> Result<u64, String> {
    duration(text).map(milliseconds)
}

/// Milliseconds, for the wire. [`duration`] bounds them far below the limit.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `mesh`, `peer`, `group:G`, `groups:A,B`, `role:R`, `peers:X,Y`.
pub(crate) fn scope(text: &str) -> Result<Scope, String> {
    const FORMS: &str = "one of mesh, peer, group:G, groups:A,B, role:R, peers:X,Y is expected";
    let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
    let one = || rest.filter(|rest| !rest.is_empty()).map(str::to_owned).ok_or_else(|| FORMS.to_owned());
    let several = || {
        let names: Vec<String> = one()?.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err("a name in the list is empty".to_owned());
        }
        Ok(names)
    };
    match (word, rest) {
        ("mesh", None) => Ok(Scope::Mesh),
        ("peer", None) => Ok(Scope::Peer),
        ("group", _) => Ok(Scope::Group(one()?)),
        ("groups", _) => Ok(Scope::Groups(several()?)),
        ("role", _) => Ok(Scope::Role(one()?)),
        ("peers", _) => Ok(Scope::Peers(several()?)),
        _ => Err(FORMS.to_owned()),
    }
}

/// `node`, `python` or `bun`.
pub(crate) fn runtime(text: &str) -> Result<Runtime, String> {
    match text {
        "node" => Ok(Runtime::Node),
        "python" => Ok(Runtime::Python),
        "bun" => Ok(Runtime::Bun),
        _ => Err("one of node, python and bun is expected".to_owned()),
    }
}

/// A program and its arguments, written as one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

/// Splits at spaces. `'…'` and `"…"` keep what is between them together, a backslash the character after it (between
/// single quotes it is itself); nothing else has a meaning, since no shell reads it.
pub(crate) fn words(text: &str) -> Result<Words, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    if words.is_empty() { Err("it is empty".to_owned()) } else { Ok(Words(words)) }
}

/// A number of bytes: `500MiB`, `10GiB`, `0`; no unit means bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number.trim_end(), *unit)))
        .unwrap_or((text, 1));
    let number: Option<u64> = number.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "a whole number with KiB, MiB, GiB or TiB is expected, as in 10GiB".to_owned())
}

/// One `--env`.
#[derive(Debug, Clone)]
pub(crate) struct EnvVar {
    /// The variable.
    pub(crate) key: String,
    /// What it is to be.
    pub(crate) value: EnvValue,
}

/// What a variable is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EnvValue {
    /// This text, which may be a secret.
    Plain(SecretString),
    /// `$vault:key`: what the entry holds.
    Vault(String),
    /// `$vault:key:file:/path`: the path of a file that holds it.
    VaultFile {
        /// The entry.
        entry: String,
        /// Where the file is to be.
        path: String,
    },
}

impl EnvValue {
    /// The vault's entry that it has.
    pub(crate) fn entry(&self) -> Option<&str> {
        match self {
            Self::Plain(_) => None,
            Self::Vault(entry) | Self::VaultFile { entry, .. } => Some(entry),
        }
    }
}

/// `key`, or `key:file:/path`, behind `$vault:`.
fn vault_reference(text: &str) -> Result<EnvValue, String> {
    const FORMS: &str = "$vault:key or $vault:key:file:/path is expected";
    let (entry, path) = match text.split_once(":file:") {
        Some((entry, path)) => (entry, Some(path)),
        None => (text, None),
    };
    validate::vault_key(entry).map_err(|rule| format!("{FORMS}: {rule}"))?;
    let entry = entry.to_owned();
    match path {
        None => Ok(EnvValue::Vault(entry)),
        Some(path) => {
            validate::mount_path(path).map_err(|rule| format!("{FORMS}: {rule}"))?;
            Ok(EnvValue::VaultFile { entry, path: path.to_owned() })
        }
    }
}

/// `K=V`, `K=$vault:key` or `K=$vault:key:file:/path`; the message never quotes the value.
pub(crate) fn env_var(text: &str) -> Result<EnvVar, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "K=V is expected".to_owned())?;
    if !validate::is_variable_name(key) {
        return Err("a variable's name has letters, digits and underscores, and starts with no digit".to_owned());
    }
    if let Some(reference) = value.strip_prefix(VAULT_REFERENCE) {
        return Ok(EnvVar { key: key.to_owned(), value: vault_reference(reference)? });
    }
    if value.contains('\0') {
        return Err("a variable's value holds no NUL".to_owned());
    }
    Ok(EnvVar { key: key.to_owned(), value: EnvValue::Plain(value.into()) })
}

/// A tool's arguments out of words: one JSON object, or `k=v` and `k:=json` pairs, or nothing. Numbers keep all their
/// digits: nothing is read into a number and written again.
pub(crate) fn tool_arguments(words: &[String]) -> Result<Box<RawValue>, String> {
    if let [only] = words
        && only.trim_start().starts_with('{')
    {
        return json_object(only);
    }
    let mut pairs: Vec<(String, Box<RawValue>)> = Vec::with_capacity(words.len());
    for word in words {
        let (key, value) = pair(word)?;
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(format!("`{key}` is given twice"));
        }
        pairs.push((key, value));
    }
    object(&pairs)
}

/// One JSON object, as it is written.
pub(crate) fn json_object(text: &str) -> Result<Box<RawValue>, String> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Err("the arguments must be a JSON object: {…}".to_owned());
    }
    RawValue::from_string(text.to_owned()).map_err(|error| format!("the arguments are not JSON: {error}"))
}

/// `k=v`: JSON if it is JSON, else a string. `k:=v`: JSON or an error.
fn pair(word: &str) -> Result<(String, Box<RawValue>), String> {
    let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is neither k=v nor a JSON object"))?;
    let (key, forced) = key.strip_suffix(':').map_or((key, false), |key| (key, true));
    if key.is_empty() {
        return Err(format!("`{word}` has no name before the ="));
    }
    let raw = match RawValue::from_string(value.trim().to_owned()) {
        Ok(raw) => raw,
        Err(error) if forced => return Err(format!("the value of `{key}` is not JSON: {error}")),
        Err(_) => serde_json::value::to_raw_value(value).map_err(|error| error.to_string())?,
    };
    Ok((key.to_owned(), raw))
}

fn object(pairs: &[(String, Box<RawValue>)]) -> Result<Box<RawValue>, String> {
    let mut text = String::from("{");
    for (position, (key, value)) in pairs.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(key).map_err(|error| error.to_string())?);
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    RawValue::from_string(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn arguments(words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        tool_arguments(&words).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn arguments_that_are_understood() {
        for (words, json) in [
            (&[][..], "{}"),
            (&["{\"a\": 1}"], "{\"a\": 1}"),
            (&[" {\"a\":1} "], "{\"a\":1}"),
            (&["a=1"], r#"{"a":1}"#),
            (&["a=1", "b=two"], r#"{"a":1,"b":"two"}"#),
            (&["a=true", "b=null", "c=[1,2]"], r#"{"a":true,"b":null,"c":[1,2]}"#),
            (&["a=\"1\""], r#"{"a":"1"}"#),
            (&["a="], r#"{"a":""}"#),
            (&["a=x=y"], r#"{"a":"x=y"}"#),
            (&["a=Europe/Berlin"], r#"{"a":"Europe/Berlin"}"#),
            (&["a:={\"x\":1}"], r#"{"a":{"x":1}}"#),
            (&["a=  spaced "], r#"{"a":"  spaced "}"#),
            (&["a\"b=1"], r#"{"a\"b":1}"#),
            // Digits that no 64-bit number holds survive.
            (&["id=123456789012345678901234567890"], r#"{"id":123456789012345678901234567890}"#),
            (&["x=0.10000000000000000001"], r#"{"x":0.10000000000000000001}"#),
        ] {
            assert_eq!(arguments(words).as_deref(), Ok(json), "{words:?}");
        }
    }

    #[test]
    fn arguments_that_are_not() {
        for (words, why) in [
            (&["a"][..], "neither k=v"),
            (&["=1"], "no name"),
            (&[":=1"], "no name"),
            (&["a=1", "a=2"], "twice"),
            (&["a:=nope"], "not JSON"),
            (&["{\"a\":"], "not JSON"),
            (&["{\"a\":1}", "b=2"], "neither k=v"),
            (&["[1]"], "neither k=v"),
        ] {
            let error = arguments(words).unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("90", Some(90_000)),
            ("90s", Some(90_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("500ms", Some(500)),
            ("0", None),
            ("8d", None),
            ("99999999999999999999", None),
            ("18446744073709551615d", None),
            ("-1", None),
            ("1.5", None),
            ("s", None),
            ("", None),
        ] {
            assert_eq!(duration(text).ok().map(milliseconds), ms, "{text:?}");
        }
    }

    #[test]
    fn scopes() {
        for (text, expected) in [
            ("mesh", Some(Scope::Mesh)),
            ("peer", Some(Scope::Peer)),
            ("group:eng", Some(Scope::Group("eng".into()))),
            ("groups:a, b", Some(Scope::Groups(vec!["a".into(), "b".into()]))),
            ("role:lead", Some(Scope::Role("lead".into()))),
            ("peers:x,y", Some(Scope::Peers(vec!["x".into(), "y".into()]))),
            ("", None),
            ("mesh:x", None),
            ("group", None),
            ("group:", None),
            ("groups:a,,b", None),
            ("everybody", None),
        ] {
            assert_eq!(scope(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn environment_variables() {
        let good = env_var("_K1=a=b").unwrap();
        assert_eq!((good.key.as_str(), &good.value), ("_K1", &EnvValue::Plain("a=b".into())));
        assert_eq!(env_var("K=").unwrap().value, EnvValue::Plain("".into()));
        assert_eq!(env_var("K=$vault:key").unwrap().value, EnvValue::Vault("key".into()));
        let file = EnvValue::VaultFile { entry: "a.b-c".into(), path: "/run/a:b".into() };
        assert_eq!(env_var("K=$vault:a.b-c:file:/run/a:b").unwrap().value, file);
        let spaced = EnvValue::Vault("aws/prod key".into());
        assert_eq!(env_var("K=$vault:aws/prod key").unwrap().value, spaced);
        assert!(env_var("K=$vault:a:file:/a/../b").unwrap_err().contains("mount path"));
        for bad in ["K=$vault:", "K=$vault:a:b", "K=$vault:a:file:b", "K=$vault: a", "K=$vault::file:/a"] {
            assert!(env_var(bad).unwrap_err().contains("$vault:key:file:/path"), "{bad}");
        }
        for bad in ["K", "=v", "1K=v", "K-K=v", "K K=SECRET", "K=a\0SECRET"] {
            let error = env_var(bad).unwrap_err();
            assert!(!error.contains("SECRET"), "{bad:?}: {error}");
        }
        assert!(!format!("{good:?}").contains("a=b"));
    }

    #[test]
    fn a_command_is_split_as_people_expect_and_nothing_is_expanded() {
        let table: [(&str, &[&str]); 6] = [
            ("npm run build", &["npm", "run", "build"]),
            ("  a\tb  ", &["a", "b"]),
            (r#"a "b c" 'd "e' f\ g"#, &["a", "b c", "d \"e", "f g"]),
            (r#"a"b"'c' "" x"#, &["abc", "", "x"]),
            (r#"'\' "\"" $HOME *; | `x`"#, &["\\", "\"", "$HOME", "*;", "|", "`x`"]),
            ("ü é", &["ü", "é"]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text).unwrap().0, expected, "{text}");
        }
        for (text, why) in [("", "empty"), ("  ", "empty"), ("a 'b", "not closed"), ("a \\", "backslash")] {
            assert!(words(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn amounts_of_bytes() {
        let good = [("0", 0), ("17", 17), ("1KiB", 1024), ("10GiB", 10 << 30), ("2 MiB", 2 << 20)];
        for (text, expected) in good {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "GiB", "-1", "1.5GiB", "1GB", "99999999999TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
