//! What every [`ChunkIndex`] must do.
//!
//! Each function checks one fact on an index that may hold other things already, as long as those came from
//! another seed: pools and files are made from the seed.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{
    ByteSpan, ChunkEntry, ChunkIndex, ChunkLocation, ChunkSpan, FoundPlaces, IndexError, Located,
    SortedEntries,
};

/// Makes pools, files and entries from a seed.
#[derive(Debug)]
pub struct EntryMaker {
    random: StdRng,
}

impl EntryMaker {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Makes a new pool.
    pub fn pool(&mut self) -> PoolId {
        PoolId::generate(&mut self.random)
    }

    /// Makes a new file.
    pub fn file(&mut self) -> UploadId {
        UploadId::generate(&mut self.random)
    }

    /// Makes a new address.
    pub fn address(&mut self) -> ChunkAddress {
        let mut bytes = [0; 20];
        self.random.fill_bytes(&mut bytes);
        ChunkAddress::new(bytes)
    }

    /// Makes a place, one in four with a dictionary.
    pub fn span(&mut self) -> ChunkSpan {
        let dictionary = self.random.random_ratio(1, 4).then(|| self.byte_span());
        ChunkSpan {
            data: self.byte_span(),
            dictionary,
        }
    }

    /// Makes an entry with a new address.
    pub fn entry(&mut self) -> ChunkEntry {
        ChunkEntry {
            address: self.address(),
            span: self.span(),
        }
    }

    /// Makes `count` entries with new addresses, sorted.
    pub fn entries(&mut self, count: usize) -> Vec<ChunkEntry> {
        let mut entries: Vec<ChunkEntry> = (0..count).map(|_| self.entry()).collect();
        entries.sort_unstable();
        entries
    }

    fn byte_span(&mut self) -> ByteSpan {
        ByteSpan {
            offset: self.random.random_range(0..1 << 40),
            len: self.random.random_range(1..1 << 20),
        }
    }
}

/// Hands entries over as an index takes them.
pub fn sorted(entries: &[ChunkEntry]) -> SortedEntries {
    let entries: Vec<ChunkEntry> = entries.into();
    Box::new(entries.into_iter().map(Ok))
}

/// Adds a whole file.
pub async fn add(index: &dyn ChunkIndex, pool: PoolId, file: UploadId, entries: &[ChunkEntry]) {
    let count = u64::try_from(entries.len()).expect("a length fits 64 bits");
    index
        .add_file(pool, file, count, sorted(entries))
        .await
        .expect("adding a good file succeeds");
}

/// Checks that every entry is found in `file` and in no other.
pub async fn assert_found_only_in(
    index: &dyn ChunkIndex,
    pool: PoolId,
    file: UploadId,
    entries: &[ChunkEntry],
) {
    for part in entries.chunks(5_000) {
        let addresses: Vec<ChunkAddress> = part.iter().map(|entry| entry.address).collect();
        let found = locate(index, pool, &addresses).await;
        for (entry, places) in part.iter().zip(found) {
            let span = entry.span;
            assert_eq!(
                places[..],
                [ChunkLocation { file, span }],
                "{}",
                entry.address
            );
        }
    }
}

/// Checks that no entry is found in the pool.
pub async fn assert_absent(index: &dyn ChunkIndex, pool: PoolId, entries: &[ChunkEntry]) {
    let addresses: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    let found = locate(index, pool, &addresses).await;
    assert!(found.iter().all(|places| places.is_empty()), "{found:?}");
}

async fn locate(
    index: &dyn ChunkIndex,
    pool: PoolId,
    addresses: &[ChunkAddress],
) -> Vec<FoundPlaces> {
    let found = index
        .locate(pool, addresses)
        .await
        .expect("a lookup succeeds");
    assert_eq!(found.len(), addresses.len(), "one answer for each address");
    found
}

async fn has_file(index: &dyn ChunkIndex, pool: PoolId, file: UploadId) -> bool {
    let markers = index
        .has_files(pool, &[file])
        .await
        .expect("markers are read");
    assert_eq!(markers.len(), 1, "one answer for each file");
    markers[0]
}

/// An index that was told nothing knows nothing, and a question about nothing has an empty answer.
pub async fn an_unknown_pool_is_empty(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(1);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(3));
    assert!(!has_file(&*index, pool, file).await);
    assert_absent(&*index, pool, &entries).await;
    assert!(locate(&*index, pool, &[]).await.is_empty());
    let markers = index.has_files(pool, &[]).await.expect("markers are read");
    assert!(markers.is_empty());
}

