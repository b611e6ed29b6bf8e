//! Three sorted lists of chunks side by side: those that are listed, those that lie in a store, and those that are
//! reached there.

use holdfast_chunkstore::ChunkAddress;

use super::error::InventoryError;

type Next = Option<ChunkAddress>;

/// In which of the lists a chunk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Presence {
    pub(super) is_listed: bool,
    pub(super) is_stored: bool,
    pub(super) is_reached: bool,
}

impl Presence {
    /// In the store, and in no other list.
    pub(super) const STORED: Self = Self {
        is_listed: false,
        is_stored: true,
        is_reached: false,
    };
}

/// The lists, each of which ascends.
pub(super) struct Merge<L, S, R> {
    listed: L,
    stored: S,
    reached: R,
}

impl<L, S, R> Merge<L, S, R>
where
    L: Iterator<Item = Result<ChunkAddress, InventoryError>>,
    S: Iterator<Item = Result<ChunkAddress, InventoryError>>,
    R: Iterator<Item = Result<ChunkAddress, InventoryError>>,
{
    pub(super) fn new(listed: L, stored: S, reached: R) -> Self {
        Self {
            listed,
            stored,
            reached,
        }
    }

    /// Shows each chunk once.
    pub(super) fn each(
        mut self,
        mut show: impl FnMut(ChunkAddress, Presence) -> Result<(), InventoryError>,
    ) -> Result<(), InventoryError> {
        let mut listed = self.listed.next().transpose()?;
        let mut stored = self.stored.next().transpose()?;
        let mut reached = self.reached.next().transpose()?;
        while let Some(first) = [listed, stored, reached].into_iter().flatten().min() {
            let presence = Presence {
                is_listed: listed == Some(first),
                is_stored: stored == Some(first),
                is_reached: reached == Some(first),
            };
            step(&mut listed, presence.is_listed, &mut self.listed)?;
            step(&mut stored, presence.is_stored, &mut self.stored)?;
            step(&mut reached, presence.is_reached, &mut self.reached)?;
            show(first, presence)?;
        }
        Ok(())
    }
}

fn step(
    next: &mut Next,
    is_taken: bool,
    list: &mut impl Iterator<Item = Result<ChunkAddress, InventoryError>>,
) -> Result<(), InventoryError> {
    if is_taken {
        *next = list.next().transpose()?;
    }
    Ok(())
}
