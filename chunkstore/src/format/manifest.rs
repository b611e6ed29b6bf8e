//! The manifest: one line of text that names the root and the files of a store.
//!
//! ```text
//! 5:__DOLT__:<lock>:<root>:<gc generation>[:<file id>:<chunk count>]…
//! 4:__DOLT__:<lock>:<root>[:<file id>:<chunk count>]…            read, never written
//! ```
//!
//! No line end. A file id has no suffix, also where the file is an archive. The lock is an opaque token of whoever
//! wrote the manifest; it is computed only for what we write ([`Manifest::replaced`]).

use std::fmt::{self, Write as _};

use sha2::Digest as _;

use crate::address::{AddressError, RootAddress, TableFileId};
use crate::error::ErrorKind;

/// The only storage version that is written.
const VERSION: &str = "5";

/// The version before, without a gc generation.
const OLD_VERSION: &str = "4";

/// The only format of chunks that is read.
pub const CHUNK_FORMAT: &str = "__DOLT__";

/// The longest manifest that is read: a store of half a million files.
pub const MAX_LEN: usize = 32 << 20;

/// The id under which a chunk journal is listed: twenty bytes of ones.
pub const JOURNAL_ID: TableFileId = TableFileId::new([0xff; 20]);

/// Why text is not a manifest that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is longer than any that Dolt could make use of.
    #[error("a manifest of {len} bytes, where {MAX_LEN} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// It is not text.
    #[error("the manifest is not UTF-8")]
    NotText,
    /// A storage version that we do not know: a newer Dolt wrote it.
    #[error(
        "storage version {version:?}: only 4 and 5 are known, a newer dolt may have written it"
    )]
    Version {
        /// The version, cut at 16 characters.
        version: String,
    },
    /// Another number of fields than the version needs.
    #[error("{fields} fields after the version, which storage version {version} does not have")]
    Fields {
        /// How many there are.
        fields: usize,
        /// The version.
        version: &'static str,
    },
    /// Chunks of a format that we do not know.
    #[error("chunks of format {format:?}, not {CHUNK_FORMAT}")]
    Format {
        /// The format, cut at 32 characters.
        format: String,
    },
    /// A field that should be an address.
    #[error("the {field} of the manifest")]
    Address {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: AddressError,
    },
    /// A chunk count that is no number of 32 bits.
    #[error("chunk count {text:?} of file {file}")]
    Count {
        /// Whose.
        file: TableFileId,
        /// What stands there, cut at 16 characters.
        text: String,
    },
    /// One file twice.
    #[error("file {file} is listed twice")]
    Repeated {
        /// The file.
        file: TableFileId,
    },
}

impl ManifestError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// A file of a store, as a manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListedFile {
    /// Its id: the name without a suffix.
    pub id: TableFileId,
    /// How many chunks it holds. Exact for table files, whose index is found by it; not for a journal.
    pub chunks: u32,
}

/// The token that whoever replaces a manifest must have read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lock([u8; 20]);

/// The generation of the last garbage collection: all zero where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GcGeneration([u8; 20]);

impl GcGeneration {
    /// There was no collection.
    pub const NONE: Self = Self([0; 20]);
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&RootAddress::new(self.0), f)
    }
}

impl fmt::Display for GcGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&RootAddress::new(self.0), f)
    }
}

/// A decoded manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The token of this state.
    pub lock: Lock,
    /// The root of the store.
    pub root: RootAddress,
    /// The last collection.
    pub gc_generation: GcGeneration,
    /// The files, in the order of the text.
    pub files: Vec<ListedFile>,
}

impl Manifest {
    /// A manifest of these files, never collected.
    pub fn new(root: RootAddress, files: Vec<ListedFile>) -> Self {
        Self {
            lock: lock_of(root, &files),
            root,
            gc_generation: GcGeneration::NONE,
            files,
        }
    }

    /// The manifest that takes the place of this one: of the same generation, with a new lock.
    #[must_use]
    pub fn replaced(&self, root: RootAddress, files: Vec<ListedFile>) -> Self {
        Self {
            gc_generation: self.gc_generation,
            ..Self::new(root, files)
        }
    }

    /// Decodes the text of a manifest, version 4 or 5.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_LEN {
            return Err(ManifestError::TooLong { len: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::NotText)?;
        let (version, rest) = text.split_once(':').unwrap_or((text, ""));
        let has_generation = match version {
            VERSION => true,
            OLD_VERSION => false,
            other => {
                let version = cut(other, 16);
                return Err(ManifestError::Version { version });
            }
        };
        let fields: Vec<&str> = rest.split(':').collect();
        let head = if has_generation { 4 } else { 3 };
        if fields.len() < head || !(fields.len() - head).is_multiple_of(2) {
            return Err(ManifestError::Fields {
                fields: fields.len(),
                version: if has_generation { VERSION } else { OLD_VERSION },
            });
        }
        if fields[0] != CHUNK_FORMAT {
            let format = cut(fields[0], 32);
            return Err(ManifestError::Format { format });
        }
        let generation = match has_generation {
            true => *address::<RootAddress>("gc generation", fields[3])?.as_bytes(),
            false => [0; 20],
        };
        Ok(Self {
            lock: Lock(*address::<RootAddress>("lock", fields[1])?.as_bytes()),
            root: address("root", fields[2])?,
            gc_generation: GcGeneration(generation),
            files: decode_files(&fields[head..])?,
        })
    }

    /// The text of the manifest, version 5.
    pub fn encode(&self) -> String {
        let mut text = format!(
            "{VERSION}:{CHUNK_FORMAT}:{}:{}:{}",
            self.lock, self.root, self.gc_generation,
        );
        for ListedFile { id, chunks } in &self.files {
            write!(text, ":{id}:{chunks}").expect("text takes everything");
        }
        text
    }
}

fn decode_files(fields: &[&str]) -> Result<Vec<ListedFile>, ManifestError> {
    let mut seen = std::collections::HashSet::with_capacity(fields.len() / 2);
    let (pairs, _) = fields.as_chunks::<2>();
    let decode = |[id, chunks]: &[&str; 2]| {
        let id: TableFileId = address("file id", id)?;
        let is_number = chunks.bytes().all(|byte| byte.is_ascii_digit());
        let number = chunks.parse().ok().filter(|_| is_number);
        let chunks = number.ok_or_else(|| ManifestError::Count {
            file: id,
            text: cut(chunks, 16),
        })?;
        if !seen.insert(id) {
            return Err(ManifestError::Repeated { file: id });
        }
        Ok(ListedFile { id, chunks })
    };
    pairs.iter().map(decode).collect()
}

/// The lock of a store in this state, as Dolt computes it today. Older versions left the last byte out, so no lock
/// that was read is ever compared with it.
fn lock_of(root: RootAddress, files: &[ListedFile]) -> Lock {
    let mut hasher = sha2::Sha512::new();
    hasher.update(root.as_bytes());
    hasher.update([0]);
    for file in files {
        hasher.update(file.id.as_bytes());
    }
    hasher.update([0]);
    let hash = hasher.finalize();
    Lock(*hash.first_chunk().expect("a SHA-512 has 64 bytes"))
}

fn address<T: std::str::FromStr<Err = AddressError>>(
    field: &'static str,
    text: &str,
) -> Result<T, ManifestError> {
    let parsed = text.parse();
    parsed.map_err(|source| ManifestError::Address { field, source })
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}
