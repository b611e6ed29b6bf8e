//! Stores in directories: those that Dolt made, sound and corrupt, and changes to them.

#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files as no program may"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::journal::{encode_chunk, encode_root, encode_timeless_root};
use holdfast_chunkstore::format::manifest::{JOURNAL_ID, ListedFile, Manifest, ManifestError};
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{NewStore, NomsDir, StoreError, StoreWriter, dissolve};
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};

use crate::fixtures;

/// Databases of Dolt's own tests in which a chunk has another address than it stands under.
const WRONG_CHUNKS: [&str; 2] = ["bad_commit", "bad_journal_crc"];

/// Every directory below that holds a store, sorted.
fn stores(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        if folder.join("manifest").exists() {
            found.push(folder.clone());
        }
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("oldgen") {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shared_stores(below: &str) -> Vec<PathBuf> {
    let found = stores(&fixtures::shared_folder().join("fixtures").join(below));
    if found.is_empty() {
        fixtures::skipped(format_args!("no databases in fixtures/{below}"));
    }
    found
}

/// All addresses of a store.
fn addresses(store: &NomsDir) -> Vec<ChunkAddress> {
    let mut all: Vec<ChunkAddress> = Vec::new();
    for file in store.files() {
        all.extend(file.addresses().map(Result::unwrap));
    }
    all.extend(
        store
            .journal()
            .iter()
            .flat_map(|journal| journal.addresses()),
    );
    all.sort_unstable();
    all.dedup();
    all
}

/// Reads every chunk, and returns those that are not what they stand under.
fn wrong_chunks(store: &NomsDir) -> Vec<ChunkAddress> {
    let mut decoder = Decoder::new();
    let mut wrong = Vec::new();
    let mut chunk = Vec::new();
    for address in addresses(store) {
        let place = store
            .find(address)
            .unwrap()
            .expect("a listed address is found");
        chunk.clear();
        store
            .read_chunk(address, place, &mut decoder, &mut chunk)
            .unwrap();
        if hash_chunk(&chunk) != address {
            wrong.push(address);
        }
    }
    wrong
}

#[test]
fn every_sound_database_is_read_and_each_chunk_is_what_it_stands_under() {
    let mut all = shared_stores("made");
    all.extend(shared_stores("dolt"));
    for directory in all {
        let name = directory.display().to_string();
        if name.contains("bad_journal_crc_2") {
            continue;
        }
        let store = NomsDir::open(&directory).unwrap_or_else(|error| panic!("{name}: {error}"));
        let wrong = wrong_chunks(&store);
        let is_wrong = WRONG_CHUNKS.iter().any(|corrupt| name.contains(corrupt));
        assert_eq!(wrong.len(), usize::from(is_wrong), "{name}: {wrong:?}");
        let root = store.root().chunk().expect("there is a root");
        assert!(store.find(root).unwrap().is_some(), "{name}: its root");
        assert!(store.find(ChunkAddress::new([7; 20])).unwrap().is_none());
        if name.contains("shallow") {
            assert!(!store.ghosts().is_empty());
        }
    }
}

#[test]
fn of_many_addresses_those_that_are_absent_are_left_in_their_order() {
    for directory in [shared_stores("made"), shared_stores("dolt")].concat() {
        let name = directory.display().to_string();
        let Ok(store) = NomsDir::open(&directory) else {
            continue;
        };
        // Beside each that is there one that begins as it does, and the last first.
        let mut asked = Vec::new();
        let mut absent = Vec::new();
        for address in addresses(&store).into_iter().rev() {
            let mut beside = *address.as_bytes();
            beside[19] ^= 1;
            let beside = ChunkAddress::new(beside);
            asked.extend([address, beside, address]);
            absent.push(beside);
        }
        store.retain_absent(&mut asked).unwrap();
        assert_eq!(asked, absent, "{name}");
    }
}

#[test]
fn manifests_of_dolt_come_back_the_same_to_the_byte() {
    for directory in [shared_stores("made"), shared_stores("dolt")].concat() {
        for path in [
            directory.join("manifest"),
            directory.join("oldgen/manifest"),
        ] {
            let Ok(text) = fs::read(&path) else { continue };
            let manifest = Manifest::decode(&text).unwrap();
            assert_eq!(manifest.encode().as_bytes(), text, "{}", path.display());
        }
    }
}

#[test]
fn records_behind_damage_are_a_loss() {
    for directory in shared_stores("dolt") {
        if directory.to_str().unwrap().contains("bad_journal_crc_2") {
            let error = NomsDir::open(&directory).unwrap_err();
            assert!(
                matches!(error, StoreError::Loss { offset: 5936, .. }),
                "{error}"
            );
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}

/// A store of one table file with these chunks.
fn made_store(directory: &Path, chunks: &[&[u8]]) -> BTreeMap<ChunkAddress, Vec<u8>> {
    let store = NewStore::create(directory).unwrap();
    let file = land(store.begin_file().unwrap(), chunks);
    store.finish(root_of(chunks[0]), vec![file]).unwrap();
    let chunks = chunks
        .iter()
        .map(|chunk| (hash_chunk(chunk), chunk.to_vec()));
    chunks.collect()
}

fn root_of(chunk: &[u8]) -> RootAddress {
    hash_chunk(chunk).into()
}

fn land(file: holdfast_chunkstore::noms_dir::NewFile, chunks: &[&[u8]]) -> ListedFile {
    let mut writer = table::Writer::new(file);
    for chunk in chunks {
        writer.append_chunk(hash_chunk(chunk), chunk).unwrap();
    }
    let (file, written) = writer.finish().unwrap();
    file.land(written.id, FileKind::Table).unwrap();
    ListedFile {
        id: written.id,
        chunks: written.count,
    }
}

fn journal_of(records: &[Vec<u8>]) -> Vec<u8> {
    records.concat()
}

fn chunk_record(chunk: &[u8]) -> Vec<u8> {
    let (mut stored, mut record) = (Vec::new(), Vec::new());
    let mut encoder = table::record::Encoder::new();
    encoder.encode(chunk, &mut stored).unwrap();
    encode_chunk(hash_chunk(chunk), &stored, &mut record).unwrap();
    record
}

fn root_record(chunk: &[u8]) -> Vec<u8> {
    encode_root(root_of(chunk), 1_700_000_000).to_vec()
}

const JOURNAL: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

#[test]
fn a_store_is_made_written_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one", b"two"]);
    let error = NewStore::create(&directory).unwrap_err();
    assert!(matches!(error, StoreError::Exists { .. }), "{error}");

    let writer = StoreWriter::open(&directory).unwrap();
    let held = StoreWriter::open(&directory).unwrap_err();
    assert!(matches!(held, StoreError::Held { .. }), "{held}");
    let file = land(writer.begin_file().unwrap(), &[b"three", b"four"]);
    let before = NomsDir::open(&directory).unwrap();
    assert_eq!(before.files().len(), 1, "what is not listed is not there");
    writer.commit(root_of(b"three"), &[file], &[], 5).unwrap();
    // The same file again is no second one.
    let writer = StoreWriter::open(&directory).unwrap();
    writer.commit(root_of(b"four"), &[file], &[], 6).unwrap();

    let store = NomsDir::open(&directory).unwrap();
    assert_eq!(store.root(), root_of(b"four"));
    assert_eq!(store.files().len(), 2);
    assert_eq!(wrong_chunks(&store), []);
    assert_eq!(addresses(&store).len(), 4);
    StoreWriter::open(&directory).unwrap();
}

#[test]
fn a_store_that_is_taken_apart_leaves_its_files_and_not_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, kept) = (folder.path().join("noms"), folder.path().join("kept"));
    fs::create_dir(&kept).unwrap();
    dissolve(&directory, &kept).unwrap();
    let store = NewStore::create(&directory).unwrap();
    let listed = land(store.begin_file().unwrap(), &[b"one", b"two"]);
    let unlisted = land(store.begin_file().unwrap(), &[b"three"]);
    store.write_ghosts([hash_chunk(b"ghost")]).unwrap();
    store.finish(RootAddress::ZERO, vec![listed]).unwrap();
    let writer = StoreWriter::open(&directory).unwrap();
    let root = (hash_chunk(b"root"), b"root".as_slice().into());
    writer.commit(root_of(b"root"), &[], &[root], 5).unwrap();

    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let files = [listed.id.to_string(), unlisted.id.to_string()];
    // Whoever was cut off does it again.
    for _ in 0..2 {
        dissolve(&directory, &kept).unwrap();
        assert_eq!(names(&kept), files.clone().into());
        assert_eq!(names(&directory), ["LOCK".to_owned()].into());
    }
    let store = NewStore::create(&directory).unwrap();
    store.finish(RootAddress::ZERO, Vec::new()).unwrap();
    assert!(NomsDir::open(&directory).unwrap().ghosts().is_empty());
}

#[test]
fn a_store_that_somebody_holds_is_not_taken_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, kept) = (folder.path().join("noms"), folder.path().join("kept"));
    fs::create_dir(&kept).unwrap();
    made_store(&directory, &[b"one", b"two"]);
    let before = NomsDir::open(&directory).unwrap();
    let writer = StoreWriter::open(&directory).unwrap();
    let held = dissolve(&directory, &kept).unwrap_err();
    assert!(matches!(held, StoreError::Held { .. }), "{held}");
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
    let after = NomsDir::open(&directory).unwrap();
    assert_eq!(after.root(), before.root());
    assert_eq!(addresses(&after), addresses(&before));
    drop(writer);
    dissolve(&directory, &kept).unwrap();
    let gone = NomsDir::open(&directory).unwrap_err();
    assert!(matches!(gone, StoreError::NoStore { .. }), "{gone}");
}

