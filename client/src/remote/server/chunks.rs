//! From the bytes that came to chunks that are what they should be.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::MAX_CHUNK_LEN;
use holdfast_chunkstore::format::archive::{Decoder, Dictionary};
use holdfast_chunkstore::hash::check_chunks;

use crate::remote::parcel::{Parcel, Room};
use crate::remote::{RemoteChunk, RemoteError};

/// How many bytes are decoded before they are checked: a remote that sends little that stands for much does not get
/// far.
const MAX_UNCHECKED_BYTES: usize = 4 << 20;

/// A chunk as it came.
#[derive(Debug)]
pub(super) struct Stored {
    /// What it should be.
    pub(super) address: ChunkAddress,
    /// Its bytes.
    pub(super) bytes: Bytes,
    /// What it was compressed with; nothing for a snappy record.
    pub(super) dictionary: Option<Arc<Dictionary>>,
    /// What it takes in memory with those that came with it; nothing where that is counted elsewhere.
    pub(super) room: Option<Arc<Room>>,
}

impl Stored {
    /// How long it says that it is.
    pub(super) fn claimed_len(&self) -> u64 {
        let dictionary = self.dictionary.as_deref();
        Decoder::claimed_len(&self.bytes, dictionary, MAX_CHUNK_LEN).into()
    }
}

/// Decodes chunks and checks each. Blocks.
pub(super) fn decode_checked(stored: Vec<Stored>) -> Result<Parcel, RemoteError> {
    let mut decoder = Decoder::new();
    let mut addresses = Vec::with_capacity(stored.len());
    let mut chunks = Vec::with_capacity(stored.len());
    let mut records = Vec::with_capacity(stored.len());
    let mut rooms: Vec<Arc<Room>> = Vec::new();
    let (mut checked, mut unchecked_bytes) = (0, 0);
    for Stored {
        address,
        bytes,
        dictionary,
        room,
    } in stored
    {
        // What was compressed with a dictionary is not kept in its stored form.
        if let Some(room) = room
            && dictionary.is_none()
            && !rooms.last().is_some_and(|last| Arc::ptr_eq(last, &room))
        {
            rooms.push(room);
        }
        let mut chunk = Vec::new();
        let decoded = decoder.decode(&bytes, dictionary.as_deref(), MAX_CHUNK_LEN, &mut chunk);
        let len = decoded.map_err(|source| RemoteError::Chunk { address, source })?;
        addresses.push(address);
        chunks.push(Bytes::from(chunk.into_boxed_slice()));
        records.push(dictionary.is_none().then_some(bytes));
        unchecked_bytes += len;
        if unchecked_bytes >= MAX_UNCHECKED_BYTES {
            check(&addresses[checked..], &chunks[checked..])?;
            (checked, unchecked_bytes) = (chunks.len(), 0);
        }
    }
    check(&addresses[checked..], &chunks[checked..])?;
    let chunks = chunks.into_iter().zip(records);
    let chunks = chunks.map(|(chunk, record)| RemoteChunk { chunk, record });
    Ok(Parcel {
        chunks: addresses.into_iter().zip(chunks).collect(),
        rooms,
    })
}

fn check(addresses: &[ChunkAddress], chunks: &[Bytes]) -> Result<(), RemoteError> {
    check_chunks(addresses, chunks).map_err(|source| RemoteError::OtherChunk { source })
}
