//! The index in RocksDB: the contract, restarts, crashes, damage.

mod forgetting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::address::ChunkAddress;
use holdfast_chunkstore::id::{PoolId, UploadId};
use holdfast_chunkstore::index::rocks::{RocksDirectory, RocksIndex, RocksSettings};
use holdfast_chunkstore::index::{
    ChunkEntry, ChunkIndex, ChunkLocation, FoundPlaces, IndexError, Located,
};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::testing::index_contract::{self, EntryMaker, add, assert_found_only_in};
use tempfile::TempDir;

/// Small buffers, so that little data goes through flushes and compactions.
fn small() -> RocksSettings {
    RocksSettings {
        filter_bytes: 1 << 20,
        write_buffer_bytes: 256 << 10,
        ..RocksSettings::default()
    }
}

fn temporary() -> TempDir {
    TempDir::new().expect("a temporary directory is made")
}

async fn try_open(path: &Path) -> Result<(RocksIndex, Option<IndexError>), IndexError> {
    RocksIndex::open(path, &small(), BlockingPool::new(4)).await
}

async fn open(path: &Path) -> RocksIndex {
    let (index, damage) = try_open(path).await.expect("the index opens");
    assert!(damage.is_none(), "{damage:?}");
    index
}

async fn plain() -> (TempDir, Arc<dyn ChunkIndex>) {
    let directory = temporary();
    let index = open(directory.path()).await;
    (directory, Arc::new(index))
}

fn indexes(path: &Path) -> RocksDirectory {
    RocksDirectory::new(path, small(), BlockingPool::new(4))
}

async fn healing() -> (TempDir, Arc<dyn ChunkIndex>) {
    let directory = temporary();
    let index = indexes(directory.path()).open_healing().await;
    (directory, Arc::new(index.expect("the index opens")))
}

holdfast_chunkstore::index_contract!(in_rocks, super::plain);
holdfast_chunkstore::index_contract!(healing_in_rocks, super::healing);

/// Stored files as a repository has them, to fill an index from.
struct Files {
    pool: PoolId,
    files: Vec<(UploadId, Vec<ChunkEntry>)>,
    absent: Vec<ChunkAddress>,
}

impl Files {
    fn new(seed: u64, sizes: &[usize]) -> Self {
        let mut maker = EntryMaker::new(seed);
        Self {
            pool: maker.pool(),
            files: sizes
                .iter()
                .map(|size| (maker.file(), maker.entries(*size)))
                .collect(),
            absent: (0..500).map(|_| maker.address()).collect(),
        }
    }

    fn ids(&self) -> Vec<UploadId> {
        self.files.iter().map(|(file, _)| *file).collect()
    }

    async fn add_to(&self, index: &dyn ChunkIndex) {
        for (file, entries) in &self.files {
            add(index, self.pool, *file, entries).await;
        }
    }

    /// Asks as a server does: what is missing is added, until the answer is certain. It must be right.
    /// Tells how many additions that took.
    async fn ask(&self, index: &dyn ChunkIndex) -> usize {
        let (addresses, expected): (Vec<_>, Vec<_>) = self.answers().into_iter().unzip();
        let mut additions = 0;
        for _ in 0..20 {
            let answer = index
                .locate_in_files(self.pool, &self.ids().into_iter().collect(), &addresses)
                .await;
            match answer.expect("damage is not an error") {
                Located::Found(found) => {
                    assert!(found == expected, "a wrong answer");
                    return additions;
                }
                Located::Missing(missing) => {
                    for (file, entries) in &self.files {
                        if missing.contains(file) {
                            additions += 1;
                            add(index, self.pool, *file, entries).await;
                        }
                    }
                }
            }
        }
        panic!("the index does not become whole");
    }

    fn answers(&self) -> Vec<(ChunkAddress, FoundPlaces)> {
        let mut answers = Vec::new();
        for (file, entries) in &self.files {
            for ChunkEntry { address, span } in entries.iter().step_by(entries.len() / 500 + 1) {
                let (file, span) = (*file, *span);
                answers.push((
                    *address,
                    FoundPlaces::from_buf([ChunkLocation { file, span }]),
                ));
            }
        }
        answers.extend(
            self.absent
                .iter()
                .map(|address| (*address, FoundPlaces::new())),
        );
        answers
    }
}

fn copy(from: &Path, to: &Path) {
    try_copy(from, to).unwrap();
}

/// Copies a directory that others may write to, as it was at one moment: what a crash then would have left.
fn copy_of_a_moment(from: &Path, to: &Path) {
    let state = || -> Vec<(PathBuf, u64)> {
        let len = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let files = files_under(from).into_iter();
        files.map(|path| (path.clone(), len(&path))).collect()
    };
    loop {
        let before = state();
        std::fs::remove_dir_all(to).ok();
        if try_copy(from, to).is_ok() && state() == before {
            return;
        }
    }
}

