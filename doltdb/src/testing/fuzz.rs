//! One function per decoder that takes any bytes: the body of a fuzz target, and of the tests that run 10,000
//! inputs through it.
//!
//! None may panic. What does decode must stand up to its own rules, which the functions assert.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

use super::messages;
use crate::error::ReadError;
use crate::message::MessageKind;
use crate::model::{Commit, StoreRoot, Tag, WorkingSet};
use crate::refs::RefName;
use crate::source::{ChunkSource, SourceError};
use crate::tree::{AddressMap, AddressMapDiff, ClosureNode, Node, TreeNode as _};
use crate::{Reached, RefsDiff, children, embedded, reach};

/// A chunk as it came: its children, the messages inside it, and every model.
pub fn chunk(bytes: &[u8]) {
    let reported = children_of(bytes);
    if let Some(reported) = &reported {
        assert!(reported.len() <= bytes.len(), "more children than bytes");
        inside(bytes, reported);
    }
    let decoded = [
        commit(bytes, reported.as_deref()),
        tag(bytes, reported.as_deref()),
        StoreRoot::decode(bytes).is_ok(),
        WorkingSet::decode(bytes).is_ok(),
        node(bytes),
        closure_node(bytes, reported.as_deref()),
    ];
    assert!(decoded.iter().filter(|decoded| **decoded).count() <= 1);
}

/// A message of one kind whose FlatBuffer is `body`. The envelope around it and the kind in it are made right,
/// or else hardly anything behind them would be looked at.
pub fn message(kind: MessageKind, body: &[u8]) {
    chunk(&sealed(kind, body));
}

/// The dataset maps of two stores, in the form that [`tree_input`] gives them.
pub fn tree(bytes: &[u8]) {
    compare(bytes);
}

/// Reads two dataset maps in every way there is, which must all agree, and returns how many pairs of them could be
/// compared: three if both are sound.
///
/// `bytes` are cut into four FlatBuffers: the root nodes of both maps, and the nodes that all even and all odd
/// addresses lead to. Each of the first three has its length in front of it.
pub fn compare(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut next = || {
        let (len, tail) = rest.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let len = usize::from(u16::from_be_bytes(*len));
        let (node, tail) = tail.split_at(len.min(tail.len()));
        rest = tail;
        sealed(MessageKind::AddressMap, node)
    };
    let [old, new, even] = [next(), next(), next()];
    let store_roots = [old, new].map(|node| messages::store_root(&node));
    let odd = sealed(MessageKind::AddressMap, rest);
    compare_stores(store_roots, [even, odd])
}

/// Puts four FlatBuffers into the form that [`compare`] takes.
///
/// # Panics
/// When one of the first three is longer than 65,535 bytes.
pub fn tree_input(bodies: [&[u8]; 4]) -> Vec<u8> {
    let [first @ .., last] = bodies;
    let mut input = Vec::new();
    for body in first {
        let len = u16::try_from(body.len()).expect("a body in front has a short length");
        input.extend(len.to_be_bytes());
        input.extend(body);
    }
    input.extend(last);
    input
}

/// Compares two stores, given by the chunks of their roots; all other addresses lead to one of two chunks.
fn compare_stores(store_roots: [Vec<u8>; 2], nodes: [Vec<u8>; 2]) -> usize {
    let source = FourChunks {
        store_roots: store_roots.map(Bytes::from),
        nodes: nodes.map(Bytes::from),
    };
    let [old, new] = FourChunks::STORE_ROOTS.map(RootAddress::from);
    block_on(async {
        let nothing = Ok(Entries::new());
        let old_map = entries(&source, old).await;
        let new_map = entries(&source, new).await;
        let pairs = [
            ((old, &old_map), (new, &new_map)),
            ((new, &new_map), (old, &old_map)),
            ((RootAddress::ZERO, &nothing), (new, &new_map)),
        ];
        let mut compared = 0;
        for ((from, before), (to, after)) in pairs {
            let changes = changes(&source, from, to).await;
            let (Ok(before), Ok(after)) = (before, after) else {
                continue;
            };
            let changes = changes.expect("two maps that can be read whole can be compared");
            assert_eq!(changes, difference(before, after));
            compared += 1;
        }
        if let Ok(mut diff) = RefsDiff::open(&source, old, new).await {
            while let Ok(Some(change)) = diff.next().await {
                assert_ne!(change.old, change.new);
            }
        }
        let mut addresses = BTreeSet::new();
        let walked = reach(&source, FourChunks::STORE_ROOTS, |reached| {
            let (Reached::Chunk { address, .. }
            | Reached::Unreadable { address, .. }
            | Reached::Missing { address, .. }) = reached;
            assert!(addresses.insert(address), "each address is reported once");
            std::ops::ControlFlow::Continue(())
        });
        walked.await.expect("the source never fails");
        compared
    })
}

