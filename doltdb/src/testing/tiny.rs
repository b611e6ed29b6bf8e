//! A database in memory that commits like Dolt does, without rows.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::address_of;
use super::messages::{self, CommitFields};
use crate::source::{ChunkSource, SourceError};

/// Names per node of a map, and ancestors per leaf of a closure.
const FANOUT: usize = 64;
/// Bytes per leaf of a long value, and leaves per inner node.
const BLOB_LEAF_LEN: usize = 4000;
const BLOB_FANOUT: usize = 200;
/// When the first commit is made: a moment in 2023.
const FIRST_COMMIT_MILLIS: u64 = 1_700_000_000_000;

/// A database made up for tests.
///
/// Its commits, refs, closures and maps are what Dolt would accept; nodes hold a fixed number of entries, so
/// their shape is not always Dolt's own. What [`TinyDb::commit_with`] puts under a table's name is a long value,
/// not a table: for checks of chunks and references that makes no difference, but Dolt could not open it.
#[derive(Debug, Clone, Default)]
pub struct TinyDb {
    chunks: BTreeMap<ChunkAddress, Bytes>,
    refs: BTreeMap<String, ChunkAddress>,
    ancestors: BTreeMap<ChunkAddress, BTreeSet<(u64, ChunkAddress)>>,
    root: Option<ChunkAddress>,
    commits: u64,
}

impl TinyDb {
    /// Makes an empty database, without a root.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits an empty set of tables on a branch, which is made if it is not there. Returns the new chunks,
    /// children first, the store root last.
    pub fn commit(&mut self, branch: &str, message: &str) -> Vec<Bytes> {
        self.commit_with(branch, message, &[])
    }

    /// Commits named contents of any size on a branch. Returns the new chunks, children first.
    pub fn commit_with(
        &mut self,
        branch: &str,
        message: &str,
        tables: &[(&str, &[u8])],
    ) -> Vec<Bytes> {
        let parents: Vec<_> = self.head(branch).into_iter().collect();
        self.commit_on(branch, message, tables, &parents)
    }

    /// Commits on a branch with given parents, all of which this database has made.
    pub fn commit_on(
        &mut self,
        branch: &str,
        message: &str,
        tables: &[(&str, &[u8])],
        parents: &[ChunkAddress],
    ) -> Vec<Bytes> {
        let mut fresh = Vec::new();
        let tables: BTreeMap<Vec<u8>, ChunkAddress> = tables
            .iter()
            .map(|(name, content)| (name.as_bytes().to_vec(), self.blob(content, &mut fresh)))
            .collect();
        let map = self.map(&tables, &mut fresh);
        let root = self.put(messages::root_value(&map), &mut fresh);
        let mut ancestors = BTreeSet::new();
        for parent in parents {
            let known = &self.ancestors[parent];
            let height = known.last().map_or(0, |(height, _)| *height) + 1;
            ancestors.extend(known.iter().copied());
            ancestors.insert((height, *parent));
        }
        let closure = self.closure(&ancestors, &mut fresh);
        let at_millis = FIRST_COMMIT_MILLIS + 1000 * self.commits;
        self.commits += 1;
        let commit = messages::commit(&CommitFields {
            root,
            height: ancestors.last().map_or(0, |(height, _)| *height) + 1,
            parents,
            closure,
            name: "tiny",
            email: "tiny@example.com",
            description: message,
            timestamp_millis: at_millis,
            user_timestamp_millis: i64::try_from(at_millis).expect("a date fits"),
            signature: None,
            committer: [None, None],
        });
        let commit = self.put(commit, &mut fresh);
        self.ancestors.insert(commit, ancestors);
        self.refs.insert(format!("refs/heads/{branch}"), commit);
        self.write_root(fresh)
    }

    /// Tags a branch's head. Returns the new chunks, children first.
    pub fn tag(&mut self, name: &str, branch: &str) -> Vec<Bytes> {
        let commit = self.head(branch).expect("only what exists is tagged");
        let at_millis = i64::try_from(FIRST_COMMIT_MILLIS).expect("a date fits");
        let mut fresh = Vec::new();
        let tag = messages::tag(commit, "tiny", "a tag", at_millis);
        let tag = self.put(tag, &mut fresh);
        self.refs.insert(format!("refs/tags/{name}"), tag);
        self.write_root(fresh)
    }

    /// Sets datasets by their full names, or removes them, in one root update. Returns the new chunks.
    pub fn set(&mut self, datasets: &[(&str, Option<ChunkAddress>)]) -> Vec<Bytes> {
        for (name, address) in datasets {
            match address {
                Some(address) => self.refs.insert((*name).to_owned(), *address),
                None => self.refs.remove(*name),
            };
        }
        self.write_root(Vec::new())
    }

    /// Returns the address of the store root.
    pub fn root(&self) -> RootAddress {
        self.root.map_or(RootAddress::ZERO, RootAddress::from)
    }

    /// Returns a branch's head.
    pub fn head(&self, branch: &str) -> Option<ChunkAddress> {
        self.refs.get(&format!("refs/heads/{branch}")).copied()
    }

    /// Returns all datasets by their full names.
    pub fn refs(&self) -> &BTreeMap<String, ChunkAddress> {
        &self.refs
    }

