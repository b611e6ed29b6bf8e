//! The refs of a clone: what Dolt's own clone makes of those of the remote.

use std::collections::BTreeMap;

use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::write::{NameTooLong, NewRoot};
use holdfast_doltdb::{ChunkSource, ReadError, RefName, Refs};

use super::clone::Identity;
use super::datasets::Datasets;
use super::error::TransferError;
use super::known_names::KnownNames;
use super::working_set;

/// What a working set that a clone makes says was done, as Dolt's.
const NOTE: &str = "updated from dolt environment";

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
            found.insert(name, address);
        }
        Ok(found)
    }

    /// Those among datasets.
    pub(crate) fn among(datasets: &Datasets) -> Self {
        let mut found = Self::default();
        for (name, address) in datasets.iter() {
            found.insert(name, address);
        }
        found
    }

    /// Takes a ref in; one whose name cannot be used is passed over.
    fn insert(&mut self, name: RefName, address: ChunkAddress) {
        if name.check_usable().is_err() {
            return;
        }
        match name {
            RefName::Branch(branch) => {
                self.branches.insert(branch, address);
            }
            RefName::Tag(tag) => {
                self.tags.insert(tag, address);
            }
            _ => {}
        }
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
                    known: KnownNames::near(wanted, self.branches.keys().map(String::as_str)),
                }),
            };
        }
        self.usual(default).ok_or(TransferError::NoBranches)
    }

    fn usual(&self, default: Option<&str>) -> Option<&str> {
        let usual = [Some("main"), Some("master"), default]
            .into_iter()
            .flatten();
        let usual = usual.filter_map(|branch| self.branches.get_key_value(branch));
        let branch = usual.chain(&self.branches).next();
        branch.map(|(branch, _)| branch.as_str())
    }
}

/// The branch that stands for a store of which nobody says one: `main`, else `master`, else the first; nothing where
/// there is no branch.
pub async fn usual_branch(
    source: &dyn ChunkSource,
    root: RootAddress,
) -> Result<Option<String>, ReadError> {
    let refs = RemoteRefs::read(source, root).await?;
    Ok(refs.usual(None).map(str::to_owned))
}

/// The refs of a clone.
pub(crate) struct NewRefs<'a> {
    /// What the remote is called; nothing where no remote is known, and so nothing followed.
    pub(crate) remote: Option<&'a str>,
    /// The branches of the remote that are followed.
    pub(crate) followed: Vec<(String, ChunkAddress)>,
    pub(crate) tags: Vec<(String, ChunkAddress)>,
    /// The branches of the clone itself, each with a clean working set.
    pub(crate) local: Vec<(String, ChunkAddress)>,
    /// Who clones.
    pub(crate) identity: Option<&'a Identity>,
}

impl NewRefs<'_> {
    /// Writes them with working sets.
    pub(crate) async fn write(
        &self,
        source: &dyn ChunkSource,
        now_seconds: u64,
    ) -> Result<NewRoot, TransferError> {
        let mut datasets = self.datasets();
        let mut working_sets = Vec::new();
        for (branch, head) in &self.local {
            let clean = working_set::clean(source, *head, self.identity, NOTE, now_seconds).await?;
            datasets.set(&RefName::WorkingSet(branch.clone()), Some(clean.address));
            working_sets.push(clean);
        }
        let mut written = datasets.write()?;
        written.chunks.extend(working_sets);
        Ok(written)
    }

    /// Writes them as a remote has them, where nobody works.
    pub(crate) fn write_bare(&self) -> Result<NewRoot, NameTooLong> {
        self.datasets().write()
    }

    fn datasets(&self) -> Datasets {
        let mut datasets = Datasets::default();
        if let Some(remote) = self.remote {
            for (branch, head) in &self.followed {
                let name = RefName::RemoteBranch {
                    remote: remote.to_owned(),
                    branch: branch.clone(),
                };
                datasets.set(&name, Some(*head));
            }
        }
        for (tag, address) in &self.tags {
            datasets.set(&RefName::Tag(tag.clone()), Some(*address));
        }
        for (branch, head) in &self.local {
            datasets.set(&RefName::Branch(branch.clone()), Some(*head));
        }
        datasets
    }
}
