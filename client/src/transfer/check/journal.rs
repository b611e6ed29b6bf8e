//! The chunks of a journal.

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::{MAX_CHUNK_LEN, table};
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::noms_dir::Journal;

use super::CheckError;

/// What was found in a journal.
#[derive(Debug, Default)]
pub struct JournalCheck {
    /// How many chunks are in it.
    pub count: u64,
    /// What is wrong with some of them.
    pub problems: Vec<CheckError>,
}

/// Checks every chunk of a journal. Blocks.
pub fn check_journal(journal: &Journal) -> JournalCheck {
    let mut found = JournalCheck::default();
    let mut stored = Vec::new();
    for (address, span) in journal.in_file_order() {
        found.count += 1;
        let checked = read_checked(journal, address, span, &mut stored);
        found
            .problems
            .extend(checked.err().map(|error| match error.chunk() {
                Some(_) => error,
                None => CheckError::Unread {
                    address,
                    path: journal.path().to_owned(),
                    source: Box::new(error),
                },
            }));
    }
    found
}

/// Reads the stored form of a chunk of a journal into `stored`, in the place of what was there, and checks that it is
/// the chunk of that address.
pub(in crate::transfer) fn read_checked(
    journal: &Journal,
    address: ChunkAddress,
    span: ByteSpan,
    stored: &mut Vec<u8>,
) -> Result<(), CheckError> {
    stored.clear();
    journal
        .read_stored(span, stored)
        .map_err(|source| CheckError::Store { source })?;
    let path = || journal.path().to_owned();
    let mut chunk = Vec::new();
    table::record::decode(stored, MAX_CHUNK_LEN, &mut chunk).map_err(|source| {
        CheckError::Chunk {
            address,
            path: path(),
            source,
        }
    })?;
    check_chunks(&[address], &[&chunk]).map_err(|source| CheckError::Address {
        path: path(),
        source,
    })
}