#[test]
fn the_last_root_of_the_journal_counts_and_a_commit_goes_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one", b"two"]);
    let mut journal = journal_of(&[
        chunk_record(b"five"),
        root_record(b"five"),
        chunk_record(b"six"),
        root_record(b"six"),
    ]);
    let valid = journal.len();
    // The torn end of a third commit, and the zeros of an older Dolt.
    journal.extend(&chunk_record(b"seven")[..20]);
    journal.extend([0; 5000]);
    fs::write(directory.join(JOURNAL), &journal).unwrap();

    let store = NomsDir::open(&directory).unwrap();
    assert_eq!(store.root(), root_of(b"six"));
    assert_eq!(store.journal().unwrap().end(), valid as u64);
    assert_eq!(addresses(&store).len(), 4);
    assert_eq!(wrong_chunks(&store), []);

    let writer = StoreWriter::open(&directory).unwrap();
    let file = land(writer.begin_file().unwrap(), &[b"eight"]);
    writer
        .commit(root_of(b"eight"), &[file], &[], 1_700_000_001)
        .unwrap();
    let store = NomsDir::open(&directory).unwrap();
    assert_eq!(store.root(), root_of(b"eight"));
    assert_eq!(store.manifest().root, root_of(b"eight"));
    let written = fs::read(directory.join(JOURNAL)).unwrap();
    assert_eq!(written.len(), valid + 40);
}

