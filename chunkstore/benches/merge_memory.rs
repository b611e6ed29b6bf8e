//! How much memory the merging of files takes, and how much of it stays.
//!
//! `cargo bench -p holdfast-chunkstore --features rocks,testing --bench merge_memory -- [files] [MB each] [repositories]`
//! adds so many table files to each of so many repositories in one directory, each pushed as a client does, and merges
//! them, all repositories at once. It prints what the process holds and held at most: after the pushes, in the merges,
//! and a while behind them. The program has the allocator of `holdfastd`.

#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it measured"
)]

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use holdfast_chunkstore::clock::{Clock as _, SystemClock};
use holdfast_chunkstore::format::table;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::index::rocks::{RocksIndex, RocksSettings};
use holdfast_chunkstore::objects::local::{LocalOptions, LocalStore};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::repo::spool::{Sender, SpoolDir, SpoolOptions};
use holdfast_chunkstore::repo::{
    DeclaredFile, FileKind, NamedFile, Parts, Repositories, Repository,
};
use holdfast_chunkstore::testing::worlds::{actor, parts};
use rand::{Rng as _, SeedableRng as _};

/// The most that a process may hold while it merges, whatever it merges.
const MEMORY_TARGET_MB: u64 = 200;
/// About as long as Dolt's chunks are.
const CHUNK_BYTES: usize = 4_000;
/// How long after the merges what stays is measured.
const A_WHILE: Duration = Duration::from_secs(15);

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).filter(|text| text != "--bench");
    let numbers: Vec<u64> = arguments
        .map(|text| text.parse().context("a number"))
        .collect::<Result<_>>()?;
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let (files, megabytes, repositories) = (number(0, 20), number(1, 25), number(2, 1));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(files, megabytes, repositories))
}

async fn measure(files: u64, megabytes: u64, repositories: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let forge = Repositories::open(server_parts(folder.path()).await?).await?;
    let names = (0..repositories).map(|number| format!("acme/repository-{number}"));
    let mut opened = Vec::new();
    for name in names {
        opened.push(forge.reserve(&name.parse()?).await?);
    }
    say("at start")?;
    for (salt, repository) in (0_u64..).zip(&opened) {
        for file in 0..files {
            let path = folder.path().join("made");
            let declared = make(&path, salt << 32 | file, megabytes)?;
            push(repository, &path, declared).await?;
        }
    }
    say("after the pushes")?;
    let merges = opened.into_iter().map(|repository| {
        tokio::spawn(async move {
            let mut merges = 0;
            while repository.merge().await?.is_some() {
                merges += 1;
            }
            Ok::<_, anyhow::Error>(merges)
        })
    });
    let mut merged = 0;
    for merge in merges.collect::<Vec<_>>() {
        merged += merge.await??;
    }
    let peak = say(&format!("in {merged} merges"))?;
    SystemClock::new().sleep(A_WHILE).await;
    say("a while later")?;
    let word = if peak <= MEMORY_TARGET_MB {
        "met"
    } else {
        "MISSED"
    };
    println!("at most {peak} MB in the merges, target ≤ {MEMORY_TARGET_MB} MB: {word}");
    Ok(())
}

/// As `holdfastd` has them on two cores, but for the meaning of chunks.
async fn server_parts(folder: &Path) -> Result<Parts> {
    let store = LocalStore::open(&folder.join("store"), LocalOptions::default()).await?;
    let mut parts = parts(Arc::new(store), &folder.join("unused"), 1);
    let pool = BlockingPool::new(2);
    let options = SpoolOptions {
        max_total_bytes: u64::MAX / 4,
        free_floor_bytes: 0,
    };
    let spool = SpoolDir::open(folder.join("spool"), options, pool.clone())?;
    let settings = RocksSettings::default();
    let index = RocksIndex::open(&folder.join("index"), &settings, BlockingPool::new(8)).await?;
    parts.index = Arc::new(index.0);
    (parts.spool, parts.pool) = (Arc::new(spool), pool);
    Ok(parts)
}

/// Makes a table file of chunks that do not compress.
fn make(path: &Path, seed: u64, megabytes: u64) -> Result<DeclaredFile> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    let mut writer = table::Writer::new(BufWriter::new(file));
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let mut chunk = [0; CHUNK_BYTES];
    while writer.len() < megabytes * 1_000_000 {
        random.fill_bytes(&mut chunk);
        writer.append_chunk(hash_chunk(&chunk), &chunk)?;
    }
    let (mut file, written) = writer.finish()?;
    file.flush()?;
    Ok(DeclaredFile {
        id: written.id,
        kind: FileKind::Table,
        len: written.len,
        chunks: written.count,
        md5: None,
    })
}

async fn push(repository: &Repository, path: &Path, declared: DeclaredFile) -> Result<()> {
    let named = NamedFile {
        id: declared.id,
        chunks: declared.chunks,
    };
    let mut incoming = repository.receive(declared, actor(), Sender(0)).await?;
    let mut file = File::open(path)?;
    let mut piece = vec![0; 128 << 10];
    loop {
        let len = file.read(&mut piece)?;
        if len == 0 {
            break;
        }
        incoming
            .write(Bytes::copy_from_slice(&piece[..len]))
            .await?;
    }
    incoming.finish().await?;
    Ok(repository.add(&[named], &actor()).await?)
}

/// Prints what the process holds and held at most since the last word, and begins to measure anew.
fn say(what: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let megabytes = |field: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.strip_suffix("kB"));
        let kib: u64 = kib.context("a size in kB")?.trim().parse()?;
        Ok(kib * 1024 / 1_000_000)
    };
    let (now, peak) = (megabytes("VmRSS:")?, megabytes("VmHWM:")?);
    println!("{what:17} holds {now:4} MB, held {peak:4} MB at most");
    let mut reset = File::options().write(true).open("/proc/self/clear_refs")?;
    reset.write_all(b"5")?;
    Ok(peak)
}