/// The full name of a dataset.
pub fn ref_name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for text in [text.to_string(), format!("refs/heads/{text}")] {
        let name = RefName::parse(&text);
        assert_eq!(name.to_string(), text);
        if name.check().is_ok() {
            assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}

/// Puts the envelope around a FlatBuffer and the kind into it.
fn sealed(kind: MessageKind, body: &[u8]) -> Vec<u8> {
    let mut chunk = [&[0x1b, 0, 0, 0], body].concat();
    chunk.resize(chunk.len().clamp(12, (1 << 24) + 3), 0);
    chunk[8..12].copy_from_slice(&kind.file_id().0);
    let len = u32::try_from(chunk.len() - 4)
        .expect("it was cut")
        .to_be_bytes();
    chunk[1..4].copy_from_slice(&len[1..]);
    chunk
}

fn children_of(bytes: &[u8]) -> Option<Vec<ChunkAddress>> {
    let mut reported = Vec::new();
    let outcome = children(bytes, &mut |child| reported.push(child));
    outcome.is_ok().then_some(reported)
}

/// Checks that the messages inside a chunk can be told whole, and that the chunk reports all of theirs.
fn inside(bytes: &[u8], reported: &[ChunkAddress]) {
    let reported: BTreeSet<_> = reported.iter().collect();
    let inner = embedded(bytes).expect("its children could be told");
    for inner in inner.into_iter().flatten() {
        assert!(inner.len() < bytes.len());
        let children = children_of(inner).expect("the children of the whole could be told");
        assert!(children.iter().all(|child| reported.contains(child)));
        assert_eq!(embedded(inner).expect("it decodes"), [None, None]);
    }
}

fn commit(bytes: &[u8], reported: Option<&[ChunkAddress]>) -> bool {
    let Ok(commit) = Commit::decode(bytes) else {
        return false;
    };
    let parents = commit.parents();
    let own = parents.chain([commit.root]).chain(commit.closure);
    assert_eq!(reported, Some(&own.collect::<Vec<_>>()[..]));
    true
}

fn tag(bytes: &[u8], reported: Option<&[ChunkAddress]>) -> bool {
    let Ok(tag) = Tag::decode(bytes) else {
        return false;
    };
    assert_eq!(reported, Some(&[tag.commit][..]));
    true
}

fn node(bytes: &[u8]) -> bool {
    let Ok(node) = Node::decode(&Bytes::copy_from_slice(bytes)) else {
        return false;
    };
    let keys: Vec<_> = (0..node.len()).map(|index| node.key(index)).collect();
    assert!(keys.is_sorted() && keys.iter().all(Option::is_some));
    assert_eq!(node.last_key(), keys.last().cloned().flatten());
    assert_eq!(node.address(node.len()), None);
    for (index, key) in keys.iter().flatten().enumerate() {
        assert_eq!(node.lower_bound(key), index);
    }
    true
}

fn closure_node(bytes: &[u8], reported: Option<&[ChunkAddress]>) -> bool {
    let Ok(node) = ClosureNode::decode(&Bytes::copy_from_slice(bytes)) else {
        return false;
    };
    let keys: Vec<_> = (0..node.len()).map(|index| node.key(index)).collect();
    assert!(keys.is_sorted() && keys.iter().all(Option::is_some));
    assert_eq!((node.key(node.len()), node.child(node.len())), (None, None));
    let own = keys.iter().flatten().enumerate();
    let own = own.map(|(index, key)| match node.level() {
        0 => key.address,
        _ => node
            .child(index)
            .expect("an inner node has a child for each key"),
    });
    assert_eq!(reported, Some(&own.collect::<Vec<_>>()[..]));
    true
}

type Entries = BTreeMap<Bytes, ChunkAddress>;
type Changes = BTreeMap<Bytes, (Option<ChunkAddress>, Option<ChunkAddress>)>;

/// Reads a whole map in order, and its names one by one.
async fn entries(source: &FourChunks, root: RootAddress) -> Result<Entries, ReadError> {
    let map = AddressMap::open(source, root).await?;
    let mut all = Entries::new();
    let mut entries = map.entries();
    while let Some(entry) = entries.next().await? {
        let last = all.last_key_value();
        assert!(last.is_none_or(|(last, _)| *last < entry.name));
        all.insert(entry.name, entry.address);
    }
    for (name, address) in all.iter().take(64) {
        let found = map.get(name).await;
        assert_eq!(found.expect("the whole map was read"), Some(*address));
    }
    Ok(all)
}

async fn changes(
    source: &FourChunks,
    old: RootAddress,
    new: RootAddress,
) -> Result<Changes, ReadError> {
    let mut diff = AddressMapDiff::open(source, old, new).await?;
    let mut changes = Changes::new();
    while let Some(change) = diff.next().await? {
        let last = changes.last_key_value();
        assert!(last.is_none_or(|(last, _)| *last < change.name));
        changes.insert(change.name, (change.old, change.new));
    }
    Ok(changes)
}

/// What differs, found out the simple way.
fn difference(old: &Entries, new: &Entries) -> Changes {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let change = |name: &Bytes| (old.get(name).copied(), new.get(name).copied());
    let changes = names.into_iter().map(|name| (name.clone(), change(name)));
    changes.filter(|(_, (old, new))| old != new).collect()
}

/// Two stores in which every address below the roots leads to one of two nodes.
struct FourChunks {
    store_roots: [Bytes; 2],
    nodes: [Bytes; 2],
}

impl FourChunks {
    const STORE_ROOTS: [ChunkAddress; 2] =
        [ChunkAddress::new([0x5a; 20]), ChunkAddress::new([0x5b; 20])];
}

#[async_trait]
impl ChunkSource for FourChunks {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let chunk = |address: &ChunkAddress| {
            let [.., last] = address.as_bytes();
            let root = Self::STORE_ROOTS.iter().position(|root| root == address);
            match root {
                Some(root) => self.store_roots[root].clone(),
                None => self.nodes[usize::from(last % 2)].clone(),
            }
        };
        Ok(addresses
            .iter()
            .map(|address| Some(chunk(address)))
            .collect())
    }
}
