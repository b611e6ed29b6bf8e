//! What taking a file in costs, against decompression and hashing alone of the same chunks in the same run.
//!
//! `cargo bench -p holdfast-chunkstore --bench ingest` takes in a table file of 100,000 chunks.
//! `… -- big [GiB] [chunks]` makes a table file of 20 GiB and 5,000,000 incompressible chunks, takes it in and
//! prints the peak memory of the process. The file is made as a stream.

#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it measured"
)]

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_chunkstore::format::table::{self, SuffixHasher};
use holdfast_chunkstore::format::{FileKind, MAX_CHUNK_LEN};
use holdfast_chunkstore::hash::hash_chunks;
use holdfast_chunkstore::id::UploadId;
use holdfast_chunkstore::objects::{ObjectError, ObjectUpload};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::repo::DeclaredFile;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren};
use holdfast_chunkstore::repo::receive::Upload;
use holdfast_chunkstore::repo::spool::{SpoolDir, SpoolOptions};
use holdfast_chunkstore::sort::{SortOptions, Sorted, Sorter};
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// The smallest ratio of decompression and hashing alone to all of ingest that we are content with.
const RATIO_TARGET: f64 = 0.7;

/// A process that takes a large file in may have had so much memory at once.
const MEMORY_TARGET_MB: u64 = 200;

fn is_met(it_is: bool) -> &'static str {
    if it_is { "met" } else { "MISSED" }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| match arguments.get(at) {
        Some(text) if text != "--bench" => text.parse().context("a number"),
        _ => Ok(default),
    };
    let is_big = arguments.first().is_some_and(|first| first == "big");
    let runtime = tokio::runtime::Runtime::new()?;
    if is_big {
        let (gib, chunks) = (number(1, 20)?, number(2, 5_000_000)?);
        runtime.block_on(big(gib, u32::try_from(chunks)?))
    } else {
        runtime.block_on(small())
    }
}

async fn small() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let recipe = Recipe {
        count: 100_000,
        chunk_len: 8_000,
        noise: 40,
    };
    let made = MadeTable::make(recipe, directory.path().to_owned())?;
    let ingested = ingest(&made, directory.path().to_owned(), true).await?;
    let plain = ingested.plain.context("measured")?;
    println!(
        "plain:    {:6.2} CPU s, {:5.0} MB/s stored (decompress and hash, one thread)",
        plain.cpu.as_secs_f64(),
        made.rate(plain.wall),
    );
    let ratio = |cost: Cost| plain.cpu.as_secs_f64() / cost.cpu.as_secs_f64();
    println!(
        "check:    plain / check = {:.2} by CPU",
        ratio(ingested.check)
    );
    let whole = ingested.receive.plus(ingested.check);
    let ratio = ratio(whole);
    let word = is_met(ratio >= RATIO_TARGET);
    println!(
        "whole:    plain / (receive + check) = {ratio:.2} by CPU, target ≥ {RATIO_TARGET}: {word}"
    );
    Ok(())
}

async fn big(gib: u64, count: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let recipe = Recipe {
        count,
        chunk_len: usize::try_from((gib << 30) / u64::from(count))? - 35,
        noise: 100,
    };
    let made = MadeTable::make(recipe, directory.path().to_owned())?;
    println!("before:   peak memory {} MB", peak_memory_mb()?);
    ingest(&made, directory.path().to_owned(), false).await?;
    let peak = peak_memory_mb()?;
    let word = is_met(peak <= MEMORY_TARGET_MB);
    println!("peak memory {peak} MB, target ≤ {MEMORY_TARGET_MB} MB: {word}");
    Ok(())
}

/// What a measured stretch took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }
}

struct Stopwatch {
    clock: SystemClock,
    wall: Duration,
    cpu: Duration,
}

impl Stopwatch {
    fn start() -> Result<Self> {
        let clock = SystemClock::new();
        Ok(Self {
            wall: clock.monotonic(),
            cpu: cpu_time()?,
            clock,
        })
    }

    fn stop(self) -> Result<Cost> {
        Ok(Cost {
            wall: self.clock.monotonic() - self.wall,
            cpu: cpu_time()? - self.cpu,
        })
    }
}

/// User and system time of this process: ticks of 10 ms.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("a field")?.parse()?) };
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}

