//! Which services have an entry of the vault, and whether they have its value. Pure.
//!
//! Contract: a box says itself which variables have which entry, signed by the person; the broker's word is not asked. A
//! box keeps no version: whether it is older than the vault is told by the value in it.

use protocol::SecretString;
use protocol::identity::X25519Public;
use protocol::sealed::{Contents, Opened, SecretFile, kid};
use serde::Serialize;

use super::boxes::OwnBox;
use crate::text;

/// What a service has of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    /// The value that the vault has.
    Current,
    /// Another one: the vault has had a new one since.
    Older,
    /// It cannot be compared, since the entry does not open.
    Unknown,
}

/// A variable of a service that has an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Use {
    /// The service.
    pub(crate) service: String,
    /// The variable.
    pub(crate) variable: String,
    /// What it has.
    pub(crate) held: Held,
}

impl Use {
    /// Where it is, clean.
    pub(crate) fn place(&self) -> String {
        format!("{} ({})", text::line(&self.service), text::line(&self.variable))
    }

    /// For a cell of a table.
    pub(crate) fn shown(&self) -> String {
        let place = self.place();
        match self.held {
            Held::Current => place,
            Held::Older => format!("{place}: older than the vault"),
            Held::Unknown => format!("{place}: not compared"),
        }
    }
}

/// Each variable of each service that has an entry; `value` is the vault's, if it opens.
pub(crate) fn of(boxes: &[OwnBox], entry: &str, value: Option<&[u8]>) -> Vec<Use> {
    let mut uses = Vec::new();
    for (service, opened) in boxes.iter().filter_map(|one| Some((&one.service, one.opened.as_ref().ok()?))) {
        for variable in variables(&opened.contents, entry) {
            let held = match value {
                None => Held::Unknown,
                Some(value) if holds(opened, &variable, value) => Held::Current,
                Some(_) => Held::Older,
            };
            uses.push(Use { service: service.clone(), variable, held });
        }
    }
    uses
}

/// The entries that are used, each once.
pub(crate) fn entries(boxes: &[OwnBox]) -> std::collections::BTreeSet<&str> {
    let opened = boxes.iter().filter_map(|one| one.opened.as_ref().ok());
    opened.flat_map(|opened| opened.contents.refs.values().map(String::as_str)).collect()
}

/// The same secrets with another value of one entry.
///
/// # Errors
/// The variable that cannot hold it, in words without the value.
pub(crate) fn renewed(mut contents: Contents, entry: &str, value: &[u8]) -> Result<Contents, String> {
    for variable in variables(&contents, entry) {
        if let Some(file) = contents.files.iter_mut().find(|file| file.var == variable) {
            *file = SecretFile::new(variable, file.path.clone(), value);
        } else if let Some(held) = contents.env.get_mut(&variable) {
            let text = std::str::from_utf8(value).map_err(|_| format!("{variable} cannot hold what is no text"))?;
            *held = SecretString::from(text);
        }
    }
    contents.validate().map_err(|error| error.to_string())?;
    Ok(contents)
}

/// Of the keys that may be sealed for, those that opened the box before: it is for nobody else from now on either.
pub(crate) fn same_openers(keys: Vec<X25519Public>, kids: &[String]) -> Vec<X25519Public> {
    keys.into_iter().filter(|key| kids.contains(&kid(key))).collect()
}

fn variables(contents: &Contents, entry: &str) -> Vec<String> {
    contents.refs.iter().filter(|(_, key)| *key == entry).map(|(variable, _)| variable.clone()).collect()
}

