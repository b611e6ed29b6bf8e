//! Valid inputs of every decoder, none of them long: what malformed ones are made from.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::format::journal::{encode_chunk, encode_root};
use holdfast_chunkstore::format::manifest::{ListedFile, Manifest};
use holdfast_chunkstore::format::{TAIL_LEN, archive, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::id::UploadId;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{ObjectKey, ObjectStore, ObjectStoreExt as _};
use holdfast_chunkstore::repo::record::{Checkpoint, Listed, RetiredFile, SideObject, encode_list};
use holdfast_chunkstore::repo::{
    FileKind, Parts, Proposal, Record, RefMove, Repository, StoredFile, View,
};
use holdfast_chunkstore::testing::generate::{self, Compression, Made};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::fixtures;

/// Table files of a real dolt and our own.
pub(crate) fn table_files() -> Vec<Vec<u8>> {
    let mut files = of_dolt("");
    files.extend(
        (1..6).map(|count| generate::table_file(count, 4 * usize::try_from(count).unwrap()).file),
    );
    files
}

/// Archives of a real dolt and our own, and what they would be in the older versions.
pub(crate) fn archives() -> Vec<Vec<u8>> {
    let mut files = of_dolt("darc");
    for compression in [Compression::Snappy, Compression::Zstd, Compression::Mixed] {
        files.push(generate::archive(3, 8, compression).file);
    }
    for at in 0..files.len() {
        for version in [archive::Version::One, archive::Version::Two] {
            let mut file = files[at].clone();
            let mut footer = *archive::Layout::decode(&file, file.len() as u64)
                .unwrap()
                .footer();
            footer.version = version;
            file.truncate(file.len() - TAIL_LEN);
            file.extend_from_slice(&footer.encode());
            files.push(file);
        }
    }
    files
}

/// The chunk records of the table files.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for file in table_files() {
        let (_, index) = table::Index::decode_file(&file).unwrap();
        let entries = index.in_file_order();
        records.extend(entries.map(|entry| fixtures::bytes(&file, entry.span.data).to_vec()));
    }
    records
}

/// Manifests of stores with and without files.
pub(crate) fn manifests() -> Vec<Vec<u8>> {
    let file = |number: u8| ListedFile {
        id: TableFileId::new([number; 20]),
        chunks: u32::from(number) * 1000,
    };
    let of = |files: Vec<ListedFile>| Manifest::new(root_of(b"a root"), files);
    let new = [
        of(Vec::new()),
        of(vec![file(1)]),
        of((1..20).map(file).collect()),
    ];
    let mut texts: Vec<_> = new
        .iter()
        .map(|manifest| manifest.encode().into_bytes())
        .collect();
    let old = "4:__DOLT__:00000000000000000000000000000001:00000000000000000000000000000002";
    texts.push(format!("{old}:00000000000000000000000000000003:7").into_bytes());
    texts
}

/// Journals with a few records, whole and torn.
pub(crate) fn journals() -> Vec<Vec<u8>> {
    let mut journal = Vec::new();
    let mut journals = Vec::new();
    for record in records()
        .into_iter()
        .filter(|record| record.len() < 500)
        .take(6)
    {
        encode_chunk(hash_chunk(&record), &record, &mut journal).unwrap();
        journal.extend(encode_root(root_of(&record), 1_700_000_000));
        journals.push(journal.clone());
    }
    let torn = journal[..journal.len() - 7].to_vec();
    journals.push([torn.clone(), vec![0; 300]].concat());
    journals.push([torn, journal].concat());
    journals
}

/// Dictionaries and frames of the archives.
pub(crate) fn spans() -> Vec<Vec<u8>> {
    let mut spans = Vec::new();
    for file in archives() {
        let Ok((_, index)) = archive::Index::decode_file(&file) else {
            continue;
        };
        let dictionaries = index.dictionaries();
        let dictionaries = dictionaries.iter().copied();
        let data = index.in_file_order().map(|entry| entry.span.data);
        let all = dictionaries.chain(data);
        spans.extend(all.map(|span| fixtures::bytes(&file, span).to_vec()));
    }
    spans
}

/// Dictionaries, one of them longer than any may be.
pub(crate) fn dictionaries() -> Vec<Vec<u8>> {
    let long = zstd::bulk::compress(&vec![7; 5_000_000], 3).unwrap();
    [spans(), vec![long]].concat()
}

/// Frames with and without a content size, some of them longer than any may be.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let dictionary = b"customer account event ".repeat(20);
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();
    let mut frames: Vec<_> = generate::chunks(5, 20)
        .iter()
        .map(|chunk| compressor.compress(chunk).unwrap())
        .collect();
    compressor.include_contentsize(false).unwrap();
    frames.push(compressor.compress(&vec![1; 300_000]).unwrap());
    frames.push(compressor.compress(&vec![1; 20_000_000]).unwrap());
    frames.push(zstd::bulk::compress(&vec![1; 20_000_000], 3).unwrap());
    frames.extend(spans());
    frames
}