/// The most memory that this process had so far, in MB.
fn peak_memory_mb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.strip_suffix("kB"));
    let kib: u64 = kib.context("VmHWM")?.trim().parse()?;
    Ok(kib * 1024 / 1_000_000)
}

struct Ingested {
    receive: Cost,
    check: Cost,
    plain: Option<Cost>,
}

async fn ingest(made: &MadeTable, directory: PathBuf, with_plain: bool) -> Result<Ingested> {
    let pool = BlockingPool::new(4);
    let options = SpoolOptions {
        max_total_bytes: u64::MAX / 4,
        free_floor_bytes: 0,
    };
    let spool = SpoolDir::open(directory, options, pool.clone())?;
    let file = spool.create(made.declared.len).await?;
    let path = file.path().to_owned();
    let id = UploadId::new([7; 16]);
    let mut upload = Upload::begin(id, made.declared.clone(), file, Box::new(Nowhere));
    let mut receive = Cost {
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
    };
    for piece in made.pieces() {
        let piece = piece?;
        let watch = Stopwatch::start()?;
        upload.write(piece).await?;
        receive = receive.plus(watch.stop()?);
    }
    println!(
        "receive:  {:6.2} CPU s, {:5.0} MB/s",
        receive.cpu.as_secs_f64(),
        made.rate(receive.wall)
    );
    let plain = match with_plain {
        true => Some(made.plain(&path)?),
        false => None,
    };
    let watch = Stopwatch::start()?;
    let verified = upload.check(Arc::new(NoChildren), &pool).await?;
    let check = watch.stop()?;
    println!(
        "check:    {:6.2} CPU s, {:5.0} MB/s stored, {:.2} s wall, {} chunks",
        check.cpu.as_secs_f64(),
        made.rate(check.wall),
        check.wall.as_secs_f64(),
        verified.summary().chunks,
    );
    let entries = verified.publish().await?.entries()?.count();
    anyhow::ensure!(entries == usize::try_from(made.declared.chunks)?);
    Ok(Ingested {
        receive,
        check,
        plain,
    })
}

/// How chunks are made.
#[derive(Debug, Clone, Copy)]
struct Recipe {
    count: u32,
    chunk_len: usize,
    /// Per cent of bytes that do not compress.
    noise: usize,
}

impl Recipe {
    /// Makes all records in order, with their chunks.
    fn records(self) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> {
        let mut random = rand::rngs::SmallRng::seed_from_u64(11);
        let mut encoder = table::record::Encoder::new();
        (0..self.count).map(move |number| {
            let noise = self.chunk_len * self.noise / 100;
            let mut chunk = vec![0; noise];
            random.fill_bytes(&mut chunk);
            while chunk.len() < self.chunk_len {
                let word = random.random_range(0..200_u32);
                write!(chunk, "row {number} has word {word}; ")?;
            }
            chunk.truncate(self.chunk_len);
            let mut record = Vec::new();
            encoder.encode(&chunk, &mut record)?;
            Ok((chunk, record))
        })
    }
}

/// A table file that is made again each time it is read.
struct MadeTable {
    recipe: Recipe,
    declared: DeclaredFile,
    /// Prefixes and ordinals.
    tuples: Sorted<12>,
    /// Ordinals, lengths and suffixes.
    lines: Sorted<20>,
}

impl MadeTable {
    fn make(recipe: Recipe, directory: PathBuf) -> Result<Self> {
        let sort = SortOptions {
            directory,
            memory_bytes: 4 << 20,
            room: None,
        };
        let (mut tuples, mut lines) = (Sorter::new(sort.clone()), Sorter::new(sort));
        let mut id = SuffixHasher::new();
        let mut records = recipe.records();
        let (mut ordinal, mut len) = (0_u32, 28 * u64::from(recipe.count) + 20);
        loop {
            let batch: Vec<_> = records.by_ref().take(256).collect::<Result<_>>()?;
            if batch.is_empty() {
                break;
            }
            let (chunks, records): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            for (address, record) in hash_chunks(&chunks).into_iter().zip(records) {
                id.update(&address.suffix());
                let mut tuple = [0; 12];
                tuple[..8].copy_from_slice(&address.prefix().to_be_bytes());
                tuple[8..].copy_from_slice(&ordinal.to_be_bytes());
                tuples.push(tuple)?;
                let mut line = [0; 20];
                line[..4].copy_from_slice(&ordinal.to_be_bytes());
                line[4..8].copy_from_slice(&u32::try_from(record.len())?.to_be_bytes());
                line[8..].copy_from_slice(&address.suffix());
                lines.push(line)?;
                len += record.len() as u64;
                ordinal += 1;
            }
        }
        let id: TableFileId = id.finish();
        Ok(Self {
            recipe,
            declared: DeclaredFile {
                id,
                kind: FileKind::Table,
                len,
                chunks: recipe.count,
                md5: None,
            },
            tuples: tuples.finish()?,
            lines: lines.finish()?,
        })
    }

