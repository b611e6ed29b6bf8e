//! The refs that are moved.

use std::collections::BTreeMap;

use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_client::transfer::{Force, PushRef};
use holdfast_doltdb::{ChunkSource, RefName, Refs};

/// The branches and tags that are moved, and where they are.
pub(super) struct Moving {
    pub(super) branches: BTreeMap<String, ChunkAddress>,
    pub(super) tags: BTreeMap<String, ChunkAddress>,
}

impl Moving {
    pub(super) async fn read(source: &dyn ChunkSource, root: RootAddress) -> anyhow::Result<Self> {
        let mut refs = Refs::open(source, root).await?;
        let (mut branches, mut tags) = (BTreeMap::new(), BTreeMap::new());
        while let Some((name, address)) = refs.next().await? {
            match name {
                RefName::Branch(branch) => drop(branches.insert(branch, address)),
                RefName::Tag(tag) => drop(tags.insert(tag, address)),
                _ => {}
            }
        }
        Ok(Self { branches, tags })
    }

    /// All of them as they are pushed.
    pub(super) fn refs(&self) -> Vec<PushRef> {
        let branches = self.branches.keys().cloned().map(RefName::Branch);
        let names = branches.chain(self.tags.keys().cloned().map(RefName::Tag));
        let same = |name: RefName| PushRef {
            source: Some(name.clone()),
            destination: name,
            force: Force::No,
        };
        names.map(same).collect()
    }
}
