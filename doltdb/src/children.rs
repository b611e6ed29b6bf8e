//! The addresses that a chunk points at.
//!
//! All of push checks, pull and collection stand on this: what is not named here is not kept. The rules are
//! Dolt's own, message by message; in particular a working set's rebase state and the commit before a merge are
//! *not* children. A message that cannot be told whole, because it is of an unknown kind or has unknown
//! fields, is an error and never a shorter list.
//!
//! Pure and without allocation: it runs over every chunk that is uploaded.

use holdfast_chunkstore::ChunkAddress;

use crate::error::DecodeError;
use crate::flat::{FlatError, Table};
use crate::message::{Message, MessageKind};
use crate::node_len;

/// A chunk whose children cannot be told.
pub type ChildrenError = DecodeError;

/// Length of a commit closure's key: a commit's height and its address.
const CLOSURE_KEY_LEN: usize = 28;

/// Calls `visit` with every address that the chunk points at, in Dolt's order. An address may come twice.
///
/// Zero is left out only where it means "none"; elsewhere it is reported like any other address, and will not
/// be found. When an error is returned, some addresses may have been visited before.
pub fn children(chunk: &[u8], visit: &mut impl FnMut(ChunkAddress)) -> Result<(), ChildrenError> {
    let message = Message::decode(chunk)?;
    let table = message.table()?;
    let kind = message.kind();
    let fault = DecodeError::in_message(kind);
    match kind {
        // Dolt writes the map of an empty store too, and panics where there is none.
        MessageKind::StoreRoot => {
            let map = table.required_bytes(0, "address_map").map_err(fault)?;
            tree_children(map, MessageKind::AddressMap, visit)
        }
        MessageKind::StashList => match table.bytes(0, "address_map").map_err(fault)? {
            None | Some([]) => Ok(()),
            Some(node) => tree_children(node, MessageKind::AddressMap, visit),
        },
        MessageKind::RootValue => root_value(table, visit),
        MessageKind::Table => self::table(table, visit),
        MessageKind::AddressMap
        | MessageKind::ProllyNode
        | MessageKind::CommitClosure
        | MessageKind::MergeArtifacts
        | MessageKind::Blob
        | MessageKind::VectorIndex => node(kind, table, visit).map_err(fault),
        MessageKind::Commit => commit(table, visit).map_err(fault),
        MessageKind::WorkingSet => working_set(table, visit).map_err(fault),
        MessageKind::Tag => one(table, &["commit_addr"], visit).map_err(fault),
        MessageKind::Stash => {
            one(table, &["stash_root_addr", "head_commit_addr"], visit).map_err(fault)
        }
        MessageKind::Statistic => one(table, &["root"], visit).map_err(fault),
        MessageKind::TableSchema | MessageKind::ForeignKeys | MessageKind::Tuple => Ok(()),
        MessageKind::Unknown(id) => Err(DecodeError::UnknownKind { id }),
    }
}

/// Returns the messages that stand inside a chunk: root nodes of trees, which need not exist as chunks of
/// their own. At most two, and no message inside one of them has further ones.
pub fn embedded(chunk: &[u8]) -> Result<[Option<&[u8]>; 2], ChildrenError> {
    let message = Message::decode(chunk)?;
    let table = message.table()?;
    let field = |slot, name| {
        let bytes = table.bytes(slot, name);
        let bytes = bytes.map_err(DecodeError::in_message(message.kind()))?;
        Ok(bytes.filter(|bytes| !bytes.is_empty()))
    };
    Ok(match message.kind() {
        MessageKind::StoreRoot | MessageKind::StashList => [field(0, "address_map")?, None],
        MessageKind::RootValue => [field(1, "tables")?, None],
        MessageKind::Table => [field(1, "primary_index")?, field(2, "secondary_indexes")?],
        _ => [None, None],
    })
}

/// What the children of a tree node are, where all of them are leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Rows. They point at values that are kept apart, if there are such values.
    Rows,
    /// Bytes or vectors. They point at nothing.
    Ends,
}

