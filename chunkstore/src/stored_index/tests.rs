use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::address::ChunkAddress;
use crate::format::archive::StoredDictionary;
use crate::hash::hash_chunk;

/// How many chunks are in a file.
const CHUNKS: u32 = 500;

/// So little memory that every index goes to the disk, and so much that none does.
const BUDGETS: [usize; 2] = [300, 1 << 20];

fn chunks() -> impl Iterator<Item = (ChunkAddress, Vec<u8>)> {
    let chunks = (0..CHUNKS).map(|number| format!("chunk {number}").into_bytes());
    chunks.map(|chunk| (hash_chunk(&chunk), chunk))
}

fn table_file() -> Vec<u8> {
    let mut writer = table::Writer::new(Vec::new());
    for (address, chunk) in chunks() {
        writer.append_chunk(address, &chunk).unwrap();
    }
    writer.finish().unwrap().0
}

/// An archive in which two chunks of three have one of two dictionaries.
fn archive_file() -> Vec<u8> {
    let dictionaries = [b'a', b'b'].map(|byte| {
        let stored = zstd::bulk::compress(&[byte; 2000], 1).unwrap();
        StoredDictionary::new(stored).unwrap()
    });
    let mut writer = archive::Writer::new(Vec::new());
    for (number, (address, chunk)) in chunks().enumerate() {
        match dictionaries.get(number % 3) {
            Some(dictionary) => {
                let frame = zstd::bulk::compress(&chunk, 1).unwrap();
                writer.append_frame(address, &frame, dictionary).unwrap();
            }
            None => writer.append_chunk(address, &chunk).unwrap(),
        }
    }
    writer.finish(&BTreeMap::new()).unwrap().0
}

fn sort(memory_bytes: usize) -> SortOptions {
    SortOptions {
        directory: std::env::temp_dir(),
        memory_bytes,
        room: None,
    }
}

/// Reads a file that is in memory, or of which the index alone is.
fn read(
    bytes: &[u8],
    start: u64,
    kind: FileKind,
    memory_bytes: usize,
) -> Result<Vec<NumberedEntry>, StoredIndexError> {
    let part = &bytes[usize::try_from(start).unwrap()..];
    let part = IndexPart::in_memory(Bytes::copy_from_slice(part), start, bytes.len() as u64);
    let index = StoredIndex::of_part(part, kind)?;
    index.in_file_order(&sort(memory_bytes))?.collect()
}

/// Reads a file with every budget, and returns what is wrong with it.
fn fault(bytes: &[u8], kind: FileKind) -> DecodeError {
    let [first, second] = BUDGETS.map(|budget| match read(bytes, 0, kind, budget) {
        Err(StoredIndexError::Decode(error)) => error,
        other => panic!("{other:?}"),
    });
    assert_eq!(first.to_string(), second.to_string());
    first
}

#[test]
fn every_budget_gives_the_entries_of_the_index_in_memory() {
    let bytes = table_file();
    let (layout, index) = table::Index::decode_file(&bytes).unwrap();
    let wanted: Vec<_> = index.in_file_order().collect();
    let archive = archive_file();
    let (archive_layout, index) = archive::Index::decode_file(&archive).unwrap();
    let wanted_of_archive: Vec<_> = index.in_file_order().collect();
    for budget in BUDGETS {
        for start in [0, layout.data_len()] {
            let found = read(&bytes, start, FileKind::Table, budget).unwrap();
            let entries: Vec<_> = found.iter().map(|numbered| numbered.entry).collect();
            assert_eq!(entries, wanted);
        }
        for start in [0, archive_layout.data_len()] {
            let found = read(&archive, start, FileKind::Archive, budget).unwrap();
            let entries: Vec<_> = found.iter().map(|numbered| numbered.entry).collect();
            assert_eq!(entries, wanted_of_archive);
        }
    }
}

#[test]
fn a_file_on_disk_gives_the_same() {
    use std::io::Write as _;
    for (kind, bytes) in [
        (FileKind::Table, table_file()),
        (FileKind::Archive, archive_file()),
    ] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let index = StoredIndex::open(Arc::new(file), kind).unwrap();
        assert_eq!(index.count(), CHUNKS);
        let entries = index.in_file_order(&sort(300)).unwrap();
        let found: Vec<_> = entries.map(Result::unwrap).collect();
        assert_eq!(found, read(&bytes, 0, kind, 1 << 20).unwrap());
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

#[test]
fn a_table_index_that_breaks_a_rule_is_refused() {
    let good = table_file();
    let layout = table::Layout::decode(&good, good.len() as u64).unwrap();

    let mut bytes = good.clone();
    bytes[at(layout.prefixes().start)] = 0xff;
    let error = fault(&bytes, FileKind::Table);
    assert!(matches!(error, DecodeError::Order { position: 1 }));

    // The first ordinal comes a second time.
    let mut bytes = good.clone();
    let first = at(layout.prefixes().start) + 8;
    bytes.copy_within(first..first + 4, first + 12);
    let error = fault(&bytes, FileKind::Table);
    assert!(matches!(error, DecodeError::Ordinal { .. }), "{error:?}");

    let mut bytes = good.clone();
    bytes[at(layout.lengths().end) - 1] += 1;
    let error = fault(&bytes, FileKind::Table);
    assert!(matches!(error, DecodeError::DataLen { .. }), "{error:?}");

    let mut bytes = good;
    bytes[at(layout.lengths().end) - 1] -= 1;
    let error = fault(&bytes, FileKind::Table);
    assert!(matches!(error, DecodeError::DataLen { .. }), "{error:?}");
}

#[test]
fn an_archive_index_that_breaks_a_rule_is_refused() {
    let good = archive_file();
    let layout = archive::Layout::decode(&good, good.len() as u64).unwrap();
    let references = at(layout.references().start);

    let mut bytes = good.clone();
    bytes[at(layout.prefixes().start)] = 0xff;
    let error = fault(&bytes, FileKind::Archive);
    assert!(matches!(error, DecodeError::Order { position: 1 }));

    // Two chunks in one span.
    let mut bytes = good.clone();
    bytes.copy_within(references..references + 8, references + 8);
    let error = fault(&bytes, FileKind::Archive);
    assert!(
        matches!(
            error,
            DecodeError::SpanShared { .. } | DecodeError::SpanUnused { .. }
        ),
        "{error:?}",
    );

    // The first span, which is a dictionary, is data too.
    let mut bytes = good.clone();
    bytes[references..references + 8].copy_from_slice(&1_u64.to_be_bytes());
    let error = fault(&bytes, FileKind::Archive);
    assert!(matches!(error, DecodeError::SpanShared { span: 1 }));

    let mut bytes = good.clone();
    bytes[references + 4..references + 8].copy_from_slice(&9999_u32.to_be_bytes());
    let error = fault(&bytes, FileKind::Archive);
    assert!(matches!(error, DecodeError::SpanRange { span: 9999, .. }));

    let mut bytes = good;
    let ends = at(layout.span_ends().end);
    bytes[ends - 1] -= 1;
    let error = fault(&bytes, FileKind::Archive);
    assert!(matches!(error, DecodeError::DataLen { .. }), "{error:?}");
}
