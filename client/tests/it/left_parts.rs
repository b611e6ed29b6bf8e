//! Parts of uploads into a bucket that a killed client left.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::objects::s3::{S3Credentials, S3Settings, S3Store};
use holdfast_chunkstore::objects::{ObjectKey, ObjectStore as _};
use holdfast_client::remote::{Remote as _, Swap};
use holdfast_tests::bucket::Bucket;

use crate::places::remote;

#[tokio::test]
async fn parts_of_table_files_are_given_up_after_a_week_and_no_others() {
    const WEEK: Duration = Duration::from_hours(7 * 24);
    let bucket = Bucket::start().await;
    let settings = S3Settings {
        endpoint: Some(bucket.endpoint().to_owned()),
        public_endpoint: None,
        region: Some("us-east-1".to_owned()),
        bucket: bucket.name().to_owned(),
        prefix: ObjectKey::parse("acme/prod").ok(),
        path_style: true,
        credentials: Some(S3Credentials {
            access_key: bucket.access_key().to_owned(),
            secret_key: bucket.secret_key().to_owned(),
        }),
    };
    let store = S3Store::new(settings, Arc::new(SystemClock::new())).await;
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    std::fs::File::create_new(&spool)
        .and_then(|file| file.set_len(8 << 20))
        .unwrap();
    // A killed process lets go of uploads without giving them up.
    let leave = async |name: &str| {
        let key = ObjectKey::parse(name.to_owned()).unwrap();
        let mut upload = store.upload(&key, &spool).await.unwrap();
        for _ in 0..8 {
            upload.write(Bytes::from(vec![7; 1 << 20])).await.unwrap();
        }
        Box::leak(upload);
    };
    let id = "2mi0tl5fq96vr9moaa423em08scfhoa9";
    for name in [id, &format!("{id}.darc"), "photos/1"] {
        leave(name).await;
    }
    bucket.age_uploads(WEEK + Duration::from_secs(1));
    leave("57j14atnfohdj4ealpo1oq66n4muvsh1").await;
    assert_eq!(bucket.open_uploads(), 4);

    let zero = RootAddress::ZERO;
    let writer = remote(&bucket, "acme/prod").await;
    assert_eq!(writer.commit(zero, zero, &[]).await.unwrap(), Swap::Won);
    assert_eq!(
        bucket.open_uploads(),
        2,
        "one is no table file, one may be running"
    );
}