    /// Returns all chunks ever made, superseded ones too.
    pub fn chunks(&self) -> &BTreeMap<ChunkAddress, Bytes> {
        &self.chunks
    }

    /// Takes a chunk away, so that whoever points at it dangles.
    pub fn lose(&mut self, address: ChunkAddress) -> Option<Bytes> {
        self.chunks.remove(&address)
    }

    /// Adds a chunk that nothing else knows of and returns its address.
    pub fn put_raw(&mut self, chunk: Vec<u8>) -> ChunkAddress {
        self.put(chunk, &mut Vec::new())
    }

    fn put(&mut self, chunk: Vec<u8>, fresh: &mut Vec<Bytes>) -> ChunkAddress {
        let address = address_of(&chunk);
        self.chunks.entry(address).or_insert_with(|| {
            let chunk = Bytes::from(chunk);
            fresh.push(chunk.clone());
            chunk
        });
        address
    }

    fn write_root(&mut self, mut fresh: Vec<Bytes>) -> Vec<Bytes> {
        let entries = self.refs.iter();
        let entries = entries.map(|(name, address)| (name.as_bytes().to_vec(), *address));
        let map = self.map(&entries.collect(), &mut fresh);
        self.root = Some(self.put(messages::store_root(&map), &mut fresh));
        fresh
    }

    /// Writes a map and returns its root node, which is not a chunk of its own.
    fn map(
        &mut self,
        entries: &BTreeMap<Vec<u8>, ChunkAddress>,
        fresh: &mut Vec<Bytes>,
    ) -> Vec<u8> {
        let mut items: Vec<(Vec<u8>, ChunkAddress, u64)> = entries
            .iter()
            .map(|(name, address)| (name.clone(), *address, 1))
            .collect();
        let mut level = 0;
        loop {
            let nodes = items.chunks(FANOUT).map(|items| {
                let entries: Vec<_> = items.iter().map(|item| (&item.0[..], item.1)).collect();
                let counts: Vec<u64> = items.iter().map(|item| item.2).collect();
                let node = messages::address_map(&entries, level, (level > 0).then_some(&counts));
                let last = items.last().map(|item| item.0.clone());
                (node, last.unwrap_or_default(), counts.iter().sum())
            });
            let mut nodes: Vec<_> = nodes.collect();
            if nodes.len() <= 1 {
                let root = nodes.pop().map(|(node, ..)| node);
                return root.unwrap_or_else(|| messages::address_map(&[], 0, None));
            }
            let parents = nodes.into_iter();
            items = parents
                .map(|(node, last, count)| (last, self.put(node, fresh), count))
                .collect();
            level += 1;
        }
    }

    /// Writes the closure of a commit with some ancestors, or returns zero if there is none.
    fn closure(
        &mut self,
        ancestors: &BTreeSet<(u64, ChunkAddress)>,
        fresh: &mut Vec<Bytes>,
    ) -> ChunkAddress {
        let keys: Vec<_> = ancestors.iter().copied().collect();
        let mut level = 0;
        let mut items: Vec<((u64, ChunkAddress), ChunkAddress, u64)> = Vec::new();
        for keys in keys.chunks(FANOUT) {
            let node = self.put(messages::commit_closure(keys, 0, None), fresh);
            let count = u64::try_from(keys.len()).expect("a length fits");
            items.extend(keys.last().map(|last| (*last, node, count)));
        }
        while items.len() > 1 {
            level += 1;
            let mut parents = Vec::new();
            for children in items.chunks(FANOUT) {
                let keys: Vec<_> = children.iter().map(|child| child.0).collect();
                let addresses: Vec<_> = children.iter().map(|child| child.1).collect();
                let counts: Vec<_> = children.iter().map(|child| child.2).collect();
                let node = messages::commit_closure(&keys, level, Some((&addresses, &counts)));
                let node = self.put(node, fresh);
                parents.extend(keys.last().map(|last| (*last, node, counts.iter().sum())));
            }
            items = parents;
        }
        items.first().map_or(ChunkAddress::ZERO, |item| item.1)
    }

    /// Writes a long value, even an empty one.
    fn blob(&mut self, content: &[u8], fresh: &mut Vec<Bytes>) -> ChunkAddress {
        let leaves: Vec<&[u8]> = match content {
            [] => vec![&[]],
            content => content.chunks(BLOB_LEAF_LEN).collect(),
        };
        let leaves = leaves.into_iter();
        let mut nodes: Vec<(ChunkAddress, u64)> = leaves
            .map(|leaf| (self.put(messages::blob_leaf(leaf), fresh), 1))
            .collect();
        let mut level = 0;
        while nodes.len() > 1 {
            level += 1;
            let mut parents = Vec::new();
            for children in nodes.chunks(BLOB_FANOUT) {
                let addresses: Vec<_> = children.iter().map(|child| child.0).collect();
                let sizes: Vec<_> = children.iter().map(|child| child.1).collect();
                let node = self.put(messages::blob_node(&addresses, &sizes, level), fresh);
                parents.push((node, sizes.iter().sum()));
            }
            nodes = parents;
        }
        nodes[0].0
    }
}

#[async_trait]
impl ChunkSource for TinyDb {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let chunks = addresses.iter();
        Ok(chunks
            .map(|address| self.chunks.get(address).cloned())
            .collect())
    }
}
