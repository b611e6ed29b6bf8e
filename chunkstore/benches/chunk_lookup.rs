//! How fast the index in RocksDB is: `chunk_lookup [chunks] [files] [directory]`, by default 10 million chunks
//! of 300 files in a temporary directory. Prints figures; lookups are made by one thread.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_chunkstore::address::ChunkAddress;
use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_chunkstore::id::{PoolId, UploadId};
use holdfast_chunkstore::index::rocks::{RocksIndex, RocksSettings};
use holdfast_chunkstore::index::{ByteSpan, ChunkEntry, ChunkIndex as _, ChunkSpan, IndexError};
use holdfast_chunkstore::pool::BlockingPool;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How many addresses each measurement looks up.
const LOOKUPS: usize = 2 << 20;

/// How many of them are made at a time, before the watch runs.
const ROUND: usize = 32 << 10;

/// How many lookups a processor second should allow, of addresses that are absent and of such that are present.
const ABSENT_TARGET: f64 = 1_000_000.0;
const PRESENT_TARGET: f64 = 250_000.0;

type Failure = Box<dyn std::error::Error>;

/// A store of made chunks: chunk `i` has an address that follows from `i`.
struct Store {
    pool: PoolId,
    chunks: u64,
    files: u64,
}

impl Store {
    fn address(i: u64) -> ChunkAddress {
        let mut bytes = [0; 20];
        for (salt, part) in (0..).zip(bytes.chunks_mut(8)) {
            let mixed = mix(mix(i).wrapping_add(salt)).to_le_bytes();
            part.copy_from_slice(&mixed[..part.len()]);
        }
        ChunkAddress::new(bytes)
    }

    async fn add_file(&self, index: &RocksIndex, file: u64) -> Result<(), IndexError> {
        let first = self.chunks * file / self.files;
        let last = self.chunks * (file + 1) / self.files;
        let mut entries: Vec<ChunkEntry> = (first..last)
            .map(|i| ChunkEntry {
                address: Self::address(i),
                span: ChunkSpan {
                    data: ByteSpan {
                        offset: (i - first) * 4_000,
                        len: 4_000,
                    },
                    dictionary: None,
                },
            })
            .collect();
        entries.sort_unstable();
        let mut upload = [0; 16];
        upload[..8].copy_from_slice(&file.to_be_bytes());
        let upload = UploadId::new(upload);
        let entries = entries.into_iter().map(Ok);
        index
            .add_file(self.pool, upload, last - first, Box::new(entries))
            .await
    }

    /// Looks addresses up in batches, and tells how many were found.
    async fn look_up(
        &self,
        index: &RocksIndex,
        batch: usize,
        mut next: impl FnMut() -> u64,
    ) -> Result<Rate, Failure> {
        let clock = SystemClock::new();
        let mut rate = Rate::default();
        for _ in 0..LOOKUPS / ROUND {
            let addresses: Vec<ChunkAddress> = (0..ROUND).map(|_| Self::address(next())).collect();
            let (wall, processor) = (clock.monotonic(), processor_time()?);
            for addresses in addresses.chunks(batch) {
                let places = index.locate(self.pool, addresses).await?;
                rate.found += places.iter().filter(|places| !places.is_empty()).count();
            }
            rate.wall += clock.monotonic() - wall;
            rate.processor += processor_time()? - processor;
        }
        Ok(rate)
    }

    async fn report_lookups(&self, index: &RocksIndex, when: &str) -> Result<(), Failure> {
        for batch in [16_384, 512] {
            let mut random = StdRng::seed_from_u64(7);
            let before = index.statistics();
            let beyond = self.chunks..u64::MAX;
            let next = || random.random_range(beyond.clone());
            let rate = self.look_up(index, batch, next).await?;
            let after = index.statistics();
            let absent = after.absent() - before.absent();
            let by_filter = after.absent_by_filter() - before.absent_by_filter();
            println!(
                "{when}, absent, batches of {batch}: {rate}, filter alone {:.3} %; {}",
                percent(by_filter, absent),
                rate.verdict(ABSENT_TARGET)
            );
            let next = || random.random_range(0..self.chunks);
            let rate = self.look_up(index, batch, next).await?;
            let verdict = rate.verdict(PRESENT_TARGET);
            println!("{when}, present, batches of {batch}: {rate}; {verdict}");
        }
        Ok(())
    }
}

/// What some lookups took.
#[derive(Default)]
struct Rate {
    found: usize,
    wall: Duration,
    processor: Duration,
}

impl Rate {
    fn verdict(&self, target: f64) -> String {
        let rate = per_second(LOOKUPS / ROUND * ROUND, self.processor);
        let word = if rate >= target { "met" } else { "MISSED" };
        format!("target ≥ {target:.0} a processor second: {word}")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lookups = LOOKUPS / ROUND * ROUND;
        let wall = per_second(lookups, self.wall);
        let processor = per_second(lookups, self.processor);
        write!(
            f,
            "{processor:.0} a processor second, {wall:.0} a second, {} of {lookups} found",
            self.found
        )
    }
}

/// Processor time of all threads. Those that ended are not in it.
fn processor_time() -> Result<Duration, Failure> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let times = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let running = times.split_whitespace().next().ok_or("no times")?;
        nanoseconds += running.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn mix(i: u64) -> u64 {
    let mut mixed = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn per_second(count: usize, spent: Duration) -> f64 {
    count as f64 / spent.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// A line of `/proc/self/status` in KiB, as MiB.
fn status_mib(name: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no such line")?.parse::<u64>()? / 1024)
}

fn bytes_under(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => bytes_under(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(bytes)
}

fn times(clock: &SystemClock, begin: Duration) -> Result<String, Failure> {
    let wall = (clock.monotonic() - begin).as_secs_f64();
    let processor = processor_time()?.as_secs_f64();
    Ok(format!(
        "{wall:.1} s, {processor:.1} processor seconds so far"
    ))
}

async fn run(chunks: u64, files: u64, directory: &Path) -> Result<(), Failure> {
    let clock = SystemClock::new();
    let settings = RocksSettings::default();
    let (index, _) = RocksIndex::open(directory, &settings, BlockingPool::new(2)).await?;
    let store = Store {
        pool: PoolId::new([1; 16]),
        chunks,
        files,
    };
    println!("chunks {chunks}, files {files}, settings {settings:?}");
    let begin = clock.monotonic();
    for file in 0..files {
        store.add_file(&index, file).await?;
    }
    println!("build: {}", times(&clock, begin)?);
    println!("peak memory after build: {} MiB", status_mib("VmHWM")?);
    store.report_lookups(&index, "unsettled").await?;
    let begin = clock.monotonic();
    index.settle().await?;
    println!("settle: {}", times(&clock, begin)?);
    println!("size: {} MiB", bytes_under(directory)? >> 20);
    store.report_lookups(&index, "settled").await?;
    println!("peak memory: {} MiB", status_mib("VmHWM")?);
    index.close().await;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let chunks = arguments
        .next()
        .map_or(Ok(10_000_000), |text| text.parse())?;
    let files = arguments.next().map_or(Ok(300), |text| text.parse())?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments
        .next()
        .map_or_else(|| temporary.path().to_path_buf(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(run(chunks, files, &directory))
}
