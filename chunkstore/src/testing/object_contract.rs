//! What every [`ObjectStore`] must do.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::objects::{
    MAX_PIECE_BYTES, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    ObjectUpload,
};

const LIMIT: u64 = 64 << 20;

/// An empty store for one case.
pub struct TestStore {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// A directory for spool files, on the store's file system.
    pub spool: PathBuf,
    /// Reads addresses made by [`ObjectStore::presign`]; nothing if the store makes none.
    pub fetch: Option<Arc<dyn Fetch>>,
    /// The time by which addresses are checked.
    pub now: Timestamp,
    /// Whatever has to live as long as the store.
    pub guard: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for TestStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestStore")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Somebody with nothing but an address.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Sends a GET, with a Range header if `range` is given, and answers the status and the body.
    async fn fetch(&self, address: &str, range: Option<Range<u64>>) -> (u16, Bytes);
}

/// Runs every case, each on a store of its own from `fresh`.
pub async fn object_store_contract(fresh: impl AsyncFn() -> TestStore) {
    reads_back_what_was_created(&fresh().await).await;
    ranges_are_exact(&fresh().await).await;
    what_is_missing_is_not_found(&fresh().await).await;
    a_second_create_changes_nothing(&fresh().await).await;
    a_create_race_has_one_winner(&fresh().await).await;
    an_overwrite_replaces(&fresh().await).await;
    lists_are_sorted_and_complete(&fresh().await).await;
    deleting_twice_succeeds(&fresh().await).await;
    an_upload_is_invisible_until_complete(&fresh().await).await;
    of_two_uploads_one_completes(&fresh().await).await;
    an_upload_given_up_leaves_nothing(&fresh().await).await;
    an_upload_must_match_its_spool_file(&fresh().await).await;
    a_large_upload_reads_back(&fresh().await).await;
    an_upload_may_be_empty(&fresh().await).await;
    signed_addresses_are_stable_and_readable(&fresh().await).await;
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("the test's key is a key")
}

/// Bytes that differ everywhere, so that a wrong offset shows.
fn pattern(len: usize) -> Bytes {
    let word = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(word).collect();
    bytes.truncate(len);
    bytes.into()
}

async fn read(store: &dyn ObjectStore, key: &ObjectKey, range: Option<Range<u64>>) -> Bytes {
    let body = store.read(key, range, LIMIT).await;
    body.expect("the object is there")
}

fn is_missing<T>(outcome: &Result<T, ObjectError>) -> bool {
    matches!(outcome, Err(ObjectError::NotFound { .. }))
}

fn is_taken(outcome: &Result<(), ObjectError>) -> bool {
    matches!(outcome, Err(ObjectError::AlreadyExists { .. }))
}

async fn reads_back_what_was_created(test: &TestStore) {
    let store = &*test.store;
    for len in [0, 1, 4096, MAX_PIECE_BYTES + 1, 3 * MAX_PIECE_BYTES] {
        let (key, body) = (key(&format!("deep/er/{len}")), pattern(len));
        store.create(&key, body.clone()).await.expect("created");
        let answer = store.get(&key, None).await.expect("opened");
        assert_eq!(answer.object_len, len as u64);
        assert_eq!(answer.range, 0..len as u64);
        let pieces: Vec<Bytes> = answer.stream.try_collect().await.expect("read");
        assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
        assert_eq!(pieces.concat(), body, "{len} bytes");
        let meta = store.head(&key).await.expect("looked up");
        assert_eq!((meta.key, meta.len), (key, len as u64));
        let age = test.now.0.abs_diff(meta.modified.0);
        assert!(age < 3_600_000, "stored at {:?}", meta.modified);
    }
}

