//! What a server answers in a second, and what many small pushes cost those who clone; all without dolt.
//!
//! `./dev bench requests [--chunks N] [--pushes N]` starts `holdfastd` (`$HOLDFAST_SERVER`, else on PATH) in a
//! process of its own, so that its time is told from ours, pushes a made file of many small chunks, and asks where
//! they are, with requests as large as dolt's. Then it makes a repository by many small pushes and another one by a
//! single push of the same chunks, and compares the time and the bytes that a clone of each takes.
//!
//! `… --large GIB [--large-chunks N]` instead has the server take in one made table file of that size, answers
//! questions about its chunks, and prints the server's peak memory.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that starts another, takes its time and prints it"
)]

mod client;
mod large;

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::messages::blob_leaf;
use holdfast_doltdb::testing::{TinyDb, address_of};
use holdfast_tests::process::{self, Daemon};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use client::{Client, CloneCost};

/// Requests that are under way at once.
const IN_FLIGHT: usize = 4;

/// Addresses in one HasChunks, as dolt sends them.
const HAS_BATCH: usize = 16 * 1024;

/// Addresses in one request for locations, as dolt sends them.
const LOCATE_BATCH: usize = 512;

/// The largest ratio of a clone after many pushes to one of the same content packed whole.
const CLONE_TARGET: f64 = 1.5;

/// How often each is cloned.
const CLONES: usize = 15;

/// Answers per second, and what many small pushes cost.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Chunks of the repository that is asked.
    #[arg(long, default_value_t = 500_000)]
    chunks: u32,
    /// How many addresses each measurement asks for.
    #[arg(long, default_value_t = 2_000_000)]
    lookups: usize,
    /// Small pushes.
    #[arg(long, default_value_t = 1000)]
    pushes: u32,
    /// Take in one file of so many GiB instead.
    #[arg(long, value_name = "GIB")]
    large: Option<u32>,
    /// Chunks of that file.
    #[arg(long, default_value_t = 5_000_000)]
    large_chunks: u32,
    /// Given by `cargo bench` to every program.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if let Some(gib) = arguments.large {
            return large::large(&server, gib, arguments.large_chunks).await;
        }
        requests(&server, &arguments).await?;
        small_pushes(&server, arguments.pushes).await
    })
}

async fn requests(server: &Server, arguments: &Arguments) -> Result<()> {
    let client = Client::new(&server.url, "bench/chunks")?;
    let mut random = SmallRng::seed_from_u64(3);
    let mut database = TinyDb::new();
    let mut chunks = database.commit("main", "something to point at");
    for number in 0..arguments.chunks {
        let mut payload = [0; 24];
        random.fill_bytes(&mut payload);
        payload[..4].copy_from_slice(&number.to_be_bytes());
        chunks.push(blob_leaf(&payload).into());
    }
    let mut present: Vec<ChunkAddress> = chunks.iter().map(|chunk| address_of(chunk)).collect();
    client.push(&database, &chunks).await?;
    println!("a repository of {} chunks", chunks.len());
    drop(chunks);
    present.shuffle(&mut random);
    let present: Vec<ChunkAddress> = present
        .into_iter()
        .cycle()
        .take(arguments.lookups)
        .collect();
    let absent: Vec<ChunkAddress> = (0..arguments.lookups)
        .map(|_| ChunkAddress::new(random.random()))
        .collect();

    for (words, addresses, missing) in [
        ("HasChunks, all present", &present, 0),
        ("HasChunks, all absent", &absent, absent.len()),
    ] {
        let found = server.measure(words, addresses.len(), async {
            let requests = addresses
                .chunks(HAS_BATCH)
                .map(|batch| client.count_absent(batch));
            let counts = stream::iter(requests).buffer_unordered(IN_FLIGHT);
            counts.try_fold(0, async |sum, count| Ok(sum + count)).await
        });
        let counted = found.await?;
        ensure!(
            counted == missing,
            "{counted} were said to be absent and not {missing}"
        );
    }
    for (words, addresses, located) in [
        ("chunk locations, all present", &present, present.len()),
        ("chunk locations, all absent", &absent, 0),
    ] {
        let batches = addresses.chunks(LOCATE_BATCH);
        let answered = server.measure(words, addresses.len(), client.count_located(batches));
        let counted = answered.await?;
        ensure!(
            counted == located,
            "{counted} were located and not {located}"
        );
    }
    Ok(())
}

