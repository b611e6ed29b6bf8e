//! What a fetch does about the tags of a remote.
//!
//! A tag that is not here comes where its commit comes. One that is here and elsewhere stays, as with git, and is told:
//! it may be the user's own. Where it was asked for, that is a rejection. Only by force it goes where the remote's is.

use std::collections::HashSet;

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::{ChunkSource, RefName};

use super::wanted::Wanted;
use super::{MovedTags, RefUpdate, TagReader, UnknownTag};
use crate::transfer::datasets::Datasets;
use crate::transfer::error::TransferError;

/// The tags of a remote that are not here, or elsewhere.
#[derive(Debug)]
pub(super) struct Tags {
    /// Those that are taken if their commits come or are here.
    pub(super) taken: Vec<UnknownTag>,
    /// Which of them bring their commits along.
    asked: HashSet<RefName>,
    /// Those that were asked for and stay where they are here.
    pub(super) rejected: Vec<RefUpdate>,
    /// Those that were not asked for and stay.
    pub(super) elsewhere: Vec<RefUpdate>,
}

impl Tags {
    pub(super) async fn read(
        reader: &TagReader<'_>,
        source: &dyn ChunkSource,
        wanted: &Wanted,
        moved: MovedTags,
        remote: &Datasets,
        local: &Datasets,
    ) -> Result<Self, TransferError> {
        let (mut rejected, mut elsewhere) = (Vec::new(), Vec::new());
        let mut asked = HashSet::new();
        // What is taken counts as if it were not here.
        let mut kept = local.clone();
        for (name, address) in remote.iter() {
            if !matches!(name, RefName::Tag(_)) {
                continue;
            }
            match (local.get(&name), moved) {
                (Some(old), _) if old == address => {}
                (Some(_), MovedTags::Taken) => {
                    kept.set(&name, None);
                    asked.insert(name);
                }
                (Some(old), MovedTags::Kept) => {
                    let stays = match wanted.names(&name) {
                        true => &mut rejected,
                        false => &mut elsewhere,
                    };
                    stays.push(RefUpdate {
                        name,
                        old: Some(old),
                        new: Some(address),
                    });
                }
                (None, _) if wanted.names(&name) => drop(asked.insert(name)),
                (None, _) => {}
            }
        }
        Ok(Self {
            taken: reader.unknown(source, remote, &kept).await?,
            asked,
            rejected,
            elsewhere,
        })
    }

    /// The commits that come for the sake of their tags.
    pub(super) fn roots(&self) -> impl Iterator<Item = ChunkAddress> + '_ {
        let asked = self.taken.iter();
        let asked = asked.filter(|tag| self.asked.contains(&tag.name));
        asked.map(|tag| tag.commit)
    }
}
