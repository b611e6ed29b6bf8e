//! The store in a bucket against real HTTP: the endpoint of the harness, and any other one that the environment
//! names.
//!
//! `HOLDFAST_TEST_S3_ENDPOINT`, `…_BUCKET`, `…_ACCESS_KEY` and `…_SECRET_KEY` name an S3 server for the same
//! suite, for instance `versitygw --access K --secret S --port 127.0.0.1:7070 posix DIR` with a folder `DIR/forge`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests read the environment and panic with what they saw"
)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt as _;
use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::objects::probe::{ProbeError, probe_creation};
use holdfast_chunkstore::objects::retrying::{RetryPolicy, RetryingStore};
use holdfast_chunkstore::objects::s3::{Lifecycle, S3Credentials, S3Settings, S3Store};
use holdfast_chunkstore::objects::{
    ObjectError, ObjectKey, ObjectStore as _, ObjectStoreExt as _, Replacement, VersionedStore as _,
};
use holdfast_chunkstore::testing::object_contract::{Fetch, TestStore, object_store_contract};
use holdfast_chunkstore::testing::version_contract::versioned_store_contract;
use holdfast_tests::bucket::{Bucket, Misbehavior, Trouble};
use holdfast_tests::{say, wait};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn settings(bucket: &Bucket) -> S3Settings {
    S3Settings {
        endpoint: Some(bucket.endpoint().to_owned()),
        public_endpoint: None,
        region: None,
        bucket: bucket.name().to_owned(),
        prefix: None,
        path_style: true,
        credentials: Some(S3Credentials {
            access_key: bucket.access_key().to_owned(),
            secret_key: bucket.secret_key().to_owned(),
        }),
    }
}

async fn open(settings: S3Settings) -> S3Store {
    S3Store::new(settings, Arc::new(SystemClock::new())).await
}

/// Reads addresses with a client that knows nothing of S3.
struct Browser(reqwest::Client);

impl Browser {
    fn new() -> Self {
        // Another test may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self(reqwest::Client::new())
    }
}

#[async_trait]
impl Fetch for Browser {
    async fn fetch(&self, address: &str, range: Option<Range<u64>>) -> (u16, Bytes) {
        let mut request = self.0.get(address);
        if let Some(range) = range {
            let header = format!("bytes={}-{}", range.start, range.end - 1);
            request = request.header("range", header);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.bytes().await.unwrap())
    }
}