async fn ranges_are_exact(test: &TestStore) {
    let store = &*test.store;
    let len = 2 * MAX_PIECE_BYTES as u64 + 100;
    let body = pattern(2 * MAX_PIECE_BYTES + 100);
    let key = key("object");
    store.create(&key, body.clone()).await.expect("created");
    for range in [
        0..1,
        0..len,
        1..len,
        len - 1..len,
        4095..4097,
        7..MAX_PIECE_BYTES as u64 + 8,
    ] {
        let answer = store.get(&key, Some(range.clone())).await.expect("opened");
        assert_eq!((answer.object_len, answer.range), (len, range.clone()));
        let bytes = read(store, &key, Some(range.clone())).await;
        let start = usize::try_from(range.start).expect("small");
        assert_eq!(bytes, body[start..start + bytes.len()], "{range:?}");
        assert_eq!(bytes.len() as u64, range.end - range.start);
    }
    for range in [0..0, 5..5, 0..len + 1, len..len + 1, len + 5..len + 9] {
        let outcome = store.get(&key, Some(range.clone())).await;
        match outcome {
            Err(ObjectError::Range { len: known, .. }) => assert_eq!(known, len),
            other => panic!("{range:?} of {len} bytes: {other:?}"),
        }
    }
}

async fn what_is_missing_is_not_found(test: &TestStore) {
    let store = &*test.store;
    store
        .create(&key("a/b"), pattern(5))
        .await
        .expect("created");
    for text in ["a", "a/b/c", "a/c", "nothing/at/all", "nothing"] {
        assert!(is_missing(&store.get(&key(text), None).await), "{text}");
        assert!(
            is_missing(&store.get(&key(text), Some(0..1)).await),
            "{text}"
        );
        assert!(
            is_missing(&store.get(&key(text), Some(1..1)).await),
            "{text}"
        );
        assert!(is_missing(&store.head(&key(text)).await), "{text}");
    }
}

async fn a_second_create_changes_nothing(test: &TestStore) {
    let (store, key) = (&*test.store, key("log/1"));
    store.create(&key, pattern(10)).await.expect("created");
    assert!(is_taken(&store.create(&key, pattern(20)).await));
    assert!(is_taken(&store.create(&key, pattern(10)).await));
    assert_eq!(read(store, &key, None).await, pattern(10));
}

async fn a_create_race_has_one_winner(test: &TestStore) {
    for round in 0..4 {
        let key = key(&format!("log/{round}/head"));
        let barrier = Arc::new(Barrier::new(16));
        let mut racers = JoinSet::new();
        for racer in 0..16 {
            let (store, barrier) = (Arc::clone(&test.store), Arc::clone(&barrier));
            let key = key.clone();
            racers.spawn(async move {
                barrier.wait().await;
                let outcome = store
                    .create(&key, Bytes::from(format!("racer {racer}")))
                    .await;
                assert!(outcome.is_ok() || is_taken(&outcome), "{outcome:?}");
                // Whoever was answered, winner or loser, sees the winner's bytes.
                (outcome.is_ok(), racer, read(&*store, &key, None).await)
            });
        }
        let outcomes = racers.join_all().await;
        let winners: Vec<_> = outcomes.iter().filter(|(won, ..)| *won).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        let expected = format!("racer {}", winners[0].1);
        assert!(outcomes.iter().all(|(.., seen)| *seen == expected));
    }
}

async fn an_overwrite_replaces(test: &TestStore) {
    let (store, key) = (&*test.store, key("repos/one/hint"));
    for len in [100, 7, 5000] {
        store.overwrite(&key, pattern(len)).await.expect("stored");
        assert_eq!(read(store, &key, None).await, pattern(len));
    }
    assert!(is_taken(&store.create(&key, pattern(1)).await));
}

