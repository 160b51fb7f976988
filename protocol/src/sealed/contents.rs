//! What is in a box.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Binding, MAX_FILE_BYTES, MAX_FILES, MAX_PLAIN_BYTES, SealedError, VERSION};
use crate::identity::{MemberKey, PublicKey, Signature, signed_text};
use crate::link::validate_env;
use crate::secret::{self, SecretString};
use crate::validate;

/// What a deployer signs is good for nothing else.
const DOMAIN: &str = "claudemesh/sealed/v1";

/// A file that a process finds at the path its variable names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// The path that was asked for; where that cannot be had, the variable names another one.
    pub path: String,
    /// Base64 of what is in it.
    #[serde(serialize_with = "secret::reveal")]
    pub content: SecretString,
    /// The variable.
    pub var: String,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Variables.
    pub env: BTreeMap<String, SecretString>,
    /// Files.
    pub files: Vec<SecretFile>,
    /// A token for the repository.
    pub git_token: Option<SecretString>,
    /// Which variable has which entry of the deployer's vault; only the deployer reads it.
    pub refs: BTreeMap<String, String>,
}

/// The JSON of the contents.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    v: u32,
    binding: Binding,
    #[serde(serialize_with = "secret::reveal")]
    env: BTreeMap<String, SecretString>,
    files: Vec<SecretFile>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "secret::reveal")]
    git_token: Option<SecretString>,
    refs: BTreeMap<String, String>,
    by: PublicKey,
    sig: Signature,
}

/// A box that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The process it is for.
    pub binding: Binding,
    /// What that process is given.
    pub contents: Contents,
    by: PublicKey,
    sig: Signature,
}

impl SecretFile {
    /// A file of the given bytes.
    #[must_use]
    pub fn new(var: impl Into<String>, path: impl Into<String>, bytes: &[u8]) -> Self {
        Self { var: var.into(), path: path.into(), content: SecretString::new(STANDARD.encode(bytes)) }
    }

    /// What is in it.
    ///
    /// # Errors
    /// [`SealedError::NotOpened`] when it is not base64.
    pub fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        STANDARD.decode(self.content.expose()).map(Zeroizing::new).map_err(|_| SealedError::NotOpened)
    }
}

impl Contents {
    /// Whether there is anything to seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.env.is_empty() && self.files.is_empty() && self.git_token.is_none()
    }

    /// The names of all its variables, those of files among them.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.env.keys().map(String::as_str).chain(self.files.iter().map(|file| file.var.as_str()))
    }

    /// Checks names, sizes and paths.
    ///
    /// # Errors
    /// [`SealedError::Contents`], which names the variable and never a value.
    pub fn validate(&self) -> Result<(), SealedError> {
        let refuse = |words: String| Err(SealedError::Contents(words));
        validate_env(&self.env).map_err(|error| SealedError::Contents(error.to_string()))?;
        if self.files.len() > MAX_FILES {
            return refuse(format!("there are more than {MAX_FILES} secret files"));
        }
        let mut seen: BTreeSet<&str> = self.env.keys().map(String::as_str).collect();
        let mut paths = BTreeSet::new();
        for file in &self.files {
            let var = &file.var;
            if !validate::is_variable_name(var) {
                return refuse("a secret file's variable has no name for one".to_owned());
            }
            if !seen.insert(var) {
                return refuse(format!("the variable {var} is given twice"));
            }
            validate::mount_path(&file.path)
                .map_err(|rule| SealedError::Contents(format!("the path for {var} is refused: {rule}")))?;
            if !paths.insert(&file.path) {
                return refuse(format!("the path for {var} is that of another file"));
            }
            if file.bytes()?.len() > MAX_FILE_BYTES {
                return refuse(format!("the file for {var} is over the limit of {MAX_FILE_BYTES} bytes"));
            }
        }
        Ok(())
    }

    /// The JSON that goes into the box, signed by the deployer.
    pub(super) fn to_json(&self, binding: &Binding, deployer: &MemberKey) -> Result<Zeroizing<Vec<u8>>, SealedError> {
        self.validate()?;
        let contents = |words: String| SealedError::Contents(words);
        let text = signed(binding, &self.refs)?;
        let plain = Plain {
            v: VERSION,
            binding: binding.clone(),
            env: self.env.clone(),
            files: self.files.clone(),
            git_token: self.git_token.clone(),
            refs: self.refs.clone(),
            by: deployer.public(),
            sig: deployer.sign(text.as_bytes()),
        };
        let json = serde_json::to_vec(&plain).map(Zeroizing::new).map_err(|error| contents(error.to_string()))?;
        if json.len() > MAX_PLAIN_BYTES {
            return Err(contents(format!("the secrets are over the limit of {MAX_PLAIN_BYTES} bytes together")));
        }
        Ok(json)
    }
}

impl Opened {
    /// Reads what was in the box. The words of a parser could quote it, so none are passed on.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, SealedError> {
        let plain: Plain = serde_json::from_slice(json).map_err(|_| SealedError::NotOpened)?;
        if plain.v != VERSION {
            return Err(SealedError::Version(plain.v));
        }
        let Plain { binding, env, files, git_token, refs, by, sig, .. } = plain;
        let contents = Contents { env, files, git_token, refs };
        contents.validate()?;
        Ok(Self { binding, contents, by, sig })
    }

    /// Who says to have sealed it: ask [`Opened::is_by`] whether that is so.
    #[must_use]
    pub fn by(&self) -> PublicKey {
        self.by
    }

    /// Whether it is for the process that is asked for.
    ///
    /// # Errors
    /// [`SealedError::ForOther`] with the first field that differs.
    pub fn is_for(&self, asked: &super::Asked<'_>) -> Result<(), SealedError> {
        match self.binding.differs(&Binding::of(asked, &self.contents)) {
            Some(field) => Err(SealedError::ForOther(field)),
            None => Ok(()),
        }
    }

    /// Whether this member said what it is for: only then may it be sealed again for that.
    ///
    /// # Errors
    /// [`SealedError::NotOpened`] when it is somebody else's.
    pub fn is_by(&self, member: &PublicKey) -> Result<(), SealedError> {
        let text = signed(&self.binding, &self.contents.refs)?;
        if self.by != *member {
            return Err(SealedError::NotOpened);
        }
        member.verify(text.as_bytes(), &self.sig).map_err(|_| SealedError::NotOpened)
    }
}

/// `claudemesh/sealed/v1|<mesh id>|<service>|<SHA-256 of the JSON [binding, refs]>`.
fn signed(binding: &Binding, refs: &BTreeMap<String, String>) -> Result<String, SealedError> {
    let json = serde_json::to_vec(&(binding, refs)).map_err(|error| SealedError::Contents(error.to_string()))?;
    let digest = hex::encode(Sha256::digest(&json));
    let fields = [("domain", DOMAIN), ("mesh", &binding.mesh), ("service", &binding.service), ("digest", &digest)];
    signed_text(&fields).map_err(|error| SealedError::Contents(error.to_string()))
}
