use holdfast_chunkstore::ErrorKind;

use super::*;
use crate::flat::builder::Builder;
use crate::message::FileId;
use crate::testing::messages;

fn address(byte: u8) -> ChunkAddress {
    ChunkAddress::new([byte; 20])
}

pub(super) fn told(chunk: &[u8]) -> Result<Vec<ChunkAddress>, ChildrenError> {
    let mut found = Vec::new();
    children(chunk, &mut |child| found.push(child)).map(|()| found)
}

/// A message whose slots hold the given bytes, or nothing.
pub(super) fn message(kind: MessageKind, fields: &[Option<&[u8]>]) -> Vec<u8> {
    let mut builder = Builder::default();
    let places: Vec<_> = fields
        .iter()
        .map(|field| field.map(|bytes| builder.bytes(bytes)))
        .collect();
    let mut table = builder.table();
    for (slot, place) in places.into_iter().enumerate() {
        table = table.offset(slot, place);
    }
    let root = table.end();
    builder.finish(root, kind.file_id())
}

/// A leaf of rows with given offsets into 40 bytes of items.
fn rows(offsets: &[u16], level: u8, addresses: Option<&[u8]>) -> Vec<u8> {
    let items = [[1; 20], [2; 20]];
    let mut builder = Builder::default();
    let items = builder.bytes(items.as_flattened());
    let offsets = builder.u16s(offsets);
    let addresses = addresses.map(|addresses| builder.bytes(addresses));
    let root = builder
        .table()
        .offset(3, items)
        .offset(6, offsets)
        .offset(7, addresses)
        .number(10, [level])
        .end();
    builder.finish(root, MessageKind::ProllyNode.file_id())
}

#[test]
fn a_leaf_of_rows_points_at_what_lies_at_its_offsets() {
    assert_eq!(
        told(&rows(&[20, 0], 0, None)),
        Ok(vec![address(2), address(1)])
    );
    assert_eq!(told(&rows(&[], 0, None)), Ok(vec![]));
    assert_eq!(
        told(&rows(&[], 1, Some(&[7; 40]))),
        Ok(vec![address(7), address(7)])
    );
}

#[test]
fn a_node_right_above_its_leaves_says_what_they_are() {
    assert_eq!(
        leaves(&rows(&[], 1, Some(&[7; 40]))),
        Ok(Some(Leaves::Rows))
    );
    for level in [0, 2] {
        let addresses: Option<&[u8]> = (level > 0).then_some(&[7; 20]);
        assert_eq!(leaves(&rows(&[], level, addresses)), Ok(None));
    }
    let blob = |level: u8| {
        let mut builder = Builder::default();
        let addresses = builder.bytes(&[7; 20]);
        let root = builder.table().offset(1, addresses).number(4, [level]);
        let root = root.end();
        builder.finish(root, MessageKind::Blob.file_id())
    };
    assert_eq!(leaves(&blob(1)), Ok(Some(Leaves::Ends)));
    assert_eq!(leaves(&blob(2)), Ok(None));
    // The leaves of a closure name commits, and those of an address map anything.
    let closure = message(MessageKind::CommitClosure, &[Some(&[7; 28])]);
    assert_eq!(leaves(&closure), Ok(None));
}