#[test]
fn a_few_chunks_go_into_the_journal_or_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for has_journal in [false, true] {
        let directory = folder.path().join(has_journal.to_string());
        made_store(&directory, &[b"one"]);
        if has_journal {
            let journal = journal_of(&[chunk_record(b"two"), root_record(b"two")]);
            fs::write(directory.join(JOURNAL), journal).unwrap();
        }
        let before = NomsDir::open(&directory).unwrap().files().len();
        let chunks = [&b"nine"[..], b"ten"].map(|chunk| (hash_chunk(chunk), chunk.into()));
        let writer = StoreWriter::open(&directory).unwrap();
        writer.commit(root_of(b"ten"), &[], &chunks, 7).unwrap();
        let store = NomsDir::open(&directory).unwrap();
        assert_eq!(store.root(), root_of(b"ten"));
        let added = store.files().len() - before;
        assert_eq!(added, usize::from(!has_journal));
        // Dolt opens what is listed, the journal too.
        let listed = &store.manifest().files;
        assert_eq!(listed.iter().any(|file| file.id == JOURNAL_ID), has_journal);
        assert!(
            chunks
                .iter()
                .all(|(address, _)| addresses(&store).contains(address))
        );
        assert_eq!(wrong_chunks(&store), []);
    }
}

#[test]
fn a_journal_of_an_old_dolt_gets_roots_that_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one"]);
    let timeless = encode_timeless_root(root_of(b"two")).to_vec();
    let journal = journal_of(&[chunk_record(b"two"), timeless]);
    fs::write(directory.join(JOURNAL), &journal).unwrap();
    let writer = StoreWriter::open(&directory).unwrap();
    writer.commit(root_of(b"one"), &[], &[], 7).unwrap();
    let written = fs::read(directory.join(JOURNAL)).unwrap();
    assert_eq!(
        written[journal.len()..],
        encode_timeless_root(root_of(b"one"))
    );
    assert_eq!(NomsDir::open(&directory).unwrap().root(), root_of(b"one"));
}

