//! The values of the index.
//!
//! The places of a chunk are a row of items; the merge operator joins rows end to end, so it is associative
//! and cannot fail. An item:
//!
//! ```text
//! tag u8             0x10 without dictionary, 0x11 with one
//! file number        varint
//! offset, length     varint, varint
//! offset, length     varint, varint: of the dictionary, tag 0x11 only
//! ```
//!
//! Varints are little-endian base 128, at most ten bytes. A value that is anything else is damage: it is
//! never guessed at. The number of items is bounded by the length of the value.

use crate::id::UploadId;
use crate::index::rocks::keys::{FileNumber, PoolNumber};
use crate::index::{ByteSpan, ChunkSpan};

const TAG_PLAIN: u8 = 0x10;
const TAG_DICTIONARY: u8 = 0x11;

/// Bytes of a value that say nothing that the index ever wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not what the index writes: {} bytes", len)]
pub(crate) struct ValueError {
    pub(crate) what: &'static str,
    pub(crate) len: usize,
}

/// Appends one place.
pub(crate) fn encode_place(value: &mut Vec<u8>, file: FileNumber, span: &ChunkSpan) {
    value.push(match span.dictionary {
        None => TAG_PLAIN,
        Some(_) => TAG_DICTIONARY,
    });
    encode_varint(value, file.0.into());
    for bytes in [Some(span.data), span.dictionary].into_iter().flatten() {
        encode_varint(value, bytes.offset);
        encode_varint(value, bytes.len.into());
    }
}

/// The same row without the places in some files.
pub(crate) fn without(
    value: &[u8],
    mut is_gone: impl FnMut(FileNumber) -> bool,
) -> Result<Vec<u8>, ValueError> {
    let mut kept = Vec::with_capacity(value.len());
    decode_places(value, |file, span| {
        if !is_gone(file) {
            encode_place(&mut kept, file, &span);
        }
    })?;
    Ok(kept)
}

/// Reads the places one after the other, and calls `each` for each.
pub(crate) fn decode_places(
    value: &[u8],
    mut each: impl FnMut(FileNumber, ChunkSpan),
) -> Result<(), ValueError> {
    let mut rest = value;
    while !rest.is_empty() {
        let (file, span) = decode_place(&mut rest).ok_or(ValueError {
            what: "a row of places",
            len: value.len(),
        })?;
        each(file, span);
    }
    Ok(())
}

fn decode_place(rest: &mut &[u8]) -> Option<(FileNumber, ChunkSpan)> {
    let tag = take_byte(rest)?;
    let file = FileNumber(decode_u32(rest)?);
    let data = decode_span(rest)?;
    let dictionary = match tag {
        TAG_PLAIN => None,
        TAG_DICTIONARY => Some(decode_span(rest)?),
        _ => return None,
    };
    Some((file, ChunkSpan { data, dictionary }))
}

fn decode_span(rest: &mut &[u8]) -> Option<ByteSpan> {
    Some(ByteSpan {
        offset: decode_varint(rest)?,
        len: decode_u32(rest)?,
    })
}

fn decode_u32(rest: &mut &[u8]) -> Option<u32> {
    decode_varint(rest)?.try_into().ok()
}

fn encode_varint(value: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            value.push(low & 0x7f);
            return;
        }
        value.push(low | 0x80);
    }
}

fn decode_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        let bits = u64::from(byte & 0x7f);
        if (bits << shift) >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            // A last byte of zero says nothing: the index does not write it.
            return (byte != 0 || shift == 0).then_some(number);
        }
    }
    None
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(byte)
}

