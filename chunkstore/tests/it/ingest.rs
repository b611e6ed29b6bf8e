//! Uploads: what is taken in, what is refused and why, and that nothing is left of what was refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::format::{DecodeError, FileKind};
use holdfast_chunkstore::hash::{hash_chunk, hash_chunks};
use holdfast_chunkstore::id::UploadId;
use holdfast_chunkstore::index::ChunkEntry;
use holdfast_chunkstore::repo::check::UploadError;
use holdfast_chunkstore::repo::receive::{CheckedFile, Upload};
use holdfast_chunkstore::repo::{DeclaredFile, Md5};
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use ring::digest;

use crate::fixtures;
use crate::made_files::{Archive, Table};
use crate::place::{Place, WatchedObject, honest, listed, name_of, words};

fn entries(checked: &CheckedFile) -> Vec<ChunkEntry> {
    checked.entries().unwrap().map(Result::unwrap).collect()
}

fn leaving(checked: &CheckedFile) -> Vec<ChunkAddress> {
    checked.leaving().unwrap().map(Result::unwrap).collect()
}

/// The file whose one commit is not what its address says, and whose name is not its suffixes' hash.
const BAD_COMMIT: &str = "aa3a08lf6sbtq9cl58mledifrqvt3fid";

#[tokio::test]
async fn every_file_of_a_real_dolt_is_taken_in() {
    let place = Place::new();
    for path in fixtures::own().into_iter().chain(fixtures::shared()) {
        if path.ends_with(BAD_COMMIT) {
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let declared = honest(name_of(&path), &file);
        let checked = place.ingest(declared.clone(), &file).await;
        let checked = checked.unwrap_or_else(|error| {
            panic!("{}: {}", path.display(), error.one_line());
        });
        let summary = checked.summary();
        assert_eq!(
            (summary.id, summary.kind, summary.len, summary.chunks),
            (declared.id, declared.kind, declared.len, declared.chunks)
        );
        let sha256 = digest::digest(&digest::SHA256, &file);
        assert_eq!(summary.sha256.0.as_slice(), sha256.as_ref());
        assert_eq!(entries(&checked), listed(&file), "{}", path.display());
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_its_address_is_named() {
    let Some(path) = fixtures::shared()
        .into_iter()
        .find(|path| path.ends_with(BAD_COMMIT))
    else {
        return;
    };
    let place = Place::new();
    let file = std::fs::read(&path).unwrap();
    let error = place
        .ingest(honest(name_of(&path), &file), &file)
        .await
        .unwrap_err();
    let UploadError::Name { computed, .. } = error else {
        panic!("{error}");
    };
    let error = place
        .ingest(honest(computed, &file), &file)
        .await
        .unwrap_err();
    assert!(matches!(error, UploadError::Address { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// Chunks of which many refer to others, inside and outside.
fn family(count: usize) -> (Vec<Vec<u8>>, BTreeSet<ChunkAddress>) {
    let mut chunks = words(count);
    let inside = hash_chunks(&chunks);
    let outside = hash_chunks(&words(3 * count)[count..]);
    for i in 0..count {
        let mut chunk = b"refs".to_vec();
        for address in [inside[i], outside[i], outside[i / 2], outside[2 * i]] {
            chunk.extend_from_slice(address.as_bytes());
        }
        chunks.push(chunk);
    }
    let taken = (0..count).flat_map(|i| [outside[i], outside[i / 2], outside[2 * i]]);
    (chunks, taken.collect())
}

#[tokio::test]
async fn every_sort_budget_finds_the_same() {
    let (chunks, outside) = family(3000);
    let table = Table::of(&chunks);
    let archive = Archive::of(&chunks);
    for (file, name) in [
        (table.encode(), table.name()),
        (archive.encode(), archive.name()),
    ] {
        let declared = honest(name, &file);
        for memory_bytes in [8 << 20, 40_000, 999] {
            let place = Place::with_sort_memory(memory_bytes);
            let checked = place.ingest(declared.clone(), &file).await.unwrap();
            assert_eq!(entries(&checked), listed(&file));
            assert_eq!(
                leaving(&checked),
                outside.iter().copied().collect::<Vec<_>>()
            );
            assert_eq!(checked.leaving_count(), outside.len() as u64);
        }
    }
}

#[tokio::test]
async fn sets_that_do_not_fit_beside_the_file_are_refused_for_want_of_room() {
    let (chunks, _) = family(3000);
    let table = Table::of(&chunks);
    let file = table.encode();
    let declared = honest(table.name(), &file);
    let place = Place::with_bounds(40_000, declared.len + 200_000);
    let error = place.ingest(declared, &file).await.unwrap_err();
    assert!(matches!(error, UploadError::Scratch(_)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    // Nothing is held on to.
    let whole = place.spool.create(file.len() as u64 + 200_000).await;
    drop(whole.unwrap());
}

#[tokio::test]
async fn an_upload_that_stops_leaves_nothing() {
    let place = Place::new();
    let table = Table::of(&words(10));
    let file = table.encode();
    let object = WatchedObject::default();
    let fate = Arc::clone(&object.0);
    let spool = place.spool.create(file.len() as u64).await.unwrap();
    let declared = honest(table.name(), &file);
    let id = UploadId::new([1; 16]);
    let mut upload = Upload::begin(id, declared, spool, Box::new(object));
    upload
        .write(Bytes::copy_from_slice(&file[..100]))
        .await
        .unwrap();
    drop(upload);
    place.assert_empty();
    assert!(!fate.lock().completed);
}

#[tokio::test]
async fn what_differs_from_the_declaration_is_named() {
    let place = Place::new();
    let table = Table::of(&words(20));
    let file = table.encode();
    let declared = honest(table.name(), &file);

    let error = place
        .ingest(declared.clone(), &file[..file.len() - 1])
        .await
        .unwrap_err();
    assert!(matches!(error, UploadError::Length { .. }), "{error}");

    let longer = [file.as_slice(), b"x"].concat();
    let error = place.ingest(declared.clone(), &longer).await.unwrap_err();
    assert!(matches!(error, UploadError::TooLong { .. }), "{error}");

    let md5 = Some(Md5([9; 16]));
    let error = place
        .ingest(
            DeclaredFile {
                md5,
                ..declared.clone()
            },
            &file,
        )
        .await
        .unwrap_err();
    assert!(matches!(error, UploadError::Md5 { .. }), "{error}");

    let chunks = 21;
    let error = place
        .ingest(
            DeclaredFile {
                chunks,
                ..declared.clone()
            },
            &file,
        )
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            UploadError::Count {
                declared: 21,
                found: 20
            }
        ),
        "{error}"
    );

    let id = TableFileId::new([3; 20]);
    let error = place
        .ingest(
            DeclaredFile {
                id,
                ..declared.clone()
            },
            &file,
        )
        .await
        .unwrap_err();
    assert!(matches!(error, UploadError::Name { .. }), "{error}");

    let kind = FileKind::Archive;
    let error = place
        .ingest(DeclaredFile { kind, ..declared }, &file)
        .await
        .unwrap_err();
    let UploadError::Format {
        source: DecodeError::Magic { .. },
    } = error
    else {
        panic!("{error}");
    };
}

/// Without any declared digest. Not noticed are the sums and the metadata of an archive, and bits of a zstd
/// frame that change nothing of what it holds.
#[tokio::test]
async fn every_flipped_byte_that_matters_is_noticed() {
    let place = Place::new();
    let chunks = words(6);
    let (table, archive) = (Table::of(&chunks), Archive::of(&chunks));
    for (file, name) in [
        (table.encode(), table.name()),
        (archive.encode(), archive.name()),
    ] {
        let declared = honest(name, &file);
        let (unseen, frames) = match declared.kind {
            FileKind::Table => ([0..0, 0..0], 0),
            FileKind::Archive => (archive.unprotected(), archive.spans.concat().len()),
        };
        let seen = |at: &usize| !unseen.iter().any(|range| range.contains(at));
        for at in (0..file.len()).filter(seen) {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (at % 8);
            match place.ingest(declared.clone(), &damaged).await {
                Ok(checked) => {
                    assert!(at < frames, "byte {at} of {}", file.len());
                    assert_eq!(entries(&checked), listed(&file));
                }
                Err(error) => {
                    let line = error.one_line();
                    assert_eq!(error.kind(), ErrorKind::Invalid, "byte {at}: {line}");
                }
            }
        }
    }
}

#[tokio::test]
async fn broken_rules_of_archives_are_told_apart() {
    let place = Place::new();
    let whole = Archive::of(&words(8));
    let damaged = async |damage: &dyn Fn(&mut Archive)| {
        let mut archive = whole.clone();
        damage(&mut archive);
        let file = archive.encode();
        let declared = honest(archive.name(), &file);
        place.ingest(declared, &file).await.unwrap_err()
    };
    let format = |error| match error {
        UploadError::Format { source } => source,
        other => panic!("{}", other.one_line()),
    };

    let error = damaged(&|archive| {
        let [first, second] = archive.two_snappy_chunks();
        let data = archive.chunks[first].data;
        archive.chunks[first].data = archive.chunks[second].data;
        archive.chunks[second].data = data;
    })
    .await;
    let named = matches!(
        error,
        UploadError::Address { .. } | UploadError::NotThere { .. }
    );
    assert!(named, "swapped spans: {}", error.one_line());

    let error = format(damaged(&|archive| archive.spans.push(b"nobody's".to_vec())).await);
    assert!(matches!(error, DecodeError::SpanUnused { .. }), "{error}");

    let error = format(damaged(&|archive| archive.chunks[0].data = archive.chunks[1].data).await);
    let named = matches!(
        error,
        DecodeError::SpanShared { .. } | DecodeError::SpanUnused { .. }
    );
    assert!(named, "{error}");

    let error = format(damaged(&|archive| archive.dictionary_last()).await);
    assert!(
        matches!(error, DecodeError::DictionaryLate { .. }),
        "{error}"
    );

    let error = format(damaged(&|archive| archive.chunks[2].data = 99).await);
    assert!(
        matches!(error, DecodeError::SpanRange { span: 99, .. }),
        "{error}"
    );

    let error = format(damaged(&|archive| archive.chunks.swap(0, 1)).await);
    assert!(matches!(error, DecodeError::Order { .. }), "{error}");

    let error = damaged(&|archive| archive.chunks[3].address = hash_chunk(b"another")).await;
    let named = matches!(
        error,
        UploadError::Address { .. }
            | UploadError::NotThere { .. }
            | UploadError::Format {
                source: DecodeError::Order { .. }
            }
    );
    assert!(named, "{}", error.one_line());

    let error = damaged(&|archive| archive.metadata = b"[1]".to_vec()).await;
    assert!(matches!(format(error), DecodeError::Metadata(_)));
}

#[tokio::test]
async fn an_index_that_gives_prefixes_to_other_records_is_refused() {
    let place = Place::new();
    let mut table = Table::of(&words(8));
    let [first, second] = [table.tuples[0].1, table.tuples[1].1];
    table.tuples[0].1 = second;
    table.tuples[1].1 = first;
    let file = table.encode();
    let error = place
        .ingest(honest(table.name(), &file), &file)
        .await
        .unwrap_err();
    assert!(
        matches!(error, UploadError::Address { .. }),
        "{}",
        error.one_line()
    );

    let mut table = Table::of(&words(8));
    table.tuples[1] = table.tuples[0];
    let file = table.encode();
    let error = place
        .ingest(honest(table.name(), &file), &file)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.one_line());
}

#[tokio::test]
async fn chunks_whose_references_cannot_be_read_are_refused() {
    let place = Place::new();
    let cases = [
        (
            b"what is this".to_vec(),
            ErrorKind::Refused,
            "unknown kind \"what\"",
        ),
        (
            b"refs and more".to_vec(),
            ErrorKind::Invalid,
            "a reference is cut short",
        ),
    ];
    for (chunk, kind, message) in cases {
        let address = hash_chunk(&chunk);
        let table = Table::of(&[words(3), vec![chunk]].concat());
        let file = table.encode();
        let error = place
            .ingest(honest(table.name(), &file), &file)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.one_line(), format!("chunk {address}: {message}"));
    }
}

#[tokio::test]
async fn a_file_may_hold_a_chunk_several_times() {
    let place = Place::new();
    let mut chunks = words(40);
    chunks.extend(words(40));
    chunks.extend(words(7));
    let (table, archive) = (Table::of(&chunks), Archive::of(&chunks));
    for (file, name) in [
        (table.encode(), table.name()),
        (archive.encode(), archive.name()),
    ] {
        let checked = place.ingest(honest(name, &file), &file).await.unwrap();
        let addresses = |entries: Vec<ChunkEntry>| -> Vec<_> {
            entries.into_iter().map(|entry| entry.address).collect()
        };
        assert_eq!(addresses(entries(&checked)), addresses(listed(&file)));
        assert_eq!(entries(&checked).len(), 87);
    }
}

#[tokio::test]
async fn a_record_longer_than_dolt_walks_is_taken_in() {
    let place = Place::new();
    let mut noise = vec![0; 6 << 20];
    let mut random: rand::rngs::StdRng = rand::SeedableRng::seed_from_u64(5);
    rand::Rng::fill_bytes(&mut random, &mut noise);
    let chunks = [words(50), vec![noise], words(60).split_off(50)].concat();
    let table = Table::of(&chunks);
    let file = table.encode();
    let checked = place
        .ingest(honest(table.name(), &file), &file)
        .await
        .unwrap();
    assert_eq!(entries(&checked), listed(&file));
}

#[tokio::test]
async fn a_truncated_file_is_refused_wherever_it_ends() {
    let place = Place::new();
    let archive = Archive::of(&words(5));
    let file = archive.encode();
    let honest = honest(archive.name(), &file);
    for len in 1..file.len() {
        let declared = DeclaredFile {
            len: len as u64,
            ..honest.clone()
        };
        let error = place.ingest(declared, &file[..len]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.one_line());
    }
}