fn try_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            try_copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn files_under(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_under(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn what_was_added_is_there_after_a_restart() {
    let directory = temporary();
    let files = Files::new(60, &[10, 40_000, 300]);
    let index = open(directory.path()).await;
    files.add_to(&index).await;
    index.close().await;
    let index = open(directory.path()).await;
    assert_eq!(files.ask(&index).await, 0);
    let more = Files::new(61, &[20, 20_000]);
    more.add_to(&index).await;
    index.close().await;
    let index = open(directory.path()).await;
    assert_eq!(files.ask(&index).await, 0);
    assert_eq!(more.ask(&index).await, 0);
}

#[tokio::test]
async fn a_crash_after_any_addition_keeps_files_whole_or_not_at_all() {
    let directory = temporary();
    let running = directory.path().join("running");
    let sizes: Vec<usize> = (0..36)
        .map(|i| if i % 9 == 8 { 17_000 } else { 700 })
        .collect();
    let files = Files::new(62, &sizes);
    let index = open(&running).await;
    let mut kept = 0;
    for (i, (file, entries)) in files.files.iter().enumerate() {
        add(&index, files.pool, *file, entries).await;
        let crashed = directory.path().join(format!("crashed-{i}"));
        copy_of_a_moment(&running, &crashed);
        let reopened = open(&crashed).await;
        let markers = reopened.has_files(files.pool, &files.ids()).await.unwrap();
        for (has_marker, (file, entries)) in markers.iter().zip(&files.files) {
            if *has_marker {
                assert_found_only_in(&reopened, files.pool, *file, entries).await;
            }
        }
        let is_large = entries.len() > 16_384;
        assert!(markers[i] || !is_large, "a large file is kept");
        kept += markers.iter().filter(|has_marker| **has_marker).count();
        assert_eq!(
            files.ask(&reopened).await,
            markers.iter().filter(|is| !**is).count()
        );
        reopened.close().await;
        std::fs::remove_dir_all(crashed).unwrap();
    }
    assert!(kept > 0, "nothing was ever written");
}

#[tokio::test]
async fn another_schema_begins_anew_and_says_so() {
    let directory = temporary();
    let files = Files::new(63, &[10]);
    let index = open(directory.path()).await;
    files.add_to(&index).await;
    index.close().await;
    {
        let mut options = rocksdb::Options::default();
        options.set_merge_operator_associative("join places", |_, _, _| None);
        let database = rocksdb::DB::open(&options, directory.path().join("db")).unwrap();
        database.put(b"s", 2_u32.to_be_bytes()).unwrap();
    }
    let (index, damage) = try_open(directory.path()).await.unwrap();
    assert!(
        matches!(damage, Some(IndexError::Damaged { .. })),
        "{damage:?}"
    );
    assert_eq!(
        index.has_files(files.pool, &files.ids()).await.unwrap(),
        [false]
    );
    index.close().await;
    open(directory.path()).await;
}

#[tokio::test]
async fn an_index_in_use_is_left_alone() {
    let directory = temporary();
    let files = Files::new(64, &[10]);
    let index = open(directory.path()).await;
    files.add_to(&index).await;
    let second = try_open(directory.path()).await;
    assert!(
        matches!(second, Err(IndexError::Failed { .. })),
        "{second:?}"
    );
    assert_eq!(files.ask(&index).await, 0);
}

#[tokio::test]
async fn a_large_file_that_breaks_off_leaves_no_sorted_files() {
    let directory = temporary();
    let index = open(directory.path()).await;
    let files = Files::new(65, &[60_000]);
    let (file, entries) = &files.files[0];
    let result = index
        .add_file(files.pool, *file, 60_001, index_contract::sorted(entries))
        .await;
    assert!(
        matches!(result, Err(IndexError::Entries { .. })),
        "{result:?}"
    );
    let left = files_under(&directory.path().join("sorted"));
    assert!(left.is_empty(), "{left:?}");
    files.add_to(&index).await;
    let left = files_under(&directory.path().join("sorted"));
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn filters_answer_nearly_all_absent_lookups() {
    let directory = temporary();
    let index = open(directory.path()).await;
    let files = Files::new(66, &[20_000, 20_000, 20_000]);
    files.add_to(&index).await;
    index.settle().await.unwrap();
    let mut maker = EntryMaker::new(67);
    let absent: Vec<ChunkAddress> = (0..20_000).map(|_| maker.address()).collect();
    let before = index.statistics();
    index.locate(files.pool, &absent).await.unwrap();
    let after = index.statistics();
    assert_eq!(after.lookups - before.lookups, 20_000);
    assert_eq!(after.hits, before.hits);
    assert!(
        after.absent_by_filter() - before.absent_by_filter() > 18_000,
        "{after:?}"
    );
    let present: Vec<ChunkAddress> = files.files[0].1.iter().map(|entry| entry.address).collect();
    index.locate(files.pool, &present).await.unwrap();
    assert_eq!(index.statistics().hits - after.hits, 20_000);
}

/// One way to damage a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// Flips a bit this many 64ths of the file's length from its beginning.
    Flip(usize),
    /// Flips the last bit but seven.
    FlipEnd,
    Cut,
    Empty,
    Delete,
    Append,
}

impl Harm {
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = (0..64).step_by(9).map(Self::Flip).collect();
        all.extend([
            Self::FlipEnd,
            Self::Cut,
            Self::Empty,
            Self::Delete,
            Self::Append,
        ]);
        all
    }

    #[expect(clippy::disallowed_methods, reason = "damage need not be durable")]
    fn apply(self, path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let len = bytes.len();
        match self {
            Self::Delete => return std::fs::remove_file(path).unwrap(),
            Self::Flip(at) if len > 0 => bytes[len * at / 64] ^= 0x10,
            Self::FlipEnd if len > 0 => bytes[len - 1] ^= 1,
            Self::Flip(_) | Self::FlipEnd => {}
            Self::Cut => bytes.truncate(len / 2),
            Self::Empty => bytes.clear(),
            Self::Append => bytes.extend_from_slice(&[0x5a; 100]),
        }
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_directory_costs_a_rebuild_and_nothing_else() {
    let directory = temporary();
    let whole = directory.path().join("whole");
    let files = Files::new(68, &[900, 18_000, 900, 5]);
    let index = indexes(&whole).open_healing().await.unwrap();
    files.add_to(&index).await;
    drop(index);
    let mut rebuilt = 0;
    for path in files_under(&whole) {
        for harm in Harm::all() {
            let copied = directory.path().join("copy");
            copy(&whole, &copied);
            harm.apply(&copied.join(path.strip_prefix(&whole).unwrap()));
            let index = indexes(&copied).open_healing().await;
            let index = index.unwrap_or_else(|error| panic!("{harm:?} of {path:?}: {error:?}"));
            rebuilt += usize::from(files.ask(&index).await > 0);
            drop(index);
            let index = indexes(&copied).open_healing().await.unwrap();
            assert_eq!(
                files.ask(&index).await,
                0,
                "{harm:?} of {path:?} is not mended"
            );
            drop(index);
            std::fs::remove_dir_all(copied).unwrap();
        }
    }
    assert!(rebuilt > 10, "only {rebuilt} kinds of damage were noticed");
}

#[tokio::test]
async fn bytes_flipped_under_a_running_index_are_never_an_answer() {
    let directory = temporary();
    let files = Files::new(69, &[900, 60_000, 900]);
    let index = indexes(directory.path()).open_healing().await.unwrap();
    let mut healed = 0;
    for round in 0..6 {
        files.ask(&index).await;
        for path in files_under(directory.path()) {
            if path.extension().is_some_and(|extension| extension == "sst") {
                let mut bytes = std::fs::read(&path).unwrap();
                for byte in bytes.iter_mut().skip(round * 100).step_by(4_000) {
                    *byte ^= 1;
                }
                overwrite_in_place(&path, &bytes);
            }
        }
        files.ask(&index).await;
        healed = index.generation();
    }
    assert!(healed > 0, "the damage was never met");
}

fn overwrite_in_place(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_directory_deleted_under_a_running_index_costs_a_rebuild_and_nothing_else() {
    let directory = temporary();
    let path = directory.path().join("index");
    let files = Files::new(70, &[900, 30_000, 900]);
    let index = indexes(&path).open_healing().await.unwrap();
    files.ask(&index).await;
    for round in 0..3 {
        std::fs::remove_dir_all(&path).unwrap();
        files.ask(&index).await;
        let sizes: Vec<usize> = (0..20)
            .map(|i| if i % 5 == 0 { 17_000 } else { 900 })
            .collect();
        let more = Files::new(71 + round, &sizes);
        more.ask(&index).await;
        files.ask(&index).await;
        assert_eq!(index.generation(), round + 1);
    }
    drop(index);
    let kept = std::fs::read_dir(&path).unwrap().count();
    assert_eq!(kept, 1, "indexes that are no longer used are removed");
    let index = indexes(&path).open_healing().await.unwrap();
    assert_eq!(files.ask(&index).await, 0);
}
