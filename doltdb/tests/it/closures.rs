//! Trees of ancestors: order over several levels, and forgeries.

use futures::executor::block_on;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};
use holdfast_doltdb::testing::{TinyDb, address_of, messages};
use holdfast_doltdb::tree::{AncestorKey, CommitClosure};
use holdfast_doltdb::{DecodeError, ReadError, TreeFault};

type Key = (u64, ChunkAddress);

fn key(height: u64) -> Key {
    (height, address_of(&height.to_be_bytes()))
}

fn leaf(tiny: &mut TinyDb, heights: &[u64]) -> ChunkAddress {
    let keys: Vec<_> = heights.iter().map(|height| key(*height)).collect();
    tiny.put_raw(messages::commit_closure(&keys, 0, None))
}

fn inner(tiny: &mut TinyDb, level: u8, children: &[(Key, ChunkAddress)]) -> ChunkAddress {
    let (keys, addresses): (Vec<_>, Vec<_>) = children.iter().copied().unzip();
    let counts = vec![1; keys.len()];
    tiny.put_raw(messages::commit_closure(
        &keys,
        level,
        Some((&addresses, &counts)),
    ))
}

fn read(tiny: &TinyDb, root: Option<ChunkAddress>) -> Result<Vec<Key>, ReadError> {
    block_on(async {
        let closure = CommitClosure::open(tiny, root).await?;
        let mut ancestors = closure.ancestors();
        let mut keys = Vec::new();
        while let Some(AncestorKey { height, address }) = ancestors.next().await? {
            keys.push((height, address));
        }
        Ok(keys)
    })
}

#[test]
fn ancestors_come_by_height_as_a_number_over_all_levels() {
    let mut tiny = TinyDb::new();
    // As bytes, 256 lies below 255.
    let heights: Vec<u64> = (1..=6000).collect();
    let leaves = heights.chunks(60).map(|heights| {
        let last = key(heights[heights.len() - 1]);
        (last, leaf(&mut tiny, heights))
    });
    let leaves: Vec<_> = leaves.collect();
    let nodes = leaves.chunks(40).map(|children| {
        let last = children[children.len() - 1].0;
        (last, inner(&mut tiny, 1, children))
    });
    let nodes: Vec<_> = nodes.collect();
    let root = inner(&mut tiny, 2, &nodes);
    let wanted: Vec<_> = heights.iter().map(|height| key(*height)).collect();
    assert_eq!(read(&tiny, Some(root)).unwrap(), wanted);
    assert_eq!(read(&tiny, None).unwrap(), []);
}

#[test]
fn a_node_that_does_not_belong_where_it_hangs_is_refused() {
    let mut tiny = TinyDb::new();
    let low = leaf(&mut tiny, &[1, 3]);
    let high = leaf(&mut tiny, &[4, 6]);
    let overlapping = leaf(&mut tiny, &[2, 6]);
    let empty = leaf(&mut tiny, &[]);
    let whole = inner(&mut tiny, 1, &[(key(3), low), (key(6), high)]);
    assert_eq!(read(&tiny, Some(whole)).unwrap().len(), 4);
    assert_eq!(read(&tiny, Some(empty)).unwrap(), []);
    let steep = TreeFault::Level {
        wanted: 1,
        found: 0,
    };
    for (level, second, fault) in [
        (1, (key(6), overlapping), TreeFault::FirstKey),
        (1, (key(7), high), TreeFault::LastKey),
        (1, (key(7), empty), TreeFault::Empty),
        (2, (key(6), high), steep),
    ] {
        let root = inner(&mut tiny, level, &[(key(3), low), second]);
        let error = read(&tiny, Some(root)).unwrap_err();
        let is_wanted = matches!(error, ReadError::Tree { fault: found, .. } if found == fault);
        assert!(is_wanted, "{error:?}, not {fault:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    tiny.lose(high);
    let error = read(&tiny, Some(whole)).unwrap_err();
    assert!(matches!(error, ReadError::Missing { address } if address == high));
}

#[test]
fn a_node_that_contradicts_itself_is_refused() {
    let mut tiny = TinyDb::new();
    let low = leaf(&mut tiny, &[1]);
    let falling = leaf(&mut tiny, &[2, 1]);
    let twice = leaf(&mut tiny, &[2, 2]);
    let leaf_with_child = inner(&mut tiny, 0, &[(key(1), low)]);
    let too_high = inner(&mut tiny, 15, &[(key(1), low)]);
    let hollow = inner(&mut tiny, 1, &[]);
    let more_keys = messages::commit_closure(&[key(1), key(2)], 1, Some((&[low], &[1])));
    let more_keys = tiny.put_raw(more_keys);
    let other_kind = tiny.put_raw(messages::address_map(&[], 0, None));
    for root in [
        falling,
        twice,
        leaf_with_child,
        too_high,
        hollow,
        more_keys,
        other_kind,
    ] {
        let error = read(&tiny, Some(root)).unwrap_err();
        let ReadError::Decode { address, source } = error else {
            panic!("{error:?}");
        };
        assert_eq!(address, root);
        assert_eq!(
            matches!(source, DecodeError::WrongKind { .. }),
            root == other_kind
        );
    }
}
