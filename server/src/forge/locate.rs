//! Which chunks are absent, and where the others are.

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::repo::{Located, RepoName};

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
        match self.readable(caller, name).await? {
            Some(repository) => Ok(repository.locate(addresses, caller.view).await?),
            None => Ok(Located {
                places: vec![None; addresses.len()],
                ..Located::default()
            }),
        }
    }
}
