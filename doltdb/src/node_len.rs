//! How long a tree node may be (pure).
//!
//! A FlatBuffer may hold bytes that nothing points at, and a chunk of 16 MiB of them is stored in some hundred bytes. So a
//! node that is much longer than what is in it is refused where it comes in and where it is read.

use crate::flat::{FlatError, Table};
use crate::message::MessageKind;

/// How many bytes a node has at most beside its contents: envelope, tables, lengths and padding. Of the nodes of all
/// versions of Dolt at hand none has more than 104.
const MAX_SLACK: usize = 1024;

/// The most bytes in which the number of entries below a child is written.
const COUNT_LEN: usize = 10;

/// Checks the length of a message that is a node; any other message may have any length.
pub(crate) fn check(kind: MessageKind, table: Table<'_>) -> Result<(), FlatError> {
    let Some(contents) = contents(kind, table) else {
        return Ok(());
    };
    let len_bytes = table.len_bytes();
    match len_bytes.saturating_sub(contents) > MAX_SLACK {
        true => Err(FlatError::Padded {
            len_bytes,
            contents,
        }),
        false => Ok(()),
    }
}

/// How many bytes a node has beside its contents; nothing for a message that is none.
#[cfg(feature = "testing")]
pub(crate) fn slack(kind: MessageKind, table: Table<'_>) -> Option<usize> {
    let contents = contents(kind, table)?;
    Some(table.len_bytes().saturating_sub(contents))
}

/// How long the vectors of a node are together. One that is malformed counts as none: it is refused where it is read.
fn contents(kind: MessageKind, table: Table<'_>) -> Option<usize> {
    // The slots of vectors with the width of their elements, the slot of the children and that of their counts.
    let (vectors, children, counts): (&[(usize, usize)], _, _) = match kind {
        MessageKind::AddressMap => (&[(0, 1), (1, 2)], 2, 3),
        MessageKind::ProllyNode => (&[(0, 1), (1, 2), (3, 1), (4, 2), (6, 2)], 7, 8),
        MessageKind::CommitClosure | MessageKind::Blob => (&[(0, 1)], 1, 2),
        MessageKind::MergeArtifacts => (&[(0, 1), (1, 2), (2, 2), (3, 1), (4, 2)], 5, 6),
        MessageKind::VectorIndex => (&[(0, 1), (1, 4), (2, 1), (3, 4)], 4, 5),
        _ => return None,
    };
    let len = |slot, width| {
        let elements = table.elements(slot, width, "a vector of a tree node");
        elements.ok().flatten().map_or(0, <[u8]>::len)
    };
    let vectors = vectors.iter().map(|(slot, width)| len(*slot, *width));
    let children = len(children, 1);
    // What is longer than a count for each child is none.
    let counts = len(counts, 1).min(children / 20 * COUNT_LEN);
    Some(vectors.sum::<usize>() + children + counts)
}