/// What was added is found where it was said to lie, and the file has its marker.
pub async fn what_was_added_is_found(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(2);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(1_000));
    let others = maker.entries(1_000);
    add(&*index, pool, file, &entries).await;
    assert!(has_file(&*index, pool, file).await);
    assert_found_only_in(&*index, pool, file, &entries).await;
    assert_absent(&*index, pool, &others).await;
}

/// The greatest and the smallest addresses, places and lengths come back as they went in.
pub async fn extreme_values_are_kept(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(3);
    let (pool, file) = (maker.pool(), maker.file());
    let (least, greatest) = (
        ByteSpan { offset: 0, len: 0 },
        ByteSpan {
            offset: u64::MAX,
            len: u32::MAX,
        },
    );
    let entries = [
        ([0; 20], least, Some(greatest)),
        ([0x7f; 20], greatest, None),
        ([0xff; 20], greatest, Some(least)),
    ]
    .map(|(address, data, dictionary)| ChunkEntry {
        address: ChunkAddress::new(address),
        span: ChunkSpan { data, dictionary },
    });
    add(&*index, pool, file, &entries).await;
    assert_found_only_in(&*index, pool, file, &entries).await;
}

/// A file without entries has a marker.
pub async fn an_empty_file_has_a_marker(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(4);
    let (pool, file) = (maker.pool(), maker.file());
    add(&*index, pool, file, &[]).await;
    assert!(has_file(&*index, pool, file).await);
}

/// An address that lies in several files is found in each of them.
pub async fn an_address_in_several_files_is_found_in_all(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(5);
    let pool = maker.pool();
    let shared = maker.address();
    let mut expected = BTreeSet::new();
    for _ in 0..40 {
        let mut entries = maker.entries(20);
        let (file, span) = (maker.file(), maker.span());
        entries.push(ChunkEntry {
            address: shared,
            span,
        });
        entries.sort_unstable();
        add(&*index, pool, file, &entries).await;
        expected.insert(ChunkLocation { file, span });
    }
    let found = locate(&*index, pool, &[shared]).await.remove(0);
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Adding a file again, also at the same time, changes nothing.
pub async fn a_repeated_addition_changes_nothing(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(6);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(300));
    let additions = (0..4).map(|_| add(&*index, pool, file, &entries));
    futures::future::join_all(additions).await;
    add(&*index, pool, file, &entries).await;
    assert!(has_file(&*index, pool, file).await);
    assert_found_only_in(&*index, pool, file, &entries).await;
}

/// An address that a file holds several times is found there once, in one of its places.
pub async fn duplicates_in_a_file_are_one(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(7);
    let (pool, file) = (maker.pool(), maker.file());
    let mut entries = maker.entries(100);
    for i in 0..50 {
        let address = entries[i].address;
        let span = maker.span();
        entries.push(ChunkEntry { address, span });
        entries.push(entries[i]);
    }
    entries.sort_unstable();
    add(&*index, pool, file, &entries).await;
    assert!(has_file(&*index, pool, file).await);
    let addresses: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    for (address, places) in addresses
        .iter()
        .zip(locate(&*index, pool, &addresses).await)
    {
        let [place] = places[..] else {
            panic!("{address} has {} places", places.len());
        };
        let address = *address;
        let span = place.span;
        assert_eq!(place.file, file);
        assert!(entries.contains(&ChunkEntry { address, span }), "{address}");
    }
}

/// A question may name addresses in any order, several times, present and absent mixed.
pub async fn a_question_needs_no_order(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(8);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(500));
    add(&*index, pool, file, &entries).await;
    let mut question: Vec<(ChunkAddress, Option<ChunkSpan>)> = Vec::new();
    for i in 0..3_000 {
        if i % 3 == 0 {
            question.push((maker.address(), None));
        } else {
            let entry = entries[maker.random.random_range(0..entries.len())];
            question.push((entry.address, Some(entry.span)));
        }
    }
    let addresses: Vec<ChunkAddress> = question.iter().map(|(address, _)| *address).collect();
    let found = locate(&*index, pool, &addresses).await;
    for ((address, span), places) in question.into_iter().zip(found) {
        let expected: Vec<_> = span
            .map(|span| ChunkLocation { file, span })
            .into_iter()
            .collect();
        assert_eq!(places.to_vec(), expected, "{address}");
    }
}

