#![expect(
    clippy::disallowed_methods,
    reason = "tests make files as no program may"
)]

use std::fs;

use futures::TryStreamExt as _;
use holdfast_chunkstore::format::{MAX_CHUNK_LEN, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::testing::generate::{self, Compression};
use holdfast_chunkstore::{ErrorKind, TableFileId};
use tempfile::TempDir;

use super::*;

fn root_of(chunk: &[u8]) -> RootAddress {
    RootAddress::new(*hash_chunk(chunk).as_bytes())
}

fn remote(path: &Path) -> Directory {
    Directory::new(path, BlockingPool::new(2))
}

/// Writes a table file of some chunks, each under an address, into a directory that is no store.
fn outgoing_of(place: &TempDir, chunks: &[(ChunkAddress, &[u8])]) -> OutgoingFile {
    let mut writer = table::Writer::new(Vec::new());
    for (address, chunk) in chunks {
        writer.append_chunk(*address, chunk).unwrap();
    }
    let (bytes, written) = writer.finish().unwrap();
    let path = place.path().join(format!("{}.outgoing", written.id));
    fs::write(&path, &bytes).unwrap();
    OutgoingFile {
        path,
        id: written.id,
        kind: FileKind::Table,
        len: bytes.len() as u64,
        data_len: written.data_len,
        chunks: written.count,
    }
}

fn outgoing(place: &TempDir, chunks: &[&[u8]]) -> OutgoingFile {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|chunk| (hash_chunk(chunk), *chunk))
        .collect();
    outgoing_of(place, &chunks)
}

fn listed(file: &OutgoingFile) -> ListedFile {
    ListedFile {
        id: file.id,
        chunks: file.chunks,
    }
}

/// What is in a directory and below it, by name.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The databases that Dolt made and that lie in the repository.
fn made() -> Vec<PathBuf> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../doltdb/tests/data/made");
    let databases = ["dolt-1.20.0/kinds-gc", "dolt-1.20.0/unresolved"].into_iter();
    let databases = databases.chain([
        "dolt-2.3.1/kinds-gc",
        "dolt-2.3.1/kinds-shallow",
        "dolt-2.3.1/unresolved",
    ]);
    databases.map(|name| made.join(name)).collect()
}

/// Copies a directory with files and one level of directories.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => fs::copy(&path, &target).map(drop).unwrap(),
        }
    }
}

#[tokio::test]
async fn where_there_is_nothing_is_an_empty_remote() {
    let place = tempfile::tempdir().unwrap();
    let address = hash_chunk(b"one");
    for path in [place.path().to_owned(), place.path().join("missing")] {
        let remote = remote(&path);
        assert_eq!(remote.metadata().await.unwrap().size, 0);
        assert!(remote.root().await.unwrap().is_zero());
        assert_eq!(remote.absent(&[address]).await.unwrap(), [address]);
        let read = remote.read(&[address], Reach::Near).await.unwrap();
        assert!(read.len() == 1 && read[0].is_none());
        assert_eq!(remote.stored_lens(&[address]).await.unwrap(), [None]);
        assert!(remote.list_files().await.unwrap().files.is_empty());
    }
    assert!(names(place.path()).is_empty(), "reading makes nothing");
}

#[tokio::test]
async fn what_is_pushed_is_there_and_moves_the_root_once() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/store");
    let remote = remote(&path);
    let first = outgoing(&place, &[b"one", b"two"]);
    assert_eq!(remote.upload(&first).await.unwrap(), Uploaded::Sent);
    assert_eq!(remote.upload(&first).await.unwrap(), Uploaded::Known);
    let [one, two] = [hash_chunk(b"one"), hash_chunk(b"two")];
    assert_eq!(remote.absent(&[one, two]).await.unwrap(), [one, two]);

    remote.add_files(&[listed(&first)]).await.unwrap();
    assert!(remote.root().await.unwrap().is_zero());
    let absent = remote.absent(&[one, hash_chunk(b"three"), two]).await;
    assert_eq!(absent.unwrap(), [hash_chunk(b"three")]);
    let read = remote.read(&[two], Reach::Near).await.unwrap();
    let record = read[0].as_ref().unwrap().record.as_ref().unwrap();
    let lens = remote.stored_lens(&[hash_chunk(b"three"), two]).await;
    assert_eq!(lens.unwrap(), [None, u32::try_from(record.len()).ok()]);

    let second = outgoing(&place, &[b"three"]);
    remote.upload(&second).await.unwrap();
    let files = [listed(&first), listed(&second)];
    let (zero, third) = (RootAddress::ZERO, root_of(b"three"));
    assert_eq!(remote.commit(third, zero, &files).await.unwrap(), Swap::Won);
    assert_eq!(remote.root().await.unwrap(), third);
    // Whoever was cut off asks again.
    assert_eq!(remote.commit(third, zero, &files).await.unwrap(), Swap::Won);
    let lost = remote.commit(root_of(b"one"), zero, &[]).await.unwrap();
    assert_eq!(lost, Swap::Lost);
    let won = remote.commit(root_of(b"one"), third, &[]).await.unwrap();
    assert_eq!(won, Swap::Won);

    let store = NomsDir::open(&path).unwrap();
    assert_eq!(store.root(), root_of(b"one"));
    assert_eq!(store.manifest().files, files);
    let mut expected = vec![first.id.to_string(), second.id.to_string()];
    expected.extend(["LOCK".to_owned(), "manifest".to_owned()]);
    expected.sort();
    assert_eq!(names(&path), expected, "no temporary file is left");
}

