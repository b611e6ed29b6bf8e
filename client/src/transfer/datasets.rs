//! All datasets of a store, changed and written anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::write::{NameTooLong, NewChunk, NewRoot, store_root};
use holdfast_doltdb::{ChunkSource, ReadError, RefName};

use super::known_names::KnownNames;

/// The datasets of a store by name. They are few, next to rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Datasets(BTreeMap<Bytes, ChunkAddress>);

impl Datasets {
    /// Reads those of the store at `root`; none of an empty store.
    pub(crate) async fn read(
        source: &dyn ChunkSource,
        root: RootAddress,
    ) -> Result<Self, ReadError> {
        let map = AddressMap::open(source, root).await?;
        let (mut entries, mut datasets) = (map.entries(), BTreeMap::new());
        while let Some(entry) = entries.next().await? {
            datasets.insert(entry.name, entry.address);
        }
        Ok(Self(datasets))
    }

    /// Where a dataset stands.
    pub(crate) fn get(&self, name: &RefName) -> Option<ChunkAddress> {
        self.0.get(name.to_string().as_bytes()).copied()
    }

    /// Puts a dataset somewhere, or removes it.
    pub(crate) fn set(&mut self, name: &RefName, address: Option<ChunkAddress>) {
        let name = Bytes::from(name.to_string());
        match address {
            Some(address) => self.0.insert(name, address),
            None => self.0.remove(&name),
        };
    }

    /// All datasets in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RefName, ChunkAddress)> + '_ {
        let parse = |name: &Bytes| RefName::parse(&String::from_utf8_lossy(name));
        self.0
            .iter()
            .map(move |(name, address)| (parse(name), *address))
    }

    /// The names that there are, for an error about one that there is not: of its kind, or of branches and tags.
    pub(crate) fn known(&self, wanted: &RefName) -> KnownNames {
        let (is_branch, is_tag) = match wanted {
            RefName::Branch(_) => (true, false),
            RefName::Tag(_) => (false, true),
            _ => (true, true),
        };
        let names: Vec<_> = self
            .iter()
            .filter_map(|(name, _)| match name {
                RefName::Branch(branch) if is_branch => Some(branch),
                RefName::Tag(tag) if is_tag => Some(tag),
                _ => None,
            })
            .collect();
        let wanted = match wanted {
            RefName::Branch(name) | RefName::Tag(name) => name.clone(),
            other => other.to_string(),
        };
        KnownNames::near(&wanted, names.iter().map(String::as_str))
    }

    /// Removes those of some full names.
    pub(crate) fn remove(&mut self, names: &BTreeSet<String>) {
        let is_meant = |name: &Bytes| names.contains(&*String::from_utf8_lossy(name));
        self.0.retain(|name, _| names.is_empty() || !is_meant(name));
    }

    /// Writes the store root of these datasets.
    pub(crate) fn write(&self) -> Result<NewRoot, NameTooLong> {
        store_root(&self.0)
    }
}

/// Chunks as a store takes them.
pub(crate) fn pairs(chunks: &[NewChunk]) -> Vec<(ChunkAddress, Bytes)> {
    let pair = |chunk: &NewChunk| (chunk.address, chunk.bytes.clone());
    chunks.iter().map(pair).collect()
}
