//! Tags.

use std::borrow::Cow;

use holdfast_chunkstore::ChunkAddress;

use crate::error::DecodeError;
use crate::flat::{FlatError, Table};
use crate::message::{Message, MessageKind};
use crate::model::Signer;

/// A tag.
#[derive(Debug, Clone)]
pub struct Tag<'a> {
    /// The commit that is tagged.
    pub commit: ChunkAddress,
    /// Who tagged it, and when.
    pub tagger: Signer<'a>,
    /// The message.
    pub description: Cow<'a, str>,
}

impl<'a> Tag<'a> {
    /// Decodes a tag's chunk.
    pub fn decode(chunk: &'a [u8]) -> Result<Self, DecodeError> {
        let message = Message::expect(chunk, MessageKind::Tag)?;
        Self::from_table(message.table()?).map_err(DecodeError::in_message(message.kind()))
    }

    fn from_table(table: Table<'a>) -> Result<Self, FlatError> {
        Ok(Self {
            commit: table.required_address(0, "commit_addr")?,
            tagger: Signer {
                name: table.text(1, "name")?.unwrap_or_default(),
                email: table.text(2, "email")?.unwrap_or_default(),
                at_millis: table.i64(5, "user_timestamp_millis")?,
            },
            description: table.text(3, "desc")?.unwrap_or_default(),
        })
    }
}