#[test]
fn every_cut_of_a_journal_keeps_what_was_committed_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one"]);
    let records = [
        chunk_record(b"five"),
        root_record(b"five"),
        chunk_record(b"six"),
        root_record(b"six"),
    ];
    let journal = journal_of(&records);
    let first = records[0].len() + records[1].len();
    for len in 0..=journal.len() {
        fs::write(directory.join(JOURNAL), &journal[..len]).unwrap();
        let store = NomsDir::open(&directory).unwrap();
        let wanted: &[u8] = match len {
            len if len == journal.len() => b"six",
            len if len >= first => b"five",
            _ => b"one",
        };
        assert_eq!(store.root(), root_of(wanted), "{len}");
    }
}

#[test]
fn damage_within_a_journal_is_a_loss_only_before_roots() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one"]);
    let records = [
        root_record(b"one"),
        chunk_record(b"five"),
        root_record(b"five"),
        chunk_record(b"six"),
    ];
    let journal = journal_of(&records);
    for at in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x40;
        fs::write(directory.join(JOURNAL), &damaged).unwrap();
        // Whatever follows a root that can still be read behind the damage was committed.
        let before_root = at < records[0].len() + records[1].len();
        match NomsDir::open(&directory) {
            Ok(store) => {
                assert!(!before_root, "{at}");
                assert!(store.root() == root_of(b"one") || store.root() == root_of(b"five"));
            }
            Err(error) => {
                assert!(before_root, "{at}: {error}");
                assert!(matches!(error, StoreError::Loss { .. }), "{at}: {error}");
            }
        }
    }
}

#[test]
fn what_lies_behind_the_sound_part_of_a_journal_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one"]);
    let sound = journal_of(&[chunk_record(b"five"), root_record(b"five")]);
    let tail = |behind: &[u8]| {
        let journal = [&sound[..], behind].concat();
        fs::write(directory.join(JOURNAL), journal).unwrap();
        let store = NomsDir::open(&directory).unwrap();
        let tail = store.journal().unwrap().tail()?;
        assert_eq!(tail.offset, sound.len() as u64);
        assert_eq!(tail.len, behind.len() as u64);
        Some(tail.records)
    };
    let record = chunk_record(b"six");
    assert_eq!(tail(&[]), None);
    assert_eq!(tail(&[0; 5000]), None, "Dolt wrote zeros ahead");
    for len in [1, 5, record.len() - 1] {
        // The length of a record begins with zeros.
        let wanted = record[..len].iter().any(|byte| *byte != 0).then_some(0);
        assert_eq!(tail(&record[..len]), wanted, "{len}");
    }
    assert_eq!(tail(&[0xff; 100]), Some(0));
    assert_eq!(tail(&[&[0xff; 100][..], &record[..]].concat()), Some(1));
    assert_eq!(tail(&[&[0; 100][..], &record[..]].concat()), Some(1));
}

#[test]
fn what_is_no_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = NomsDir::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::NoStore { .. }), "{error}");
    let directory = folder.path().join("noms");
    made_store(&directory, &[b"one"]);
    let store = NomsDir::open(&directory).unwrap();
    let file = store.files()[0].path().to_owned();
    let manifest = fs::read_to_string(directory.join("manifest")).unwrap();

    let mut wrong_count = manifest.clone();
    wrong_count.replace_range(wrong_count.len() - 1.., "7");
    fs::write(directory.join("manifest"), wrong_count).unwrap();
    let error = NomsDir::open(&directory).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Count {
                listed: 7,
                found: 1,
                ..
            }
        ),
        "{error}"
    );

    fs::write(directory.join("manifest"), manifest.replacen('5', "6", 1)).unwrap();
    let error = NomsDir::open(&directory).unwrap_err();
    let StoreError::Manifest { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(source, ManifestError::Version { .. }), "{source}");

    fs::write(directory.join("manifest"), &manifest).unwrap();
    fs::remove_file(file).unwrap();
    let error = NomsDir::open(&directory).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
