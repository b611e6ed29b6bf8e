//! One record of a journal.

use crate::address::{ChunkAddress, RootAddress};
use crate::error::ErrorKind;
use crate::format::EncodeError;

/// The longest record; a longer one is damage.
pub const MAX_RECORD_LEN: u32 = 5 << 20;

/// The shortest record that can be: a length and a checksum.
pub(super) const MIN_RECORD_LEN: u32 = 8;

/// How many bytes stand before the payload of a chunk record that we or Dolt wrote.
pub const CHUNK_HEAD_LEN: usize = 28;

/// The length of a root record with a time.
const ROOT_LEN: u32 = 40;

/// The length of a root's record without the time.
const TIMELESS_ROOT_LEN: u32 = 31;

const CHECKSUM_LEN: usize = 4;

const TAG_KIND: u8 = 1;
const TAG_ADDRESS: u8 = 2;
const TAG_PAYLOAD: u8 = 3;
const TAG_TIME: u8 = 4;

const KIND_ROOT: u8 = 1;
const KIND_CHUNK: u8 = 2;

/// Why a record whose checksum is right cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A field of a kind that we do not know.
    #[error("field {tag} of a journal record is not known: a newer dolt may have written it")]
    Tag {
        /// Its tag.
        tag: u8,
    },
    /// A record of a kind that we do not know.
    #[error("kind {kind} of a journal record is not known: a newer dolt may have written it")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// A field that goes beyond the record.
    #[error("a journal record ends within its {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// A record without something that its kind needs.
    #[error("a journal record has no {field}")]
    Missing {
        /// What it lacks.
        field: &'static str,
    },
}

impl RecordError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Where the stored form of a chunk lies in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPayload {
    /// In bytes from the start of the record.
    pub offset: u32,
    /// Its length: the snappy block and its checksum.
    pub len: u32,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// The root of the store moved here.
    Root {
        /// The root.
        root: RootAddress,
        /// When, in seconds since 1970; records of before 2023 do not say.
        seconds: Option<u64>,
    },
    /// A chunk.
    Chunk {
        /// Its address.
        address: ChunkAddress,
        /// Its stored form: a record as in a table file.
        payload: ChunkPayload,
    },
}

/// Whether a whole record, length and checksum included, has the right checksum.
pub(super) fn is_intact(record: &[u8]) -> bool {
    match record.split_last_chunk::<CHECKSUM_LEN>() {
        Some((covered, stored)) => crc32c::crc32c(covered) == u32::from_be_bytes(*stored),
        None => false,
    }
}

impl Record {
    /// Decodes the fields of a whole record whose checksum was found right.
    pub(super) fn decode(record: &[u8]) -> Result<Self, RecordError> {
        let end = record.len().saturating_sub(CHECKSUM_LEN);
        let mut fields = Fields {
            record: record.get(..end).unwrap_or_default(),
            at: 4,
        };
        let (mut kind, mut address, mut seconds, mut payload) = (None, None, None, None);
        while let Some(tag) = fields.tag() {
            match tag {
                TAG_KIND => kind = Some(fields.take::<1>("kind")?[0]),
                TAG_ADDRESS => address = Some(*fields.take::<20>("address")?),
                TAG_TIME => seconds = Some(u64::from_be_bytes(*fields.take::<8>("time")?)),
                TAG_PAYLOAD => payload = Some(fields.rest()),
                tag => return Err(RecordError::Tag { tag }),
            }
        }
        let missing = |field| RecordError::Missing { field };
        let kind = kind.ok_or(missing("kind"))?;
        let address = address.ok_or(missing("address"))?;
        match kind {
            KIND_ROOT => Ok(Self::Root {
                root: RootAddress::new(address),
                seconds,
            }),
            KIND_CHUNK => Ok(Self::Chunk {
                address: ChunkAddress::new(address),
                payload: payload.ok_or(missing("payload"))?,
            }),
            kind => Err(RecordError::Kind { kind }),
        }
    }
}

struct Fields<'a> {
    record: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn tag(&mut self) -> Option<u8> {
        let tag = *self.record.get(self.at)?;
        self.at += 1;
        Some(tag)
    }

    fn take<const LEN: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<&'a [u8; LEN], RecordError> {
        let rest = self.record.get(self.at..).unwrap_or_default();
        let value = rest.first_chunk().ok_or(RecordError::Short { field })?;
        self.at += LEN;
        Ok(value)
    }

    /// Everything that is left.
    fn rest(&mut self) -> ChunkPayload {
        let as_u32 = |len| u32::try_from(len).expect("a record is shorter than 4 GiB");
        let payload = ChunkPayload {
            offset: as_u32(self.at),
            len: as_u32(self.record.len() - self.at),
        };
        self.at = self.record.len();
        payload
    }
}

/// The record of a root.
pub fn encode_root(root: RootAddress, seconds: u64) -> [u8; 40] {
    let mut record = [0; ROOT_LEN as usize];
    record[..4].copy_from_slice(&ROOT_LEN.to_be_bytes());
    record[4..7].copy_from_slice(&[TAG_KIND, KIND_ROOT, TAG_TIME]);
    record[7..15].copy_from_slice(&seconds.to_be_bytes());
    record[15] = TAG_ADDRESS;
    record[16..36].copy_from_slice(root.as_bytes());
    let checksum = crc32c::crc32c(&record[..36]);
    record[36..].copy_from_slice(&checksum.to_be_bytes());
    record
}

/// The record of a root as Dolt wrote it before 2023-11, without the time: those that write so read nothing else.
pub fn encode_timeless_root(root: RootAddress) -> [u8; 31] {
    let mut record = [0; TIMELESS_ROOT_LEN as usize];
    record[..4].copy_from_slice(&TIMELESS_ROOT_LEN.to_be_bytes());
    record[4..7].copy_from_slice(&[TAG_KIND, KIND_ROOT, TAG_ADDRESS]);
    record[7..27].copy_from_slice(root.as_bytes());
    let checksum = crc32c::crc32c(&record[..27]);
    record[27..].copy_from_slice(&checksum.to_be_bytes());
    record
}

/// Appends the record of a chunk, whose stored form is `stored`: a record as in a table file.
pub fn encode_chunk(
    address: ChunkAddress,
    stored: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let len = CHUNK_HEAD_LEN + stored.len() + CHECKSUM_LEN;
    let too_long = || EncodeError::Len {
        what: "journal record",
        len: len as u64,
    };
    let short = u32::try_from(len).ok().filter(|len| *len <= MAX_RECORD_LEN);
    let start = out.len();
    out.extend_from_slice(&short.ok_or_else(too_long)?.to_be_bytes());
    out.extend_from_slice(&[TAG_KIND, KIND_CHUNK, TAG_ADDRESS]);
    out.extend_from_slice(address.as_bytes());
    out.push(TAG_PAYLOAD);
    out.extend_from_slice(stored);
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
    Ok(())
}
