use super::*;

/// A root table with the given vtable entries and fields behind them; its length is left to the caller.
fn buffer(entries: &[u16], fields: &[u8]) -> Vec<u8> {
    let vtable_len = 4 + 2 * entries.len();
    let table = 4 + vtable_len;
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(table).unwrap().to_le_bytes());
    bytes.extend(u16::try_from(vtable_len).unwrap().to_le_bytes());
    bytes.extend(u16::try_from(4 + fields.len()).unwrap().to_le_bytes());
    for entry in entries {
        bytes.extend(entry.to_le_bytes());
    }
    bytes.extend(i32::try_from(vtable_len).unwrap().to_le_bytes());
    bytes.extend(fields);
    bytes
}

#[test]
fn a_field_is_found_through_the_vtable_and_an_absent_one_is_the_default() {
    let bytes = buffer(&[4, 0, 5], &[7, 9]);
    let table = Table::root(&bytes, 3).unwrap();
    assert_eq!(table.u8(0, "a"), Ok(7));
    assert_eq!(table.u8(1, "b"), Ok(0));
    assert_eq!(table.u8(2, "c"), Ok(9));
    assert_eq!(table.u8(3, "d"), Ok(0));
    assert_eq!(table.bytes(1, "b"), Ok(None));
}

#[test]
fn more_slots_than_known_is_an_error_of_its_own() {
    let bytes = buffer(&[4, 0, 5], &[7, 9]);
    assert_eq!(
        Table::root(&bytes, 2).unwrap_err(),
        FlatError::UnknownField { field: 3, known: 2 }
    );
}

#[test]
fn a_vector_that_reaches_past_the_end_is_refused() {
    let mut fields = 4_u32.to_le_bytes().to_vec();
    fields.extend(3_u32.to_le_bytes());
    fields.extend([1, 2, 3]);
    let bytes = buffer(&[4], &fields);
    let table = Table::root(&bytes, 1).unwrap();
    assert_eq!(table.bytes(0, "v"), Ok(Some(&[1, 2, 3][..])));
    assert!(matches!(
        table.u16s(0, "v"),
        Err(FlatError::Outside { what: "v", .. })
    ));

    let mut huge = bytes.clone();
    let count = huge.len() - 7;
    huge[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let table = Table::root(&huge, 1).unwrap();
    assert!(table.bytes(0, "v").is_err());
}

#[test]
fn a_vtable_before_the_start_or_of_impossible_length_is_refused() {
    let mut bytes = buffer(&[4], &[7]);
    bytes[4] = 5;
    assert_eq!(
        Table::root(&bytes, 1).unwrap_err(),
        FlatError::Vtable { len_bytes: 5 }
    );
    let mut bytes = buffer(&[4], &[7]);
    bytes[10..14].copy_from_slice(&1000_i32.to_le_bytes());
    assert!(matches!(
        Table::root(&bytes, 1),
        Err(FlatError::Outside { what: "vtable", .. })
    ));
    for len_bytes in 0..bytes.len() - 1 {
        let cut = buffer(&[4], &[7]);
        let table = Table::root(&cut[..len_bytes], 1);
        assert!(table.is_err() || table.unwrap().u8(0, "a").is_err());
    }
}
