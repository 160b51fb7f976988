//! The member's side: a value becomes an entry.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use zeroize::Zeroizing;

use super::{MAX_DESCRIPTION_BYTES, MAX_VALUE_BYTES, MAX_VERSION, VaultError, label, statement};
use crate::identity::{MemberKey, NONCE_BYTES, SYMMETRIC_KEY_BYTES, seal, seal_secretbox};
use crate::validate;
use crate::wire::{EntryType, VaultEntry};

/// Random bytes for one entry; used for another one they would give both away.
pub struct Drawn {
    /// The entry's own key.
    pub file_key: Zeroizing<[u8; SYMMETRIC_KEY_BYTES]>,
    /// The box's nonce.
    pub nonce: [u8; NONCE_BYTES],
    /// Of the key pair that seals the entry's key.
    pub one_time_seed: Zeroizing<[u8; 32]>,
}

/// A value and where it belongs, before it is sealed.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    /// The mesh.
    pub mesh_id: &'a str,
    /// Its name.
    pub key: &'a str,
    /// What it becomes.
    pub entry_type: EntryType,
    /// Of a file: where a process finds it.
    pub mount_path: Option<&'a str>,
    /// In the member's words; everybody who keeps the entry reads it.
    pub description: Option<&'a str>,
    /// Higher than that of every value before it; from 1 to [`MAX_VERSION`].
    pub version: u64,
    /// The text of a variable in UTF-8, or the bytes of a file.
    pub plain: &'a [u8],
}

impl Value<'_> {
    /// Seals it for the member, who signs it.
    ///
    /// # Errors
    /// [`VaultError`]: a name, a length or the version that is not allowed, or a value that no variable can hold.
    pub fn seal(&self, member: &MemberKey, drawn: &Drawn) -> Result<VaultEntry, VaultError> {
        self.check()?;
        let ciphertext = seal_secretbox(self.plain, &drawn.nonce, &drawn.file_key).map_err(|_| VaultError::TooLarge)?;
        let sealed_key = seal(drawn.file_key.as_slice(), &member.public(), *drawn.one_time_seed)
            .map_err(|_| VaultError::UnusableKey)?;
        let mut entry = VaultEntry {
            key: self.key.to_owned(),
            ciphertext: BASE64.encode(&ciphertext),
            nonce: BASE64.encode(drawn.nonce),
            sealed_key: BASE64.encode(sealed_key),
            entry_type: self.entry_type,
            mount_path: self.mount_path.map(str::to_owned),
            description: self.description.map(str::to_owned),
            version: Some(self.version),
            sig: None,
        };
        let text = statement(&entry, &ciphertext, self.version, self.mesh_id, member.public())?;
        entry.sig = Some(member.sign(text.as_bytes()));
        Ok(entry)
    }

    fn check(&self) -> Result<(), VaultError> {
        validate::vault_key(self.key)?;
        if let Some(path) = self.mount_path {
            label(self.entry_type, path)?;
        }
        if self.plain.len() > MAX_VALUE_BYTES {
            return Err(VaultError::TooLarge);
        }
        if self.description.is_some_and(|text| text.len() > MAX_DESCRIPTION_BYTES) {
            return Err(VaultError::Description);
        }
        if self.version == 0 || self.version > MAX_VERSION {
            return Err(VaultError::Version);
        }
        if self.entry_type == EntryType::Env && !is_text(self.plain) { Err(VaultError::NotText) } else { Ok(()) }
    }
}

/// Whether a variable can hold it.
pub(super) fn is_text(plain: &[u8]) -> bool {
    std::str::from_utf8(plain).is_ok_and(|text| !text.contains('\0'))
}
