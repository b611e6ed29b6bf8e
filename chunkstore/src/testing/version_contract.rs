//! What every [`VersionedStore`] must do.

#![expect(clippy::unwrap_used, reason = "each case is a test")]

use bytes::Bytes;
use futures::future::join_all;

use crate::objects::{ObjectKey, ObjectVersion, Replacement, VersionedStore};

const LIMIT: u64 = 1 << 20;

/// How many replace the same version at once.
const RACERS: u8 = 16;

/// Runs every case on an empty store.
pub async fn versioned_store_contract(store: &dyn VersionedStore) {
    only_the_version_that_is_there_is_replaced(store).await;
    of_many_at_once_one_replaces(store).await;
    what_is_longer_than_allowed_is_not_read(store).await;
}

async fn only_the_version_that_is_there_is_replaced(store: &dyn VersionedStore) {
    let key = key("versions/one");
    assert_eq!(store.read_version(&key, LIMIT).await.unwrap(), None);
    let unknown = ObjectVersion::new("\"0123456789abcdef0123456789abcdef\"");
    for version in [Some(&unknown), None, None, Some(&unknown)] {
        let before = read(store, &key).await;
        let replaced = put(store, &key, "first", version).await;
        let is_possible = before.is_none() && version.is_none();
        let expected = match is_possible {
            true => Replacement::Done,
            false => Replacement::Outdated,
        };
        assert_eq!(replaced, expected, "{before:?} {version:?}");
    }
    let (bytes, first) = read(store, &key).await.unwrap();
    assert_eq!(bytes, "first");
    assert_eq!(read(store, &key).await.unwrap().1, first);
    let replaced = put(store, &key, "second", Some(&first)).await;
    assert_eq!(replaced, Replacement::Done);
    let replaced = put(store, &key, "third", Some(&first)).await;
    assert_eq!(replaced, Replacement::Outdated);
    let (bytes, second) = read(store, &key).await.unwrap();
    assert_eq!(bytes, "second");
    assert_ne!(first, second);
    store.delete(&key).await.unwrap();
    let replaced = put(store, &key, "fourth", Some(&second)).await;
    assert_eq!(replaced, Replacement::Outdated);
    assert_eq!(read(store, &key).await, None);
}

async fn of_many_at_once_one_replaces(store: &dyn VersionedStore) {
    let key = key("versions/raced");
    let mut version = None;
    for _ in 0..2 {
        let attempts = (0..RACERS).map(|racer| {
            let body = Bytes::from(vec![racer; 9]);
            store.replace(&key, body, version.as_ref())
        });
        let outcomes = join_all(attempts).await.into_iter().map(Result::unwrap);
        let winners: Vec<_> = (0..RACERS)
            .zip(outcomes)
            .filter(|(_, outcome)| *outcome == Replacement::Done)
            .collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let (bytes, there) = read(store, &key).await.unwrap();
        assert_eq!(bytes, vec![winners[0].0; 9]);
        // The next winner's bytes must be others.
        let other = Bytes::from_static(b"between");
        let replaced = store.replace(&key, other, Some(&there)).await.unwrap();
        assert_eq!(replaced, Replacement::Done);
        version = read(store, &key).await.map(|(_, version)| version);
    }
}

async fn what_is_longer_than_allowed_is_not_read(store: &dyn VersionedStore) {
    let key = key("versions/long");
    put(store, &key, "0123456789", None).await;
    assert!(store.read_version(&key, 10).await.unwrap().is_some());
    assert!(store.read_version(&key, 9).await.is_err());
}

async fn read(store: &dyn VersionedStore, key: &ObjectKey) -> Option<(Bytes, ObjectVersion)> {
    store.read_version(key, LIMIT).await.unwrap()
}

async fn put(
    store: &dyn VersionedStore,
    key: &ObjectKey,
    text: &'static str,
    version: Option<&ObjectVersion>,
) -> Replacement {
    let body = Bytes::from_static(text.as_bytes());
    store.replace(key, body, version).await.unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect("a path is a key")
}
