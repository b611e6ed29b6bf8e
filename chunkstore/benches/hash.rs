//! What addresses cost: many chunks at once against ring, one by one, on one core.
//!
//! The chunks are those of the table files under `$HOLDFAST_SHARED/fixtures`, else under `../shared/fixtures` of the
//! repository; without them, made ones of about the same lengths. Time is that of this thread on a processor, so
//! that what else the machine does matters little.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::ffi::OsStr;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_chunkstore::format::{MAX_CHUNK_LEN, table};
use holdfast_chunkstore::hash::{hash_chunk, hash_chunks};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// How often each side is measured; the fastest counts, for nothing makes it faster than it is.
const ROUNDS: usize = 9;

/// So many bytes are hashed in each round at least.
const ROUND_LEN: usize = 128 << 20;

/// As many as ingest hands over at once.
const BATCH: usize = 256;

fn main() -> Result<()> {
    let mut chunks = Vec::new();
    add_chunks_below(&shared().join("fixtures"), &mut chunks)?;
    let origin = match chunks.is_empty() {
        false => "real chunks of dolt",
        true => {
            chunks = made_chunks();
            "made chunks, for there are no fixtures"
        }
    };
    let len: usize = chunks.iter().map(Vec::len).sum();
    println!(
        "{} {origin}, {} bytes on average",
        chunks.len(),
        len / chunks.len()
    );
    ensure!(
        chunks
            .iter()
            .map(|chunk| hash_chunk(chunk))
            .collect::<Vec<_>>()
            == hash_chunks(&chunks),
        "both give the same addresses"
    );
    let repeats = ROUND_LEN.div_ceil(len);
    let (mut alone, mut together) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        alone = alone.min(measure(repeats, || {
            for chunk in &chunks {
                black_box(hash_chunk(black_box(chunk)));
            }
        })?);
        together = together.min(measure(repeats, || {
            for batch in chunks.chunks(BATCH) {
                black_box(hash_chunks(black_box(batch)));
            }
        })?);
    }
    let megabytes = f64::from(u32::try_from(len * repeats / 1000)?) / 1000.0;
    println!("ring:      {:6.0} MB/s", megabytes / alone.as_secs_f64());
    println!("together:  {:6.0} MB/s", megabytes / together.as_secs_f64());
    let ratio = alone.as_secs_f64() / together.as_secs_f64();
    match (has_lanes(), ratio >= 2.5) {
        (true, true) => println!("ratio {ratio:.2} with AVX-512, target ≥ 2.5: met"),
        (true, false) => println!("ratio {ratio:.2} with AVX-512, target ≥ 2.5: MISSED"),
        (false, _) => println!("ratio {ratio:.2}; this processor has no AVX-512, so no target"),
    }
    Ok(())
}

/// Whether chunks are hashed side by side here.
#[cfg(target_arch = "x86_64")]
fn has_lanes() -> bool {
    pulp::x86::V4::try_new().is_some()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_lanes() -> bool {
    false
}

fn measure(repeats: usize, mut act: impl FnMut()) -> Result<Duration> {
    let start = time_on_processor()?;
    for _ in 0..repeats {
        act();
    }
    Ok(time_on_processor()? - start)
}

fn time_on_processor() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("a time")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds))
}

fn shared() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("HOLDFAST_SHARED").map_or(beside, PathBuf::from)
}

/// Adds the chunks of all classic table files; what does not read as one is passed over.
fn add_chunks_below(folder: &Path, chunks: &mut Vec<Vec<u8>>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            add_chunks_below(&path, chunks)?;
        } else if path.file_name().map(OsStr::len) == Some(32) {
            let file = std::fs::read(&path)?;
            let Ok((_, index)) = table::Index::decode_file(&file) else {
                continue;
            };
            for entry in index.in_file_order() {
                let begin = usize::try_from(entry.span.data.offset)?;
                let end = begin + usize::try_from(entry.span.data.len)?;
                let mut chunk = Vec::new();
                let record = file.get(begin..end).context("a record lies in its file")?;
                if table::record::decode(record, MAX_CHUNK_LEN, &mut chunk).is_ok() {
                    chunks.push(chunk);
                }
            }
        }
    }
    Ok(())
}

fn made_chunks() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(5);
    (0..4000)
        .map(|_| {
            let mut chunk = vec![0; random.random_range(500..8000)];
            random.fill_bytes(&mut chunk);
            chunk
        })
        .collect()
}
