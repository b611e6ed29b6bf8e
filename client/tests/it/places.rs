//! Remotes that nobody serves: stores in directories and in buckets, as a real dolt reads and writes them.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::objects::s3::S3Credentials;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::remote::{
    Bucket as BucketRemote, Directory, OutgoingFile, Remote, RemoteUrl, Swap, Uploaded,
};
use holdfast_tests::bucket::{Bucket, Misbehavior};
use holdfast_tests::dolt::{Database, Dolt, Workshop};

use crate::clone::assert_dolt_goes_on;
use crate::holdfast::holdfast;
use crate::scene::cloned;

/// A database with two branches.
fn owner(workshop: &Workshop) -> Database {
    let owner = workshop.init("owner");
    owner.commit(
        "begun",
        "create table word (id int primary key, text varchar(40)); insert into word values (1, 'one');",
    );
    owner.ok(&["branch", "other"]);
    owner.commit("more", "insert into word values (2, 'two');");
    owner
}

/// Pushes both branches of a database to a remote.
fn publish(owner: &Database, url: &str) {
    owner.ok(&["remote", "add", "origin", url]);
    for branch in ["main", "other"] {
        owner.push(&["origin", branch]);
    }
}

/// The address of a store in a bucket.
pub(crate) fn url(bucket: &Bucket, prefix: &str) -> String {
    let (name, endpoint) = (bucket.name(), bucket.endpoint());
    format!("s3://{name}/{prefix}?endpoint={endpoint}&region=us-east-1&path-style=true")
}

/// A workshop whose programs find the keys of a bucket.
pub(crate) fn with_keys(workshop: &Workshop, bucket: &Bucket) -> Workshop {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    workshop.with(&[
        setting("AWS_ACCESS_KEY_ID", bucket.access_key()),
        setting("AWS_SECRET_ACCESS_KEY", bucket.secret_key()),
        setting("AWS_EC2_METADATA_DISABLED", "true"),
    ])
}

async fn remote(bucket: &Bucket, prefix: &str) -> BucketRemote {
    let Ok(RemoteUrl::Bucket(url)) = RemoteUrl::parse(&url(bucket, prefix), "example.org") else {
        panic!("the address of a bucket");
    };
    let keys = S3Credentials {
        access_key: bucket.access_key().to_owned(),
        secret_key: bucket.secret_key().to_owned(),
    };
    let clock = Arc::new(SystemClock::new());
    BucketRemote::new(&url, Some(keys), clock, BlockingPool::new(2)).await
}

/// Sends the files of a plain store and moves the root of an empty remote.
async fn send(store: &Path, remote: &dyn Remote) {
    let store = NomsDir::open(store).unwrap();
    let mut listed = Vec::new();
    for file in store.files() {
        let outgoing = OutgoingFile {
            path: file.path().to_owned(),
            id: file.id(),
            kind: file.kind(),
            len: file.len(),
            data_len: file.data_len(),
            chunks: file.count(),
        };
        assert_eq!(remote.upload(&outgoing).await.unwrap(), Uploaded::Sent);
        assert_eq!(remote.upload(&outgoing).await.unwrap(), Uploaded::Known);
        listed.push(ListedFile {
            id: file.id(),
            chunks: file.count(),
        });
    }
    let (root, zero) = (store.root(), RootAddress::ZERO);
    assert_eq!(remote.commit(root, zero, &listed).await.unwrap(), Swap::Won);
    assert_eq!(remote.commit(zero, zero, &[]).await.unwrap(), Swap::Lost);
    assert_eq!(remote.root().await.unwrap(), root);
}

#[test]
fn dolt_goes_on_with_a_clone_from_a_directory_and_from_a_live_database() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let owner = owner(&workshop);
    let url = format!("file://{}", workshop.folder().join("a remote").display());
    publish(&owner, &url);
    let copy = cloned(&workshop, &url, &[]);
    assert_eq!(copy.log(), owner.log());

    let live = format!("file://{}", owner.folder().display());
    let printed = holdfast(&workshop, workshop.folder(), &["clone", &live, "of-live"]);
    printed.expect_success();
    assert_eq!(workshop.database("of-live").log(), owner.log());

    copy.commit("from the clone", "insert into word values (3, 'three');");
    copy.push(&["origin", "main"]);
    owner.pull(&["origin", "main"]);
    assert_eq!(copy.log(), owner.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dolt_clones_what_we_put_into_a_directory() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let owner = owner(&workshop);
    let source = workshop.folder().join("source");
    publish(&owner, &format!("file://{}", source.display()));
    let target = workshop.folder().join("deep/target");
    send(&source, &Directory::new(&target, BlockingPool::new(2))).await;
    let url = format!("file://{}", target.display());
    let copy = workshop.clone_from(&url, "copy", &[]);
    assert_eq!(copy.log(), owner.log());
    copy.commit("from the clone", "insert into word values (3, 'three');");
    copy.push(&["origin", "main"]);
    let again = cloned_as(&workshop, &url, "again");
    assert_eq!(again.log(), copy.log());
}

