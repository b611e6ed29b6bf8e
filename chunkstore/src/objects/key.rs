//! The names of objects.

use std::fmt;

/// A key: segments of `[A-Za-z0-9._-]` joined by `/`, no segment empty, `.`, `..` or longer than 255 bytes, at
/// most 512 bytes in all. So it is also a relative path on any file system and needs no escaping in an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Text that is not an object key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an object key")]
pub struct ObjectKeyError {
    text: String,
}

impl ObjectKey {
    /// Checks the text of a key.
    pub fn parse(text: impl Into<String>) -> Result<Self, ObjectKeyError> {
        let text = text.into();
        let good_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let good_segment = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment.len() <= 255
                && segment.bytes().all(good_byte)
        };
        if text.len() <= 512 && text.split('/').all(good_segment) {
            Ok(Self(text))
        } else {
            Err(ObjectKeyError {
                text: text.chars().take(128).collect(),
            })
        }
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_relative_paths() {
        assert!(ObjectKey::parse("pools/pool_0/files/ab/abc.up_1.darc").is_ok());
        for text in [
            "", "/a", "a/", "a//b", "a/../b", ".", "a b", "a\\b", "é", "a?b",
        ] {
            assert!(ObjectKey::parse(text).is_err(), "{text}");
        }
        assert!(ObjectKey::parse("a".repeat(255)).is_ok());
        assert!(ObjectKey::parse("a".repeat(256)).is_err());
        assert!(ObjectKey::parse("a/".repeat(256) + "a").is_err());
    }
}