async fn lists_are_sorted_and_complete(test: &TestStore) {
    let store = &*test.store;
    let mut texts: Vec<String> = (0..30).map(|i| format!("log/0/{i:020}")).collect();
    texts.extend(
        [
            "a-b", "a.b", "a/b", "a/b-", "a/c/d", "a0", "ab", "log-", "log/1", "log0", "Z",
        ]
        .map(String::from),
    );
    for (i, text) in texts.iter().enumerate() {
        store.create(&key(text), pattern(i)).await.expect("created");
    }
    let len_of = |text: &str| texts.iter().position(|other| other == text);
    let check = |listed: &[ObjectMeta], expected: Vec<&String>| {
        let found: Vec<&str> = listed.iter().map(|meta| meta.key.as_str()).collect();
        assert_eq!(found, expected);
        for meta in listed {
            assert_eq!(
                Some(meta.len),
                len_of(meta.key.as_str()).map(|len| len as u64)
            );
        }
    };
    let mut sorted: Vec<&String> = texts.iter().collect();
    sorted.sort();
    for prefix in [
        "",
        "a",
        "a/",
        "a/b",
        "log/0/",
        "log",
        "log/0/000000000000000000",
        "x",
        "a//",
        "Z",
    ] {
        let all = store.list_all(prefix).await.expect("listed");
        let with_prefix = sorted.iter().filter(|text| text.starts_with(prefix));
        check(&all, with_prefix.copied().collect());
    }
    for after in [
        "a",
        "a/b",
        "a/bb",
        "a0",
        "log/0/00000000000000000028",
        "log/0/9",
        "zz",
    ] {
        for prefix in ["", "a", "log/0/"] {
            let page = store.list(prefix, Some(&key(after))).await.expect("listed");
            let wanted = |text: &&&String| text.starts_with(prefix) && text.as_str() > after;
            let expected: Vec<&String> = sorted.iter().filter(wanted).copied().collect();
            assert_eq!(
                page.is_empty(),
                expected.is_empty(),
                "{prefix:?} after {after:?}"
            );
            check(&page, expected[..page.len()].to_vec());
        }
    }
}

async fn deleting_twice_succeeds(test: &TestStore) {
    let (store, key) = (&*test.store, key("a/b"));
    store.create(&key, pattern(5)).await.expect("created");
    for _ in 0..2 {
        store.delete(&key).await.expect("deleted");
        assert!(is_missing(&store.head(&key).await));
        assert!(store.list_all("").await.expect("listed").is_empty());
    }
    store.create(&key, pattern(6)).await.expect("free again");
    assert_eq!(read(store, &key, None).await, pattern(6));
}

/// An upload with the spool file beside it, as the server does it.
struct Spooled {
    upload: Box<dyn ObjectUpload>,
    file: File,
    path: PathBuf,
}

impl Spooled {
    async fn begin(test: &TestStore, key: &ObjectKey, name: &str) -> Self {
        let path = test.spool.join(name);
        let file = new_file(&path);
        let upload = test.store.upload(key, &path).await.expect("begun");
        Self { upload, file, path }
    }

    async fn write(&mut self, piece: Bytes) {
        self.file.write_all(&piece).expect("spooled");
        self.upload.write(piece).await.expect("handed over");
    }

    async fn complete(self) -> Result<(), ObjectError> {
        let outcome = self.upload.complete().await;
        std::fs::remove_file(&self.path).expect("the spool file is still there");
        outcome
    }
}

fn new_file(path: &Path) -> File {
    let file = File::options().write(true).create_new(true).open(path);
    file.expect("the spool folder can be written to")
}

async fn an_upload_is_invisible_until_complete(test: &TestStore) {
    let (store, key) = (&*test.store, key("pools/one/files/ab/file"));
    let body = pattern(100_000);
    let mut spooled = Spooled::begin(test, &key, "spool").await;
    for piece in body.chunks(30_000) {
        spooled.write(Bytes::copy_from_slice(piece)).await;
        assert!(is_missing(&store.head(&key).await));
        assert!(is_missing(&store.get(&key, None).await));
        assert!(store.list_all("pools/").await.expect("listed").is_empty());
    }
    spooled.complete().await.expect("completed");
    assert_eq!(read(store, &key, None).await, body);
    let listed = store.list_all("pools/").await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].key, listed[0].len), (&key, 100_000));
}

async fn of_two_uploads_one_completes(test: &TestStore) {
    let (store, key) = (&*test.store, key("files/file"));
    let mut first = Spooled::begin(test, &key, "first").await;
    let mut second = Spooled::begin(test, &key, "second").await;
    second.write(pattern(20)).await;
    first.write(pattern(10)).await;
    second.complete().await.expect("completed");
    assert!(is_taken(&first.complete().await));
    assert!(is_taken(&store.create(&key, pattern(1)).await));
    let mut third = Spooled::begin(test, &key, "third").await;
    third.write(pattern(20)).await;
    assert!(is_taken(&third.complete().await));
    assert_eq!(read(store, &key, None).await, pattern(20));
}

