//! Nodes that are longer than what is in them, and how long those are that Dolt writes.

use bytes::Bytes;
use holdfast_chunkstore::ErrorKind;
use holdfast_doltdb::testing::{address_of, messages};
use holdfast_doltdb::tree::Node;
use holdfast_doltdb::{DecodeError, FlatError, MessageKind, children};

use crate::databases;

/// A message with bytes behind it that nothing points at.
pub(crate) fn padded(message: &[u8], len: usize) -> Bytes {
    let mut message = message.to_vec();
    message.resize(message.len() + len, 0);
    let body = u32::try_from(message.len() - 4).unwrap().to_be_bytes();
    message[1..4].copy_from_slice(&body[1..]);
    message.into()
}

/// Nodes of the kinds that we write.
fn nodes() -> Vec<Vec<u8>> {
    let address = address_of(b"somewhere");
    vec![
        messages::address_map(&[(b"a", address), (b"b", address)], 0, None),
        messages::address_map(&[(b"a", address)], 1, Some(&[7])),
        messages::blob_leaf(b"a value"),
        messages::blob_node(&[address], &[3], 1),
        messages::commit_closure(&[(1, address)], 0, None),
        messages::commit_closure(&[(1, address)], 1, Some((&[address], &[1]))),
    ]
}

fn found(chunk: &[u8]) -> Result<(), DecodeError> {
    children(chunk, &mut |_| {})
}

#[test]
fn a_node_with_much_that_nothing_points_at_is_refused() {
    for node in nodes() {
        found(&node).unwrap();
        found(&padded(&node, 512)).unwrap();
        for len in [2048, 15 << 20] {
            let Err(error) = found(&padded(&node, len)) else {
                panic!("{len} bytes of padding were taken");
            };
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let is_padded = matches!(
                error,
                DecodeError::Malformed {
                    fault: FlatError::Padded { .. },
                    ..
                }
            );
            assert!(is_padded, "{error:?}");
        }
    }
}

#[test]
fn a_padded_node_inside_another_message_is_refused_too() {
    let address = address_of(b"somewhere");
    let map = messages::address_map(&[(b"a", address)], 0, None);
    for owner in [messages::store_root, messages::root_value] {
        found(&owner(&map)).unwrap();
        assert!(found(&owner(&padded(&map, 4096))).is_err());
    }
    let padded = padded(&map, 1 << 20);
    assert!(Node::decode(&padded).is_err());
}

/// Counts of entries that no children have are no contents either.
#[test]
fn counts_without_children_are_padding() {
    let counts = vec![1; 100_000];
    let node = messages::address_map(&[(b"a", address_of(b"somewhere"))], 1, Some(&counts));
    assert!(found(&node).is_err());
}

/// What is not a node may have any length: a commit has a message.
#[test]
fn other_messages_may_be_long() {
    let tag = messages::tag(address_of(b"commit"), "a", &"x".repeat(1 << 20), 0);
    found(&tag).unwrap();
}

#[test]
fn no_node_of_any_dolt_comes_near_to_the_bound() {
    let mut databases = databases::all_made();
    databases.extend(databases::all_dolt(
        "no_node_of_any_dolt_comes_near_to_the_bound",
    ));
    let (mut nodes, mut most) = (0, 0);
    for database in &databases {
        for (address, chunk) in &database.noms.chunks {
            let Some(slack) = holdfast_doltdb::testing::slack(chunk) else {
                continue;
            };
            nodes += 1;
            if slack > most {
                most = slack;
                let kind = MessageKind::of_head(chunk);
                println!("{slack} bytes: {address} {kind:?} in {}", database.name);
            }
        }
    }
    assert!(nodes > 500, "{nodes}");
    assert!(
        most <= 104,
        "{most} bytes are not what the bound was chosen by"
    );
}
