//! Chunk indexes: the contract, healing, damage.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_chunkstore::address::ChunkAddress;
use holdfast_chunkstore::id::{PoolId, UploadId};
use holdfast_chunkstore::index::healing::IndexFactory;
use holdfast_chunkstore::index::{
    CachedIndex, ChunkIndex, FileSet, FoundPlaces, HealingIndex, IndexError, Located, MemoryIndex,
    SortedEntries, SpareIndex,
};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::testing::index_contract::{self, EntryMaker};
use parking_lot::Mutex;

/// A set of one file.
fn only(file: UploadId) -> FileSet {
    [file].into_iter().collect()
}

async fn cached_memory() -> ((), Arc<dyn ChunkIndex>) {
    let (_, index) = memory().await;
    ((), Arc::new(CachedIndex::new(index, 1 << 20)))
}

/// Everything is added beside an empty index.
async fn spare_memory() -> ((), Arc<dyn ChunkIndex>) {
    let (_, index) = memory().await;
    let spare = SpareIndex::new(index, u64::MAX, BlockingPool::new(4));
    ((), Arc::new(spare))
}

async fn memory() -> ((), Arc<dyn ChunkIndex>) {
    ((), Arc::new(MemoryIndex::new(BlockingPool::new(4))))
}

async fn healing_memory() -> ((), Arc<dyn ChunkIndex>) {
    let factory = Arc::new(BreakableFactory::default());
    let (_, index) = memory().await;
    ((), Arc::new(HealingIndex::new(index, factory)))
}

holdfast_chunkstore::index_contract!(in_memory, super::memory);
holdfast_chunkstore::index_contract!(healing_in_memory, super::healing_memory);
holdfast_chunkstore::index_contract!(cached_in_memory, super::cached_memory);
holdfast_chunkstore::index_contract!(spare_in_memory, super::spare_memory);
holdfast_chunkstore::forgetting_contract!(forgetting_in_memory, super::memory);
holdfast_chunkstore::forgetting_contract!(forgetting_healing, super::healing_memory);

/// Makes memory indexes that can be broken, and remembers them.
#[derive(Debug, Default)]
struct BreakableFactory {
    made: Mutex<Vec<Arc<BreakableIndex>>>,
    broken_from_birth: usize,
}

#[async_trait]
impl IndexFactory for BreakableFactory {
    async fn make(&self) -> Result<Arc<dyn ChunkIndex>, IndexError> {
        let index = Arc::new(BreakableIndex::new());
        let mut made = self.made.lock();
        *index.is_broken.lock() = made.len() < self.broken_from_birth;
        made.push(Arc::clone(&index));
        Ok(index)
    }
}

/// A memory index that is damaged when told so.
#[derive(Debug)]
struct BreakableIndex {
    inner: MemoryIndex,
    is_broken: Mutex<bool>,
}

impl BreakableIndex {
    fn new() -> Self {
        Self {
            inner: MemoryIndex::new(BlockingPool::new(4)),
            is_broken: Mutex::new(false),
        }
    }