async fn an_upload_given_up_leaves_nothing(test: &TestStore) {
    let (store, key) = (&*test.store, key("files/file"));
    let mut aborted = Spooled::begin(test, &key, "aborted").await;
    aborted.write(pattern(10)).await;
    aborted.upload.abort().await;
    let mut dropped = Spooled::begin(test, &key, "dropped").await;
    dropped.write(pattern(10)).await;
    drop(dropped);
    assert!(is_missing(&store.head(&key).await));
    let mut kept = Spooled::begin(test, &key, "kept").await;
    kept.write(pattern(30)).await;
    kept.complete().await.expect("completed");
    assert_eq!(read(store, &key, None).await, pattern(30));
}

async fn an_upload_must_match_its_spool_file(test: &TestStore) {
    let key = key("files/file");
    let mut spooled = Spooled::begin(test, &key, "spool").await;
    spooled.write(pattern(10)).await;
    spooled.file.write_all(b"more").expect("spooled");
    let outcome = spooled.complete().await;
    assert!(
        matches!(outcome, Err(ObjectError::Refused { .. })),
        "{outcome:?}"
    );
    assert!(is_missing(&test.store.head(&key).await));
}

async fn a_large_upload_reads_back(test: &TestStore) {
    let (store, key) = (&*test.store, key("files/large"));
    let body = pattern(29_000_001);
    for attempt in ["first", "second"] {
        let mut spooled = Spooled::begin(test, &key, attempt).await;
        let mut rest = body.clone();
        let mut len = 1;
        while !rest.is_empty() {
            spooled.write(rest.split_to(len.min(rest.len()))).await;
            len = (len * 5 + 1).min(MAX_PIECE_BYTES);
        }
        let outcome = spooled.complete().await;
        assert_eq!(is_taken(&outcome), attempt == "second", "{outcome:?}");
    }
    assert!(read(store, &key, None).await == body);
    for start in [(5 << 20) - 3, (8 << 20) - 3, (16 << 20) - 3, 28_999_990] {
        let range = start..(start + 3_000_000).min(29_000_001);
        let from = usize::try_from(start).expect("small");
        let bytes = read(store, &key, Some(range)).await;
        assert!(bytes == body[from..from + bytes.len()], "from {start}");
    }
}

async fn an_upload_may_be_empty(test: &TestStore) {
    let key = key("files/empty");
    let spooled = Spooled::begin(test, &key, "spool").await;
    spooled.complete().await.expect("completed");
    assert!(read(&*test.store, &key, None).await.is_empty());
}

async fn signed_addresses_are_stable_and_readable(test: &TestStore) {
    let (store, key) = (&*test.store, key("pools/one/files/ab/file.darc"));
    let body = pattern(100_000);
    store.create(&key, body.clone()).await.expect("created");
    let hour = Duration::from_secs(3600);
    let signed = store.presign(&key, test.now, hour).await.expect("signed");
    let Some(fetch) = &test.fetch else {
        assert_eq!(signed, None);
        return;
    };
    let address = signed.expect("this store signs addresses");
    for _ in 0..3 {
        let again = store.presign(&key, test.now, hour).await.expect("signed");
        assert_eq!(again.as_ref(), Some(&address));
    }
    assert_eq!(address.expires.seconds(), test.now.plus(hour).seconds());
    let address = address.url;
    let path = address.split('?').next().expect("the first part");
    assert!(path.ends_with("/file.darc"));
    assert_eq!(fetch.fetch(&address, None).await, (200, body.clone()));
    let part = fetch.fetch(&address, Some(10..50_000)).await;
    assert_eq!(part, (206, body.slice(10..50_000)));
    let long_ago = Timestamp(test.now.0 - 7_200_000);
    let expired = store.presign(&key, long_ago, hour).await.expect("signed");
    let (status, _) = fetch.fetch(&expired.expect("signed").url, None).await;
    assert_eq!(status, 403);
    let other = crate::testing::object_contract::key("pools/one/files/ab/other");
    let nothing = store.presign(&other, test.now, hour).await.expect("signed");
    let (status, _) = fetch.fetch(&nothing.expect("signed").url, None).await;
    assert_eq!(status, 404);
}
