//! The refs of a clone: what Dolt's own clone makes of those of the remote.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::write::{NewChunk, store_root};
use holdfast_doltdb::{ChunkSource, ReadError, RefName, Refs};

use super::clone::Identity;
use super::error::TransferError;
use super::working_set;

/// What a working set that a clone makes says was done, as Dolt's.
const NOTE: &str = "updated from dolt environment";

/// How many names of branches an error shows.
const SHOWN: usize = 10;

/// Branches and tags of a remote.
#[derive(Debug, Default)]
pub(crate) struct RemoteRefs {
    pub(crate) branches: BTreeMap<String, ChunkAddress>,
    pub(crate) tags: BTreeMap<String, ChunkAddress>,
}

impl RemoteRefs {
    pub(crate) async fn read(
        source: &dyn ChunkSource,
        root: RootAddress,
    ) -> Result<Self, ReadError> {
        let mut refs = Refs::open(source, root).await?;
        let mut found = Self::default();
        while let Some((name, address)) = refs.next().await? {
            match name {
                RefName::Branch(branch) => {
                    found.branches.insert(branch, address);
                }
                RefName::Tag(tag) => {
                    found.tags.insert(tag, address);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The branch that a clone checks out: the one asked for, else `main`, else `master`, else the user's default,
    /// else the first.
    pub(crate) fn choose(
        &self,
        wanted: Option<&str>,
        default: Option<&str>,
    ) -> Result<&str, TransferError> {
        if let Some(wanted) = wanted {
            let found = self.branches.get_key_value(wanted);
            return match found {
                Some((branch, _)) => Ok(branch),
                None => Err(TransferError::NoBranch {
                    branch: wanted.to_owned(),
                    known: self.branches.keys().take(SHOWN).cloned().collect(),
                }),
            };
        }
        let usual = [Some("main"), Some("master"), default]
            .into_iter()
            .flatten();
        let usual = usual.filter_map(|branch| self.branches.get_key_value(branch));
        let branch = usual.chain(&self.branches).next();
        let (branch, _) = branch.ok_or(TransferError::NoBranches)?;
        Ok(branch)
    }
}

/// What a clone adds to the chunks of the remote.
#[derive(Debug)]
pub(crate) struct ClonedRefs {
    pub(crate) root: RootAddress,
    pub(crate) chunks: Vec<NewChunk>,
}

/// Makes the refs of a clone that has `branch` checked out.
pub(crate) async fn cloned_refs(
    source: &dyn ChunkSource,
    refs: &RemoteRefs,
    remote: &str,
    branch: &str,
    identity: Option<&Identity>,
    now_seconds: u64,
) -> Result<ClonedRefs, TransferError> {
    let head = refs.branches[branch];
    let working_set = working_set::clean(source, head, identity, NOTE, now_seconds).await?;
    let mut datasets: BTreeMap<Bytes, ChunkAddress> = BTreeMap::new();
    for (name, address) in &refs.branches {
        datasets.insert(format!("refs/remotes/{remote}/{name}").into(), *address);
    }
    for (name, address) in &refs.tags {
        datasets.insert(format!("refs/tags/{name}").into(), *address);
    }
    datasets.insert(format!("refs/heads/{branch}").into(), head);
    datasets.insert(
        format!("workingSets/heads/{branch}").into(),
        working_set.address,
    );
    let written = store_root(&datasets)?;
    let mut chunks = written.chunks;
    chunks.push(working_set);
    Ok(ClonedRefs {
        root: written.root,
        chunks,
    })
}
