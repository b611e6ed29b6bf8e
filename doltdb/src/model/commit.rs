//! Commits.

use std::borrow::Cow;

use holdfast_chunkstore::ChunkAddress;

use crate::error::DecodeError;
use crate::flat::{FlatError, Table};
use crate::message::{Message, MessageKind};

/// Who made something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer<'a> {
    /// The name, as the client was told it.
    pub name: Cow<'a, str>,
    /// The e-mail address, as the client was told it.
    pub email: Cow<'a, str>,
    /// Milliseconds since 1970.
    pub at_millis: i64,
}

/// A commit.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// The tables at this commit.
    pub root: ChunkAddress,
    /// One more than the largest height of its parents.
    pub height: u64,
    /// The tree of all its ancestors; nothing for a commit without parents.
    pub closure: Option<ChunkAddress>,
    /// Who wrote it.
    pub author: Signer<'a>,
    /// Who committed it; clients show this one's date.
    pub committer: Signer<'a>,
    /// The message.
    pub description: Cow<'a, str>,
    /// A whole clear-signed block.
    pub signature: Option<Cow<'a, str>>,
    parents: &'a [[u8; 20]],
}

impl<'a> Commit<'a> {
    /// Decodes a commit's chunk.
    pub fn decode(chunk: &'a [u8]) -> Result<Self, DecodeError> {
        let message = Message::expect(chunk, MessageKind::Commit)?;
        Self::from_table(message.table()?).map_err(DecodeError::in_message(message.kind()))
    }

    fn from_table(table: Table<'a>) -> Result<Self, FlatError> {
        let author = Signer {
            name: table.text(4, "name")?.unwrap_or_default(),
            email: table.text(5, "email")?.unwrap_or_default(),
            at_millis: table.i64(8, "user_timestamp_millis")?,
        };
        let committed_at = table.u64(7, "timestamp_millis")?;
        let committer = Signer {
            name: (table.text(10, "committer_name")?).unwrap_or_else(|| author.name.clone()),
            email: (table.text(11, "committer_email")?).unwrap_or_else(|| author.email.clone()),
            at_millis: i64::try_from(committed_at).unwrap_or(i64::MAX),
        };
        let closure = table.address(3, "parent_closure")?;
        Ok(Self {
            root: table.required_address(0, "root")?,
            height: table.u64(1, "height")?,
            closure: closure.filter(|address| !address.is_zero()),
            author,
            committer,
            description: table.text(6, "description")?.unwrap_or_default(),
            signature: table.text(9, "signature")?,
            parents: table.addresses(2, "parent_addrs")?,
        })
    }

    /// Returns the parents in their order: the first is the branch that was merged into.
    pub fn parents(&self) -> impl ExactSizeIterator<Item = ChunkAddress> + use<'a> {
        self.parents.iter().copied().map(ChunkAddress::new)
    }
}