/// Returns what a node's children are without a look at them; nothing where that cannot be told, or where the chunk is
/// no node of a tree.
pub fn leaves(node: &[u8]) -> Result<Option<Leaves>, ChildrenError> {
    let message = Message::decode(node)?;
    let kind = message.kind();
    let leaves = match kind {
        MessageKind::ProllyNode => Leaves::Rows,
        MessageKind::Blob | MessageKind::VectorIndex => Leaves::Ends,
        _ => return Ok(None),
    };
    let level = level(kind, message.table()?).map_err(DecodeError::in_message(kind))?;
    Ok((level == 1).then_some(leaves))
}

/// Whether a chunk is a leaf of a commit closure: it points at all ancestors of a commit, which their own children name
/// as well.
pub fn lists_ancestors(chunk: &[u8]) -> Result<bool, ChildrenError> {
    let message = Message::decode(chunk)?;
    let kind = message.kind();
    match kind {
        MessageKind::CommitClosure => {
            let level = level(kind, message.table()?).map_err(DecodeError::in_message(kind))?;
            Ok(level == 0)
        }
        _ => Ok(false),
    }
}

/// Reports the children of a tree node that stands inside another message.
fn tree_children(
    chunk: &[u8],
    wanted: MessageKind,
    visit: &mut impl FnMut(ChunkAddress),
) -> Result<(), DecodeError> {
    let message = Message::expect(chunk, wanted)?;
    node(wanted, message.table()?, visit).map_err(DecodeError::in_message(wanted))
}

/// Reports the children of a tree node: those of an inner node, or the addresses inside a leaf's items.
fn node(
    kind: MessageKind,
    table: Table<'_>,
    visit: &mut impl FnMut(ChunkAddress),
) -> Result<(), FlatError> {
    node_len::check(kind, table)?;
    // The slots of the children, and of the offsets in a leaf with the items they point into.
    let (address_array, in_leaf) = match kind {
        MessageKind::AddressMap => {
            return report(table.addresses(2, "address_array")?, visit);
        }
        MessageKind::ProllyNode => (7, Some((6, 3))),
        MessageKind::MergeArtifacts => (5, Some((2, 0))),
        MessageKind::CommitClosure | MessageKind::Blob => (1, None),
        _ => (4, None),
    };
    let addresses = table.addresses(address_array, "address_array")?;
    if level(kind, table)? > 0 {
        if let Some((offsets, _)) = in_leaf
            && table.u16s(offsets, "address_offsets")?.len() > 0
        {
            return Err(FlatError::Contradiction {
                field: "address_offsets",
            });
        }
        return report(addresses, visit);
    }
    if !addresses.is_empty() {
        return Err(FlatError::Contradiction {
            field: "address_array",
        });
    }
    match in_leaf {
        Some((offsets, items)) => in_items(table, offsets, items, visit),
        None if kind == MessageKind::CommitClosure => ancestors(table, visit),
        None => Ok(()),
    }
}

/// How far above its leaves a node is that is not of an address map.
fn level(kind: MessageKind, table: Table<'_>) -> Result<u8, FlatError> {
    let slot = match kind {
        MessageKind::ProllyNode => 10,
        MessageKind::MergeArtifacts => 8,
        MessageKind::CommitClosure | MessageKind::Blob => 4,
        _ => 7,
    };
    table.u8(slot, "tree_level")
}

/// Reports the addresses that lie at given offsets of a leaf's items.
fn in_items(
    table: Table<'_>,
    offsets: usize,
    items: usize,
    visit: &mut impl FnMut(ChunkAddress),
) -> Result<(), FlatError> {
    let offsets = table.u16s(offsets, "address_offsets")?;
    let items = table.bytes(items, "items")?.unwrap_or(&[]);
    for offset in offsets.iter() {
        let address = items
            .get(usize::from(offset)..)
            .and_then(|rest| rest.first_chunk::<20>())
            .ok_or(FlatError::Contradiction {
                field: "address_offsets",
            })?;
        visit(ChunkAddress::new(*address));
    }
    Ok(())
}

