//! Files of a real dolt: every chunk is read and hashed, and what can be written again comes out the same.

use std::collections::HashMap;
use std::path::Path;

use holdfast_chunkstore::format::{FileKind, MAX_CHUNK_LEN, TAIL_LEN, archive, table};
use holdfast_chunkstore::hash::{self, AddressMismatch};
use holdfast_chunkstore::index::ChunkEntry;
use ring::digest;

use crate::fixtures::{self, bytes};

/// What spec section 12 says of files that lie beside the repository.
const COUNTS: &[(&str, u32)] = &[
    ("8p5e2m6skovfdjlh4jg3llr8sfvu384l", 2),
    ("29o8a3uevcpr15tilcemb3s438edmoog", 125),
    ("dnu4lr5j8sstbj5usbld7alsnuj5nf23", 139),
    ("i8ivrn485g73hao1foo3p7l2clq3gqqv", 2),
    ("27avtn2a3upddh52eu750m4709gfps7s", 230),
    ("sc0dq3agumuop5ngirrn7nqtgbk7lbrv", 230),
    ("sv0o2e33pel8caor7979s4rk227raink", 2),
    ("c5j9u4ced6eg6cnegk0mgdglc3t04air", 273),
    ("p6d0rsovtipdk6r2b1kh9qrndif41703", 2),
    ("b5j6kmj2m68sukiu22ouoke7u9281a06", 1873),
    ("5fms6l3ffldbk6t8qjumnjstmurvppk8", 2),
    ("6vvlbeph7glt2sskq43npe56la8p9akc", 9),
];

/// The file whose one commit is not what its address says, and whose name is not its suffixes' hash.
const BAD_COMMIT: &str = "aa3a08lf6sbtq9cl58mledifrqvt3fid";

#[test]
fn every_chunk_of_our_own_fixtures_is_its_address() {
    for path in fixtures::own() {
        check_file(&path);
    }
}

#[test]
fn every_chunk_of_the_shared_fixtures_is_its_address() {
    let files = fixtures::shared();
    let mut chunks = 0;
    for path in &files {
        chunks += check_file(path);
    }
    if !files.is_empty() {
        eprintln!("{} files, {chunks} chunks", files.len());
        let known = |(name, _): &&(&str, u32)| files.iter().any(|path| stem(path) == *name);
        assert_eq!(COUNTS.iter().filter(known).count(), COUNTS.len());
        assert!(files.iter().any(|path| stem(path) == BAD_COMMIT));
    }
}

fn check_file(path: &Path) -> u32 {
    let file = std::fs::read(path).unwrap();
    let kind = FileKind::detect(&file).unwrap();
    assert_eq!(
        path.to_str().unwrap().ends_with(".darc"),
        kind == FileKind::Archive
    );
    let count = match kind {
        FileKind::Table => check_table(path, &file),
        FileKind::Archive => check_archive(path, &file),
    };
    if let Some((_, known)) = COUNTS.iter().find(|(name, _)| *name == stem(path)) {
        assert_eq!(count, *known, "{}", path.display());
    }
    count
}

fn check_table(path: &Path, file: &[u8]) -> u32 {
    let (layout, index) = table::Index::decode_file(file).unwrap();
    let mut total = 0;
    let chunks: Vec<_> = index
        .in_file_order()
        .map(|entry| {
            let mut chunk = Vec::new();
            table::record::decode(bytes(file, entry.span.data), MAX_CHUNK_LEN, &mut chunk).unwrap();
            total += chunk.len() as u64;
            chunk
        })
        .collect();
    check_addresses(path, index.in_file_order(), &chunks);
    for entry in index.in_address_order() {
        assert_eq!(index.get(entry.address), Some(entry.span));
    }
    assert_eq!(layout.uncompressed_len(), total);
    assert_eq!(
        index.file_id().to_string() == stem(path),
        stem(path) != BAD_COMMIT
    );

    let tail = &file[usize::try_from(layout.data_len()).unwrap()..];
    assert_eq!(index.encode(total), tail, "{}", path.display());
    layout.count()
}

fn check_archive(path: &Path, file: &[u8]) -> u32 {
    let tail = &file[file.len().saturating_sub(TAIL_LEN)..];
    let layout = archive::Layout::decode(tail, file.len() as u64).unwrap();
    let (whole, index) = archive::Index::decode_file(file).unwrap();
    assert_eq!(layout, whole);
    let dictionaries: HashMap<_, _> = index
        .dictionaries()
        .into_iter()
        .map(|span| {
            (
                span,
                archive::Dictionary::decode(bytes(file, span)).unwrap(),
            )
        })
        .collect();
    let mut decoder = archive::Decoder::new();
    let chunks: Vec<_> = index
        .in_file_order()
        .map(|entry| {
            let mut chunk = Vec::new();
            let dictionary = entry.span.dictionary.map(|span| &dictionaries[&span]);
            let stored = bytes(file, entry.span.data);
            decoder
                .decode(stored, dictionary, MAX_CHUNK_LEN, &mut chunk)
                .unwrap();
            chunk
        })
        .collect();
    check_addresses(path, index.in_file_order(), &chunks);
    for entry in index.in_address_order() {
        assert_eq!(index.get(entry.address), Some(entry.span));
    }

    let section = |range: std::ops::Range<u64>| {
        &file[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
    };
    let metadata = archive::decode_metadata(section(layout.metadata())).unwrap();
    assert!(metadata.contains_key("dolt_version"), "{metadata:?}");
    let tail = archive::encode_tail(&index, section(layout.metadata()), layout.footer());
    assert_eq!(
        tail,
        section(layout.data_len()..file.len() as u64),
        "{}",
        path.display()
    );
    let hashed = match layout.version() {
        archive::Version::One | archive::Version::Two => &file[file.len() - 216..],
        archive::Version::Three => file,
    };
    let hash = digest::digest(&digest::SHA512, hashed);
    let id = holdfast_chunkstore::TableFileId::try_from(&hash.as_ref()[..20]).unwrap();
    assert_eq!(id.to_string(), stem(path));
    layout.count()
}

fn check_addresses(path: &Path, entries: impl Iterator<Item = ChunkEntry>, chunks: &[Vec<u8>]) {
    let addresses: Vec<_> = entries.map(|entry| entry.address).collect();
    let checked = hash::check_chunks(&addresses, chunks);
    if stem(path) == BAD_COMMIT {
        let AddressMismatch { claimed, actual } = checked.unwrap_err();
        assert!(addresses.contains(&claimed) && !addresses.contains(&actual));
    } else {
        assert_eq!(checked, Ok(()), "{}", path.display());
    }
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}
