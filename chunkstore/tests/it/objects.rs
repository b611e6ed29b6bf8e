//! Every object store that needs nothing but this machine, and what is stacked on stores.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests write files where they like, and a panic is how they fail"
)]

use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::objects::limited::LimitedStore;
use holdfast_chunkstore::objects::local::{Access, LocalOptions, LocalStore};
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::probe::{ProbeError, probe_creation, probe_patiently};
use holdfast_chunkstore::objects::retrying::{RetryPolicy, RetryingStore};
use holdfast_chunkstore::objects::{
    ObjectError, ObjectKey, ObjectStore, ObjectStoreExt as _, SignedAddress,
};
use holdfast_chunkstore::testing::faults::{Break, FaultPlan, FaultyStore, Operation};
use holdfast_chunkstore::testing::object_contract::{TestStore, object_store_contract};
use holdfast_chunkstore::testing::version_contract::versioned_store_contract;
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::gated::Gated;

/// Time that passes only when somebody sleeps.
#[derive(Debug, Default)]
struct SleepClock {
    slept: Mutex<Vec<Duration>>,
}

#[async_trait]
impl Clock for SleepClock {
    fn now(&self) -> Timestamp {
        Timestamp(0).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.slept.lock().iter().sum()
    }

    async fn sleep(&self, duration: Duration) {
        self.slept.lock().push(duration);
    }
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

fn tested(store: Arc<dyn ObjectStore>, folder: tempfile::TempDir) -> TestStore {
    TestStore {
        store,
        spool: folder.path().to_owned(),
        fetch: None,
        now: SystemClock::new().now(),
        guard: Box::new(folder),
    }
}

async fn open_local(folder: &tempfile::TempDir, options: LocalOptions) -> LocalStore {
    let root = folder.path().join("store");
    LocalStore::open(&root, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_keeps_the_contract() {
    object_store_contract(async || tested(memory(), tempfile::tempdir().unwrap())).await;
}

#[tokio::test]
async fn the_memory_store_replaces_only_the_version_that_is_there() {
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    versioned_store_contract(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_store_keeps_the_contract() {
    object_store_contract(async || {
        let folder = tempfile::tempdir().unwrap();
        let store = open_local(&folder, LocalOptions::default()).await;
        tested(Arc::new(store), folder)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stacked_stores_keep_the_contract() {
    object_store_contract(async || {
        let faulty = FaultyStore::new(memory(), FaultPlan::count_only());
        let limited = LimitedStore::new(Arc::new(faulty), 2);
        let clock = Arc::new(SleepClock::default());
        let store = RetryingStore::new(Arc::new(limited), RetryPolicy::default(), clock);
        tested(Arc::new(store), tempfile::tempdir().unwrap())
    })
    .await;
}

#[tokio::test]
async fn a_local_store_opened_again_holds_the_same_and_no_temporary_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_local(&folder, LocalOptions::default()).await;
    store
        .create(&key("a/b"), Bytes::from("body"))
        .await
        .unwrap();
    drop(store);
    let left = folder.path().join("store/temporary~/left");
    fs::write(&left, "half").unwrap();

    let shared = LocalOptions {
        access: Access::Shared,
        ..LocalOptions::default()
    };
    let store = open_local(&folder, shared).await;
    assert!(left.exists(), "a server may be writing it");
    assert!(!store.is_exclusive());
    assert_eq!(store.list_all("").await.unwrap().len(), 1);

    let store = open_local(&folder, LocalOptions::default()).await;
    assert!(!left.exists());
    assert!(store.is_exclusive());
    assert_eq!(store.read(&key("a/b"), None, 10).await.unwrap(), "body");
}

#[tokio::test]
async fn a_local_store_leaves_no_temporary_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_local(&folder, LocalOptions::default()).await;
    store.create(&key("a"), Bytes::from("body")).await.unwrap();
    store
        .create(&key("a"), Bytes::from("body"))
        .await
        .unwrap_err();
    store
        .create(&key("a/b"), Bytes::from("body"))
        .await
        .unwrap_err();
    store
        .overwrite(&key("h"), Bytes::from("body"))
        .await
        .unwrap();
    let temporary = folder.path().join("store/temporary~");
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn ranges_of_a_file_that_is_open_need_no_second_opening_and_none_outlives_a_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_local(&folder, LocalOptions::default()).await;
    let (key, body) = (key("pools/p/files/a"), Bytes::from(vec![7; 5000]));
    store.create(&key, body.clone()).await.unwrap();
    let read = async |range: Range<u64>| store.read(&key, Some(range), 1 << 20).await;
    assert_eq!(read(0..10).await.unwrap(), body[..10]);
    // Without its name it can be read only by whoever has it open.
    let mut named = Vec::new();
    walk(folder.path(), &mut named);
    let path = named.into_iter().find(|path| path.ends_with(key.as_str()));
    fs::remove_file(path.unwrap()).unwrap();
    assert_eq!(read(4000..5000).await.unwrap(), body[4000..]);
    let beyond = read(4000..5001).await;
    assert!(
        matches!(beyond, Err(ObjectError::Range { len: 5000, .. })),
        "{beyond:?}"
    );
    store.delete(&key).await.unwrap();
    let gone = read(0..10).await;
    assert!(
        matches!(gone, Err(ObjectError::NotFound { .. })),
        "{gone:?}"
    );
}

fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        match entry.unwrap().path() {
            path if path.is_dir() => walk(&path, found),
            path => found.push(path),
        }
    }
}

#[tokio::test]
async fn keys_that_are_folders_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let local = open_local(&folder, LocalOptions::default()).await;
    for store in [memory(), Arc::new(local)] {
        store.create(&key("a/b"), Bytes::from("x")).await.unwrap();
        for text in ["a", "a/b/c"] {
            let error = store
                .create(&key(text), Bytes::from("x"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{text}: {error:?}");
            let error = store
                .overwrite(&key(text), Bytes::from("x"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{text}: {error:?}");
            store.delete(&key(text)).await.unwrap();
        }
        assert_eq!(store.list_all("").await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn under_the_floor_of_free_space_writes_are_full_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_local(&folder, LocalOptions::default()).await;
    store.create(&key("a"), Bytes::from("body")).await.unwrap();
    let options = LocalOptions {
        free_floor_bytes: u64::MAX,
        ..LocalOptions::default()
    };
    let store = open_local(&folder, options).await;
    let full = |error: ObjectError| error.kind() == ErrorKind::Exhausted;
    assert!(full(
        store
            .create(&key("b"), Bytes::from("body"))
            .await
            .unwrap_err()
    ));
    assert!(full(
        store
            .overwrite(&key("b"), Bytes::from("body"))
            .await
            .unwrap_err()
    ));
    let spool = folder.path().join("spool");
    assert!(full(store.upload(&key("b"), &spool).await.unwrap_err()));
    assert_eq!(store.read(&key("a"), None, 10).await.unwrap(), "body");
    store.delete(&key("a")).await.unwrap();
}

#[tokio::test]
async fn a_spool_file_on_another_file_system_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_local(&folder, LocalOptions::default()).await;
    let other = std::path::Path::new("/proc/spool");
    let error = store.upload(&key("a"), other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_memory_upload_refuses_a_piece_that_is_not_spooled_yet() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    fs::write(&spool, "four").unwrap();
    let mut upload = memory().upload(&key("a"), &spool).await.unwrap();
    upload.write(Bytes::from("four")).await.unwrap();
    upload.write(Bytes::from("more")).await.unwrap_err();
}

#[tokio::test]
async fn a_fault_strikes_one_call_before_or_after_its_effect() {
    let inner = memory();
    let body = || Bytes::from("body");
    for (at, has_effect) in [(Break::BeforeEffect, false), (Break::AfterEffect, true)] {
        let plan = FaultPlan::fail_at(1, at);
        let store = FaultyStore::new(Arc::clone(&inner), Arc::clone(&plan));
        store.create(&key("zero"), body()).await.unwrap();
        assert!(!plan.has_struck());
        let error = store.create(&key("one"), body()).await.unwrap_err();
        assert!(plan.has_struck() && error.kind().is_transient());
        assert_eq!(store.head(&key("one")).await.is_ok(), has_effect);
        let operations: Vec<_> = plan.calls().iter().map(|call| call.operation).collect();
        assert_eq!(
            operations,
            [Operation::Create, Operation::Create, Operation::Head]
        );
        inner.delete(&key("zero")).await.unwrap();
        inner.delete(&key("one")).await.unwrap();
    }
}

#[tokio::test]
async fn uploads_are_counted_and_broken_like_other_calls() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    fs::write(&spool, "four").unwrap();
    let inner = memory();
    let run = async |plan: &Arc<FaultPlan>| {
        let store = FaultyStore::new(Arc::clone(&inner), Arc::clone(plan));
        let mut upload = store.upload(&key("a"), &spool).await?;
        upload.write(Bytes::from("four")).await?;
        upload.complete().await
    };
    for number in 0..3 {
        run(&FaultPlan::fail_at(number, Break::BeforeEffect))
            .await
            .unwrap_err();
        assert!(inner.head(&key("a")).await.is_err(), "call {number}");
    }
    run(&FaultPlan::fail_at(2, Break::AfterEffect))
        .await
        .unwrap_err();
    assert!(inner.head(&key("a")).await.is_ok());
    inner.delete(&key("a")).await.unwrap();
    let plan = FaultPlan::count_only();
    run(&plan).await.unwrap();
    assert_eq!(plan.count(), 3);
}

#[tokio::test]
async fn what_can_be_repeated_is_repeated_and_a_create_is_not() {
    let inner = memory();
    inner.create(&key("a"), Bytes::from("body")).await.unwrap();
    let clock = Arc::new(SleepClock::default());
    let retrying = |at: Break| {
        let plan = FaultPlan::fail_at(0, at);
        let faulty = FaultyStore::new(Arc::clone(&inner), Arc::clone(&plan));
        let clock: Arc<dyn Clock> = Arc::<SleepClock>::clone(&clock);
        let store = RetryingStore::new(Arc::new(faulty), RetryPolicy::default(), clock);
        (store, plan)
    };
    for at in [Break::BeforeEffect, Break::AfterEffect] {
        assert_eq!(
            retrying(at).0.read(&key("a"), None, 9).await.unwrap(),
            "body"
        );
        assert_eq!(
            retrying(at).0.read(&key("a"), Some(1..3), 9).await.unwrap(),
            "od"
        );
        retrying(at).0.head(&key("a")).await.unwrap();
        retrying(at).0.list("", None).await.unwrap();
        retrying(at).0.delete(&key("b")).await.unwrap();
        retrying(at)
            .0
            .overwrite(&key("h"), Bytes::from("hint"))
            .await
            .unwrap();
        let slept = clock.slept.lock().len();
        let (store, plan) = retrying(at);
        store
            .create(&key("c"), Bytes::from("body"))
            .await
            .unwrap_err();
        assert_eq!((plan.count(), clock.slept.lock().len()), (1, slept));
        inner.delete(&key("c")).await.unwrap();
    }
    for at in [Break::BeforeEffect, Break::AfterEffect] {
        let (store, plan) = retrying(at);
        let stamped = key("stamped-7");
        store
            .create_stamped(&stamped, Bytes::from("body"))
            .await
            .unwrap();
        assert_eq!(plan.count(), 2);
        assert_eq!(inner.read(&stamped, None, 9).await.unwrap(), "body");
        // What was there before the first attempt is not ours.
        let (store, _) = retrying(Break::BeforeEffect);
        store.head(&stamped).await.unwrap();
        let taken = store.create_stamped(&stamped, Bytes::from("other")).await;
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::Conflict);
        inner.delete(&stamped).await.unwrap();
    }
    let (store, plan) = retrying(Break::BeforeEffect);
    let error = store.head(&key("absent")).await.unwrap_err();
    assert_eq!((error.kind(), plan.count()), (ErrorKind::NotFound, 2));
}

/// Fails every read, or breaks every body off after its first piece.
#[derive(Debug)]
struct Broken {
    inner: Arc<dyn ObjectStore>,
    calls: AtomicUsize,
    opens: bool,
}

#[async_trait]
impl ObjectStore for Broken {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<holdfast_chunkstore::objects::ObjectBody, ObjectError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let broken = || ObjectError::Failed {
            action: "reach",
            key: key.clone(),
            source: "broken".into(),
        };
        if !self.opens {
            return Err(broken());
        }
        let mut body = self.inner.get(key, range).await?;
        let end = futures::stream::iter([Err(broken())]);
        body.stream = body.stream.take(1).chain(end).boxed();
        Ok(body)
    }

    async fn head(
        &self,
        _: &ObjectKey,
    ) -> Result<holdfast_chunkstore::objects::ObjectMeta, ObjectError> {
        unreachable!("the test only reads")
    }

    async fn create(&self, _: &ObjectKey, _: Bytes) -> Result<(), ObjectError> {
        unreachable!("the test only reads")
    }

    async fn overwrite(&self, _: &ObjectKey, _: Bytes) -> Result<(), ObjectError> {
        unreachable!("the test only reads")
    }

    async fn upload(
        &self,
        _: &ObjectKey,
        _: &std::path::Path,
    ) -> Result<Box<dyn holdfast_chunkstore::objects::ObjectUpload>, ObjectError> {
        unreachable!("the test only reads")
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&ObjectKey>,
    ) -> Result<Vec<holdfast_chunkstore::objects::ObjectMeta>, ObjectError> {
        unreachable!("the test only reads")
    }

    async fn delete(&self, _: &ObjectKey) -> Result<(), ObjectError> {
        unreachable!("the test only reads")
    }

    async fn presign(
        &self,
        _: &ObjectKey,
        _: Timestamp,
        _: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        unreachable!("the test only reads")
    }

    fn is_exclusive(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn retries_end_and_grow_slower() {
    for opens in [false, true] {
        let clock = Arc::new(SleepClock::default());
        let broken = Arc::new(Broken {
            inner: memory(),
            calls: AtomicUsize::new(0),
            opens,
        });
        let body: Vec<u8> = (0..100).collect();
        broken
            .inner
            .create(&key("a"), body.clone().into())
            .await
            .unwrap();
        let policy = RetryPolicy::default();
        let clock_of_store: Arc<dyn Clock> = Arc::<SleepClock>::clone(&clock);
        let inner: Arc<dyn ObjectStore> = Arc::<Broken>::clone(&broken);
        let store = RetryingStore::new(inner, policy.clone(), clock_of_store);
        let outcome = store.read(&key("a"), None, 1000).await;
        let slept = clock.slept.lock().clone();
        if opens {
            // Each opening brings one byte, so nothing is given up.
            assert_eq!(outcome.unwrap(), body);
            assert_eq!(broken.calls.load(Ordering::Relaxed), 100);
        } else {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
            assert_eq!(broken.calls.load(Ordering::Relaxed), 5);
            assert_eq!(slept.len(), 4);
            for (i, wait) in slept.iter().enumerate() {
                let longest = policy.first_delay * (1 << i);
                assert!(*wait >= longest / 2 && *wait <= longest, "{wait:?}");
            }
        }
    }
}

/// Creates like a server that ignores `If-None-Match`.
#[derive(Debug)]
struct Careless(Arc<dyn ObjectStore>);

#[async_trait]
impl ObjectStore for Careless {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<holdfast_chunkstore::objects::ObjectBody, ObjectError> {
        self.0.get(key, range).await
    }

    async fn head(
        &self,
        key: &ObjectKey,
    ) -> Result<holdfast_chunkstore::objects::ObjectMeta, ObjectError> {
        self.0.head(key).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.0.overwrite(key, body).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        self.0.overwrite(key, body).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &std::path::Path,
    ) -> Result<Box<dyn holdfast_chunkstore::objects::ObjectUpload>, ObjectError> {
        self.0.upload(key, spool).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<holdfast_chunkstore::objects::ObjectMeta>, ObjectError> {
        self.0.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.0.delete(key).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        self.0.presign(key, signed_at, valid).await
    }

    fn is_exclusive(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn the_probe_passes_good_stores_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let local = open_local(&folder, LocalOptions::default()).await;
    let mut random = StdRng::seed_from_u64(1);
    for store in [memory(), Arc::new(local)] {
        probe_creation(&*store, &mut random).await.unwrap();
        assert!(store.list_all("").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_probe_refuses_a_store_that_lets_many_create() {
    let mut random = StdRng::seed_from_u64(1);
    let store = Careless(memory());
    let error = probe_creation(&store, &mut random).await.unwrap_err();
    assert!(
        matches!(error, ProbeError::ManyWinners { winners: 16 }),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("If-None-Match"));
    assert!(store.list_all("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_fault_during_the_probe_is_not_a_verdict() {
    for number in 0..19 {
        for at in [Break::BeforeEffect, Break::AfterEffect] {
            let mut random = StdRng::seed_from_u64(1);
            let store = FaultyStore::new(memory(), FaultPlan::fail_at(number, at));
            let error = probe_creation(&store, &mut random).await.unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Unavailable,
                "call {number}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_patient_probe_waits_a_passing_fault_out_and_refuses_all_the_same() {
    let clock = SleepClock::default();
    for number in 0..19 {
        for at in [Break::BeforeEffect, Break::AfterEffect] {
            let mut random = StdRng::seed_from_u64(1);
            let plan = FaultPlan::fail_at(number, at);
            let store = FaultyStore::new(memory(), Arc::clone(&plan));
            probe_patiently(&store, &mut random, &clock).await.unwrap();
            assert!(plan.has_struck());
        }
    }
    assert_eq!(clock.slept.lock().len(), 38);
    let mut random = StdRng::seed_from_u64(1);
    let error = probe_patiently(&Careless(memory()), &mut random, &clock).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(
        clock.slept.lock().len(),
        38,
        "a verdict is not asked for again"
    );
}

#[tokio::test]
async fn calls_have_a_bound_and_slow_uploads_hold_up_no_small_request() {
    let gated = Gated::new(&memory(), "slow");
    let store = LimitedStore::new(Arc::<Gated>::clone(&gated), 2);
    let spool = tempfile::NamedTempFile::new().unwrap();
    let slow = key("slow");
    let uploads = (0..5).map(|_| store.upload(&slow, spool.path()));
    let others = async {
        gated.until_waiting(2).await;
        for _ in 0..100 {
            let absent = store.head(&key("a")).await.unwrap_err();
            assert_eq!(absent.kind(), ErrorKind::NotFound);
        }
        assert_eq!(gated.waiting(), 2, "two at once");
        gated.open(5);
    };
    let all = async { tokio::join!(futures::future::join_all(uploads), others) };
    let all = tokio::time::timeout(Duration::from_secs(60), all).await;
    let (begun, ()) = all.expect("a small request waits for the uploads");
    assert!(begun.iter().all(Result::is_ok));
    assert_eq!(gated.waiting(), 5);
}
