//! What an index must do when files leave it, if it can let them go at all.

use std::sync::Arc;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{ChunkEntry, ChunkIndex, FileSet, Located};
use crate::testing::index_contract::{EntryMaker, add, assert_absent, assert_found_only_in};

/// More entries than go in by one batch.
const MANY: usize = 20_000;

fn only(file: UploadId) -> FileSet {
    [file].into_iter().collect()
}

async fn forget(index: &dyn ChunkIndex, pool: PoolId, kept: &FileSet, least: u64) -> u64 {
    let forgotten = index.forget_others(pool, kept, least).await;
    forgotten.expect("files are forgotten")
}

/// Asks where entries are that lie in one file.
async fn ask(
    index: &dyn ChunkIndex,
    pool: PoolId,
    file: UploadId,
    entries: &[ChunkEntry],
) -> Located {
    let addresses: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    let located = index.locate_in_files(pool, &only(file), &addresses).await;
    located.expect("a question is answered")
}

fn assert_found(located: Located, file: UploadId, entries: &[ChunkEntry]) {
    let Located::Found(found) = located else {
        panic!("the file has its marker");
    };
    for (entry, places) in entries.iter().zip(found) {
        assert_eq!(places.len(), 1);
        assert_eq!((places[0].file, places[0].span), (file, entry.span));
    }
}

/// What is kept is found as before, alone; the others have neither marker nor entries, and can be added again.
pub async fn all_but_the_kept_files_are_forgotten(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(31);
    let (pool, kept, [small, large]) = (maker.pool(), maker.file(), [maker.file(), maker.file()]);
    let entries = maker.entries(MANY);
    let mut shared: Vec<ChunkEntry> = entries[..500].to_vec();
    for entry in &mut shared {
        entry.span = maker.span();
    }
    let own = maker.entries(MANY);
    add(&*index, pool, kept, &entries).await;
    add(&*index, pool, small, &shared).await;
    add(&*index, pool, large, &own).await;
    assert_eq!(
        forget(&*index, pool, &only(kept), 1).await,
        500 + MANY as u64
    );
    assert_found_only_in(&*index, pool, kept, &entries).await;
    assert_absent(&*index, pool, &own).await;
    let markers = index.has_files(pool, &[small, kept, large]).await;
    assert_eq!(markers.expect("markers are read"), [false, true, false]);
    assert_eq!(
        ask(&*index, pool, small, &shared).await,
        Located::Missing(vec![small])
    );
    add(&*index, pool, small, &shared).await;
    assert_found(ask(&*index, pool, small, &shared).await, small, &shared);
    assert_eq!(forget(&*index, pool, &only(small), 1).await, MANY as u64);
    assert_found_only_in(&*index, pool, small, &shared).await;
}

/// Where there is too little to forget all stays as it is.
pub async fn few_entries_are_left_where_they_are(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(32);
    let (pool, kept, other) = (maker.pool(), maker.file(), maker.file());
    let (entries, others) = (maker.entries(10), maker.entries(100));
    add(&*index, pool, kept, &entries).await;
    add(&*index, pool, other, &others).await;
    assert_eq!(forget(&*index, pool, &only(kept), 101).await, 0);
    assert_found_only_in(&*index, pool, other, &others).await;
    assert_eq!(forget(&*index, pool, &only(kept), 100).await, 100);
    assert_absent(&*index, pool, &others).await;
    assert_eq!(forget(&*index, pool, &only(kept), 0).await, 0);
}

/// What other pools hold stays, also under the same addresses.
pub async fn other_pools_forget_nothing(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(33);
    let (pools, file) = ([maker.pool(), maker.pool(), maker.pool()], maker.file());
    let entries = maker.entries(100);
    for pool in pools {
        add(&*index, pool, file, &entries).await;
    }
    let none: FileSet = [].into_iter().collect();
    assert_eq!(forget(&*index, pools[1], &none, 1).await, 100);
    assert_found_only_in(&*index, pools[0], file, &entries).await;
    assert_absent(&*index, pools[1], &entries).await;
    assert_found_only_in(&*index, pools[2], file, &entries).await;
    let unknown = maker.pool();
    assert_eq!(forget(&*index, unknown, &none, 0).await, 0);
}

/// Whoever asks while files are forgotten is told all of a file, or that the index does not have it.
pub async fn questions_and_forgetting_mix(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(34);
    let (pool, kept, others) = (maker.pool(), maker.file(), [maker.file(), maker.file()]);
    let entries = maker.entries(MANY);
    add(&*index, pool, kept, &entries).await;
    let asking = others.map(|file| {
        let (index, entries) = (Arc::clone(&index), entries.clone());
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let asked: Vec<ChunkEntry> = entries.iter().step_by(97).copied().collect();
            let mut additions = 0;
            while !until.load(std::sync::atomic::Ordering::SeqCst) || additions < 2 {
                match ask(&*index, pool, file, &asked).await {
                    Located::Missing(missing) => {
                        assert_eq!(missing, [file]);
                        add(&*index, pool, file, &entries).await;
                        additions += 1;
                    }
                    found @ Located::Found(_) => assert_found(found, file, &asked),
                }
            }
            additions
        });
        (stop, task)
    });
    let mut forgotten = 0;
    while forgotten < 3 * MANY as u64 {
        forgotten += forget(&*index, pool, &only(kept), 1).await;
        let every: Vec<ChunkEntry> = entries.iter().step_by(31).copied().collect();
        assert_found(ask(&*index, pool, kept, &every).await, kept, &every);
        tokio::task::yield_now().await;
    }
    for (stop, _) in &asking {
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    }
    for (_, task) in asking {
        // Its second addition comes when it is forgotten once more.
        while !task.is_finished() {
            forget(&*index, pool, &only(kept), 1).await;
            tokio::task::yield_now().await;
        }
        assert!(task.await.expect("every answer is right") >= 2);
    }
}

/// Makes one test of each fact, in a module.
#[macro_export]
macro_rules! forgetting_contract {
    ($name:ident, $make:path) => {
        mod $name {
            $crate::forgetting_contract!(@each $make:
                all_but_the_kept_files_are_forgotten, few_entries_are_left_where_they_are,
                other_pools_forget_nothing, questions_and_forgetting_mix);
        }
    };
    (@each $make:path: $($fact:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                let (_guard, index) = $make().await;
                $crate::testing::forgetting_contract::$fact(index).await;
            }
        )*
    };
}