/// Metadata as Dolt writes it, and what is none.
pub(crate) fn metadata() -> Vec<Vec<u8>> {
    vec![
        br#"{"dolt_version":"2.3.1","conversion_time":"2025-01-23T23:54:38Z"}"#.to_vec(),
        br#"{"conjoined_file_names":"[\"a\",\"b\"]"}"#.to_vec(),
        br#"{"a":["b"]}"#.to_vec(),
        b"[".repeat(100_000),
    ]
}

/// The ends of files, each behind the length of its file.
pub(crate) fn with_len(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let tail = |file: &[u8]| file[file.len().saturating_sub(TAIL_LEN)..].to_vec();
    let len = |file: &[u8]| (file.len() as u64).to_be_bytes();
    files
        .iter()
        .map(|file| [len(file).as_slice(), &tail(file)].concat())
        .collect()
}

/// Files behind one byte each.
pub(crate) fn with_byte(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    files
        .iter()
        .map(|file| [&[3], file.as_slice()].concat())
        .collect()
}

/// Records of a log, two of them with checkpoints.
pub(crate) fn log_records() -> Vec<Vec<u8>> {
    let mut records = kept("/log/");
    let key = ObjectKey::parse("log").unwrap();
    let last = Record::decode(&key, records.last().unwrap()).unwrap();
    let file = in_record(last.added.clone())[0].clone();
    let other = StoredFile {
        upload: UploadId::new([9; 16]),
        ..file.clone()
    };
    let retired = RetiredFile {
        upload: file.upload,
        at: last.time,
        sequence: 7,
        file: Some(file.clone()),
    };
    let beside = |object: &str| SideObject {
        object: object.to_owned(),
        sha256: file.sha256,
        count: 1001,
    };
    let checkpoints = [
        Checkpoint {
            files: Listed::Inline(vec![file.clone()]),
            retired: Listed::Inline(vec![retired.clone()]),
            released: Listed::default(),
            cleared: 0,
        },
        Checkpoint {
            files: Listed::Side {
                objects: vec![
                    beside("repos/side/try-files-0"),
                    beside("repos/side/try-files-1"),
                ],
                count: 2002,
            },
            retired: Listed::Side {
                objects: vec![beside("repos/side/try-retired-0")],
                count: 1001,
            },
            released: Listed::Inline(vec![retired]),
            cleared: 512,
        },
    ];
    for checkpoint in checkpoints {
        let record = Record {
            sequence: 256,
            previous: Some(file.sha256),
            refs: Listed::Inline(ref_moves()),
            added: Listed::Inline(vec![file.clone(), other.clone(), other.clone()]),
            retired: Listed::Inline(vec![file.upload]),
            checkpoint: Some(checkpoint),
            ..last.clone()
        };
        records.push(record.encode().to_vec());
    }
    records
}

/// Lists that would stand beside a record if they were longer.
pub(crate) fn side_lists() -> Vec<Vec<u8>> {
    let key = ObjectKey::parse("log").unwrap();
    let records = kept("/log/");
    let records = records.iter().map(|record| Record::decode(&key, record));
    let files: Vec<_> = records
        .flat_map(|record| in_record(record.unwrap().added))
        .collect();
    let retired = files.iter().map(|file| RetiredFile {
        upload: file.upload,
        at: Timestamp(7),
        sequence: 0,
        file: None,
    });
    let retired: Vec<_> = retired.collect();
    vec![
        encode_list(&ref_moves()).to_vec(),
        encode_list(&files).to_vec(),
        encode_list(&retired).to_vec(),
    ]
}

/// A list that stands in its record.
fn in_record<T>(listed: Listed<T>) -> Vec<T> {
    match listed {
        Listed::Inline(list) => list,
        Listed::Side { count, .. } => panic!("{count} entries stand beside the record"),
    }
}

fn ref_moves() -> Vec<RefMove> {
    let ref_move = |name: &str, old, new| RefMove {
        name: name.to_owned(),
        old,
        new,
    };
    let [old, new] = [[1; 20], [2; 20]].map(|bytes| Some(ChunkAddress::new(bytes)));
    vec![
        ref_move("refs/heads/main", old, new),
        ref_move("refs/tags/v1", None, new),
        ref_move("refs/heads/\u{e4} \"x\"", old, None),
    ]
}

/// Notes of uploads, of one of which many references leave.
pub(crate) fn upload_notes() -> Vec<Vec<u8>> {
    let notes = kept("/uploads/");
    assert!(notes.iter().any(|note| contains(note, "-leaving")));
    notes
}

/// The note of a classic twin, and digests.
pub(crate) fn twin_notes() -> Vec<Vec<u8>> {
    let digests = [b"00ff".repeat(8), b"00ff".repeat(16)];
    [kept(".table.json"), digests.to_vec()].concat()
}

/// What the name of a repository means.
pub(crate) fn bindings() -> Vec<Vec<u8>> {
    kept("catalog/names/")
}

