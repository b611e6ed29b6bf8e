//! What can still be read of a file with damaged chunks, copied into a file without them.
//!
//! # Memory
//! Some 100 bytes for each chunk of the file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::joining::Copier;
use super::layout::file_name;
use super::stored_file::StoredFile;
use crate::address::ChunkAddress;
use crate::format::{FileKind, Written};

/// What was copied.
#[derive(Debug)]
pub struct Salvaged {
    /// The new file and where it lies; nothing if no chunk can be read.
    pub file: Option<(PathBuf, FileKind, Written)>,
    /// The chunks that cannot be read.
    pub lost: Vec<ChunkAddress>,
}

/// Copies the chunks of a file that can be read, each checked against its address, into a new file in `directory`.
/// Blocks.
pub fn salvage(file: &StoredFile, directory: &Path) -> Result<Salvaged, StoreError> {
    let mut copier = Copier::begin(directory, file.kind())?;
    let (mut dictionaries, mut lost, mut count) = (HashMap::new(), Vec::new(), 0_u64);
    for address in file.addresses() {
        let address = address?;
        let Some(span) = file.find(address)? else {
            continue;
        };
        match copier.copy_chunk(file, address, span, &mut dictionaries) {
            Ok(()) => count += 1,
            Err(StoreError::File { .. } | StoreError::Chunk { .. } | StoreError::Io { .. }) => {
                lost.push(address);
            }
            Err(error) => return Err(error),
        }
    }
    let file = match count {
        0 => None,
        _ => {
            let written = copier.land(file.kind())?;
            let path = directory.join(file_name(written.id, file.kind()));
            Some((path, file.kind(), written))
        }
    };
    Ok(Salvaged { file, lost })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::testing::generate::{self, Compression};

    #[test]
    fn all_but_the_damaged_chunks_are_copied() {
        let place = tempfile::tempdir().unwrap();
        let made = generate::archive(5, 40, Compression::Mixed);
        let id = made.written.id;
        let path = place.path().join(file_name(id, FileKind::Archive));
        let file = std::fs::File::create_new(&path).unwrap();
        file.write_all_at(&made.file, 0).unwrap();
        let stored = StoredFile::open(place.path(), id).unwrap().unwrap();
        let damaged: HashSet<_> = [3, 17].map(|number: usize| made.chunks[number].0).into();
        for address in &damaged {
            let span = stored.find(*address).unwrap().unwrap().data;
            file.write_all_at(&vec![0; span.len as usize], span.offset)
                .unwrap();
        }
        let into = tempfile::tempdir().unwrap();
        let salvaged = salvage(&stored, into.path()).unwrap();
        assert_eq!(
            salvaged.lost.iter().copied().collect::<HashSet<_>>(),
            damaged
        );
        let (path, kind, written) = salvaged.file.unwrap();
        assert_eq!((kind, written.count), (FileKind::Archive, 38));
        assert!(path.is_file());
        let copy = StoredFile::open(into.path(), written.id).unwrap().unwrap();
        for (address, chunk) in &made.chunks {
            let found = copy.find(*address).unwrap();
            assert_eq!(found.is_none(), damaged.contains(address));
            if let Some(span) = found {
                let mut read = Vec::new();
                let mut decoder = crate::format::archive::Decoder::new();
                copy.read_chunk(span, &mut decoder, &mut read).unwrap();
                assert_eq!(read, *chunk);
            }
        }
    }
}
