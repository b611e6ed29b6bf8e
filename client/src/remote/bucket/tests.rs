#![expect(
    clippy::disallowed_methods,
    reason = "tests make files as no program may"
)]

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::format::{FileKind, MAX_CHUNK_LEN, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::{
    ObjectBody, ObjectMeta, ObjectStoreExt as _, ObjectUpload, Replacement, SignedAddress,
};
use holdfast_chunkstore::testing::generate::{self, Compression};

use super::*;
use crate::remote::Hasty;

/// A bucket whose server does not always do what it should.
#[derive(Debug)]
struct Server {
    objects: MemoryStore,
    ignores: Ignored,
    /// How many of the next replacements are carried out, and their answers lost.
    lost_answers: AtomicUsize,
    /// How many bytes were read.
    bytes_read: AtomicUsize,
}

/// Conditions that a server does not look at.
#[derive(Debug, PartialEq, Eq)]
enum Ignored {
    Nothing,
    IfMatch,
    IfNoneMatch,
}

impl Server {
    fn new(ignores: Ignored) -> Arc<Self> {
        Arc::new(Self {
            objects: MemoryStore::new(clock()),
            ignores,
            lost_answers: AtomicUsize::new(0),
            bytes_read: AtomicUsize::new(0),
        })
    }

    async fn names(&self) -> Vec<String> {
        let all = self.objects.list_all("").await.unwrap();
        all.into_iter()
            .map(|meta| meta.key.as_str().to_owned())
            .collect()
    }
}

#[async_trait]
impl VersionedStore for Server {
    async fn read_version(
        &self,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Option<(Bytes, ObjectVersion)>, ObjectError> {
        self.objects.read_version(key, limit).await
    }

    async fn replace(
        &self,
        key: &ObjectKey,
        body: Bytes,
        version: Option<&ObjectVersion>,
    ) -> Result<Replacement, ObjectError> {
        let is_ignored = match version {
            Some(_) => self.ignores == Ignored::IfMatch,
            None => self.ignores == Ignored::IfNoneMatch,
        };
        if is_ignored {
            self.objects.overwrite(key, body).await?;
            return Ok(Replacement::Done);
        }
        let replaced = self.objects.replace(key, body, version).await?;
        let is_manifest = *key == manifest_key();
        let lose = |left: usize| left.checked_sub(usize::from(is_manifest));
        let lost = (self.lost_answers).fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose);
        match lost {
            Ok(_) if is_manifest => Err(ObjectError::Failed {
                action: "replace",
                key: key.clone(),
                source: "the answer was lost".into(),
            }),
            _ => Ok(replaced),
        }
    }
}

#[async_trait]
impl ObjectStore for Server {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let body = self.objects.get(key, range).await?;
        let len = usize::try_from(body.range.end - body.range.start).unwrap();
        self.bytes_read.fetch_add(len, Ordering::SeqCst);
        Ok(body)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        self.objects.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.objects.create(key, body).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.objects.overwrite(key, body).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        self.objects.upload(key, spool).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        self.objects.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.objects.delete(key).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        self.objects.presign(key, signed_at, valid).await
    }

    fn is_exclusive(&self) -> bool {
        false
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(Hasty::new())
}

fn remote(server: &Arc<Server>) -> Bucket {
    let store = Arc::clone(server) as Arc<dyn VersionedStore>;
    Bucket::over("s3://b/p".to_owned(), store, clock(), BlockingPool::new(2))
}

fn root_of(chunk: &[u8]) -> RootAddress {
    RootAddress::new(*hash_chunk(chunk).as_bytes())
}

/// Writes a table file of some chunks, each under an address.
fn outgoing_of(place: &Path, chunks: &[(ChunkAddress, &[u8])]) -> OutgoingFile {
    let mut writer = table::Writer::new(Vec::new());
    for (address, chunk) in chunks {
        writer.append_chunk(*address, chunk).unwrap();
    }
    let (bytes, written) = writer.finish().unwrap();
    let path = place.join(format!("{}.outgoing", written.id));
    std::fs::write(&path, &bytes).unwrap();
    OutgoingFile {
        path,
        id: written.id,
        kind: FileKind::Table,
        len: bytes.len() as u64,
        data_len: written.data_len,
        chunks: written.count,
    }
}

fn outgoing(place: &Path, chunks: &[&[u8]]) -> OutgoingFile {
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

#[tokio::test]
async fn a_bucket_without_a_manifest_is_an_empty_remote() {
    let server = Server::new(Ignored::Nothing);
    let remote = remote(&server);
    let address = hash_chunk(b"one");
    assert_eq!(remote.metadata().await.unwrap().size, 0);
    assert!(remote.root().await.unwrap().is_zero());
    assert_eq!(remote.absent(&[address]).await.unwrap(), [address]);
    let read = remote.read(&[address], Reach::Near).await.unwrap();
    assert!(read.len() == 1 && read[0].is_none());
    assert!(remote.list_files().await.unwrap().files.is_empty());
    assert!(server.names().await.is_empty(), "reading writes nothing");
}

#[tokio::test]
async fn what_is_pushed_is_there_and_moves_the_root_once() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::new(Ignored::Nothing);
    let (mine, theirs) = (remote(&server), remote(&server));
    assert!(theirs.root().await.unwrap().is_zero());
    let first = outgoing(place.path(), &[b"one", b"two"]);
    assert_eq!(mine.upload(&first).await.unwrap(), Uploaded::Sent);
    assert_eq!(mine.upload(&first).await.unwrap(), Uploaded::Known);
    mine.add_files(&[listed(&first)]).await.unwrap();
    assert!(mine.root().await.unwrap().is_zero());
    let second = outgoing(place.path(), &[b"three"]);
    mine.upload(&second).await.unwrap();

    let files = [listed(&first), listed(&second)];
    let (zero, third) = (RootAddress::ZERO, root_of(b"three"));
    for _ in 0..2 {
        // Whoever was cut off asks again.
        let won = mine.commit(third, zero, &files).await.unwrap();
        assert_eq!(won, Swap::Won);
    }
    let lost = theirs.commit(root_of(b"one"), zero, &[]).await.unwrap();
    assert_eq!(lost, Swap::Lost);
    assert_eq!(theirs.root().await.unwrap(), third);
    let refused = theirs.commit(root_of(b"four"), third, &[]).await;
    assert!(matches!(refused, Err(RemoteError::NoRoot { .. })));

    let mut names = vec![first.id.to_string(), second.id.to_string()];
    names.push("manifest".to_owned());
    names.sort();
    assert_eq!(server.names().await, names, "no scratch object is left");
    let [one, four] = [hash_chunk(b"one"), hash_chunk(b"four")];
    assert_eq!(theirs.absent(&[four, one]).await.unwrap(), [four]);
    let read = theirs.read(&[four, one, four], Reach::Exact).await.unwrap();
    assert!(read[0].is_none() && read[2].is_none());
    let read = read[1].as_ref().unwrap();
    assert_eq!(read.chunk, b"one".as_slice());
    let lens = theirs.stored_lens(&[four, one, four]).await.unwrap();
    let record = read.record.as_ref().unwrap();
    assert_eq!(lens, [None, u32::try_from(record.len()).ok(), None]);
}

#[tokio::test]
async fn what_others_push_is_seen() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::new(Ignored::Nothing);
    let (mine, theirs) = (remote(&server), remote(&server));
    let mut root = RootAddress::ZERO;
    for chunk in [b"one", b"two", b"six"] {
        let address = [hash_chunk(chunk)];
        assert_eq!(mine.absent(&address).await.unwrap(), address);
        let file = outgoing(place.path(), &[chunk]);
        theirs.upload(&file).await.unwrap();
        let moved = theirs.commit(root_of(chunk), root, &[listed(&file)]).await;
        assert_eq!(moved.unwrap(), Swap::Won);
        root = root_of(chunk);
        assert!(mine.absent(&address).await.unwrap().is_empty());
        let read = mine.read(&address, Reach::Near).await.unwrap();
        assert_eq!(read[0].as_ref().unwrap().chunk, chunk.as_slice());
    }
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_race() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::new(Ignored::Nothing);
    let remote = remote(&server);
    let file = outgoing(place.path(), &[b"one"]);
    remote.upload(&file).await.unwrap();
    server.lost_answers.store(1, Ordering::SeqCst);
    remote.add_files(&[listed(&file)]).await.unwrap();
    server.lost_answers.store(1, Ordering::SeqCst);
    let moved = remote.commit(root_of(b"one"), RootAddress::ZERO, &[]);
    assert_eq!(moved.await.unwrap(), Swap::Won);
    assert_eq!(server.lost_answers.load(Ordering::SeqCst), 0);
    assert_eq!(remote.root().await.unwrap(), root_of(b"one"));
}

