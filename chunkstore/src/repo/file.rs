//! What is known of one stored table file or archive.

use crate::address::TableFileId;
use crate::id::UploadId;

pub use crate::format::FileKind;

/// One stored file, as a log record names it. Everything in it was checked before it was written down.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredFile {
    /// Which upload brought these bytes; with `id` and `kind` it makes the object's key.
    pub upload: UploadId,
    /// The name that Dolt knows the file by.
    pub id: TableFileId,
    /// Table file or archive.
    pub kind: FileKind,
    /// Length in bytes.
    pub len: u64,
    /// How many chunks its index lists.
    pub chunks: u32,
    /// Where the index begins: the length of the data section in bytes.
    pub split_offset: u64,
    /// SHA-256 of the whole file.
    pub sha256: Sha256,
    /// MD5 of the whole file: what the protocol compares uploads by.
    pub md5: Md5,
}

/// What a client says of a file before it sends it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeclaredFile {
    /// The name that Dolt knows the file by.
    pub id: TableFileId,
    /// Table file or archive.
    pub kind: FileKind,
    /// Length in bytes.
    pub len: u64,
    /// How many chunks it has.
    pub chunks: u32,
    /// MD5 of the whole file, where the client gives one.
    pub md5: Option<Md5>,
}

macro_rules! digest_newtype {
    ($(#[$meta:meta])* $name:ident, $len:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; $len]);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
                let bytes = bytes.try_into().map_err(|_| serde::de::Error::custom("a digest of the wrong length"))?;
                Ok(Self(bytes))
            }
        }
    };
}

digest_newtype!(
    /// A SHA-256 digest; as text in lower-case hexadecimal.
    Sha256, 32
);
digest_newtype!(
    /// An MD5 digest; as text in lower-case hexadecimal. Not a protection against anybody.
    Md5, 16
);
