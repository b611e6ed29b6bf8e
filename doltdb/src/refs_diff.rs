//! Which refs two stores have differently.

use holdfast_chunkstore::{ChunkAddress, RootAddress};

use crate::error::ReadError;
use crate::refs::RefName;
use crate::source::ChunkSource;
use crate::tree::{AddressMap, AddressMapDiff, Entries};

/// A ref that moved, appeared or went away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    /// The ref.
    pub name: RefName,
    /// Where it was; nothing for a new one.
    pub old: Option<ChunkAddress>,
    /// Where it is; nothing for one that was deleted.
    pub new: Option<ChunkAddress>,
}

/// The refs that two stores have differently, in the order of their names.
#[derive(Debug)]
pub struct RefsDiff<'s, S: ?Sized> {
    changes: AddressMapDiff<'s, S>,
}

impl<'s, S: ChunkSource + ?Sized> RefsDiff<'s, S> {
    /// Compares the dataset maps of two stores, either of which may be the empty one.
    ///
    /// Of the old map, only what differs is read; the new one is checked as far as it is not the old one.
    pub async fn open(
        source: &'s S,
        old: RootAddress,
        new: RootAddress,
    ) -> Result<Self, ReadError> {
        let changes = AddressMapDiff::open(source, old, new).await?;
        Ok(Self { changes })
    }

    /// Returns the next change, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<RefChange>, ReadError> {
        let Some(change) = self.changes.next().await? else {
            return Ok(None);
        };
        Ok(Some(RefChange {
            name: match change.new {
                Some(_) => ref_name(&change.name)?,
                // What is there may go, whatever it is called.
                None => RefName::parse(&String::from_utf8_lossy(&change.name)),
            },
            old: change.old,
            new: change.new,
        }))
    }
}

/// The refs of one store, in the order of their names.
#[derive(Debug)]
pub struct Refs<'s, S: ?Sized> {
    entries: Entries<'s, S>,
}

impl<'s, S: ChunkSource + ?Sized> Refs<'s, S> {
    /// Opens the dataset map of a store.
    pub async fn open(source: &'s S, root: RootAddress) -> Result<Self, ReadError> {
        let entries = AddressMap::open(source, root).await?.entries();
        Ok(Self { entries })
    }

    /// Returns the next ref and where it is, or nothing at the end. In a name that is not UTF-8 a sign stands for what
    /// cannot be read: such a name cannot be used, and hinders nothing.
    pub async fn next(&mut self) -> Result<Option<(RefName, ChunkAddress)>, ReadError> {
        let Some(entry) = self.entries.next().await? else {
            return Ok(None);
        };
        let name = String::from_utf8_lossy(&entry.name);
        Ok(Some((RefName::parse(&name), entry.address)))
    }
}

fn ref_name(name: &[u8]) -> Result<RefName, ReadError> {
    match std::str::from_utf8(name) {
        Ok(name) => Ok(RefName::parse(name)),
        Err(_) => Err(ReadError::Name {
            name: name.escape_ascii().to_string().chars().take(200).collect(),
        }),
    }
}
