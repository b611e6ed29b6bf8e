//! One function per decoder that takes any bytes: the body of a fuzz target, and of the tests that run 10,000
//! inputs through it.
//!
//! None may panic, and none may allocate more than its input or a limit of [`crate::format`] justifies. What
//! does decode must stand up to its own rules, which the functions assert. The formats stand here, all else in
//! the modules below.

pub mod names;
pub mod notes;
#[cfg(feature = "rocks")]
pub mod rocks;
pub mod stores;
pub mod upload;

use std::sync::LazyLock;

use crate::format::{FileKind, MAX_CHUNK_LEN, archive, table};
use crate::index::{ByteSpan, ChunkEntry};

/// The kind of a file by its last bytes.
pub fn file_kind(bytes: &[u8]) {
    let kind = FileKind::detect(bytes);
    assert_eq!(
        kind.is_ok(),
        [table::MAGIC.as_slice(), archive::MAGIC]
            .iter()
            .any(|magic| bytes.ends_with(magic))
    );
}

/// One chunk record.
pub fn record(bytes: &[u8]) {
    decode_record(bytes);
    // Almost no random bytes end in their checksum, so give them one.
    let sealed = [bytes, &crc32c::crc32c(bytes).to_be_bytes()].concat();
    if let Some(chunk) = decode_record(&sealed) {
        let mut again = Vec::new();
        let encoded = table::record::Encoder::new().encode(&chunk, &mut again);
        encoded.expect("a chunk that was read can be written");
        assert_eq!(decode_record(&again), Some(chunk));
    }
}

/// A table file's footer and sections, of a file whose length the first eight bytes tell.
pub fn table_layout(bytes: &[u8]) {
    if let Some((len, tail)) = file_len(bytes)
        && let Ok(layout) = table::Layout::decode(tail, len)
    {
        assert_eq!(layout.prefixes().start, layout.data_len());
        assert_eq!(layout.prefixes().end, layout.lengths().start);
        assert_eq!(layout.lengths().end, layout.suffixes().start);
        assert_eq!(layout.suffixes().end + table::FOOTER_LEN as u64, len);
        assert_eq!(layout.index().end, layout.suffixes().end);
    }
}

/// A table file: footer, index, and every record.
pub fn table_file(bytes: &[u8]) {
    let Ok((layout, index)) = table::Index::decode_file(bytes) else {
        return;
    };
    for entry in index.in_file_order() {
        decode_record(slice(bytes, entry.span.data));
    }
    check_lookups(index.in_address_order(), |entry| {
        index.get(entry.address).is_some()
    });
    let tail = index.encode(layout.uncompressed_len());
    let again = table::Index::decode(&layout, &tail[..tail.len() - table::FOOTER_LEN]);
    let again = again.expect("an index that was read can be read again");
    assert!(again.in_address_order().eq(index.in_address_order()));
    assert_eq!(again.file_id(), index.file_id());
}

/// The sections of a table index block by block; the first byte says where to cut.
pub fn table_blocks(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let Ok(layout) = table::Layout::decode(bytes, bytes.len() as u64) else {
        return;
    };
    let block = usize::from(*first % 16 + 1);
    let in_blocks = table_in_blocks(&layout, bytes, block);
    assert_eq!(in_blocks, table::Index::decode_file(bytes).is_ok());
}

/// An archive's footer and sections, of a file whose length the first eight bytes tell.
pub fn archive_layout(bytes: &[u8]) {
    if let Some((len, tail)) = file_len(bytes)
        && let Ok(layout) = archive::Layout::decode(tail, len)
    {
        assert_eq!(layout.span_ends().start, layout.data_len());
        assert_eq!(layout.span_ends().end, layout.prefixes().start);
        assert_eq!(layout.prefixes().end, layout.references().start);
        assert_eq!(layout.references().end, layout.suffixes().start);
        assert_eq!(layout.suffixes().end, layout.metadata().start);
        let footer = layout.footer().encode();
        assert!(tail.ends_with(&footer));
        assert_eq!(layout.metadata().end + footer.len() as u64, len);
    }
}

/// An archive: footer, index, metadata, dictionaries, and every chunk.
pub fn archive_file(bytes: &[u8]) {
    let Ok((layout, index)) = archive::Index::decode_file(bytes) else {
        return;
    };
    let metadata = layout.metadata();
    let start = usize::try_from(metadata.start).expect("found inside a slice");
    let end = usize::try_from(metadata.end).expect("found inside a slice");
    drop(archive::decode_metadata(&bytes[start..end]));
    let tail = archive::encode_tail(&index, &bytes[start..end], layout.footer());
    assert!(bytes.ends_with(&tail));

    let dictionaries: Vec<_> = index
        .dictionaries()
        .into_iter()
        .filter_map(|span| Some((span, archive::Dictionary::decode(slice(bytes, span)).ok()?)))
        .collect();
    let mut decoder = archive::Decoder::new();
    let mut out = Vec::new();
    for entry in index.in_file_order() {
        let dictionary = entry.span.dictionary.map(|span| {
            let place = dictionaries.binary_search_by_key(&span, |(span, _)| *span);
            place.ok().map(|at| &dictionaries[at].1)
        });
        out.clear();
        let stored = slice(bytes, entry.span.data);
        match dictionary {
            None => drop(decoder.decode(stored, None, MAX_CHUNK_LEN, &mut out)),
            Some(Some(known)) => drop(decoder.decode(stored, Some(known), MAX_CHUNK_LEN, &mut out)),
            Some(None) => {}
        }
    }
    check_lookups(index.in_address_order(), |entry| {
        index.get(entry.address).is_some()
    });
    assert_eq!(index.in_file_order().count(), index.len());
}

