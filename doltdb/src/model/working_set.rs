//! Working sets: what lies uncommitted on a branch.

use std::borrow::Cow;

use holdfast_chunkstore::ChunkAddress;

use crate::error::DecodeError;
use crate::flat::{FlatError, Table};
use crate::message::{Message, MessageKind};

/// Fields of the merge state and of the rebase state that we know.
const STATE_FIELDS: usize = 8;

/// A branch's working set.
#[derive(Debug, Clone)]
pub struct WorkingSet<'a> {
    /// The tables as they are.
    pub working_root: ChunkAddress,
    /// The tables as they would be committed.
    pub staged_root: Option<ChunkAddress>,
    /// Whose it is.
    pub name: Cow<'a, str>,
    /// That person's e-mail address.
    pub email: Cow<'a, str>,
    /// What was done last.
    pub description: Cow<'a, str>,
    /// When, in *seconds* since 1970, whatever the field's name in Dolt's schema says.
    pub at_seconds: u64,
    /// Whether a merge, a cherry-pick or a revert waits to be finished.
    pub is_merging: bool,
    /// Whether a rebase waits to be finished.
    pub is_rebasing: bool,
}

impl<'a> WorkingSet<'a> {
    /// Decodes a working set's chunk.
    pub fn decode(chunk: &'a [u8]) -> Result<Self, DecodeError> {
        let message = Message::expect(chunk, MessageKind::WorkingSet)?;
        Self::from_table(message.table()?).map_err(DecodeError::in_message(message.kind()))
    }

    fn from_table(table: Table<'a>) -> Result<Self, FlatError> {
        Ok(Self {
            working_root: table.required_address(0, "working_root_addr")?,
            staged_root: table.address(1, "staged_root_addr")?,
            name: table.text(2, "name")?.unwrap_or_default(),
            email: table.text(3, "email")?.unwrap_or_default(),
            description: table.text(4, "desc")?.unwrap_or_default(),
            at_seconds: table.u64(5, "timestamp_millis")?,
            is_merging: table.table(6, STATE_FIELDS, "merge_state")?.is_some(),
            is_rebasing: table.table(7, STATE_FIELDS, "rebase_state")?.is_some(),
        })
    }
}