    fn rate(&self, wall: Duration) -> f64 {
        let megabytes = u32::try_from(self.declared.len >> 20).unwrap_or(u32::MAX);
        f64::from(megabytes) / wall.as_secs_f64()
    }

    /// The bytes of the file, in pieces.
    fn pieces(&self) -> impl Iterator<Item = Result<Bytes>> {
        let total = u64::from(self.recipe.count) * self.recipe.chunk_len as u64;
        let mut footer = self.recipe.count.to_be_bytes().to_vec();
        footer.extend_from_slice(&total.to_be_bytes());
        footer.extend_from_slice(&table::MAGIC);
        let records = self.recipe.records().map(|record| Ok(record?.1));
        let tuples = self.tuples.iter().into_iter().flatten();
        let tuples = tuples.map(|tuple| Ok(tuple?.to_vec()));
        let lines = || self.lines.iter().into_iter().flatten();
        let lengths = lines().map(|line| Ok(line?[4..8].to_vec()));
        let suffixes = lines().map(|line| Ok(line?[8..].to_vec()));
        let all = records.chain(tuples).chain(lengths).chain(suffixes);
        let mut all = all.chain(std::iter::once(Ok(footer)));
        std::iter::from_fn(move || {
            let mut piece = BytesMut::with_capacity(128 << 10);
            while piece.len() < 120 << 10 {
                match all.next() {
                    Some(Ok(bytes)) => piece.extend_from_slice(&bytes),
                    Some(Err(error)) => return Some(Err(error)),
                    None => break,
                }
            }
            (!piece.is_empty()).then(|| Ok(piece.freeze()))
        })
    }

    /// Decompresses and hashes all records of the file at `path`, and nothing else.
    fn plain(&self, path: &std::path::Path) -> Result<Cost> {
        let file = std::fs::File::open(path)?;
        let watch = Stopwatch::start()?;
        let (mut stored, mut offset) = (Vec::new(), 0);
        let mut addresses = 0;
        let mut lines = self.lines.iter()?.peekable();
        while lines.peek().is_some() {
            let lens: Vec<usize> = lines
                .by_ref()
                .take(128)
                .map(|line| {
                    let line = line?;
                    let len = line[4..8].first_chunk().context("four bytes")?;
                    Ok(usize::try_from(u32::from_be_bytes(*len))?)
                })
                .collect::<Result<_>>()?;
            stored.resize(lens.iter().sum(), 0);
            // The last records may not be written yet; they are a part in a thousand.
            if file.read_exact_at(&mut stored, offset).is_err() {
                break;
            }
            offset += stored.len() as u64;
            addresses += decode_and_hash(&stored, &lens)?;
        }
        anyhow::ensure!(addresses > 0);
        watch.stop()
    }
}

fn decode_and_hash(stored: &[u8], lens: &[usize]) -> Result<usize> {
    let (mut chunks, mut ends, mut begin) = (Vec::new(), Vec::new(), 0);
    for len in lens {
        table::record::decode(&stored[begin..begin + len], MAX_CHUNK_LEN, &mut chunks)?;
        ends.push(chunks.len());
        begin += len;
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let slices: Vec<&[u8]> = starts
        .zip(&ends)
        .map(|(start, end)| &chunks[start..*end])
        .collect();
    Ok(hash_chunks(&slices).len())
}

struct NoChildren;

impl FindChildren for NoChildren {
    fn children(
        &self,
        _chunk: &[u8],
        _visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        Ok(())
    }
}

/// An object that forgets its bytes.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl ObjectUpload for Nowhere {
    async fn write(&mut self, _piece: Bytes) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn abort(self: Box<Self>) {}
}