/// The sections of an archive's index block by block; the first byte says where to cut.
pub fn archive_blocks(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let Ok(layout) = archive::Layout::decode(bytes, bytes.len() as u64) else {
        return;
    };
    let block = usize::from(*first % 16 + 1);
    let in_blocks = archive_in_blocks(&layout, bytes, block);
    assert_eq!(in_blocks, archive::Index::decode_file(bytes).is_ok());
}

/// A dictionary span.
pub fn dictionary(bytes: &[u8]) {
    if let Ok(dictionary) = archive::Dictionary::decode(bytes) {
        assert!(!dictionary.is_empty() && dictionary.len() <= 1 << 20);
    }
    drop(archive::StoredDictionary::new(bytes.to_vec()));
}

/// A zstd frame, with a dictionary that is always the same.
pub fn frame(bytes: &[u8]) {
    static DICTIONARY: LazyLock<archive::Dictionary> = LazyLock::new(|| {
        let span = zstd::bulk::compress(&[b"customer account event ".as_slice(); 20].concat(), 3);
        archive::Dictionary::decode(&span.expect("memory suffices")).expect("it was just made")
    });
    let mut out = b"before".to_vec();
    match archive::Decoder::new().decode(bytes, Some(&DICTIONARY), MAX_CHUNK_LEN, &mut out) {
        Ok(len) => assert!(len > 0 && out.len() == 6 + len),
        Err(_) => assert_eq!(out, b"before"),
    }
}

/// The metadata of an archive.
pub fn metadata(bytes: &[u8]) {
    if let Ok(metadata) = archive::decode_metadata(bytes) {
        let again = serde_json::to_vec(&metadata).expect("a map of strings is JSON");
        let again = archive::decode_metadata(&again);
        assert_eq!(again.expect("it was just written"), metadata);
    }
}

fn decode_record(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match table::record::decode(bytes, MAX_CHUNK_LEN, &mut out) {
        Ok(len) => {
            assert!(len > 0 && len == out.len());
            Some(out)
        }
        Err(_) => {
            assert!(out.is_empty());
            None
        }
    }
}

fn file_len(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (len, tail) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*len), tail))
}

fn slice(bytes: &[u8], span: ByteSpan) -> &[u8] {
    let start = usize::try_from(span.offset).expect("found inside a slice");
    &bytes[start..start + usize::try_from(span.len).expect("found inside a slice")]
}

fn section(bytes: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    let at = |offset| usize::try_from(offset).expect("found inside a slice");
    &bytes[at(range.start)..at(range.end)]
}

fn check_lookups(
    entries: impl Iterator<Item = ChunkEntry>,
    mut is_found: impl FnMut(&ChunkEntry) -> bool,
) {
    let mut last = None;
    for entry in entries {
        assert!(last <= Some(entry.address));
        last = Some(entry.address);
        assert!(is_found(&entry));
    }
}

/// Whether a table index passes all checks when it comes `block` items at a time.
fn table_in_blocks(layout: &table::Layout, bytes: &[u8], block: usize) -> bool {
    let mut ordinals = table::Ordinals::new(layout);
    let mut spans = table::RecordSpans::new(layout);
    let tuples_fit = section(bytes, layout.prefixes())
        .chunks(12 * block)
        .all(|block| {
            let mut tuples = table::prefix_tuples(block).expect("blocks are whole items");
            tuples.all(|tuple| ordinals.check(tuple).is_ok())
        });
    let lengths_fit = section(bytes, layout.lengths())
        .chunks(4 * block)
        .all(|block| {
            let mut lengths = table::lengths(block).expect("blocks are whole items");
            lengths.all(|len| spans.advance(len).is_ok())
        });
    tuples_fit && lengths_fit && spans.finish().is_ok()
}

/// Whether an archive's index passes all checks when it comes `block` items at a time.
fn archive_in_blocks(layout: &archive::Layout, bytes: &[u8], block: usize) -> bool {
    let mut spans = archive::DataSpans::new(layout);
    let mut roles = archive::SpanRoles::new(layout);
    let ends_fit = section(bytes, layout.span_ends())
        .chunks(8 * block)
        .all(|block| {
            let mut ends = archive::span_ends(block).expect("blocks are whole items");
            ends.all(|end| spans.advance(end).is_ok())
        });
    let roles_fit = section(bytes, layout.references())
        .chunks(8 * block)
        .all(|block| {
            let mut references = archive::references(block).expect("blocks are whole items");
            references.all(|reference| roles.check(reference).is_ok())
        });
    let mut order = crate::format::AddressOrder::default();
    let prefixes = section(bytes, layout.prefixes()).chunks(8 * block);
    let suffixes = section(bytes, layout.suffixes()).chunks(12 * block);
    let is_ordered = prefixes.zip(suffixes).all(|(prefixes, suffixes)| {
        let prefixes = archive::prefixes(prefixes).expect("blocks are whole items");
        let suffixes = archive::suffixes(suffixes).expect("blocks are whole items");
        prefixes.zip(suffixes).all(|(prefix, suffix)| {
            let address = crate::ChunkAddress::from_parts(prefix, *suffix);
            order.check(address).is_ok()
        })
    });
    ends_fit && roles_fit && is_ordered && spans.finish().is_ok() && roles.finish().is_ok()
}
