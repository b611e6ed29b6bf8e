//! The builder of made-up databases gives Dolt's own bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::model::{Commit, StoreRoot};
use holdfast_doltdb::testing::messages::{self, CommitFields};
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_doltdb::tree::Node;
use holdfast_doltdb::{Message, MessageKind, children, embedded};

use crate::databases::all_made;

/// Writes a chunk again from what our decoders say of it; nothing for kinds that are not written.
fn rebuild(chunk: &Bytes) -> Option<Vec<u8>> {
    let kind = Message::decode(chunk).unwrap().kind();
    let mut found = Vec::new();
    children(chunk, &mut |child| found.push(child)).unwrap();
    match kind {
        MessageKind::StoreRoot => {
            let store_root = StoreRoot::decode(chunk).unwrap();
            Some(messages::store_root(store_root.dataset_map.unwrap()))
        }
        MessageKind::AddressMap => {
            let node = Node::decode(chunk).unwrap();
            // Inner nodes also count the entries below, which the decoder has no use for.
            (node.level() == 0).then(|| rebuild_leaf(&node))
        }
        MessageKind::Commit => {
            let commit = Commit::decode(chunk).unwrap();
            let parents: Vec<_> = commit.parents().collect();
            let different = |own: &str, authors: &str| (own != authors).then(|| own.to_owned());
            let committer = [
                different(&commit.committer.name, &commit.author.name),
                different(&commit.committer.email, &commit.author.email),
            ];
            Some(messages::commit(&CommitFields {
                root: commit.root,
                height: commit.height,
                parents: &parents,
                closure: commit.closure.unwrap_or(ChunkAddress::ZERO),
                name: &commit.author.name,
                email: &commit.author.email,
                description: &commit.description,
                timestamp_millis: u64::try_from(commit.committer.at_millis).unwrap(),
                user_timestamp_millis: commit.author.at_millis,
                signature: commit.signature.as_deref(),
                committer: committer.each_ref().map(Option::as_deref),
            }))
        }
        MessageKind::Blob if found.is_empty() => Some(messages::blob_leaf(blob_payload(chunk))),
        _ => None,
    }
}

fn rebuild_leaf(node: &Node) -> Vec<u8> {
    let keys: Vec<Bytes> = (0..node.len())
        .map(|index| node.key(index).unwrap())
        .collect();
    let addresses = (0..node.len()).map(|index| node.address(index).unwrap());
    let entries: Vec<_> = keys.iter().map(AsRef::as_ref).zip(addresses).collect();
    messages::address_map(&entries, 0, None)
}

/// The payload of a leaf of a long value: the only vector in it, padded at the end.
fn blob_payload(chunk: &[u8]) -> &[u8] {
    let at = (36..).find(|at| {
        let len = u32::from_le_bytes(chunk[*at..at + 4].try_into().unwrap());
        let end = at + 4 + usize::try_from(len).unwrap();
        end <= chunk.len() && chunk.len() - end < 4 && chunk[end..].iter().all(|byte| *byte == 0)
    });
    let at = at.unwrap();
    let len = u32::from_le_bytes(chunk[at..at + 4].try_into().unwrap());
    &chunk[at + 4..at + 4 + usize::try_from(len).unwrap()]
}

#[test]
fn chunks_of_dolt_are_written_again_byte_by_byte() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for database in all_made() {
        for (address, chunk) in &database.noms.chunks {
            let Some(rebuilt) = rebuild(chunk) else {
                continue;
            };
            assert_eq!(rebuilt, chunk[..], "{}: {address}", database.name);
            let kind = Message::decode(chunk).unwrap().kind();
            *counts.entry(kind.to_string()).or_default() += 1;
        }
    }
    for kind in ["STRT", "ADRM", "DCMT", "BLOB"] {
        assert!(counts.contains_key(kind), "{counts:?}");
    }
}

#[test]
fn embedded_nodes_of_dolt_are_written_again_byte_by_byte() {
    let mut count = 0;
    for database in all_made() {
        for chunk in database.noms.chunks.values() {
            for inside in embedded(chunk).unwrap().into_iter().flatten() {
                let inside = Bytes::copy_from_slice(inside);
                if let Some(rebuilt) = rebuild(&inside) {
                    assert_eq!(rebuilt, inside[..]);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn what_the_specification_names_has_the_named_address() {
    let empty_map = messages::address_map(&[], 0, None);
    let empty_root = messages::root_value(&empty_map);
    let commit = messages::commit(&CommitFields {
        root: address_of(&empty_root),
        height: 1,
        parents: &[],
        closure: ChunkAddress::ZERO,
        name: "a",
        email: "b",
        description: "c",
        timestamp_millis: 1_700_000_000_123,
        user_timestamp_millis: 1_700_000_000_123,
        signature: None,
        committer: [None, None],
    });
    let map = messages::address_map(&[(b"refs/heads/main", address_of(&commit))], 0, None);
    let store_root = messages::store_root(&map);
    for (chunk, len_bytes, address) in [
        (empty_map, 56, "o0te4bsh307ieff51bhqo7omuobm5cdc"),
        (
            messages::commit_closure(&[], 0, None),
            32,
            "ors33cm97i640t2rs60olpf1nvc30lei",
        ),
        (empty_root, 140, "vt5n73lho7q40t91ucetlr9qv4eqhasl"),
        (
            messages::blob_leaf(b"hello"),
            52,
            "g5v3o90ol2agv3h3iirb5tb1qu1u3asr",
        ),
        (commit, 172, "2v2039uob9h4eobbpi82mvkifs9tbla4"),
        (map, 108, "9lbqkumgcp1pa4906hqdnn4vpofifta3"),
        (store_root, 140, "onn9ajae7iasindqtsdj01rqku261i5q"),
    ] {
        assert_eq!(chunk.len(), len_bytes);
        assert_eq!(address_of(&chunk).to_string(), address);
    }
}

#[test]
fn a_made_up_database_names_only_chunks_that_it_has() {
    let mut tiny = TinyDb::new();
    let content = vec![7; 1_000_000];
    for number in 0..200 {
        let fresh = tiny.commit_with(
            &format!("branch-{number}"),
            "a commit",
            &[("t", &content), ("small", &[1])],
        );
        assert_eq!(
            address_of(fresh.last().unwrap()),
            tiny.root().chunk().unwrap()
        );
        tiny.commit("main", &format!("commit {number}"));
    }
    tiny.tag("v1", "main");
    for chunk in tiny.chunks().values() {
        children(chunk, &mut |child| {
            assert!(tiny.chunks().contains_key(&child))
        })
        .unwrap();
    }
    let head = Commit::decode(&tiny.chunks()[&tiny.head("main").unwrap()])
        .unwrap()
        .height;
    assert_eq!(head, 200);
}
