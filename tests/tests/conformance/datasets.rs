//! The names of a repository's datasets, read chunk by chunk as a client does.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::{ChunkSource, SourceError};
use holdfast_tests::peer::Peer;

struct Remote<'p>(&'p Peer);

#[async_trait]
impl ChunkSource for Remote<'_> {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let mut chunks = Vec::new();
        for address in addresses {
            chunks.push(self.0.read(*address).await);
        }
        Ok(chunks)
    }
}

/// The names of all datasets below the current root.
pub(crate) async fn names(peer: &Peer) -> BTreeSet<String> {
    let source = Remote(peer);
    let map = AddressMap::open(&source, peer.root().await.unwrap())
        .await
        .unwrap();
    let mut entries = map.entries();
    let mut names = BTreeSet::new();
    while let Some(entry) = entries.next().await.unwrap() {
        names.insert(String::from_utf8(entry.name.to_vec()).unwrap());
    }
    names
}