    fn check(&self) -> Result<(), IndexError> {
        if *self.is_broken.lock() {
            return Err(IndexError::Damaged {
                action: "read",
                source: "broken by the test".into(),
            });
        }
        Ok(())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChunkIndex for BreakableIndex {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        self.check()?;
        self.inner.add_file(pool, file, count, entries).await
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        self.check()?;
        self.inner.has_files(pool, files).await
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        self.check()?;
        self.inner.locate(pool, addresses).await
    }

    async fn locate_in_files(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> Result<Located, IndexError> {
        self.check()?;
        self.inner.locate_in_files(pool, files, addresses).await
    }

    async fn forget_others(
        &self,
        pool: PoolId,
        kept: &FileSet,
        least: u64,
    ) -> Result<u64, IndexError> {
        self.check()?;
        self.inner.forget_others(pool, kept, least).await
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }
}

async fn healing() -> (Arc<BreakableFactory>, Arc<HealingIndex>) {
    let factory = Arc::new(BreakableFactory::default());
    let first = factory.make().await.expect("the first index is made");
    let index = HealingIndex::new(first, Arc::clone(&factory) as Arc<dyn IndexFactory>);
    (factory, Arc::new(index))
}

#[tokio::test]
async fn damage_makes_markers_missing_and_a_refill_mends_it() {
    let (factory, index) = healing().await;
    let mut maker = EntryMaker::new(50);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(100));
    let addresses: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    index_contract::add(&*index, pool, file, &entries).await;
    assert_eq!(index.generation(), 0);

    *factory.made.lock()[0].is_broken.lock() = true;
    let answer = index.locate_in_files(pool, &only(file), &addresses).await;
    assert_eq!(answer.unwrap(), Located::Missing(vec![file]));
    assert_eq!(index.generation(), 1);

    index_contract::add(&*index, pool, file, &entries).await;
    index_contract::assert_found_only_in(&*index, pool, file, &entries).await;
    assert_eq!(factory.made.lock().len(), 2);
}

#[tokio::test]
async fn damage_seen_by_an_addition_leaves_no_marker_and_no_error() {
    let (factory, index) = healing().await;
    let mut maker = EntryMaker::new(51);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(100));
    *factory.made.lock()[0].is_broken.lock() = true;
    index_contract::add(&*index, pool, file, &entries).await;
    assert_eq!(index.has_files(pool, &[file]).await.unwrap(), [false]);
    index_contract::add(&*index, pool, file, &entries).await;
    assert_eq!(index.has_files(pool, &[file]).await.unwrap(), [true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_that_meet_one_damage_share_one_new_index() {
    let (factory, index) = healing().await;
    let mut maker = EntryMaker::new(52);
    let (pool, file) = (maker.pool(), maker.file());
    *factory.made.lock()[0].is_broken.lock() = true;
    let calls = (0..64).map(|_| {
        let index = Arc::clone(&index);
        tokio::spawn(async move { index.has_files(pool, &[file]).await })
    });
    for call in futures::future::join_all(calls).await {
        assert_eq!(call.unwrap().unwrap(), [false]);
    }
    assert_eq!(factory.made.lock().len(), 2);
    assert_eq!(index.generation(), 1);
}

#[tokio::test]
async fn damage_that_does_not_end_is_reported() {
    let (pool, file) = {
        let mut maker = EntryMaker::new(53);
        (maker.pool(), maker.file())
    };
    let factory = Arc::new(BreakableFactory {
        broken_from_birth: 100,
        ..BreakableFactory::default()
    });
    let first = factory.make().await.unwrap();
    let index = HealingIndex::new(first, Arc::clone(&factory) as Arc<dyn IndexFactory>);
    let answer = index.has_files(pool, &[file]).await;
    assert!(
        matches!(answer, Err(IndexError::Damaged { .. })),
        "{answer:?}"
    );
}

/// Damaged between the look at the markers and the lookup, healed and filled again by somebody else meanwhile.
#[derive(Debug)]
struct HealsUnderTheCaller {
    inner: Arc<HealingIndex>,
    factory: Arc<BreakableFactory>,
    refill: (
        PoolId,
        UploadId,
        Vec<holdfast_chunkstore::index::ChunkEntry>,
    ),
    did: Mutex<bool>,
}

/// Asks for markers and entries one after the other, as the trait does by itself.
#[async_trait]
impl ChunkIndex for HealsUnderTheCaller {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        self.inner.add_file(pool, file, count, entries).await
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        self.inner.has_files(pool, files).await
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        if std::mem::replace(&mut *self.did.lock(), true) {
            return self.inner.locate(pool, addresses).await;
        }
        *self.factory.made.lock()[0].is_broken.lock() = true;
        let answer = self.inner.locate(pool, addresses).await;
        let (pool, file, entries) = &self.refill;
        index_contract::add(&*self.inner, *pool, *file, entries).await;
        answer
    }

    fn generation(&self) -> u64 {
        self.inner.generation()
    }
}

#[tokio::test]
async fn an_index_that_heals_between_marker_and_lookup_never_says_absent() {
    let (factory, inner) = healing().await;
    let mut maker = EntryMaker::new(54);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(100));
    index_contract::add(&*inner, pool, file, &entries).await;
    let index = HealsUnderTheCaller {
        inner,
        factory,
        refill: (pool, file, entries.clone()),
        did: Mutex::new(false),
    };
    let addresses: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    let Located::Found(found) = index
        .locate_in_files(pool, &only(file), &addresses)
        .await
        .unwrap()
    else {
        panic!("the file was added again");
    };
    assert!(found.iter().all(|places| places.len() == 1), "{found:?}");
}

/// Counts the questions that reach it.
#[derive(Debug)]
struct Counting {
    inner: MemoryIndex,
    asked: Mutex<Vec<usize>>,
}

#[async_trait]
impl ChunkIndex for Counting {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        self.inner.add_file(pool, file, count, entries).await
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        self.inner.has_files(pool, files).await
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        self.asked.lock().push(addresses.len());
        self.inner.locate(pool, addresses).await
    }
}

