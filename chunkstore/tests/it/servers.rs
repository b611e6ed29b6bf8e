//! What one server did is seen by the others on the same store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};
use holdfast_chunkstore::objects::ObjectStore;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::repo::{FileKind, Parts, Repository};
use holdfast_chunkstore::testing::generate::{Made, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, declared, named, parent, parts, upload};
use parking_lot::Mutex;
use tempfile::TempDir;

/// Time that passes when the test says so.
#[derive(Debug, Default)]
struct HandClock {
    passed: Mutex<Duration>,
}

impl HandClock {
    fn pass(&self, duration: Duration) {
        *self.passed.lock() += duration;
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        *self.passed.lock()
    }

    async fn sleep(&self, duration: Duration) {
        self.pass(duration);
    }
}

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

/// A file of one root without children.
fn root_file(salt: u64) -> Made {
    table_file_of(vec![parent(salt, &[])])
}

async fn server(
    objects: &Arc<dyn ObjectStore>,
    scratch: &Path,
    seed: u64,
    clock: &Arc<HandClock>,
) -> Repository {
    let clock: Arc<dyn Clock> = Arc::<HandClock>::clone(clock);
    acme(Parts {
        clock,
        ..parts(Arc::clone(objects), scratch, seed)
    })
    .await
}

#[tokio::test]
async fn a_file_that_another_server_took_in_later_is_known() {
    let (objects, clock) = (store(), Arc::new(HandClock::default()));
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = server(&objects, folders[0].path(), 1, &clock).await;
    let second = server(&objects, folders[1].path(), 2, &clock).await;
    let made = root_file(1);
    let file = declared(&made, FileKind::Table);
    upload(&first, &made, FileKind::Table).await.unwrap();
    assert!(first.knows(&file).await.unwrap());
    assert!(second.knows(&file).await.unwrap());

    clock.pass(Duration::from_hours(13));
    assert!(!first.knows(&file).await.unwrap());
    let again = upload(&second, &made, FileKind::Table).await.unwrap();
    assert!(first.knows(&file).await.unwrap(), "it was sent again");
    first.add(&[named(&made)], &actor()).await.unwrap();
    let state = first.state().await.unwrap();
    let uploads: Vec<_> = state.files.keys().copied().collect();
    assert_eq!(uploads, [again.upload], "what is old is not added");
}
