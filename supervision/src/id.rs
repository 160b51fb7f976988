//! Names in the tree: the id of a child, and the path of a node.
//!
//! Both are validated once, where they are made; everything behind that trusts them.

use std::{fmt, sync::Arc};

/// The longest child id, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// What separates the ids in a [`NodePath`].
const SEPARATOR: char = '/';

/// The name of a child among its siblings: 1 to [`MAX_ID_BYTES`] bytes, no `/`, no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(Arc<str>);

/// Why a text is not a [`ChildId`] or not a [`NodePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("is empty")]
    Empty,
    /// Longer than [`MAX_ID_BYTES`].
    #[error("is {0} bytes long, at most {MAX_ID_BYTES} are allowed")]
    TooLong(usize),
    /// A `/`, which separates the ids of a path, or a control character.
    #[error("contains {0:?}, which is not allowed")]
    Character(char),
}

impl ChildId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ChildId {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        check(text)?;
        Ok(Self(Arc::from(text)))
    }
}

impl TryFrom<String> for ChildId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        check(&text)?;
        Ok(Self(Arc::from(text)))
    }
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    let refused = |c: &char| *c == SEPARATOR || c.is_control();
    text.chars().find(refused).map_or(Ok(()), |c| Err(IdError::Character(c)))
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Where a node stands in the tree: the ids from below the root down to it, joined by `/`.
///
/// The root itself has its own name as path and its children do not repeat it:
/// under a root `broker` stand `meshes`, `meshes/default`, and so on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(Arc<str>);

impl NodePath {
    /// The path of a node directly below the root, or of the root itself.
    #[must_use]
    pub fn top(id: &ChildId) -> Self {
        Self(Arc::clone(&id.0))
    }

    /// The path of this node's child `id`.
    #[must_use]
    pub fn join(&self, id: &ChildId) -> Self {
        Self(Arc::from(format!("{}{SEPARATOR}{}", self.0, id.0)))
    }

    /// The path of the node above, `None` directly below the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (above, _) = self.0.rsplit_once(SEPARATOR)?;
        Some(Self(Arc::from(above)))
    }

    /// The last id of the path.
    #[must_use]
    pub fn last(&self) -> &str {
        self.0.rsplit_once(SEPARATOR).map_or(&self.0, |(_, last)| last)
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl TryFrom<&str> for NodePath {
    type Error = IdError;

    fn try_from(text: &str) -> Result<Self, IdError> {
        text.split(SEPARATOR).try_for_each(check)?;
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_id_is_refused_with_its_reason() {
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for (text, error) in [
            ("", IdError::Empty),
            ("a/b", IdError::Character('/')),
            ("a\nb", IdError::Character('\n')),
            (long.as_str(), IdError::TooLong(MAX_ID_BYTES + 1)),
        ] {
            assert_eq!(ChildId::try_from(text), Err(error));
        }
        let longest = "é".repeat(MAX_ID_BYTES / 2);
        assert_eq!(ChildId::try_from(longest.as_str()).unwrap().as_str(), longest);
    }

    #[test]
    fn a_path_joins_and_climbs() {
        let id = |s: &str| ChildId::try_from(s).unwrap();
        let path = NodePath::top(&id("meshes")).join(&id("default"));
        assert_eq!(path.as_str(), "meshes/default");
        assert_eq!(path.last(), "default");
        assert_eq!(path.parent(), Some(NodePath::top(&id("meshes"))));
        assert_eq!(path.parent().unwrap().parent(), None);
        assert_eq!(NodePath::try_from("meshes/default"), Ok(path));
        assert_eq!(NodePath::try_from("a//b"), Err(IdError::Empty));
    }
}