/// Two pools do not see each other's files and chunks, also when they hold the same ones.
pub async fn pools_do_not_see_each_other(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(9);
    let (one, two, file) = (maker.pool(), maker.pool(), maker.file());
    let (entries, others) = (maker.entries(50), maker.entries(50));
    add(&*index, one, file, &entries).await;
    assert!(!has_file(&*index, two, file).await);
    assert_absent(&*index, two, &entries).await;
    add(&*index, two, file, &others).await;
    assert_found_only_in(&*index, one, file, &entries).await;
    assert_found_only_in(&*index, two, file, &others).await;
    assert_absent(&*index, one, &others).await;
}

/// Until the last entry has been read there is neither marker nor entry to be seen.
pub async fn a_marker_comes_after_all_entries(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(10);
    let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(200));
    let (reached, was_reached) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let mut pause = Some((reached, may_go_on));
    let last = entries.len() - 1;
    let paused = entries
        .clone()
        .into_iter()
        .enumerate()
        .map(move |(i, entry)| {
            if i == last
                && let Some((reached, may_go_on)) = pause.take()
            {
                reached.send(()).expect("the test waits");
                may_go_on.recv().expect("the test goes on");
            }
            Ok(entry)
        });
    let adding = {
        let index = Arc::clone(&index);
        tokio::spawn(async move { index.add_file(pool, file, 200, Box::new(paused)).await })
    };
    was_reached.await.expect("the last entry is asked for");
    assert!(!has_file(&*index, pool, file).await);
    assert_absent(&*index, pool, &entries).await;
    go_on.send(()).expect("the addition waits");
    adding
        .await
        .expect("the task ends")
        .expect("adding a good file succeeds");
    assert!(has_file(&*index, pool, file).await);
    assert_found_only_in(&*index, pool, file, &entries).await;
}

/// Entries that break off, are out of order, or are not as many as promised leave nothing behind, and the
/// file can be added properly afterwards. Small files and large ones.
pub async fn bad_entries_leave_nothing(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(11);
    for count in [100, 40_000] {
        let (pool, file, entries) = (maker.pool(), maker.file(), maker.entries(count));
        let promised = u64::try_from(count).expect("a length fits 64 bits");
        let broken = |at: usize| -> SortedEntries {
            let error = IndexError::Entries {
                file,
                source: "the table file ends".into(),
            };
            let head = entries.clone().into_iter().take(at).map(Ok);
            Box::new(head.chain([Err(error)]))
        };
        let mut unsorted = entries.clone();
        unsorted.swap(count - 2, count - 1);
        let attempts: [(u64, SortedEntries); 6] = [
            (promised, broken(0)),
            (promised, broken(count - 1)),
            (promised, broken(count)),
            (promised, sorted(&unsorted)),
            (promised + 1, sorted(&entries)),
            (promised - 1, sorted(&entries)),
        ];
        for (i, (promised, entries)) in attempts.into_iter().enumerate() {
            let result = index.add_file(pool, file, promised, entries).await;
            let is_refused =
                matches!(&result, Err(IndexError::Entries { file: named, .. }) if *named == file);
            assert!(is_refused, "attempt {i}: {result:?}");
            assert!(!has_file(&*index, pool, file).await, "attempt {i}");
        }
        assert_absent(&*index, pool, &entries).await;
        add(&*index, pool, file, &entries).await;
        assert_found_only_in(&*index, pool, file, &entries).await;
    }
}