fn cloned_as(workshop: &Workshop, url: &str, name: &str) -> Database {
    holdfast(workshop, workshop.folder(), &["clone", url, name]).expect_success();
    workshop.database(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn dolt_goes_on_with_a_clone_from_a_bucket() {
    let Some(dolt) = Dolt::find() else { return };
    let bucket = Bucket::start().await;
    let workshop = with_keys(&Workshop::new(&dolt), &bucket);
    let owner = owner(&workshop);
    let url = url(&bucket, "acme/prod");
    publish(&owner, &url);
    let copy = cloned_as(&workshop, &url, "copy");
    assert_eq!(copy.log(), owner.log());
    let verified = holdfast(&workshop, copy.folder(), &["verify"]).expect_success();
    assert!(verified.contains(" 0 problems"), "{verified}");
    copy.commit("from the clone", "insert into word values (3, 'three');");
    copy.push(&["origin", "main"]);
    owner.pull(&["origin", "main"]);
    assert_eq!(copy.log(), owner.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn dolt_clones_what_we_put_into_a_bucket() {
    let Some(dolt) = Dolt::find() else { return };
    let bucket = Bucket::start().await;
    let workshop = with_keys(&Workshop::new(&dolt), &bucket);
    let owner = owner(&workshop);
    let source = workshop.folder().join("source");
    publish(&owner, &format!("file://{}", source.display()));
    send(&source, &remote(&bucket, "acme/prod").await).await;
    let is_ours = |key: &String| key.starts_with("acme/prod/") && !key.contains("probe");
    assert!(bucket.keys().iter().all(is_ours), "{:?}", bucket.keys());
    let copy = workshop.clone_from(&url(&bucket, "acme/prod"), "copy", &[]);
    assert_eq!(copy.log(), owner.log());
}

/// What is kept of each backup beside dolt's own files does not trouble dolt.
#[tokio::test(flavor = "multi_thread")]
async fn backups_in_a_bucket_are_cloned_by_dolt_and_restored_by_us() {
    let Some(dolt) = Dolt::find() else { return };
    let bucket = Bucket::start().await;
    let workshop = with_keys(&Workshop::new(&dolt), &bucket);
    let owner = owner(&workshop);
    let url = url(&bucket, "backups/prod");
    let ours =
        |arguments: &[&str]| holdfast(&workshop, workshop.folder(), arguments).expect_success();
    ours(&["backup", "owner", &url]);
    let before = owner.log();
    owner.commit("later", "insert into word values (3, 'three');");
    ours(&["backup", "owner", &url]);
    let records = bucket.keys();
    let records = records
        .iter()
        .filter(|key| key.contains("holdfast-backups/"));
    assert_eq!(records.count(), 2, "{:?}", bucket.keys());

    let listed = ours(&["--format", "json", "backup", "list", &url]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let verified = ours(&["--format", "json", "backup", "verify", &url]);
    let verified: serde_json::Value = serde_json::from_str(verified.trim()).unwrap();
    assert_eq!(verified["problems"], 0, "{verified}");
    let copy = workshop.clone_from(&url, "copy", &[]);
    assert_eq!(copy.log(), owner.log());
    copy.fsck();
    ours(&["backup", "restore", &url, "--backup", "1", "first"]);
    assert_eq!(workshop.database("first").log(), before);
    ours(&["backup", "restore", &url, "second"]);
    assert_eq!(workshop.database("second").log(), owner.log());

    // Dolt may push there; the next backup sees that somebody else was there.
    copy.commit("elsewhere", "insert into word values (4, 'four');");
    copy.push(&["origin", "main"]);
    let again = workshop.clone_from(&url, "again", &[]);
    assert_eq!(again.log(), copy.log());
    ours(&["backup", "restore", &url, "--backup", "1", "still"]);
    assert_eq!(workshop.database("still").log(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_go_in_parts_and_come_back() {
    let bucket = Bucket::start().await;
    let place = tempfile::tempdir().unwrap();
    let chunks: Vec<Vec<u8>> = (0..24).map(|salt| noise(salt, 1 << 20)).collect();
    let made = holdfast_chunkstore::testing::generate::table_file_of(chunks);
    let path = place.path().join("outgoing");
    std::fs::File::create_new(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &made.file))
        .unwrap();
    let outgoing = OutgoingFile {
        path,
        id: made.written.id,
        kind: FileKind::Table,
        len: made.written.len,
        data_len: made.written.data_len,
        chunks: made.written.count,
    };
    let remote = remote(&bucket, "large").await;
    assert_eq!(remote.upload(&outgoing).await.unwrap(), Uploaded::Sent);
    assert_eq!(bucket.open_uploads(), 0);
    let name = format!("large/{}", outgoing.id);
    assert_eq!(bucket.object(&name).unwrap(), made.file);
    let listed = ListedFile {
        id: outgoing.id,
        chunks: outgoing.chunks,
    };
    remote.add_files(&[listed]).await.unwrap();
    let addresses: Vec<_> = made.chunks.iter().map(|(address, _)| *address).collect();
    let read = remote.read(&addresses, holdfast_client::remote::Reach::Near);
    for ((_, expected), chunk) in made.chunks.iter().zip(read.await.unwrap()) {
        assert!(chunk.unwrap().chunk == *expected);
    }
}

/// Bytes that do not compress.
fn noise(salt: u64, len: usize) -> Vec<u8> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    next.flatten().take(len).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_whose_server_ignores_conditions_is_refused() {
    let bucket = Bucket::start().await;
    bucket.misbehave(Misbehavior {
        ignores_conditions: true,
        ..Misbehavior::default()
    });
    let remote = remote(&bucket, "p").await;
    let refused = remote.add_files(&[]).await.unwrap_err();
    assert_eq!(refused.kind(), holdfast_chunkstore::ErrorKind::Refused);
    assert!(bucket.keys().is_empty());
}

#[test]
fn dolt_goes_on_with_everything_about_a_clone_from_a_directory() {
    let Some(dolt) = Dolt::find() else { return };
    let workshop = Workshop::new(&dolt);
    let url = format!("file://{}", workshop.folder().join("remote").display());
    let owner = crate::scene::published(&workshop, holdfast_tests::world::World::SMALL, &url);
    let copy = cloned(&workshop, &url, &[]);
    assert_dolt_goes_on(&owner, &copy);
}
