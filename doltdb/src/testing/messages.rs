//! Writers of single messages: the very bytes that Dolt writes for the same content.

use holdfast_chunkstore::ChunkAddress;

use crate::flat::builder::Builder;
use crate::message::MessageKind;
use crate::write::messages::subtree_counts;
pub use crate::write::messages::{address_map, store_root};

/// The feature version and the collation of a root value that today's Dolt makes.
const FEATURE_VERSION: i64 = 7;
const COLLATION: u16 = 309;

/// Everything in a commit.
#[derive(Debug, Clone)]
pub struct CommitFields<'a> {
    /// Address of the root value.
    pub root: ChunkAddress,
    /// One more than the largest height of the parents.
    pub height: u64,
    /// The parents, in their order.
    pub parents: &'a [ChunkAddress],
    /// The closure, or zero.
    pub closure: ChunkAddress,
    /// Author's name.
    pub name: &'a str,
    /// Author's e-mail address.
    pub email: &'a str,
    /// The message.
    pub description: &'a str,
    /// Committer's date.
    pub timestamp_millis: u64,
    /// Author's date.
    pub user_timestamp_millis: i64,
    /// A clear-signed block.
    pub signature: Option<&'a str>,
    /// Committer's name and e-mail address, where they are not the author's.
    pub committer: [Option<&'a str>; 2],
}

/// Writes a commit.
pub fn commit(fields: &CommitFields<'_>) -> Vec<u8> {
    let parents = fields.parents.iter().map(|parent| *parent.as_bytes());
    let parents = parents.collect::<Vec<_>>();
    let mut builder = Builder::default();
    let root = builder.bytes(fields.root.as_bytes());
    let parents = builder.bytes(parents.as_flattened());
    let closure = builder.bytes(fields.closure.as_bytes());
    let name = builder.text(fields.name);
    let email = builder.text(fields.email);
    let description = builder.text(fields.description);
    let signature = fields.signature.map(|text| builder.text(text));
    let [committer, address] = fields.committer;
    let committer = committer.map(|text| builder.text(text));
    let committer_email = address.map(|text| builder.text(text));
    let table = builder
        .table()
        .offset(0, root)
        .number(1, fields.height.to_le_bytes())
        .offset(2, parents)
        .offset(3, closure)
        .offset(4, name)
        .offset(5, email)
        .offset(6, description)
        .number(7, fields.timestamp_millis.to_le_bytes())
        .number(8, fields.user_timestamp_millis.to_le_bytes())
        .offset(9, signature)
        .offset(10, committer)
        .offset(11, committer_email)
        .end();
    builder.finish(table, MessageKind::Commit.file_id())
}

/// Writes a tag.
pub fn tag(commit: ChunkAddress, name: &str, description: &str, at_millis: i64) -> Vec<u8> {
    let mut builder = Builder::default();
    let commit = builder.bytes(commit.as_bytes());
    let name = builder.text(name);
    let email = builder.text("tiny@example.com");
    let description = builder.text(description);
    let table = builder
        .table()
        .offset(0, commit)
        .offset(1, name)
        .offset(2, email)
        .offset(3, description)
        .number(4, at_millis.to_le_bytes())
        .number(5, at_millis.to_le_bytes())
        .end();
    builder.finish(table, MessageKind::Tag.file_id())
}

/// Writes a root value around the root node of its map of tables.
pub fn root_value(tables: &[u8]) -> Vec<u8> {
    let mut builder = Builder::default();
    let tables = builder.bytes(tables);
    let foreign_keys = builder.bytes(ChunkAddress::ZERO.as_bytes());
    let table = builder
        .table()
        .number(0, FEATURE_VERSION.to_le_bytes())
        .number(3, COLLATION.to_le_bytes())
        .offset(1, tables)
        .offset(2, foreign_keys)
        .end();
    builder.finish(table, MessageKind::RootValue.file_id())
}

/// Writes a leaf of a long value.
pub fn blob_leaf(payload: &[u8]) -> Vec<u8> {
    let mut builder = Builder::default();
    let payload = builder.bytes(payload);
    let table = builder
        .table()
        .offset(0, payload)
        .number(3, 1_u64.to_le_bytes())
        .end();
    builder.finish(table, MessageKind::Blob.file_id())
}

/// Writes an inner node of a long value over children that hold `sizes` leaves each.
pub fn blob_node(children: &[ChunkAddress], sizes: &[u64], level: u8) -> Vec<u8> {
    let children = children.iter().map(|child| *child.as_bytes());
    let children = children.collect::<Vec<_>>();
    let mut builder = Builder::default();
    let addresses = builder.bytes(children.as_flattened());
    let counts = builder.bytes(&subtree_counts(sizes));
    let table = builder
        .table()
        .offset(1, addresses)
        .offset(2, counts)
        .number(3, sizes.iter().sum::<u64>().to_le_bytes())
        .number(4, [level])
        .end();
    builder.finish(table, MessageKind::Blob.file_id())
}

/// Writes a node of a commit closure; each key is a height and an address. `children` is nothing in a leaf,
/// else the children and how many keys each holds.
pub fn commit_closure(
    keys: &[(u64, ChunkAddress)],
    level: u8,
    children: Option<(&[ChunkAddress], &[u64])>,
) -> Vec<u8> {
    let mut items = Vec::new();
    for (height, address) in keys {
        items.extend(height.to_le_bytes());
        items.extend(address.as_bytes());
    }
    let mut builder = Builder::default();
    let items = builder.bytes(&items);
    let inner = children.map(|(addresses, counts)| {
        let addresses: Vec<_> = addresses.iter().map(|child| *child.as_bytes()).collect();
        let addresses = builder.bytes(addresses.as_flattened());
        (addresses, builder.bytes(&subtree_counts(counts)))
    });
    let total = match children {
        None => u64::try_from(keys.len()).expect("a length fits"),
        Some((_, counts)) => counts.iter().sum(),
    };
    let table = builder
        .table()
        .offset(0, items)
        .offset(1, inner.map(|(addresses, _)| addresses))
        .offset(2, inner.map(|(_, counts)| counts))
        .number(3, total.to_le_bytes())
        .number(4, [level])
        .end();
    builder.finish(table, MessageKind::CommitClosure.file_id())
}