#[tokio::test]
async fn files_that_were_added_at_once_are_all_there() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::new(Ignored::Nothing);
    let chunks: Vec<Vec<u8>> = (1..=4_u8).map(|salt| vec![salt; 40]).collect();
    let pushes = chunks.iter().map(|chunk| {
        let file = outgoing(place.path(), &[chunk]);
        let remote = remote(&server);
        async move {
            remote.upload(&file).await.unwrap();
            remote.add_files(&[listed(&file)]).await.unwrap();
        }
    });
    futures::future::join_all(pushes).await;
    let addresses: Vec<_> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    assert!(remote(&server).absent(&addresses).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let file = outgoing(place.path(), &[b"one"]);
    for (ignores, header) in [
        (Ignored::IfMatch, "If-Match"),
        (Ignored::IfNoneMatch, "If-None-Match"),
    ] {
        let server = Server::new(ignores);
        let error = remote(&server).upload(&file).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(header), "{error}");
        assert!(server.names().await.is_empty());
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_what_it_stands_under_is_named() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::new(Ignored::Nothing);
    let remote = remote(&server);
    let (honest, claimed) = (hash_chunk(b"honest"), ChunkAddress::new([7; 20]));
    let file = outgoing_of(place.path(), &[(honest, b"honest"), (claimed, b"other")]);
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
async fn a_file_that_holds_another_number_of_chunks_is_not_listed() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::new(Ignored::Nothing);
    let remote = remote(&server);
    let file = outgoing(place.path(), &[b"one", b"two"]);
    remote.upload(&file).await.unwrap();
    let miscounted = ListedFile {
        chunks: 1,
        ..listed(&file)
    };
    let refused = remote.add_files(&[miscounted]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(remote.list_files().await.unwrap().files.is_empty());
}

/// Puts a store that Dolt made into a bucket.
async fn put(server: &Server, store: &NomsDir) {
    let mut files = Vec::new();
    for file in store.files() {
        let key = key_of(file.id(), file.kind());
        let bytes = std::fs::read(file.path()).unwrap();
        server.overwrite(&key, Bytes::from(bytes)).await.unwrap();
        files.push(ListedFile {
            id: file.id(),
            chunks: file.count(),
        });
    }
    let manifest = Manifest::new(store.root(), files).encode();
    let manifest = Bytes::from(manifest);
    server.overwrite(&manifest_key(), manifest).await.unwrap();
}

#[tokio::test]
async fn chunks_are_read_by_ranges_and_only_records_are_handed_on() {
    let place = tempfile::tempdir().unwrap();
    let made = generate::archive(7, 40, Compression::Mixed);
    let path = place.path().join("outgoing");
    std::fs::write(&path, &made.file).unwrap();
    let file = OutgoingFile {
        path,
        id: made.written.id,
        kind: FileKind::Archive,
        len: made.written.len,
        data_len: made.written.data_len,
        chunks: made.written.count,
    };
    let server = Server::new(Ignored::Nothing);
    let remote = remote(&server);
    remote.upload(&file).await.unwrap();
    remote.add_files(&[listed(&file)]).await.unwrap();
    assert!(server.names().await.contains(&format!("{}.darc", file.id)));

    let addresses: Vec<_> = made.chunks.iter().map(|(address, _)| *address).collect();
    let mut records = Vec::new();
    for reach in [Reach::Exact, Reach::Near] {
        let read = remote.read(&addresses, reach).await.unwrap();
        for ((address, expected), read) in made.chunks.iter().zip(read) {
            let RemoteChunk { chunk, record } = read.unwrap();
            assert_eq!(chunk, *expected);
            let Some(record) = record else { continue };
            let mut decoded = Vec::new();
            table::record::decode(&record, MAX_CHUNK_LEN, &mut decoded).unwrap();
            assert_eq!(decoded, *expected);
            records.push((*address, record.len()));
        }
    }
    assert!(records.len() > 2 && records.len() < 2 * addresses.len());
    // Index and dictionary are known: what is read now are the bytes of the chunks, and what lies between them.
    let (first, last) = (records[0], records[records.len() - 1]);
    let question = [first.0, last.0];
    let before = server.bytes_read.load(Ordering::SeqCst);
    remote.read(&question, Reach::Exact).await.unwrap();
    let exact = server.bytes_read.load(Ordering::SeqCst) - before;
    assert_eq!(exact, first.1 + last.1);
    remote.read(&question, Reach::Near).await.unwrap();
    let near = server.bytes_read.load(Ordering::SeqCst) - before - exact;
    assert!(near > exact, "{near} {exact}");
}

#[tokio::test]
async fn stores_of_dolt_are_read_whole() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../doltdb/tests/data/made");
    for version in ["dolt-1.20.0", "dolt-2.3.1"] {
        let directory = made.join(version).join("kinds-gc/.dolt/noms");
        let store = NomsDir::open(&directory).unwrap();
        let server = Server::new(Ignored::Nothing);
        put(&server, &store).await;
        let remote = remote(&server);
        let mut addresses: Vec<ChunkAddress> = Vec::new();
        for file in store.files() {
            addresses.extend(file.addresses().map(Result::unwrap));
        }
        assert_eq!(remote.root().await.unwrap(), store.root());
        assert!(remote.absent(&addresses).await.unwrap().is_empty());
        for reach in [Reach::Exact, Reach::Near] {
            let read = remote.read(&addresses, reach).await.unwrap();
            for (address, chunk) in addresses.iter().zip(read) {
                assert_eq!(hash_chunk(&chunk.unwrap().chunk), *address);
            }
        }
        let listed = remote.list_files().await.unwrap();
        assert_eq!(listed.root, store.root());
        let mut size = 0;
        for (file, stored) in listed.files.iter().zip(store.files()) {
            assert_eq!((file.id, file.kind), (stored.id(), stored.kind()));
            let bytes = std::fs::read(stored.path()).unwrap();
            let len = stored.len();
            assert_eq!(remote.file_len(file).await.unwrap(), len);
            for (from, to) in [(0, None), (7, None), (len, None), (7, Some(30))] {
                let body = remote.read_file(file, from, to).await.unwrap();
                assert_eq!((body.begins_at, body.len), (from, Some(len)));
                let pieces: Vec<Bytes> = body.bytes.try_collect().await.unwrap();
                let at = |offset| usize::try_from(offset).unwrap();
                assert_eq!(pieces.concat(), &bytes[at(from)..at(to.unwrap_or(len))]);
            }
            size += stored.len();
        }
        assert_eq!(remote.metadata().await.unwrap().size, size);
    }
}

#[tokio::test]
async fn no_more_is_read_at_once_than_may_be_in_memory() {
    let chunks: Vec<Vec<u8>> = (0..6_u8).map(|salt| vec![salt; 4 << 20]).collect();
    let addresses: Vec<_> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
    let place = tempfile::TempDir::new().unwrap();
    let file = outgoing(
        place.path(),
        &chunks.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    );
    let remote = remote(&Server::new(Ignored::Nothing));
    remote.upload(&file).await.unwrap();
    remote.add_files(&[listed(&file)]).await.unwrap();
    let mut rest = &addresses[..];
    while !rest.is_empty() {
        let read = remote.read(rest, Reach::Near).await.unwrap();
        assert_eq!(read.len(), rest.len().min(4));
        for (address, chunk) in rest.iter().zip(&read) {
            assert_eq!(hash_chunk(&chunk.as_ref().unwrap().chunk), *address);
        }
        rest = &rest[read.len()..];
    }
}

mod joining;
