//! Which chunks are absent, and where the others are.

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::repo::{Located, Place, RepoName};

use super::{Caller, Forge, ForgeError};

/// How many addresses are looked up at once.
const BATCH: usize = 16_384;

impl Forge {
    /// Tells for each address whether the chunk is absent.
    pub async fn absent(
        &self,
        caller: &Caller,
        name: &RepoName,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<bool>, ForgeError> {
        let Some(repository) = self.readable(caller, name).await? else {
            return Ok(vec![true; addresses.len()]);
        };
        let mut absent = Vec::with_capacity(addresses.len());
        for batch in addresses.chunks(BATCH) {
            absent.extend(repository.absent(batch).await?);
        }
        Ok(absent)
    }

    /// Finds chunks in the files that the caller can read.
    pub async fn locate(
        &self,
        caller: &Caller,
        name: &RepoName,
        addresses: &[ChunkAddress],
    ) -> Result<Located, ForgeError> {
        let Some(repository) = self.readable(caller, name).await? else {
            return Ok(Located {
                places: vec![None; addresses.len()],
                ..Located::default()
            });
        };
        let mut located = Located::default();
        for batch in addresses.chunks(BATCH) {
            append(&mut located, repository.locate(batch, caller.view).await?);
        }
        Ok(located)
    }
}

/// Puts the answer for more addresses behind the answers so far.
fn append(located: &mut Located, more: Located) {
    if located.places.is_empty() {
        *located = more;
        return;
    }
    let mut numbers = Vec::with_capacity(more.files.len());
    for file in more.files {
        let known = located.files.iter().position(|known| known.key == file.key);
        numbers.push(known.unwrap_or(located.files.len()));
        if known.is_none() {
            located.files.push(file);
        }
    }
    let places = more.places.into_iter().map(|place| {
        let Place { file, span } = place?;
        let file = numbers[file];
        Some(Place { file, span })
    });
    located.places.extend(places);
}