async fn small_pushes(server: &Server, pushes: u32) -> Result<()> {
    let many = Client::new(&server.url, "bench/pushed-often")?;
    let whole = Client::new(&server.url, "bench/packed-whole")?;
    let mut random = SmallRng::seed_from_u64(4);
    let mut database = TinyDb::new();
    let mut content = vec![0; 100_000];
    random.fill_bytes(&mut content);
    let start = Instant::now();
    for number in 0..pushes {
        let place = random.random_range(0..content.len() - 100);
        random.fill_bytes(&mut content[place..place + 100]);
        let message = format!("push {number}");
        let fresh = database.commit_with("main", &message, &[("content", &content)]);
        many.push(&database, &fresh)
            .await
            .with_context(|| message.clone())?;
    }
    println!(
        "{pushes} small pushes, one after the other: {:.1} ms each",
        start.elapsed().as_secs_f64() * 1000.0 / f64::from(pushes)
    );
    let chunks: Vec<_> = database.chunks().values().cloned().collect();
    whole.push(&database, &chunks).await?;
    server.wait_until_idle().await?;
    // By turns, so that both meet the same moods of the machine.
    let (mut often, mut once) = (Vec::new(), Vec::new());
    for _ in 0..CLONES {
        often.push(timed(&many).await?);
        once.push(timed(&whole).await?);
    }
    let (often, once) = (median(often), median(once));
    ensure!(often.1.root == once.1.root, "both are at the same root");
    for (what, ratio) in [
        ("time", often.0.as_secs_f64() / once.0.as_secs_f64()),
        ("bytes", often.1.bytes / once.1.bytes),
    ] {
        let verdict = match ratio <= CLONE_TARGET {
            true => "met",
            false => "MISSED",
        };
        println!(
            "clone of them against packed whole, {what}: ratio {ratio:.2}, target ≤ {CLONE_TARGET:.2}: {verdict}"
        );
    }
    for (words, (took, cost)) in [("pushed often", &often), ("packed whole", &once)] {
        let (megabytes, files) = (cost.bytes / 1e6, cost.files);
        println!("    {words}: {megabytes:.2} MB in {files} files, {took:.1?}");
    }
    Ok(())
}

async fn timed(client: &Client) -> Result<(Duration, CloneCost)> {
    let start = Instant::now();
    let cost = client.clone_cost().await?;
    Ok((start.elapsed(), cost))
}

fn median(mut clones: Vec<(Duration, CloneCost)>) -> (Duration, CloneCost) {
    clones.sort_by_key(|(took, _)| *took);
    clones.swap_remove(clones.len() / 2)
}

/// A server in a process of its own, with its store in a temporary folder.
#[derive(Debug)]
struct Server {
    daemon: Daemon,
    url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Self> {
        let binary: PathBuf = process::find("HOLDFAST_SERVER", "holdfastd")
            .context("there is no holdfastd: `./dev bench` builds it; else set HOLDFAST_SERVER")?;
        let folder = tempfile::tempdir().context("make a folder for its store")?;
        let (daemon, port) = Daemon::start_on_free_port(|port| {
            let mut command = Command::new(&binary);
            command
                .env_clear()
                .args(["serve", "--open", "--log-filter", "warn"])
                .args(["--listen", &format!("127.0.0.1:{port}")])
                .arg("--data")
                .arg(folder.path());
            command
        });
        Ok(Self {
            daemon,
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        })
    }

    /// Takes the time of `act`, here and in the server, and prints how many answers a second that is.
    async fn measure<T>(
        &self,
        words: &str,
        answers: usize,
        act: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (start, cpu) = (Instant::now(), self.cpu_time()?);
        let result = act.await.with_context(|| words.to_owned())?;
        let (wall, cpu) = (start.elapsed(), self.cpu_time()?.saturating_sub(cpu));
        let answers = f64::from(u32::try_from(answers)?);
        println!(
            "{words:<30} {:>10.0} a second, {:>10.0} in a second of the server's CPU",
            answers / wall.as_secs_f64(),
            answers / cpu.as_secs_f64()
        );
        Ok(result)
    }

    /// Waits until the server does nothing more by itself, such as merging small files; not for ever.
    async fn wait_until_idle(&self) -> Result<()> {
        let mut last = self.cpu_time()?;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.cpu_time()?;
            if now == last {
                break;
            }
            last = now;
        }
        Ok(())
    }

    /// The most memory that the server had so far, in MB.
    fn peak_memory_mb(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.strip_suffix("kB"));
        let kib: u64 = kib.context("VmHWM")?.trim().parse()?;
        Ok(kib * 1024 / 1_000_000)
    }

    /// User and system time of the server: ticks of 10 ms.
    fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.daemon.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = || -> Result<u64> { Ok(fields.next().context("a field")?.parse()?) };
        Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
    }
}
