//! The directory of the chunk index is deleted, and its bytes flipped, while clients read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::testing::TinyDb;
use holdfast_proto::remotesapi::{ChunkTableInfo, TableFileDetails};
use holdfast_tests::dolt::Dolt;
use holdfast_tests::forge::{Forge, Plan};
use holdfast_tests::peer::{Peer, url_of};
use holdfast_tests::remote::Remote as _;
use holdfast_tests::scenario::Scene;
use holdfast_tests::table::{self, BigFile};
use holdfast_tests::{say, wait, web};
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
        say::line(format_args!(
            "{READS} more reads after the index was {after}"
        ));
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

/// What a server logs when it finds its index damaged, while it runs and when it starts.
const REBUILT: [&str; 2] = [
    "chunk index is damaged, starting a new one",
    "chunk index was damaged, started a new one",
];

/// A server that keeps next to no places at hand: the index on the disk is asked each time.
fn started() -> Forge {
    let forge = Forge::start(Plan {
        more: vec![("index.places", "1KiB".to_owned())],
        ..Plan::on_local_disk()
    });
    for message in REBUILT {
        forge.logs().expect(message);
    }
    forge
}

/// How often the servers have begun a new index because of damage.
fn rebuilt(forge: &Forge) -> usize {
    let log = forge.logs().text();
    REBUILT
        .iter()
        .map(|message| log.matches(message).count())
        .sum()
}

/// Ends the servers after one more start on no index: what a test left damaged is for nobody to verify.
fn finish(forge: Forge) {
    let index = forge.data().join("index");
    let forge = forge.restart(|_| drop(fs::remove_dir_all(&index)));
    forge.finish();
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
    assert!(flip(&index) > 0, "there is no index to damage");
    readers.wait("damaged");
    runtime.block_on(push(&peer, &mut database, 2));
    readers.wait("damaged and written to");
    fs::remove_dir_all(&index).unwrap();
    readers.wait("deleted");
    runtime.block_on(push(&peer, &mut database, 3));
    readers.wait("deleted and written to");
    readers.end(&runtime);
    finish(forge);
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
    assert!(rebuilt(&forge) >= 2, "damage at a start goes unnoticed");
    finish(forge);
}

/// Damages an index over and over until it is told to stop, each time when clients have read for a while.
struct Damage {
    stop: Arc<AtomicBool>,
    flips: Arc<AtomicU64>,
    deletions: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Damage {
    fn start(index: PathBuf, readers: &Readers) -> Self {
        const READS_BETWEEN: u64 = 12;
        let (stop, reads) = (Arc::<AtomicBool>::default(), Arc::clone(&readers.reads));
        let (flips, deletions) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            let (flips, deletions) = (Arc::clone(&flips), Arc::clone(&deletions));
            move || {
                for round in 0_u64.. {
                    let until = reads.load(Ordering::Relaxed) + READS_BETWEEN;
                    wait::until("clients to read", || {
                        stop.load(Ordering::Relaxed) || reads.load(Ordering::Relaxed) >= until
                    });
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // Of four damages one takes all of it away.
                    if round % 4 == 3 {
                        let is_gone = fs::remove_dir_all(&index).is_ok();
                        deletions.fetch_add(u64::from(is_gone), Ordering::Relaxed);
                    } else {
                        let is_hit = flip(&index) > 0;
                        flips.fetch_add(u64::from(is_hit), Ordering::Relaxed);
                    }
                }
            }
        });
        Self {
            stop,
            flips,
            deletions,
            thread,
        }
    }

    /// How often bytes were flipped, and how often all was deleted.
    fn end(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        [self.flips, self.deletions].map(|count| count.load(Ordering::Relaxed))
    }
}

#[test]
fn clones_and_fetches_go_on_while_the_index_is_damaged_and_deleted_again_and_again() {
    const ROUNDS: usize = 5;
    /// So many chunks of one file the index writes to the disk at once.
    const MANY: u32 = 20_000;
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let forge = started();
    let peer = forge.peer(NAME);
    let mut database = TinyDb::new();
    let file = BigFile::plan(20, MANY, 40);
    runtime.block_on(async {
        push(&peer, &mut database, 1).await;
        let details = TableFileDetails {
            id: file.id.clone(),
            content_length: file.len,
            num_chunks: u64::from(file.chunks),
            ..TableFileDetails::default()
        };
        let locations = peer.upload_locations(vec![details]).await.unwrap();
        let url = url_of(&locations[0]).unwrap();
        let answer = web::put_pieces(&url, file.len, file.pieces()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        let info = ChunkTableInfo {
            hash: file.id.clone(),
            chunk_count: file.chunks,
        };
        assert!(peer.add_infos(vec![info]).await.unwrap().success);
    });
    let mut chunks = Vec::clone(&chunks_of(&database));
    chunks.extend(file.chunks().step_by(100));
    let readers = Readers::start(&runtime, &peer, &Arc::new(chunks));
    readers.wait("whole");

    let damage = Damage::start(forge.data().join("index"), &readers);
    let dolt = Dolt::find();
    match &dolt {
        Some(dolt) => clone_and_fetch(&forge, dolt, ROUNDS),
        None => (0..ROUNDS).for_each(|_| runtime.block_on(clone_with_peer(&peer, &database))),
    }
    let [flips, deletions] = damage.end();
    readers.end(&runtime);
    let rebuilt = rebuilt(&forge);
    say::line(format_args!(
        "the index was flipped {flips} times, deleted {deletions} times, and made anew {rebuilt} times, during {ROUNDS} \
         clones and fetches"
    ));
    assert!(
        flips > 2 && deletions > 0,
        "{flips} flips, {deletions} deletions"
    );
    assert!(rebuilt > 2, "the damage was seen {rebuilt} times");
    finish(forge);
}

/// Real clones, and fetches of what is pushed between them.
fn clone_and_fetch(forge: &Forge, dolt: &Dolt, rounds: usize) {
    let scene = Scene::new(dolt, &forge.dolt_settings(), forge.base_url());
    let owner = scene.published("owner", "real");
    let url = scene.url("real");
    let first = scene.workshop().clone_from(&url, "first", &[]);
    for round in 0..rounds {
        let update = format!("update orders set amount = {round} where customer % 9 = {round}");
        owner.commit(&format!("round {round}"), &update);
        owner.push(&["origin", "main"]);
        first.pull(&[]);
        assert_eq!(first.log(), owner.log(), "round {round}");
        let copy = scene
            .workshop()
            .clone_from(&url, &format!("copy-{round}"), &[]);
        assert_eq!(copy.log(), owner.log(), "round {round}");
    }
}

/// What a clone does: all files, and then chunk by chunk what is below the root.
async fn clone_with_peer(peer: &Peer, database: &TinyDb) {
    let mut there = BTreeMap::new();
    for listed in peer.files().await.unwrap().table_file_info {
        let file = web::get(&listed.url, &[]).await;
        there.extend(table::read(&file.body));
    }
    for (address, chunk) in database.chunks() {
        assert_eq!(there.get(address), Some(chunk));
        assert_eq!(peer.read(*address).await.as_ref(), Some(chunk));
    }
}