#[test]
fn a_node_that_contradicts_itself_is_refused() {
    for chunk in [
        rows(&[21], 0, None),
        rows(&[u16::MAX], 0, None),
        rows(&[], 0, Some(&[7; 20])),
        rows(&[0], 1, Some(&[7; 20])),
        rows(&[], 1, Some(&[7; 21])),
        message(MessageKind::Blob, &[None, Some(&[7; 20])]),
        message(MessageKind::CommitClosure, &[Some(&[7; 29])]),
    ] {
        let error = told(&chunk).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn conflicts_point_at_addresses_inside_their_keys() {
    let mut builder = Builder::default();
    let keys = builder.bytes(&[&[0; 4][..], &[5; 20]].concat());
    let offsets = builder.u16s(&[4]);
    let root = builder.table().offset(0, keys).offset(2, offsets).end();
    let chunk = builder.finish(root, MessageKind::MergeArtifacts.file_id());
    assert_eq!(told(&chunk), Ok(vec![address(5)]));
}

#[test]
fn a_working_set_points_at_its_roots_and_at_a_merge_but_not_at_a_rebase() {
    let mut builder = Builder::default();
    let [working, staged, before, from, head, onto] =
        [1, 2, 3, 4, 5, 6].map(|byte| builder.bytes(&[byte; 20]));
    let merge = builder
        .table()
        .offset(0, before)
        .offset(1, from)
        .offset(6, head)
        .end();
    let rebase = builder.table().offset(0, before).offset(2, onto).end();
    let root = builder
        .table()
        .offset(0, working)
        .offset(1, staged)
        .offset(6, merge)
        .offset(7, rebase)
        .end();
    let chunk = builder.finish(root, MessageKind::WorkingSet.file_id());
    assert_eq!(told(&chunk), Ok([1, 2, 3, 4].map(address).to_vec()));
    let chunk = message(MessageKind::WorkingSet, &[Some(&[1; 20])]);
    assert_eq!(told(&chunk), Ok(vec![address(1)]));
}

#[test]
fn zero_is_none_only_where_it_means_that() {
    let zero = &[0; 20][..];
    let none = ChunkAddress::ZERO;
    let commit = message(
        MessageKind::Commit,
        &[Some(&[1; 20]), None, Some(zero), Some(zero)],
    );
    assert_eq!(told(&commit), Ok(vec![none, address(1)]));
    let tag = message(MessageKind::Tag, &[Some(zero)]);
    assert_eq!(told(&tag), Ok(vec![none]));
    let map = messages::address_map(&[], 0, None);
    let root = message(MessageKind::RootValue, &[None, Some(&map), Some(zero)]);
    assert_eq!(told(&root), Ok(vec![]));
    let map = messages::address_map(&[(b"a", none)], 0, None);
    assert_eq!(told(&map), Ok(vec![none]));
}

#[test]
fn small_messages_point_at_what_they_hold() {
    let one = &[1; 20][..];
    let two = &[2; 20][..];
    for (kind, fields, expected) in [
        (MessageKind::Statistic, vec![Some(one)], vec![address(1)]),
        (
            MessageKind::Stash,
            vec![Some(one), Some(two)],
            vec![address(1), address(2)],
        ),
        (MessageKind::StashList, vec![Some(&[][..])], vec![]),
        (MessageKind::Tuple, vec![Some(one)], vec![]),
        (MessageKind::TableSchema, vec![], vec![]),
        (MessageKind::ForeignKeys, vec![], vec![]),
        (MessageKind::VectorIndex, vec![Some(one)], vec![]),
    ] {
        assert_eq!(told(&message(kind, &fields)), Ok(expected), "{kind}");
    }
    for kind in [
        MessageKind::Statistic,
        MessageKind::Stash,
        MessageKind::Tag,
        MessageKind::Commit,
        MessageKind::StoreRoot,
    ] {
        let error = told(&message(kind, &[])).unwrap_err();
        assert!(
            matches!(error, DecodeError::Malformed { .. }),
            "{kind}: {error:?}"
        );
    }
}

#[test]
fn unknown_kinds_and_unknown_fields_are_refused_by_name() {
    let id = FileId(*b"DGRV");
    let error = told(&message(MessageKind::Unknown(id), &[])).unwrap_err();
    assert_eq!(error, DecodeError::UnknownKind { id });
    assert_eq!(error.to_string(), "messages of the kind DGRV are not known");
    assert_eq!(error.kind(), ErrorKind::Refused);

    for kind in MessageKind::KNOWN {
        let known = kind.known_fields().unwrap();
        let mut fields = vec![None; known];
        fields.push(Some(&[1; 20][..]));
        if kind.holds_no_address() {
            continue;
        }
        let error = told(&message(*kind, &fields)).unwrap_err();
        assert_eq!(
            error,
            DecodeError::UnknownField {
                kind: *kind,
                field: known + 1,
                known
            }
        );
        assert_eq!(error.kind(), ErrorKind::Refused);
    }
}

#[test]
fn an_unknown_field_in_a_merge_state_or_in_an_embedded_node_is_refused() {
    let mut builder = Builder::default();
    let address = builder.bytes(&[1; 20]);
    let merge = builder
        .table()
        .offset(0, address)
        .offset(1, address)
        .offset(8, address)
        .end();
    let root = builder.table().offset(0, address).offset(6, merge).end();
    let chunk = builder.finish(root, MessageKind::WorkingSet.file_id());
    let kind = MessageKind::WorkingSet;
    assert_eq!(
        told(&chunk),
        Err(DecodeError::UnknownField {
            kind,
            field: 9,
            known: 8
        })
    );

    let mut fields = vec![None; 6];
    fields.push(Some(&[1; 20][..]));
    let map = message(MessageKind::AddressMap, &fields);
    let kind = MessageKind::AddressMap;
    let chunk = message(MessageKind::StoreRoot, &[Some(&map)]);
    assert_eq!(
        told(&chunk),
        Err(DecodeError::UnknownField {
            kind,
            field: 7,
            known: 6
        })
    );
    let store_root = messages::store_root(&messages::store_root(&[]));
    assert!(matches!(
        told(&store_root),
        Err(DecodeError::WrongKind { .. })
    ));
}

#[test]
fn an_envelope_that_lies_is_refused() {
    let chunk = messages::blob_leaf(b"hello");
    assert_eq!(told(&chunk), Ok(vec![]));
    for len in 0..chunk.len() {
        assert!(told(&chunk[..len]).is_err());
    }
    let mut longer = chunk.clone();
    longer.push(0);
    assert!(matches!(told(&longer), Err(DecodeError::Length { .. })));
    let mut other = chunk;
    other[0] = 0x1c;
    assert_eq!(told(&other), Err(DecodeError::NotAMessage { first: 0x1c }));
}
