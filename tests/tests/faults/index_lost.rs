//! The directory of the chunk index is deleted, and its bytes flipped, while clients read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::dolt::Dolt;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::peer::Peer;
use holdfast_tests::remote::Remote as _;
use holdfast_tests::scenario::Scene;
use holdfast_tests::wait;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const READERS: u64 = 3;
/// How many reads must follow each damage.
const READS: u64 = 60;
const NAME: &str = "acme/prod";

/// Clients that read chunks until they are told to stop. A read that fails panics.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(runtime: &Runtime, peer: &Peer, chunks: &Arc<Vec<(ChunkAddress, Bytes)>>) -> Self {
        let (stop, reads) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let reader = |seed| {
            let (peer, chunks) = (peer.clone(), Arc::clone(chunks));
            let (stop, reads) = (Arc::clone(&stop), Arc::clone(&reads));
            runtime.spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    read(&peer, &chunks, &mut random).await;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..READERS).map(reader).collect();
        Self { stop, reads, tasks }
    }

    /// Waits for as many reads again.
    fn wait(&self, after: &str) {
        let until = self.reads.load(Ordering::Relaxed) + READS;
        wait::until(&format!("reads after the index was {after}"), || {
            let failed = self.tasks.iter().any(JoinHandle::is_finished);
            assert!(!failed, "a read failed after the index was {after}");
            self.reads.load(Ordering::Relaxed) >= until
        });
        eprintln!("{READS} more reads after the index was {after}");
    }

    fn end(self, runtime: &Runtime) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task).unwrap();
        }
    }
}

/// HasChunks of everything and of something absent, and one chunk by its location and a GET.
async fn read(peer: &Peer, chunks: &[(ChunkAddress, Bytes)], random: &mut StdRng) {
    let mut asked: Vec<ChunkAddress> = chunks.iter().map(|(address, _)| *address).collect();
    asked.push(ChunkAddress::new(random.random()));
    let mut expected = vec![true; chunks.len()];
    expected.push(false);
    assert_eq!(peer.has(&asked).await, expected);
    let (address, chunk) = &chunks[random.random_range(0..chunks.len())];
    assert_eq!(peer.read(*address).await.as_ref(), Some(chunk));
}

/// Commits and pushes, so that the index is written to.
async fn push(peer: &Peer, database: &mut TinyDb, round: usize) {
    for number in 0..8 {
        let content = vec![b'x'; 30_000 * round + number];
        let fresh = database.commit_with("main", "more", &[("table", &content)]);
        peer.push(database, &fresh).await;
    }
}

fn chunks_of(database: &TinyDb) -> Arc<Vec<(ChunkAddress, Bytes)>> {
    let pair = |(address, chunk): (&ChunkAddress, &Bytes)| (*address, chunk.clone());
    Arc::new(database.chunks().iter().map(pair).collect())
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    // The index may remove files meanwhile.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files_below(&path, found),
            path => found.push(path),
        }
    }
}

/// Flips a bit in every 50 bytes of every file of the index. Returns how many files there were.
fn flip(index: &Path) -> usize {
    use std::os::unix::fs::FileExt as _;
    let mut files = Vec::new();
    files_below(index, &mut files);
    for path in &files {
        let Ok(file) = fs::File::options().read(true).write(true).open(path) else {
            continue;
        };
        let len = file.metadata().unwrap().len();
        for at in (0..len).step_by(50) {
            let mut byte = [0];
            if file.read_exact_at(&mut byte, at).is_ok() {
                file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            }
        }
    }
    files.len()
}

fn started() -> Forge {
    let forge = Forge::start(Plan::on_local_disk());
    forge.logs().expect("chunk index");
    forge
}

#[test]
fn no_client_notices_that_the_index_is_deleted_or_damaged_under_the_server() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let forge = started();
    let peer = forge.peer(NAME);
    let mut database = TinyDb::new();
    runtime.block_on(push(&peer, &mut database, 1));
    let readers = Readers::start(&runtime, &peer, &chunks_of(&database));
    readers.wait("whole");
    let index = forge.data().join("index");
    fs::remove_dir_all(&index).unwrap();
    readers.wait("deleted");
    runtime.block_on(push(&peer, &mut database, 2));
    readers.wait("deleted and written to");
    eprintln!("{} files were damaged", flip(&index));
    readers.wait("damaged");
    runtime.block_on(push(&peer, &mut database, 3));
    readers.wait("damaged and written to");
    clone_with_dolt(&forge, &index);
    readers.end(&runtime);
    forge.finish();
}

#[test]
fn a_server_that_starts_on_a_damaged_or_deleted_index_answers_as_before() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let mut forge = started();
    let mut database = TinyDb::new();
    for (round, damage) in ["damaged", "deleted", "damaged"].into_iter().enumerate() {
        runtime.block_on(push(&forge.peer(NAME), &mut database, round + 1));
        let index = forge.data().join("index");
        match damage {
            "deleted" => fs::remove_dir_all(&index).unwrap(),
            _ => assert!(flip(&index) > 0, "there is no index to damage"),
        }
        forge = forge.restart(|_| {});
        let chunks = chunks_of(&database);
        let readers = Readers::start(&runtime, &forge.peer(NAME), &chunks);
        readers.wait(damage);
        readers.end(&runtime);
    }
    forge.finish();
}

/// A real clone that begins on a damaged index and loses it on the way.
fn clone_with_dolt(forge: &Forge, index: &Path) {
    let Some(dolt) = Dolt::find() else { return };
    let scene = Scene::new(&dolt, &forge.dolt_settings(), forge.base_url());
    drop(scene.published("one", "real"));
    flip(index);
    let (url, workshop) = (scene.url("real"), scene.workshop());
    let cloned = std::thread::scope(|scope| {
        let clone = || workshop.command(workshop.folder(), &["clone", &url, "again"]);
        let cloning = scope.spawn(clone);
        // It may be gone already: the server makes it anew whenever it likes.
        fs::remove_dir_all(index).ok();
        cloning.join().unwrap()
    });
    cloned.expect_success();
}