#[tokio::test]
async fn a_root_that_was_not_sent_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let remote = remote(&path);
    let file = outgoing(&place, &[b"one"]);
    remote.upload(&file).await.unwrap();
    let files = [listed(&file)];
    let refused = remote.commit(root_of(b"two"), RootAddress::ZERO, &files);
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, RemoteError::NoRoot { root } if root == root_of(b"two")));
    let missing = [ListedFile {
        id: TableFileId::new([7; 20]),
        chunks: 1,
    }];
    let refused = remote.commit(root_of(b"one"), RootAddress::ZERO, &missing);
    assert!(refused.await.is_err(), "a file that did not land");
    let miscounted = ListedFile {
        chunks: 2,
        ..files[0]
    };
    assert!(remote.add_files(&[miscounted]).await.is_err());
    assert!(!path.join("manifest").exists());
}

#[tokio::test]
async fn a_lock_that_is_held_is_told_and_nothing_changes() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let remote = remote(&path);
    let file = outgoing(&place, &[b"one"]);
    remote.upload(&file).await.unwrap();
    let lock = File::create(path.join("LOCK")).unwrap();
    lock.lock().unwrap();
    let files = [listed(&file)];
    let held = remote.commit(root_of(b"one"), RootAddress::ZERO, &files);
    assert_eq!(held.await.unwrap_err().kind(), ErrorKind::Locked);
    let held = remote.add_files(&files).await.unwrap_err();
    assert_eq!(held.kind(), ErrorKind::Locked);
    assert!(!path.join("manifest").exists());
    lock.unlock().unwrap();
    remote.add_files(&files).await.unwrap();
}

#[tokio::test]
async fn the_store_of_a_database_takes_no_pushes() {
    let place = tempfile::tempdir().unwrap();
    let file = outgoing(&place, &[b"one"]);
    let files = [listed(&file)];
    for database in made() {
        let copied = place.path().join("database");
        copy(&database, &copied);
        let store = copied.join(".dolt/noms");
        let before = names(&store);
        for path in [&copied, &store] {
            let remote = remote(path);
            let root = remote.root().await.unwrap();
            let refused = [
                remote.upload(&file).await.unwrap_err(),
                remote.add_files(&files).await.unwrap_err(),
                remote
                    .commit(root_of(b"one"), root, &files)
                    .await
                    .unwrap_err(),
            ];
            for error in refused {
                assert!(matches!(error, RemoteError::Database { .. }), "{error:?}");
                assert_eq!(error.kind(), ErrorKind::Refused);
            }
        }
        assert_eq!(names(&store), before);
        // A journal makes it one, whatever its directory is called.
        if store.join("vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv").exists() {
            let moved = place.path().join("moved");
            copy(&store, &moved);
            let refused = remote(&moved).upload(&file).await.unwrap_err();
            assert!(matches!(refused, RemoteError::Database { .. }));
            fs::remove_dir_all(&moved).unwrap();
        }
        fs::remove_dir_all(&copied).unwrap();
    }
}

#[tokio::test]
async fn databases_are_read_whole() {
    for database in made() {
        let remote = remote(&database);
        let store = NomsDir::open(&database.join(".dolt/noms")).unwrap();
        assert!(remote.address().ends_with("/.dolt/noms"));
        assert_eq!(remote.root().await.unwrap(), store.root());
        let mut addresses: Vec<ChunkAddress> = Vec::new();
        for file in store.files() {
            addresses.extend(file.addresses().map(Result::unwrap));
        }
        addresses.extend(
            store
                .journal()
                .iter()
                .flat_map(|journal| journal.addresses()),
        );
        assert!(remote.absent(&addresses).await.unwrap().is_empty());
        let read = remote.read(&addresses, Reach::Exact).await.unwrap();
        for (address, chunk) in addresses.iter().zip(read) {
            assert_eq!(hash_chunk(&chunk.unwrap().chunk), *address);
        }
        let ghosts: Vec<_> = store.ghosts().iter().copied().collect();
        assert_eq!(remote.absent(&ghosts).await.unwrap(), ghosts);

        let listed = remote.list_files().await.unwrap();
        assert_eq!(listed.root, store.root());
        let mut size = 0;
        for file in &listed.files {
            let bytes = fs::read(store.directory().join(&file.place)).unwrap();
            let len = bytes.len() as u64;
            assert_eq!(remote.file_len(file).await.unwrap(), len);
            for to in [None, Some(len), Some(30)] {
                let body = remote.read_file(file, 5, to).await.unwrap();
                assert_eq!((body.begins_at, body.len), (5, Some(len)));
                let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
                let end = usize::try_from(to.unwrap_or(len)).unwrap();
                assert_eq!(pieces.concat(), &bytes[5..end]);
            }
            size += bytes.len() as u64;
        }
        assert!(remote.metadata().await.unwrap().size <= size);
        let has_journal = listed.files.iter().any(|file| file.id == JOURNAL_ID);
        assert_eq!(has_journal, store.journal().is_some());
    }
}

