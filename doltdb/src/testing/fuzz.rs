//! One function per decoder: any bytes, never a panic.

use std::ops::ControlFlow;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use crate::model::{Commit, StoreRoot, Tag, WorkingSet};
use crate::source::{ChunkSource, SourceError};
use crate::tree::{AddressMap, Node};
use crate::{RefsDiff, children, embedded, reach};

/// Runs everything pure over one chunk: its children, the messages inside it, and every model.
pub fn chunk(bytes: &[u8]) {
    let mut count = 0_usize;
    let outcome = children(bytes, &mut |_| count += 1);
    assert!(count <= bytes.len(), "more children than bytes");
    if outcome.is_ok() {
        let inside = embedded(bytes).unwrap_or_default();
        assert!(
            inside
                .into_iter()
                .flatten()
                .all(|inside| inside.len() < bytes.len())
        );
    }
    let decoded = [
        StoreRoot::decode(bytes).is_ok(),
        Tag::decode(bytes).is_ok(),
        WorkingSet::decode(bytes).is_ok(),
    ];
    assert!(decoded.iter().filter(|decoded| **decoded).count() <= 1);
    if let Ok(commit) = Commit::decode(bytes) {
        assert!(commit.parents().len() <= bytes.len());
    }
    if let Ok(node) = Node::decode(&Bytes::copy_from_slice(bytes)) {
        let keys: Vec<_> = (0..node.len()).map(|index| node.key(index)).collect();
        assert!(keys.is_sorted() && keys.iter().all(Option::is_some));
        assert_eq!(node.address(node.len()), None);
    }
}

/// Runs everything that reads trees over a store in which some addresses lead to the one chunk or the other.
pub fn tree(store_root: &[u8], node: &[u8]) {
    let source = TwoChunks {
        store_root: Bytes::copy_from_slice(store_root),
        node: Bytes::copy_from_slice(node),
    };
    let root = RootAddress::from(TwoChunks::STORE_ROOT);
    futures::executor::block_on(async {
        if let Ok(map) = AddressMap::open(&source, root).await {
            drop(map.get(b"refs/heads/main").await);
            let mut entries = map.entries();
            let mut before: Option<Bytes> = None;
            while let Ok(Some(entry)) = entries.next().await {
                assert!(before.is_none_or(|before| before < entry.name));
                before = Some(entry.name);
            }
        }
        if let Ok(mut diff) = RefsDiff::open(&source, RootAddress::ZERO, root).await {
            while let Ok(Some(_)) = diff.next().await {}
        }
        drop(
            reach(&source, [TwoChunks::STORE_ROOT], |_| {
                ControlFlow::Continue(())
            })
            .await,
        );
    });
}

/// A store in which every address but one leads to the same node.
struct TwoChunks {
    store_root: Bytes,
    node: Bytes,
}

impl TwoChunks {
    const STORE_ROOT: ChunkAddress = ChunkAddress::new([0x5a; 20]);
}

#[async_trait]
impl ChunkSource for TwoChunks {
    async fn get(&self, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, SourceError> {
        let chunk = |address: &ChunkAddress| match *address {
            Self::STORE_ROOT => Some(self.store_root.clone()),
            _ => Some(self.node.clone()),
        };
        Ok(addresses.iter().map(chunk).collect())
    }
}