fn holds(opened: &Opened, variable: &str, value: &[u8]) -> bool {
    let contents = &opened.contents;
    if let Some(text) = contents.env.get(variable) {
        return text.expose().as_bytes() == value;
    }
    let file = contents.files.iter().find(|file| file.var == variable);
    file.and_then(|file| file.bytes().ok()).is_some_and(|bytes| bytes.as_slice() == value)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::collections::BTreeMap;

    use protocol::identity::{MemberKey, X25519Secret};
    use protocol::link::Source;
    use protocol::sealed::{Asked, Binding, SealedConfig, SealedError};

    use super::*;

    /// A box with `API_KEY` and the file `PEM` out of the entries `token` and `pem`.
    pub(in crate::vault) fn boxed(service: &str, token: &str, pem: &[u8]) -> OwnBox {
        let member = MemberKey::from_seed(&[7; 32]);
        let contents = Contents {
            env: BTreeMap::from([("API_KEY".to_owned(), token.into()), ("PLAIN".to_owned(), token.into())]),
            files: vec![SecretFile::new("PEM", "/run/pem", pem)],
            git_token: None,
            refs: [("API_KEY", "token"), ("PEM", "pem")].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
        };
        let source = Source::Npx { package: "p".into() };
        let env = BTreeMap::new();
        let asked = Asked {
            mesh_id: "mesh-1",
            service,
            source: &source,
            sha256: None,
            runtime: None,
            args: &[],
            env: &env,
            network_allow: None,
            memory_mb: None,
            cpus: None,
            pids: None,
            fds: None,
            isolation: None,
        };
        let runner = X25519Secret::from_bytes(&[1; 32]).public();
        let binding = Binding::of(&asked, &contents);
        let sealed = SealedConfig::seal(&binding, &contents, &[runner], &member, &mut rand::random).unwrap();
        let opened = sealed.open(&X25519Secret::of(&member));
        OwnBox { service: service.to_owned(), kids: sealed.kids().map(str::to_owned).collect(), opened }
    }

    #[test]
    fn a_service_has_the_vaults_value_or_an_older_one() {
        let mut boxes = vec![boxed("one", "new", b"k"), boxed("two", "old", b"k")];
        boxes.push(OwnBox { service: "odd".to_owned(), kids: Vec::new(), opened: Err(SealedError::OtherKey) });
        let held = |entry: &str, value: Option<&[u8]>| {
            let uses = of(&boxes, entry, value);
            uses.iter().map(|found| (found.service.clone(), found.held)).collect::<Vec<_>>()
        };
        let of_both = |one, two| vec![("one".to_owned(), one), ("two".to_owned(), two)];
        assert_eq!(held("token", Some(b"new")), of_both(Held::Current, Held::Older));
        assert_eq!(held("pem", Some(b"k")), of_both(Held::Current, Held::Current));
        assert_eq!(held("pem", Some(b"l")), of_both(Held::Older, Held::Older));
        assert_eq!(held("token", None), of_both(Held::Unknown, Held::Unknown));
        assert_eq!(held("none", Some(b"new")), []);
        assert_eq!(entries(&boxes).into_iter().collect::<Vec<_>>(), ["pem", "token"]);
    }

    #[test]
    fn h24_who_did_not_open_a_box_does_not_open_the_next_one() {
        let key = |n: u8| X25519Secret::from_bytes(&[n; 32]).public();
        let before = boxed("one", "old", b"k").kids;
        assert_eq!(same_openers(vec![key(2), key(1), key(3)], &before), [key(1)]);
        assert_eq!(same_openers(vec![key(2)], &before), []);
    }

    #[test]
    fn a_new_value_takes_the_place_of_its_entrys_and_of_no_other() {
        let contents = boxed("one", "old", b"k").opened.unwrap().contents;
        let token = renewed(contents.clone(), "token", b"new").unwrap();
        assert_eq!((token.env["API_KEY"].expose(), token.env["PLAIN"].expose()), ("new", "old"));
        assert_eq!((&token.files, &token.refs), (&contents.files, &contents.refs));
        let pem = renewed(contents.clone(), "pem", b"\xff\0").unwrap();
        assert_eq!(pem.files[0].bytes().unwrap().as_slice(), b"\xff\0");
        assert_eq!((pem.files[0].path.as_str(), &pem.env), ("/run/pem", &contents.env));
        let words = renewed(contents, "token", b"\xff\xfe").unwrap_err();
        assert_eq!(words, "API_KEY cannot hold what is no text");
    }
}