async fn contract(settings: S3Settings) {
    let run = SystemClock::new().now().0;
    let cases = AtomicUsize::new(0);
    object_store_contract(async || {
        let case = cases.fetch_add(1, Ordering::Relaxed);
        let mut settings = settings.clone();
        settings.prefix = Some(key(&format!("contract/{run}/{case}")));
        let folder = tempfile::tempdir().unwrap();
        TestStore {
            store: Arc::new(open(settings).await),
            spool: folder.path().to_owned(),
            fetch: Some(Arc::new(Browser::new())),
            now: SystemClock::new().now(),
            guard: Box::new(folder),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_the_contract() {
    let bucket = Bucket::start().await;
    contract(settings(&bucket)).await;
    // One upload was dropped without a word, below the size that leaves parts.
    assert_eq!(bucket.open_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_replaces_only_the_version_that_is_there() {
    let bucket = Bucket::start().await;
    versioned_store_contract(&open(settings(&bucket)).await).await;
    // Amazon answers so to one of several at once: nothing was done.
    let store = open(settings(&bucket)).await;
    let replace = |body: &'static [u8]| {
        let body = Bytes::from_static(body);
        let store = store.clone();
        async move { store.replace(&key("raced"), body, None).await }
    };
    bucket.trouble("PUT", Trouble::Conflict, 1);
    assert_eq!(replace(b"one").await.unwrap(), Replacement::Outdated);
    bucket.trouble("PUT", Trouble::LostAnswer, 1);
    let error = replace(b"two").await.unwrap_err();
    assert!(error.kind().is_transient(), "{error}");
    assert_eq!(bucket.object("raced").unwrap(), "two");
    bucket.trouble("GET", Trouble::SlowDown, 2);
    let read = store.read_version(&key("raced"), 9).await.unwrap();
    assert_eq!(read.unwrap().0, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_endpoint_keeps_the_contract() {
    let read = |name: &str| std::env::var(format!("HOLDFAST_TEST_S3_{name}"));
    let (Ok(endpoint), Ok(bucket)) = (read("ENDPOINT"), read("BUCKET")) else {
        say::skipped("HOLDFAST_TEST_S3_ENDPOINT names no other S3 server");
        return;
    };
    let settings = S3Settings {
        endpoint: Some(endpoint),
        public_endpoint: None,
        region: read("REGION").ok(),
        bucket,
        prefix: None,
        path_style: true,
        credentials: Some(S3Credentials {
            access_key: read("ACCESS_KEY").unwrap(),
            secret_key: read("SECRET_KEY").unwrap(),
        }),
    };
    let store = open(settings.clone()).await;
    let mut random = StdRng::seed_from_u64(SystemClock::new().now().0);
    probe_creation(&store, &mut random).await.unwrap();
    let lifecycle = store.probe_lifecycle().await.unwrap();
    say::line(format_args!("the other S3 server: {lifecycle:?}"));
    contract(settings).await;
}

#[tokio::test]
async fn a_bucket_that_ignores_conditions_is_refused() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    let mut random = StdRng::seed_from_u64(1);
    probe_creation(&store, &mut random).await.unwrap();
    bucket.misbehave(Misbehavior {
        ignores_conditions: true,
        ..Misbehavior::default()
    });
    let error = probe_creation(&store, &mut random).await.unwrap_err();
    assert!(
        matches!(error, ProbeError::ManyWinners { winners: 16 }),
        "{error:?}"
    );
    assert!(bucket.keys().is_empty());
}

#[tokio::test]
async fn a_bucket_that_expires_objects_is_refused() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    let found = store.probe_lifecycle().await.unwrap();
    assert_eq!(found, Lifecycle::KeepsParts);
    bucket.trouble("GET", Trouble::Denied, 1);
    let found = store.probe_lifecycle().await.unwrap();
    assert_eq!(found, Lifecycle::CannotTell);
    bucket.trouble("GET", Trouble::SlowDown, 1);
    bucket.misbehave(Misbehavior {
        clears_uploads_after_days: Some(7),
        ..Misbehavior::default()
    });
    let found = store.probe_lifecycle().await.unwrap();
    assert_eq!(found, Lifecycle::KeepsObjects);
    bucket.misbehave(Misbehavior {
        expires_after_days: Some(30),
        ..Misbehavior::default()
    });
    let error = store.probe_lifecycle().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("clean up"), "{error}");
}

#[tokio::test]
async fn old_uploads_of_ours_are_given_up_and_no_others() {
    const WEEK: Duration = Duration::from_hours(7 * 24);
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    std::fs::write(&spool, vec![7; 8 << 20]).unwrap();
    let begin = async |key_text: String| {
        let mut upload = store.upload(&key(&key_text), &spool).await.unwrap();
        for _ in 0..8 {
            upload.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
        }
        upload
    };
    // A crash lets go of uploads without giving them up.
    for number in 0..25 {
        Box::leak(begin(format!("ours/{number}")).await);
    }
    Box::leak(begin("photos/1".to_owned()).await);
    bucket.age_uploads(WEEK + Duration::from_secs(1));
    let running = begin("ours/running".to_owned()).await;
    let is_ours = |key: &ObjectKey| key.as_str().starts_with("ours/");
    assert_eq!(bucket.open_uploads(), 27);

    bucket.trouble("GET", Trouble::Denied, 1);
    let denied = store.give_up_left_uploads(WEEK, is_ours).await.unwrap();
    assert_eq!((denied, bucket.open_uploads()), (None, 27));
    let given_up = store.give_up_left_uploads(WEEK, is_ours).await.unwrap();
    assert_eq!(given_up, Some(25));
    assert_eq!(bucket.open_uploads(), 2, "one is not ours, one is running");
    running.complete().await.unwrap();
    let given_up = store.give_up_left_uploads(WEEK, is_ours).await.unwrap();
    assert_eq!((given_up, bucket.open_uploads()), (Some(0), 1));
}

#[tokio::test]
async fn a_conflict_is_asked_again_and_a_lost_answer_is_not() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    bucket.trouble("PUT", Trouble::Conflict, 2);
    store.create(&key("a"), Bytes::from("body")).await.unwrap();
    assert_eq!(bucket.requests("PUT"), 3);

    bucket.trouble("PUT", Trouble::LostAnswer, 1);
    let error = store
        .create(&key("b"), Bytes::from("body"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(bucket.requests("PUT"), 4);
    assert_eq!(bucket.object("b").unwrap(), "body");

    bucket.trouble("PUT", Trouble::Conflict, 100);
    let error = store
        .create(&key("c"), Bytes::from("body"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

/// A clock on which a minute goes by with each look, and waiting takes no time.
#[derive(Debug, Default)]
struct Minutes(AtomicU64);

#[async_trait]
impl Clock for Minutes {
    fn now(&self) -> Timestamp {
        SystemClock::new().now()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_mins(self.0.fetch_add(1, Ordering::Relaxed))
    }

    async fn sleep(&self, _duration: Duration) {}
}

#[tokio::test]
async fn what_is_uploaded_is_sent_again_however_long_it_took() {
    let bucket = Bucket::start().await;
    let store = S3Store::new(settings(&bucket), Arc::new(Minutes::default())).await;
    let spool = tempfile::NamedTempFile::new().unwrap();
    let body = Bytes::from_static(b"of a slow line");
    std::fs::write(spool.path(), &body).unwrap();
    bucket.trouble("PUT", Trouble::SlowDown, 2);
    let mut upload = store.upload(&key("large"), spool.path()).await.unwrap();
    upload.write(body.clone()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(bucket.object("large").unwrap(), body);
    assert_eq!(bucket.requests("PUT"), 3);
}

#[tokio::test]
async fn neither_a_refusal_nor_a_fault_is_taken_for_an_absent_object() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    bucket.trouble("GET", Trouble::Denied, 1);
    let error = store.get(&key("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    bucket.trouble("HEAD", Trouble::Denied, 1);
    let error = store.head(&key("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    bucket.trouble("GET", Trouble::SlowDown, 1);
    let error = store.get(&key("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let mut other = settings(&bucket);
    other.bucket = "missing".to_owned();
    let error = open(other).await.get(&key("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");

    let mut other = settings(&bucket);
    other.endpoint = Some("http://127.0.0.1:1".to_owned());
    let error = open(other).await.get(&key("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn bursts_of_503_are_waited_out() {
    let bucket = Bucket::start().await;
    let policy = RetryPolicy {
        first_delay: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let clock = Arc::new(SystemClock::new());
    let store = Arc::new(open(settings(&bucket)).await);
    let store = RetryingStore::new(store, policy, clock);
    store.create(&key("a"), Bytes::from("body")).await.unwrap();
    for method in ["GET", "HEAD", "DELETE"] {
        bucket.trouble(method, Trouble::SlowDown, 4);
    }
    assert_eq!(store.read(&key("a"), None, 10).await.unwrap(), "body");
    store.head(&key("a")).await.unwrap();
    store.delete(&key("a")).await.unwrap();
    assert_eq!(bucket.requests("GET"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_sent_again_and_a_failed_upload_leaves_none() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let body: Bytes = (0..20_000_000_u32).map(|i| i.to_be_bytes()[2]).collect();
    std::fs::write(&spool, &body).unwrap();

    bucket.trouble("PUT", Trouble::SlowDown, 2);
    let mut upload = store.upload(&key("a"), &spool).await.unwrap();
    upload.write(body.clone()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(bucket.requests("PUT"), 5);
    assert!(bucket.object("a").unwrap() == body);

    let mut upload = store.upload(&key("b"), &spool).await.unwrap();
    upload.write(body.clone()).await.unwrap();
    bucket.trouble("POST", Trouble::Denied, 1);
    upload.complete().await.unwrap_err();
    assert_eq!(bucket.open_uploads(), 0);
    assert_eq!(bucket.object("b"), None);

    // Parts that were refused must not end in an object with a hole, even if nobody looks at the outcome.
    let mut upload = store.upload(&key("c"), &spool).await.unwrap();
    bucket.trouble("PUT", Trouble::Denied, 1);
    upload.write(body.clone()).await.ok();
    upload.complete().await.unwrap_err();
    assert_eq!(bucket.open_uploads(), 0);
    assert_eq!(bucket.object("c"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_request_of_an_upload_is_sent_again() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let troubles = [("slow", Trouble::SlowDown), ("lost", Trouble::LostAnswer)];
    for (len, method) in [(1000, "PUT"), (20_000_000, "POST")] {
        let body = Bytes::from(vec![7; len]);
        std::fs::write(&spool, &body).unwrap();
        for (name, trouble) in troubles {
            let name = format!("{name}-{len}");
            let mut upload = store.upload(&key(&name), &spool).await.unwrap();
            upload.write(body.clone()).await.unwrap();
            bucket.trouble(method, trouble, 1);
            upload.complete().await.unwrap();
            assert!(bucket.object(&name).unwrap() == body, "{name}");
            assert_eq!(bucket.open_uploads(), 0);
        }
    }
    let body = Bytes::from(vec![7; 1000]);
    std::fs::write(&spool, &body).unwrap();
    for (name, trouble) in troubles {
        bucket.damage(name, Bytes::from("somebody else's"));
        let mut upload = store.upload(&key(name), &spool).await.unwrap();
        upload.write(body.clone()).await.unwrap();
        bucket.trouble("PUT", trouble, 1);
        let error = upload.complete().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(bucket.object(name).unwrap(), "somebody else's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_dropped_leaves_no_parts() {
    let bucket = Bucket::start().await;
    let store = open(settings(&bucket)).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let body = Bytes::from(vec![7; 20_000_000]);
    std::fs::write(&spool, &body).unwrap();

    let mut upload = store.upload(&key("received"), &spool).await.unwrap();
    upload.write(body.clone()).await.unwrap();
    assert_eq!(bucket.open_uploads(), 1);
    drop(upload);
    wait::until("the parts of a dropped upload to go", || {
        bucket.open_uploads() == 0
    });

    let mut upload = store.upload(&key("completing"), &spool).await.unwrap();
    upload.write(body.clone()).await.unwrap();
    // It begins, and then nobody waits for it any more.
    assert!(upload.complete().now_or_never().is_none());
    wait::until("the parts of an upload cut off to go", || {
        bucket.open_uploads() == 0
    });

    let mut upload = store.upload(&key("whole"), &spool).await.unwrap();
    upload.write(body.clone()).await.unwrap();
    let deleted = bucket.requests("DELETE");
    upload.complete().await.unwrap();
    assert!(bucket.object("whole").unwrap() == body);
    assert_eq!(bucket.requests("DELETE"), deleted);
}

#[tokio::test]
async fn what_is_not_ours_in_the_bucket_is_not_listed() {
    let bucket = Bucket::start().await;
    for i in 0..100 {
        bucket.damage(&format!("not a key {i}"), Bytes::new());
    }
    let store = open(settings(&bucket)).await;
    store.create(&key("z"), Bytes::from("body")).await.unwrap();
    let listed = store.list_all("").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key, key("z"));
}

#[tokio::test]
async fn signed_addresses_begin_with_the_public_endpoint_and_last_a_week_at_most() {
    let bucket = Bucket::start().await;
    let mut settings = settings(&bucket);
    settings.public_endpoint = Some("https://files.example.com".to_owned());
    let store = open(settings).await;
    let now = SystemClock::new().now();
    let day = Duration::from_secs(86_400);
    let address = store.presign(&key("a/b"), now, day).await.unwrap().unwrap();
    let expected = format!("https://files.example.com/{}/a/b?", bucket.name());
    assert!(
        address.url.starts_with(&expected),
        "the address begins otherwise"
    );
    store.presign(&key("a/b"), now, 7 * day).await.unwrap();
    let error = store.presign(&key("a/b"), now, 8 * day).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn no_secret_is_printed() {
    let bucket = Bucket::start().await;
    let mut settings = settings(&bucket);
    let store = open(settings.clone()).await;
    let mut texts = format!("{settings:?} {store:?}");
    let spool = tempfile::NamedTempFile::new().unwrap();
    let upload = store.upload(&key("a"), spool.path()).await.unwrap();
    texts += &format!("{upload:?}");
    if let Some(pair) = &mut settings.credentials {
        pair.secret_key = "a wrong one".to_owned();
    }
    let store = open(settings).await;
    let error: ObjectError = store.get(&key("a"), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    texts += &format!("{error:?} {error:#?}");
    assert!(!texts.contains(bucket.secret_key()));
    assert!(!texts.contains("a wrong one"));
    assert!(!texts.contains(bucket.access_key()), "{texts}");
    assert!(!texts.contains("Signature="));
}

#[tokio::test]
async fn a_slow_bucket_is_slow_and_no_more() {
    let bucket = Bucket::start().await;
    bucket.misbehave(Misbehavior {
        latency: Duration::from_millis(20),
        ..Misbehavior::default()
    });
    let store = open(settings(&bucket)).await;
    let clock = SystemClock::new();
    store.create(&key("a"), Bytes::from("body")).await.unwrap();
    assert!(clock.monotonic() >= Duration::from_millis(20));
}
