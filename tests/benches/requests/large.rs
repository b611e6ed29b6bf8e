//! One large file, and the memory that the server needs for it.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::ChunkAddress;
use holdfast_tests::table::BigFile;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::client::Client;
use super::{HAS_BATCH, IN_FLIGHT, LOCATE_BATCH, Server};

/// The server may have had so much memory at once.
const MEMORY_TARGET_MB: u64 = 200;

/// How many addresses are asked for afterwards.
const ASKED: usize = 500_000;

pub(super) async fn large(server: &Server, gib: u32, chunks: u32) -> Result<()> {
    let client = Client::new(&server.url, "bench/large")?;
    // A message has some tens of bytes beside its payload, a record and its line in the index as many.
    let leaf_len = usize::try_from((u64::from(gib) << 30) / u64::from(chunks))? - 120;
    let file = BigFile::plan(17, chunks, leaf_len);
    println!("a file of {} bytes and {chunks} chunks", file.len);
    let start = Instant::now();
    client.upload_pieces(&file).await?;
    let took = start.elapsed();
    println!(
        "uploaded, checked and added in {:.1} s; peak memory so far {} MB",
        took.as_secs_f64(),
        server.peak_memory_mb()?
    );
    let mut random = SmallRng::seed_from_u64(5);
    // Each once: a request that repeats an address gets one answer for it.
    let numbers: BTreeSet<u32> = (0..ASKED / 10)
        .map(|_| random.random_range(0..chunks))
        .collect();
    let present: Vec<ChunkAddress> = numbers.iter().map(|number| file.address(*number)).collect();
    let absent: Vec<ChunkAddress> = (0..ASKED)
        .map(|_| ChunkAddress::new(random.random()))
        .collect();
    for (addresses, missing) in [(&present, 0), (&absent, absent.len())] {
        let requests = addresses
            .chunks(HAS_BATCH)
            .map(|batch| client.count_absent(batch));
        let counts = stream::iter(requests).buffer_unordered(IN_FLIGHT);
        let counted: usize = counts
            .try_fold(0, async |sum, count| Ok(sum + count))
            .await?;
        ensure!(counted == missing, "{counted} absent and not {missing}");
    }
    let located = client.count_located(present.chunks(LOCATE_BATCH)).await?;
    ensure!(located == present.len(), "{located} located");
    let bytes = client.clone_bytes().await?;
    ensure!(bytes >= file.len, "{bytes} bytes came");
    server.wait_until_idle().await?;
    let peak = server.peak_memory_mb()?;
    let verdict = match peak <= MEMORY_TARGET_MB {
        true => "met",
        false => "MISSED",
    };
    println!("server's peak memory {peak} MB, target ≤ {MEMORY_TARGET_MB} MB: {verdict}");
    Ok(())
}
