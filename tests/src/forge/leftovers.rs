//! What servers leave in a bucket that outlives them.

use std::sync::Arc;

use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::objects::s3::{S3Credentials, S3Settings, S3Store};
use holdfast_chunkstore::objects::{ObjectError, ObjectKey, ObjectStore as _, ObjectStoreExt as _};

use super::BucketAccess;
use crate::say;

/// Deletes every object under a prefix. Where that fails, stderr says so.
pub(super) async fn remove(access: BucketAccess, prefix: String) {
    if let Err(error) = try_to_remove(access, &prefix).await {
        say::line(format_args!("objects under {prefix} were left: {error}"));
    }
}

async fn try_to_remove(access: BucketAccess, prefix: &str) -> Result<(), ObjectError> {
    let settings = S3Settings {
        endpoint: Some(access.endpoint),
        public_endpoint: None,
        region: None,
        bucket: access.bucket,
        prefix: Some(ObjectKey::parse(prefix).expect("the name of a folder is a key")),
        path_style: true,
        credentials: Some(S3Credentials {
            access_key: access.access_key,
            secret_key: access.secret_key,
        }),
    };
    let store = S3Store::new(settings, Arc::new(SystemClock::new())).await;
    for object in store.list_all("").await? {
        store.delete(&object.key).await?;
    }
    Ok(())
}