/// Reports the commits that a leaf of a closure names.
fn ancestors(table: Table<'_>, visit: &mut impl FnMut(ChunkAddress)) -> Result<(), FlatError> {
    let keys = table.required_bytes(0, "key_items")?;
    let (keys, []) = keys.as_chunks::<CLOSURE_KEY_LEN>() else {
        return Err(FlatError::Length {
            field: "key_items",
            len_bytes: keys.len(),
        });
    };
    for [_, _, _, _, _, _, _, _, address @ ..] in keys {
        visit(ChunkAddress::new(*address));
    }
    Ok(())
}

fn commit(table: Table<'_>, visit: &mut impl FnMut(ChunkAddress)) -> Result<(), FlatError> {
    report(table.addresses(2, "parent_addrs")?, visit)?;
    visit(table.required_address(0, "root")?);
    optional(table, 3, "parent_closure", visit)
}

fn working_set(table: Table<'_>, visit: &mut impl FnMut(ChunkAddress)) -> Result<(), FlatError> {
    visit(table.required_address(0, "working_root_addr")?);
    if let Some(staged) = table.address(1, "staged_root_addr")? {
        visit(staged);
    }
    if let Some(merge) = table.table(6, 8, "merge_state")? {
        one(merge, &["pre_working_root_addr", "from_commit_addr"], visit)?;
    }
    // Dolt opens the rebase state only where it rebases; fields that we do not know still must not pass.
    table.table(7, 8, "rebase_state")?;
    Ok(())
}

fn root_value(table: Table<'_>, visit: &mut impl FnMut(ChunkAddress)) -> Result<(), DecodeError> {
    let fault = DecodeError::in_message(MessageKind::RootValue);
    let tables = table.required_bytes(1, "tables").map_err(fault)?;
    tree_children(tables, MessageKind::AddressMap, visit)?;
    optional(table, 2, "foreign_key_addr", visit).map_err(fault)
}

fn table(table: Table<'_>, visit: &mut impl FnMut(ChunkAddress)) -> Result<(), DecodeError> {
    let fault = DecodeError::in_message(MessageKind::Table);
    table_addresses(table, visit).map_err(fault)?;
    let indexes = table
        .required_bytes(2, "secondary_indexes")
        .map_err(fault)?;
    tree_children(indexes, MessageKind::AddressMap, visit)?;
    let rows = table.required_bytes(1, "primary_index").map_err(fault)?;
    tree_children(rows, MessageKind::ProllyNode, visit)
}

fn table_addresses(
    table: Table<'_>,
    visit: &mut impl FnMut(ChunkAddress),
) -> Result<(), FlatError> {
    visit(table.required_address(0, "schema")?);
    if let Some(conflicts) = table.table(4, 4, "conflicts")? {
        for (slot, field) in ["data", "our_schema", "their_schema", "ancestor_schema"]
            .into_iter()
            .enumerate()
        {
            optional(conflicts, slot, field, visit)?;
        }
    }
    optional(table, 5, "violations", visit)?;
    optional(table, 6, "artifacts", visit)
}

/// Reports the addresses in the first slots, all of which must be there.
fn one(
    table: Table<'_>,
    fields: &[&'static str],
    visit: &mut impl FnMut(ChunkAddress),
) -> Result<(), FlatError> {
    for (slot, field) in fields.iter().enumerate() {
        visit(table.required_address(slot, field)?);
    }
    Ok(())
}

/// Reports an address of which zero means "none".
fn optional(
    table: Table<'_>,
    slot: usize,
    field: &'static str,
    visit: &mut impl FnMut(ChunkAddress),
) -> Result<(), FlatError> {
    if let Some(address) = table.address(slot, field)?
        && !address.is_zero()
    {
        visit(address);
    }
    Ok(())
}

fn report(addresses: &[[u8; 20]], visit: &mut impl FnMut(ChunkAddress)) -> Result<(), FlatError> {
    for address in addresses {
        visit(ChunkAddress::new(*address));
    }
    Ok(())
}

#[cfg(test)]
mod newer;
#[cfg(test)]
mod tests;