/// A large file is like a small one, also beside and above small ones with the same addresses.
pub async fn a_large_file_is_like_a_small_one(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(12);
    let (pool, large, small, later) = (maker.pool(), maker.file(), maker.file(), maker.file());
    let entries = maker.entries(200_000);
    let some: Vec<ChunkEntry> = entries
        .iter()
        .step_by(1_000)
        .map(|entry| ChunkEntry {
            address: entry.address,
            span: maker.span(),
        })
        .collect();
    add(&*index, pool, small, &some).await;
    add(&*index, pool, large, &entries).await;
    add(&*index, pool, later, &some).await;
    add(&*index, pool, large, &entries).await;
    let markers = index
        .has_files(pool, &[large, maker.file(), small, later])
        .await
        .expect("markers are read");
    assert_eq!(markers, [true, false, true, true]);
    let unshared: Vec<ChunkEntry> = entries
        .iter()
        .enumerate()
        .filter_map(|(i, entry)| (i % 1_000 != 0).then_some(*entry))
        .collect();
    assert_found_only_in(&*index, pool, large, &unshared).await;
    for (entry, whole) in some.iter().zip(entries.iter().step_by(1_000)) {
        let found = locate(&*index, pool, &[entry.address]).await.remove(0);
        let expected = [
            (small, entry.span),
            (large, whole.span),
            (later, entry.span),
        ];
        let expected: BTreeSet<_> = expected
            .into_iter()
            .map(|(file, span)| ChunkLocation { file, span })
            .collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    let absent = maker.entries(20_000);
    assert_absent(&*index, pool, &absent).await;
}

/// Additions and questions at the same time: a file with a marker is found whole, at every moment.
pub async fn questions_and_additions_mix(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(13);
    let pool = maker.pool();
    let files: Vec<(UploadId, Vec<ChunkEntry>)> = (0..24)
        .map(|i| {
            (
                maker.file(),
                maker.entries(if i % 6 == 0 { 30_000 } else { 200 }),
            )
        })
        .collect();
    let files = Arc::new(files);
    let additions = files.iter().map(|(file, entries)| {
        let (index, file, entries) = (Arc::clone(&index), *file, entries.clone());
        tokio::spawn(async move { add(&*index, pool, file, &entries).await })
    });
    let additions: Vec<_> = additions.collect();
    let asker = {
        let (index, files) = (Arc::clone(&index), Arc::clone(&files));
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < files.len() {
                seen = 0;
                for (file, entries) in files.iter() {
                    if has_file(&*index, pool, *file).await {
                        seen += 1;
                        let step = entries.len() / 100;
                        let some: Vec<_> = entries.iter().step_by(step).copied().collect();
                        assert_found_only_in(&*index, pool, *file, &some).await;
                    }
                }
                tokio::task::yield_now().await;
            }
        })
    };
    for addition in additions {
        addition.await.expect("the addition does not panic");
    }
    asker.await.expect("the questions find what they must");
}

/// [`crate::index::ChunkIndex::locate_in_files`] says of no address that it is absent while a file is missing, and
/// finds nothing in other files.
pub async fn only_the_given_files_count(index: Arc<dyn ChunkIndex>) {
    let mut maker = EntryMaker::new(14);
    let (pool, one, two) = (maker.pool(), maker.file(), maker.file());
    let entries = maker.entries(10);
    let mut addresses: Vec<ChunkAddress> = entries.iter().map(|entry| entry.address).collect();
    addresses.push(maker.entries(1)[0].address);
    add(&*index, pool, one, &entries).await;
    let ask = |files: Vec<UploadId>| {
        let (index, addresses) = (Arc::clone(&index), addresses.clone());
        async move {
            let files = files.into_iter().collect();
            let answer = index.locate_in_files(pool, &files, &addresses).await;
            answer.expect("a lookup succeeds")
        }
    };
    assert_eq!(ask(vec![one, two]).await, Located::Missing(vec![two]));
    add(&*index, pool, two, &[]).await;
    assert_eq!(
        ask(vec![two]).await,
        Located::Found(vec![FoundPlaces::new(); 11])
    );
    let mut expected: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (file, span) = (one, entry.span);
            FoundPlaces::from_buf([ChunkLocation { file, span }])
        })
        .collect();
    expected.push(FoundPlaces::new());
    assert_eq!(ask(vec![two, one]).await, Located::Found(expected));
}

/// Makes one test of each fact: `index_contract!(name, make)` with `make: async fn() -> (guard, index)`.
#[macro_export]
macro_rules! index_contract {
    ($name:ident, $make:path) => {
        mod $name {
            $crate::index_contract!(@each $make:
                an_unknown_pool_is_empty, what_was_added_is_found, extreme_values_are_kept,
                an_empty_file_has_a_marker, an_address_in_several_files_is_found_in_all,
                a_repeated_addition_changes_nothing, duplicates_in_a_file_are_one,
                a_question_needs_no_order, pools_do_not_see_each_other,
                a_marker_comes_after_all_entries, bad_entries_leave_nothing,
                a_large_file_is_like_a_small_one, questions_and_additions_mix,
                only_the_given_files_count);
        }
    };
    (@each $make:path: $($fact:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $fact() {
                let (_guard, index) = $make().await;
                $crate::testing::index_contract::$fact(index).await;
            }
        )*
    };
}
