//! The bounds of the spool, and what is left of its files.

use parking_lot::Mutex;

use super::*;
use crate::error::ErrorKind;
use crate::sort::Sorter;

const ROOMY: SpoolOptions = SpoolOptions {
    max_total_bytes: 1 << 30,
    free_floor_bytes: 0,
};

fn open(path: &Path, options: SpoolOptions) -> SpoolDir {
    SpoolDir::open(path, options, BlockingPool::new(2)).unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_appended_is_written_and_digested() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), ROOMY);
    let bytes: Vec<u8> = (0..3_500_001_u32).map(|i| i.to_be_bytes()[3] ^ 7).collect();
    let mut file = spool.create(bytes.len() as u64).await.unwrap();
    for piece in bytes.chunks(700_001) {
        file.append(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let file = file.finish().await.unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
    assert_eq!(file.len(), bytes.len() as u64);
    assert_eq!(file.md5().0.as_slice(), md5::Md5::digest(&bytes).as_slice());
    let sha256 = ring::digest::digest(&ring::digest::SHA256, &bytes);
    assert_eq!(file.sha256().0.as_slice(), sha256.as_ref());
    drop(file);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn the_budget_is_given_back_with_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(
        directory.path(),
        SpoolOptions {
            max_total_bytes: 100,
            ..ROOMY
        },
    );
    let first = spool.create(60).await.unwrap();
    let error = spool.create(41).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(
        error.to_string(),
        "41 bytes do not fit into the spool: 60 of 100 bytes are taken by other uploads"
    );
    drop(first);
    spool.create(100).await.unwrap();
}

#[tokio::test]
async fn the_disk_keeps_its_floor() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(
        directory.path(),
        SpoolOptions {
            free_floor_bytes: u64::MAX / 2,
            ..ROOMY
        },
    );
    let error = spool.create(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(matches!(error, SpoolError::Floor { wanted: 1, .. }));
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn more_bytes_than_reserved_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), ROOMY);
    let mut file = spool.create(3).await.unwrap();
    file.append(Bytes::from_static(b"abc")).await.unwrap();
    let error = file.append(Bytes::from_static(b"d")).await.unwrap_err();
    assert!(matches!(error, SpoolError::TooLong { expected: 3 }));
}

#[tokio::test]
async fn only_what_is_missing_is_reserved() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        max_total_bytes: 5,
        ..ROOMY
    };
    let mut file = open(directory.path(), options).create(3).await.unwrap();
    for bytes in [b"ab", b"cd"] {
        file.reserve(2).unwrap();
        file.append(Bytes::from_static(bytes)).await.unwrap();
    }
    file.reserve(1).unwrap();
    let error = file.reserve(2).unwrap_err();
    assert!(matches!(
        error,
        SpoolError::Budget {
            wanted: 1,
            reserved: 5,
            max: 5
        }
    ));
}

#[test]
fn what_an_earlier_process_left_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["0000000000000001.spool", "readme"] {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        options.open(directory.path().join(name)).unwrap();
    }
    let spool = open(directory.path(), ROOMY);
    assert_eq!(names(spool.path()), ["readme"]);
}

#[tokio::test]
async fn what_sorting_puts_aside_counts_as_long_as_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        max_total_bytes: 1000,
        ..ROOMY
    };
    let spool = open(directory.path(), options).with_sort_memory(100);
    let sorted = |count: u8| {
        let mut sorter = Sorter::<10>::new(spool.sort_options());
        for record in 0..count {
            sorter.push([record; 10])?;
        }
        sorter.finish()
    };
    let kept = sorted(60).unwrap();
    let iter = kept.iter().unwrap();
    drop(kept);
    let error = spool.create(401).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    spool.create(400).await.unwrap();
    let error = sorted(60).unwrap_err();
    assert!(is_full(&error), "{error}");
    drop(iter);
    let error = sorted(101).unwrap_err();
    assert!(is_full(&error), "{error}");
    spool.create(1000).await.unwrap();
}

#[test]
fn sorting_leaves_the_floor() {
    let directory = tempfile::tempdir().unwrap();
    let options = SpoolOptions {
        free_floor_bytes: u64::MAX / 2,
        ..ROOMY
    };
    let spool = open(directory.path(), options).with_sort_memory(20);
    let push = |spool: &SpoolDir| {
        let mut sorter = Sorter::<10>::new(spool.sort_options());
        (0..10).try_for_each(|record| sorter.push([record; 10]))
    };
    assert!(is_full(&push(&spool).unwrap_err()));
    push(&spool.for_reads()).unwrap();
}

/// Bytes that are counted while they are in memory.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<Mutex<usize>>,
}

impl Counted {
    fn bytes(alive: &Arc<Mutex<usize>>, len: usize) -> Bytes {
        *alive.lock() += len;
        Bytes::from_owner(Self {
            bytes: vec![7; len],
            alive: Arc::clone(alive),
        })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.alive.lock() -= self.bytes.len();
    }
}

#[tokio::test]
async fn what_is_written_is_kept_in_memory_only_for_a_reader_that_takes_it() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path(), ROOMY);
    for is_read in [false, true] {
        let alive = Arc::default();
        let mut file = spool.create(40 << 20).await.unwrap();
        if is_read {
            file.keep_written();
        }
        let mut taken = 0;
        for _ in 0..40 {
            file.append(Counted::bytes(&alive, 1 << 20)).await.unwrap();
            if is_read {
                taken += file.take_written().iter().map(Bytes::len).sum::<usize>();
            }
            let in_memory = *alive.lock();
            assert!(in_memory <= 3 << 20, "{in_memory} bytes are kept");
        }
        file.flush().await.unwrap();
        taken += file.take_written().iter().map(Bytes::len).sum::<usize>();
        assert_eq!(taken, if is_read { 40 << 20 } else { 0 });
        assert_eq!(*alive.lock(), 0);
    }
}
