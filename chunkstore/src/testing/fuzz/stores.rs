//! What lies in the directory of a store beside its files: manifests and journals.

use crate::format::journal::replay::{self, Found, LossSearch, Step};
use crate::format::journal::{Record, encode_root};
use crate::format::manifest::Manifest;

/// A manifest.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else {
        return;
    };
    let text = manifest.encode();
    let again = Manifest::decode(text.as_bytes()).expect("what we write we read");
    assert_eq!(again, manifest);
    let replaced = manifest.replaced(manifest.root, manifest.files.clone());
    assert_eq!(replaced.gc_generation, manifest.gc_generation);
}

/// A journal, all of whose bytes are there.
pub fn journal(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let Ok(step) = replay::step(rest, true) else {
            return;
        };
        match step {
            Step::Record { record, len } => {
                let len = usize::try_from(len).expect("a length fits");
                check_record(&record, &rest[..len]);
                rest = &rest[len..];
            }
            Step::More { .. } => panic!("all bytes are there"),
            Step::End => break,
        }
    }
    let mut search = LossSearch::default();
    while !rest.is_empty() {
        match search.look(rest, true) {
            Found::Nothing { skip } => {
                assert!(skip > 0, "a search comes to its end");
                rest = &rest[skip.min(rest.len())..];
            }
            Found::More { .. } => panic!("all bytes are there"),
            Found::Loss => return,
        }
    }
    // With fewer bytes at hand the first record is either the same or not known yet.
    let whole = replay::step(bytes, true);
    for len in [1, 4, 20, bytes.len() / 2] {
        let part = &bytes[..len.min(bytes.len())];
        match replay::step(part, false) {
            Ok(Step::More { needed }) => {
                assert!(usize::try_from(needed).is_ok_and(|needed| needed > part.len()));
            }
            step => assert_eq!(step, whole),
        }
    }
}

fn check_record(record: &Record, bytes: &[u8]) {
    match record {
        Record::Chunk { payload, .. } => {
            let end = u64::from(payload.offset) + u64::from(payload.len);
            assert!(
                end + 4 <= bytes.len() as u64,
                "a payload lies in its record"
            );
        }
        Record::Root { root, seconds } => {
            let written = encode_root(*root, seconds.unwrap_or(0));
            let read = replay::step(&written, true).expect("what we write we read");
            let len = u32::try_from(written.len()).expect("a length fits");
            let seconds = Some(seconds.unwrap_or(0));
            let record = Record::Root {
                root: *root,
                seconds,
            };
            assert_eq!(read, Step::Record { record, len });
        }
    }
}