#[tokio::test]
async fn a_file_is_read_as_far_as_it_was_and_nothing_behind_its_end() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let remote = remote(&path);
    let file = outgoing(&place, &[b"one"]);
    remote.upload(&file).await.unwrap();
    remote.add_files(&[listed(&file)]).await.unwrap();
    let listed = remote.list_files().await.unwrap();
    for offset in [file.len, file.len + 9] {
        let body = remote.read_file(&listed.files[0], offset, None);
        let body = body.await.unwrap();
        assert_eq!((body.begins_at, body.len), (file.len, Some(file.len)));
        let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
        assert!(pieces.is_empty());
    }
    fs::remove_file(path.join(file.id.to_string())).unwrap();
    let gone = remote.read_file(&listed.files[0], 0, None);
    let gone = gone.await.unwrap_err();
    assert!(gone.is_of_an_ended_address());
}

#[tokio::test]
async fn a_chunk_that_is_not_what_it_stands_under_is_named() {
    let place = tempfile::tempdir().unwrap();
    let remote = remote(&place.path().join("store"));
    let (honest, claimed) = (hash_chunk(b"honest"), ChunkAddress::new([7; 20]));
    let file = outgoing_of(&place, &[(honest, b"honest"), (claimed, b"other")]);
    remote.upload(&file).await.unwrap();
    remote.add_files(&[listed(&file)]).await.unwrap();
    assert!(remote.read(&[honest], Reach::Near).await.is_ok());
    let error = remote.read(&[honest, claimed], Reach::Near).await;
    let RemoteError::OtherChunk { source } = error.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(source.claimed, claimed);
}

#[tokio::test]
async fn what_another_process_pushes_is_seen() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let (mine, theirs) = (remote(&path), remote(&path));
    let mut root = RootAddress::ZERO;
    for chunk in [b"one", b"two", b"six"] {
        assert_eq!(mine.absent(&[hash_chunk(chunk)]).await.unwrap().len(), 1);
        let file = outgoing(&place, &[chunk]);
        theirs.upload(&file).await.unwrap();
        let moved = theirs.commit(root_of(chunk), root, &[listed(&file)]).await;
        assert_eq!(moved.unwrap(), Swap::Won);
        root = root_of(chunk);
        let read = mine.read(&[hash_chunk(chunk)], Reach::Exact).await.unwrap();
        assert_eq!(read[0].as_ref().unwrap().chunk, chunk.as_slice());
    }
}

#[tokio::test]
async fn only_chunks_that_are_stored_as_records_have_one_to_hand_on() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let made = generate::archive(7, 20, Compression::Mixed);
    let file = OutgoingFile {
        path: place.path().join("outgoing"),
        id: made.written.id,
        kind: FileKind::Archive,
        len: made.written.len,
        data_len: made.written.data_len,
        chunks: made.written.count,
    };
    fs::write(&file.path, &made.file).unwrap();
    let remote = remote(&path);
    remote.upload(&file).await.unwrap();
    assert!(path.join(format!("{}.darc", file.id)).exists());
    remote.add_files(&[listed(&file)]).await.unwrap();

    let addresses: Vec<_> = made.chunks.iter().map(|(address, _)| *address).collect();
    let read = remote.read(&addresses, Reach::Exact).await.unwrap();
    let mut records = 0;
    for ((_, expected), read) in made.chunks.iter().zip(read) {
        let RemoteChunk { chunk, record } = read.unwrap();
        assert_eq!(chunk, *expected);
        let Some(record) = record else { continue };
        let mut decoded = Vec::new();
        table::record::decode(&record, MAX_CHUNK_LEN, &mut decoded).unwrap();
        assert_eq!(decoded, *expected);
        records += 1;
    }
    assert!(records > 0 && records < addresses.len(), "{records}");
}

#[tokio::test]
async fn no_more_is_read_at_once_than_may_be_in_memory() {
    let place = TempDir::new().unwrap();
    let remote = remote(&place.path().join("remote"));
    let chunks: Vec<Vec<u8>> = (0..6_u8).map(|salt| vec![salt; 4 << 20]).collect();
    let file = outgoing(
        &place,
        &chunks.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    );
    remote.upload(&file).await.unwrap();
    remote.add_files(&[listed(&file)]).await.unwrap();
    let addresses: Vec<_> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    let read = remote.read(&addresses, Reach::Exact).await.unwrap();
    assert_eq!(read.len(), 4);
    let (to, mut from) = tokio::sync::mpsc::channel(8);
    let missing = remote.read_each(addresses.clone(), Reach::Exact, to).await;
    assert!(missing.unwrap().is_empty());
    let mut came = Vec::new();
    while let Some(parcel) = from.recv().await {
        came.extend(parcel.chunks.into_iter().map(|(address, _)| address));
    }
    assert_eq!(came, addresses);
}
