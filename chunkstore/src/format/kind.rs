//! Telling a table file from an archive by its last bytes.

use super::{DecodeError, archive, table};

/// Which of the two formats a stored file has.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A classic table file.
    Table,
    /// An archive.
    Archive,
}

impl FileKind {
    /// Reads the kind off the last bytes of a file (eight are enough).
    pub fn detect(tail: &[u8]) -> Result<Self, DecodeError> {
        if tail.ends_with(&table::MAGIC) {
            Ok(Self::Table)
        } else if tail.ends_with(archive::MAGIC) {
            Ok(Self::Archive)
        } else {
            let found = tail[tail.len().saturating_sub(table::MAGIC.len())..].to_vec();
            Err(DecodeError::Magic {
                wanted: "table file or archive",
                found,
            })
        }
    }

    /// The end of the file's name: nothing, or `.darc`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Table => "",
            Self::Archive => ".darc",
        }
    }
}
