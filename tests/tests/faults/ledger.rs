//! What the log of a repository says, read from the store beside the servers.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::repo::Repositories;
use holdfast_server::Settings;
use holdfast_server::settings::{Gathered, Origin, Purpose, check::check};
use holdfast_server::start::{self, StoredIndex};
use holdfast_tests::bucket::Bucket;

/// The settings with which a store is read.
pub(crate) fn settings(data: &Path, bucket: Option<&Bucket>) -> Arc<Settings> {
    let mut texts = vec![
        ("data", data.display().to_string()),
        ("upload.free_floor", "1MiB".to_owned()),
    ];
    if let Some(bucket) = bucket {
        // The harness gives each forge the name of its first folder as prefix.
        let prefix = data.parent().unwrap().file_name().unwrap();
        let store = format!("s3://{}/{}", bucket.name(), prefix.to_string_lossy());
        texts.extend([
            ("store", store),
            ("s3.endpoint", bucket.endpoint().to_owned()),
            ("s3.path_style", "true".to_owned()),
            ("s3.access_key_id", bucket.access_key().to_owned()),
            ("s3.secret_access_key", bucket.secret_key().to_owned()),
        ]);
    }
    let mut gathered = Gathered::new();
    for (key, value) in texts {
        gathered.set(key, value, Origin::Flag);
    }
    Arc::new(check(gathered, Purpose::ReadStore).unwrap_or_else(|them| panic!("{them:?}")))
}

/// Every root that the log of a repository names, in its order, each where it changed. Panics where one does
/// not begin at the end of the one before.
pub(crate) async fn roots(settings: &Settings, name: &str) -> Vec<RootAddress> {
    let parts = start::reader_parts(settings, StoredIndex::Ignored)
        .await
        .unwrap();
    let repositories = Repositories::open(parts.repositories.clone())
        .await
        .unwrap();
    let name = name.parse().unwrap();
    let Some(repository) = repositories.find(&name).await.unwrap() else {
        return Vec::new();
    };
    let mut roots = Vec::new();
    let mut last = RootAddress::ZERO;
    for sequence in 1.. {
        let Some(record) = repository.history(sequence).await.unwrap() else {
            return roots;
        };
        assert_eq!(record.old_root, last, "record {sequence} begins elsewhere");
        if record.new_root != last {
            roots.push(record.new_root);
        }
        last = record.new_root;
    }
    roots
}
