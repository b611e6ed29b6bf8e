//! Keys and values of the index in RocksDB, whose bytes may have been damaged.

use crate::index::rocks::keys::{self, FileNumber};
use crate::index::rocks::values;

/// The places of a chunk: what is read is what the index would write.
pub fn index_places(bytes: &[u8]) {
    let mut again = Vec::new();
    let mut count = 0;
    let outcome = values::decode_places(bytes, |file, span| {
        values::encode_place(&mut again, file, &span);
        count += 1;
    });
    assert!(count <= bytes.len() / 4);
    match outcome {
        Ok(()) => assert_eq!(again, bytes),
        Err(_) => assert!(bytes.starts_with(&again) && bytes.len() > again.len()),
    }
}

/// The record of a file number, and all that is one number.
pub fn index_record(bytes: &[u8]) {
    if let Ok((pool, file)) = values::decode_file(bytes) {
        assert_eq!(values::encode_file(pool, &file), bytes);
    }
    if let Ok(number) = values::decode_fixed_u32("a number", bytes) {
        assert_eq!(values::encode_u32(number), bytes);
    }
    if let Some(FileNumber(number)) = keys::decode_number(bytes) {
        assert_eq!(keys::number(FileNumber(number)), bytes);
    }
}