/// Hints.
pub(crate) fn hints() -> Vec<Vec<u8>> {
    let hints = ["256", "18446744073709551615", " 7\n", "0"];
    hints.map(|hint| hint.as_bytes().to_vec()).to_vec()
}

/// The keys of all that a repository keeps.
pub(crate) fn keys() -> Vec<Vec<u8>> {
    KEPT.iter()
        .map(|(key, _)| key.as_bytes().to_vec())
        .collect()
}

/// The last segments of the keys of all that a repository keeps.
pub(crate) fn last_segments() -> Vec<Vec<u8>> {
    let segments = KEPT.iter().filter_map(|(key, _)| key.rsplit('/').next());
    segments.map(|name| name.as_bytes().to_vec()).collect()
}

/// Names of repositories.
pub(crate) fn repo_names() -> Vec<Vec<u8>> {
    let part = "x".repeat(100);
    let names = ["acme/prod", "a/b", "0.-_/1.-_", &format!("{part}/{part}")];
    names.map(|name| name.as_bytes().to_vec()).to_vec()
}

/// Ids and addresses, these also as bytes.
pub(crate) fn ids() -> Vec<Vec<u8>> {
    let mut ids = vec![vec![0; 20], vec![0xff; 20]];
    for key in keys() {
        let parts = key.split(|byte| b"/.-".contains(byte));
        ids.extend(parts.filter(|part| part.len() > 20).map(<[u8]>::to_vec));
    }
    ids
}

/// Rows of places, and the records of the index in RocksDB.
#[cfg(feature = "rocks")]
pub(crate) fn index_values() -> Vec<Vec<u8>> {
    let plain = vec![0x10, 7, 0xe8, 0x07, 99];
    let with_dictionary = vec![0x11, 0xff, 0x01, 0xff, 0xff, 0x03, 99, 0, 0x80, 0x20];
    let number = b"n\0\0\0\x07".to_vec();
    vec![
        [plain.clone(), with_dictionary.clone(), plain.clone()].concat(),
        plain,
        with_dictionary,
        number,
        vec![7; 20],
        vec![0, 0, 0, 1],
    ]
}

/// Everything in the store of a repository after a few pushes, by its key.
static KEPT: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(keep())
});

/// The objects whose keys have `part` in them.
fn kept(part: &str) -> Vec<Vec<u8>> {
    let objects = KEPT.iter().filter(|(key, _)| key.contains(part));
    let bodies: Vec<_> = objects.map(|(_, body)| body.clone()).collect();
    assert!(!bodies.is_empty(), "nothing is kept under {part}");
    bodies
}

fn contains(body: &[u8], part: &str) -> bool {
    String::from_utf8_lossy(body).contains(part)
}

async fn keep() -> Vec<(String, Vec<u8>)> {
    let objects: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(Arc::new(Still)));
    let scratch = TempDir::new().unwrap();
    let parts = Parts {
        clock: Arc::new(Still),
        ..parts(Arc::clone(&objects), scratch.path(), 7)
    };
    let repository = acme(parts).await;
    let leaf = b"leaf".to_vec();
    let first = parent(1, &[hash_chunk(&leaf)]);
    let second = parent(2, &[hash_chunk(&first)]);
    let pushed = generate::table_file_of(vec![leaf, first.clone()]);
    push(
        &repository,
        &pushed,
        FileKind::Table,
        [RootAddress::ZERO, root_of(&first)],
    )
    .await;
    let roots = [root_of(&first), root_of(&second)];
    let pushed = generate::archive_of(vec![second], Compression::Snappy);
    push(&repository, &pushed, FileKind::Archive, roots).await;
    // Makes the classic twin of the archive.
    repository.listing(View::Classic).await.unwrap();
    let children: Vec<_> = (0..1001_u16)
        .map(|at| hash_chunk(&at.to_be_bytes()))
        .collect();
    let leaving = generate::table_file_of(vec![parent(3, &children)]);
    upload(&repository, &leaving, FileKind::Table)
        .await
        .unwrap();

    let mut all = Vec::new();
    for meta in objects.list_all("").await.unwrap() {
        let body = objects.read(&meta.key, None, 1 << 20).await.unwrap();
        all.push((meta.key.to_string(), body.to_vec()));
    }
    all
}

async fn push(
    repository: &Repository,
    made: &Made,
    kind: FileKind,
    [last, current]: [RootAddress; 2],
) {
    upload(repository, made, kind).await.unwrap();
    let proposal = Proposal {
        last,
        current,
        files: vec![named(made)],
        actor: actor(),
    };
    repository.commit(&proposal).await.unwrap();
}

/// A clock that stands still, so that the samples are always the same.
#[derive(Debug)]
struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_764_000_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _duration: Duration) {}
}

/// Small files that a real dolt wrote.
fn of_dolt(suffix: &str) -> Vec<Vec<u8>> {
    let files = fixtures::own().into_iter();
    let files = files.filter(|path| path.extension().unwrap_or_default() == suffix);
    let files = files.map(|path| std::fs::read(path).unwrap());
    files.filter(|file| file.len() < 10_000).collect()
}
