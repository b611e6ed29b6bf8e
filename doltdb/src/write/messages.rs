//! Single messages: the very bytes that Dolt writes for the same content.
//!
//! The order of calls decides the bytes; each message names its own.

use holdfast_chunkstore::ChunkAddress;

use crate::flat::builder::Builder;
use crate::message::MessageKind;

/// Writes a store root around the root node of its dataset map.
pub fn store_root(dataset_map: &[u8]) -> Vec<u8> {
    let mut builder = Builder::default();
    let map = builder.bytes(dataset_map);
    let table = builder.table().offset(0, map).end();
    builder.finish(table, MessageKind::StoreRoot.file_id())
}

/// Writes a node of an address map: a leaf where `counts` is nothing, else an inner node whose children hold
/// that many entries each.
pub fn address_map(
    entries: &[(&[u8], ChunkAddress)],
    level: u8,
    counts: Option<&[u64]>,
) -> Vec<u8> {
    let keys: Vec<u8> = entries.iter().flat_map(|(key, _)| *key).copied().collect();
    let mut offsets = vec![0_u16];
    let mut end = 0;
    for (key, _) in entries {
        end += key.len();
        offsets.push(u16::try_from(end).expect("a node's names are below 64 KiB"));
    }
    let addresses = entries.iter().map(|(_, address)| *address.as_bytes());
    let addresses = addresses.collect::<Vec<_>>();
    let total = match counts {
        None => u64::try_from(entries.len()).expect("a length fits"),
        Some(counts) => counts.iter().sum(),
    };
    let mut builder = Builder::default();
    let keys = builder.bytes(&keys);
    let offsets = builder.u16s(&offsets);
    let addresses = builder.bytes(addresses.as_flattened());
    let counts = counts.map(|counts| builder.bytes(&subtree_counts(counts)));
    let table = builder
        .table()
        .offset(0, keys)
        .offset(1, offsets)
        .offset(2, addresses)
        .offset(3, counts)
        .number(4, total.to_le_bytes())
        .number(5, [level])
        .end();
    builder.finish(table, MessageKind::AddressMap.file_id())
}

/// Writes the sizes of subtrees as Dolt does: each as its difference from the one before, zig-zag, in 7-bit
/// groups.
pub(crate) fn subtree_counts(counts: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut before = 0_i64;
    for count in counts {
        let count = i64::try_from(*count).expect("a count is below 2^63");
        let delta = count - before;
        let mut rest = ((delta << 1) ^ (delta >> 63)).cast_unsigned();
        while rest >= 0x80 {
            bytes.push(0x80 | u8::try_from(rest & 0x7f).expect("seven bits fit"));
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).expect("seven bits fit"));
        before = count;
    }
    bytes
}

/// What a working set says of who changed it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkingSetNote<'a> {
    /// The name.
    pub name: &'a str,
    /// The e-mail address.
    pub email: &'a str,
    /// What was done.
    pub description: &'a str,
    /// When, in seconds since 1970.
    pub at_seconds: u64,
}

/// Writes a working set in which nothing is changed and nothing is staged: both are the tables at `root`.
pub fn clean_working_set(root: ChunkAddress, note: Option<WorkingSetNote<'_>>) -> Vec<u8> {
    let mut builder = Builder::default();
    let working = builder.bytes(root.as_bytes());
    let staged = builder.bytes(root.as_bytes());
    let texts = note.map(|note| {
        let name = builder.text(note.name);
        let email = builder.text(note.email);
        (name, email, builder.text(note.description))
    });
    let at_seconds = note.map_or(0, |note| note.at_seconds);
    let table = builder
        .table()
        .offset(0, working)
        .offset(1, staged)
        .offset(2, texts.map(|(name, _, _)| name))
        .offset(3, texts.map(|(_, email, _)| email))
        .offset(4, texts.map(|(_, _, description)| description))
        .number(5, at_seconds.to_le_bytes())
        .end();
    builder.finish(table, MessageKind::WorkingSet.file_id())
}