/// The value of a pool, a marker or the schema.
pub(crate) fn encode_u32(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Reads [`encode_u32`] back.
pub(crate) fn decode_fixed_u32(what: &'static str, value: &[u8]) -> Result<u32, ValueError> {
    let len = value.len();
    let bytes = value.try_into().map_err(|_| ValueError { what, len })?;
    Ok(u32::from_be_bytes(bytes))
}

/// The value of a file number.
pub(crate) fn encode_file(pool: PoolNumber, file: &UploadId) -> [u8; 20] {
    let mut value = [0; 20];
    value[..4].copy_from_slice(&pool.0.to_be_bytes());
    value[4..].copy_from_slice(file.as_bytes());
    value
}

/// Reads [`encode_file`] back.
pub(crate) fn decode_file(value: &[u8]) -> Result<(PoolNumber, UploadId), ValueError> {
    let error = || ValueError {
        what: "the record of a file number",
        len: value.len(),
    };
    let (pool, file) = value.split_first_chunk::<4>().ok_or_else(error)?;
    let file = file.try_into().map_err(|_| error())?;
    Ok((PoolNumber(u32::from_be_bytes(*pool)), UploadId::new(file)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(value: &[u8]) -> Result<Vec<(FileNumber, ChunkSpan)>, ValueError> {
        let mut places = Vec::new();
        decode_places(value, |file, span| places.push((file, span)))?;
        Ok(places)
    }

    fn any_span() -> impl Strategy<Value = ByteSpan> {
        (any::<u64>(), any::<u32>()).prop_map(|(offset, len)| ByteSpan { offset, len })
    }

    proptest! {
        #[test]
        fn rows_joined_end_to_end_are_one_row(
            all in prop::collection::vec((any::<u32>(), any_span(), prop::option::of(any_span())), 0..9),
        ) {
            let mut value = Vec::new();
            let mut expected = Vec::new();
            for (file, data, dictionary) in all {
                let span = ChunkSpan { data, dictionary };
                let mut row = Vec::new();
                encode_place(&mut row, FileNumber(file), &span);
                value.extend_from_slice(&row);
                expected.push((FileNumber(file), span));
            }
            prop_assert_eq!(places(&value), Ok(expected));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(places) = places(&value) {
                prop_assert!(places.len() <= value.len() / 4);
            }
        }
    }

    #[test]
    fn places_in_other_files_stay_as_they_are() {
        let span = |offset| ChunkSpan {
            data: ByteSpan { offset, len: 9 },
            dictionary: (offset > 1).then_some(ByteSpan { offset, len: 1 }),
        };
        let mut row = Vec::new();
        for (file, offset) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
            encode_place(&mut row, FileNumber(file), &span(offset));
        }
        let kept = without(&row, |file| file == FileNumber(1)).unwrap();
        let expected = vec![(FileNumber(2), span(2)), (FileNumber(3), span(4))];
        assert_eq!(places(&kept), Ok(expected));
        assert_eq!(without(&row, |_| true), Ok(Vec::new()));
        assert!(without(&row[1..], |_| true).is_err());
    }

    #[test]
    fn what_was_never_written_is_an_error() {
        let mut whole = Vec::new();
        let span = ByteSpan {
            offset: u64::MAX,
            len: u32::MAX,
        };
        let both = ChunkSpan {
            data: span,
            dictionary: Some(span),
        };
        encode_place(&mut whole, FileNumber(u32::MAX), &both);
        for len in 1..whole.len() {
            assert!(places(&whole[..len]).is_err(), "cut at {len}");
        }
        let too_long_varint = [TAG_PLAIN, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 0];
        let beyond_64_bits: Vec<u8> = [vec![TAG_PLAIN, 0], vec![0xff; 9], vec![2, 0]].concat();
        let zero_in_two_bytes = [TAG_PLAIN, 0x80, 0, 0, 0];
        for value in [
            &[0x12, 0, 0, 0][..],
            &too_long_varint,
            &beyond_64_bits,
            &zero_in_two_bytes,
        ] {
            assert!(places(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn records_of_the_wrong_length_are_errors() {
        let file = UploadId::new([9; 16]);
        let value = encode_file(PoolNumber(5), &file);
        assert_eq!(decode_file(&value), Ok((PoolNumber(5), file)));
        assert!(decode_file(&value[..19]).is_err());
        assert!(decode_file(&[]).is_err());
        assert!(decode_fixed_u32("a marker", &[0; 5]).is_err());
    }
}