#[tokio::test]
async fn places_of_fresh_files_and_found_ones_are_not_asked_for_again() {
    let behind = Arc::new(Counting {
        inner: MemoryIndex::new(BlockingPool::new(2)),
        asked: Mutex::default(),
    });
    let index = CachedIndex::new(Arc::clone(&behind) as Arc<dyn ChunkIndex>, 1 << 20);
    let mut maker = EntryMaker::new(60);
    let (pool, fresh, large) = (maker.pool(), maker.file(), maker.file());
    let (few, many) = (maker.entries(100), maker.entries(20_000));
    index_contract::add(&index, pool, fresh, &few).await;
    // Too many to be kept when they come.
    index_contract::add(&index, pool, large, &many).await;
    let files: FileSet = [fresh, large].into_iter().collect();
    let addresses = |entries: &[holdfast_chunkstore::index::ChunkEntry]| {
        let addresses: Vec<_> = entries.iter().map(|entry| entry.address).collect();
        addresses
    };
    let ask = async |files: &FileSet, addresses: Vec<ChunkAddress>| {
        let answer = index
            .locate_in_files(pool, files, &addresses)
            .await
            .unwrap();
        let Located::Found(found) = answer else {
            panic!("{answer:?}");
        };
        found.iter().filter(|places| !places.is_empty()).count()
    };
    assert_eq!(ask(&files, addresses(&few)).await, 100);
    assert!(behind.asked.lock().is_empty());
    assert_eq!(ask(&files, addresses(&many[..200])).await, 200);
    assert_eq!(*behind.asked.lock(), [200]);
    assert_eq!(ask(&files, addresses(&many[..210])).await, 210);
    assert_eq!(*behind.asked.lock(), [200, 10]);
    // A kept place in a file that does not count is no hit, and absent chunks are asked for each time.
    assert_eq!(ask(&only(large), addresses(&few)).await, 0);
    assert_eq!(ask(&only(large), addresses(&few)).await, 0);
    assert_eq!(*behind.asked.lock(), [200, 10, 100, 100]);
}

#[tokio::test]
async fn beside_a_stored_index_files_are_added_in_memory_until_there_are_too_many_entries() {
    let (_, stored) = memory().await;
    let mut maker = EntryMaker::new(60);
    let pool = maker.pool();
    let files: Vec<_> = (0..4).map(|_| (maker.file(), maker.entries(100))).collect();
    let [
        (first, in_first),
        (second, in_second),
        (third, in_third),
        (none, in_none),
    ] = &files[..]
    else {
        unreachable!("there are four");
    };
    index_contract::add(&*stored, pool, *first, in_first).await;
    let spare = SpareIndex::new(Arc::clone(&stored), 250, BlockingPool::new(4));
    for (file, entries) in &files[..3] {
        index_contract::add(&spare, pool, *file, entries).await;
    }
    let entries = in_none.clone().into_iter().map(Ok);
    let refused = spare.add_file(pool, *none, 100, Box::new(entries)).await;
    assert!(
        matches!(refused, Err(IndexError::Full { .. })),
        "{refused:?}"
    );
    let unsorted = in_none.clone().into_iter().rev().take(50).map(Ok);
    let refused = spare.add_file(pool, *none, 50, Box::new(unsorted)).await;
    assert!(
        matches!(refused, Err(IndexError::Entries { .. })),
        "{refused:?}"
    );

    let wanted = [*first, *second, *third, *none];
    let marks = spare.has_files(pool, &wanted).await.unwrap();
    assert_eq!(marks, [true, true, true, false]);
    let marks = stored.has_files(pool, &wanted).await.unwrap();
    assert_eq!(marks, [true, false, false, false], "nothing is written");
    for (file, entries) in [(first, in_first), (second, in_second), (third, in_third)] {
        index_contract::assert_found_only_in(&spare, pool, *file, entries).await;
    }
    // What was refused took no room.
    let mut half = in_none.clone();
    half.truncate(50);
    let entries = half.into_iter().map(Ok);
    let added = spare.add_file(pool, *none, 50, Box::new(entries)).await;
    added.unwrap();
}
