//! A server that answers as a test wants: calls on one port, data on another, both on this machine.

mod calls;
mod host;
mod proxy;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::format::table::{self, record};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::{LONG_PATIENCE, PATIENCE};
use super::upload;
use crate::remote::credentials::Credentials;
use crate::remote::{Access, ProxySettings, RemoteUrl, Server, UntoldRetries};

/// A server that is told what to do.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) world: Arc<World>,
    url: String,
    tasks: JoinSet<()>,
}

/// A name of the place where data is that leads nowhere.
const DATA_HOST: &str = "http://data.invalid";

/// What a server has, does wrong, and was asked.
#[derive(Debug)]
pub(super) struct World {
    state: Mutex<State>,
    /// How often somebody has waited long enough.
    patience: Semaphore,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Where data is: `http://host:port`.
    pub(super) host: String,
    pub(super) has_location_records: bool,
    pub(super) working_sets: i32,
    pub(super) root: Vec<u8>,
    pub(super) token: String,
    /// The files, by their names.
    pub(super) files: HashMap<String, Bytes>,
    pub(super) chunks: BTreeMap<ChunkAddress, Placed>,
    /// What is signed by the addresses that are good.
    pub(super) signature: u32,
    /// How many ranges may be read before addresses end, each time.
    pub(super) good_for: VecDeque<u32>,
    /// After how many answers streams break, and how, the next one first.
    pub(super) breaks: VecDeque<(usize, Break)>,
    /// What is done wrong with the next reads.
    pub(super) wrongs: VecDeque<Wrong>,
    /// The answer to HasChunks, where it is not the right one.
    pub(super) absent: Option<Vec<i32>>,
    /// Codes that the next calls are refused with.
    pub(super) refusals: VecDeque<tonic::Code>,
    /// What becomes of the next calls that are not refused, where it is not the usual.
    pub(super) silences: VecDeque<Silence>,
    /// Statuses that the next uploads are refused with.
    pub(super) upload_refusals: VecDeque<u16>,
    /// How many of the next uploads are taken and never answered.
    pub(super) silent_uploads: usize,
    /// What is said with refusals of data in the header `Retry-After`.
    pub(super) retry_after: Option<&'static str>,
    /// Whether refusals of data repeat the address that was asked for.
    pub(super) is_talkative: bool,
    pub(super) knows_all_files: bool,
    pub(super) adds_nothing: bool,
    /// Whether the answers to commits are lost on their way.
    pub(super) loses_commits: bool,
    /// What was asked.
    pub(super) seen: Seen,
}

/// What was asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The tokens of calls, by the call.
    pub(super) tokens: Vec<(&'static str, String)>,
    /// How many messages each stream had.
    pub(super) streams: Vec<usize>,
    /// The ranges that were read.
    pub(super) ranges: Vec<(String, u64, u64)>,
    /// What was sent: the path, and each header.
    pub(super) uploads: Vec<(String, HashMap<String, String>, Bytes)>,
    pub(super) details: Vec<holdfast_proto::remotesapi::TableFileDetails>,
    /// What each call added: hashes of files and how many chunks they have.
    pub(super) added: Vec<Vec<(Bytes, u32)>>,
    /// How long it was waited between tries.
    pub(super) waits: Vec<Duration>,
}

/// When a call is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing is done either.
    Before,
    /// What was asked for is done.
    After,
}

/// Where a chunk lies.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) file: String,
    pub(super) span: ByteSpan,
    pub(super) dictionary: Option<ByteSpan>,
}

/// How a stream breaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Break {
    Code(tonic::Code),
    End,
}

/// What may be wrong with an answer to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The connection ends after as many bytes.
    Cut(usize),
    /// The body is as much shorter, and says so.
    Short(usize),
    /// The whole file.
    Whole,
    /// Another range.
    Elsewhere,
    /// Bytes that are not what they were.
    Flipped,
    /// Another status.
    Status(u16),
}

/// Time that does not pass: tries wait for nothing, and nobody loses patience but where the server says that it will
/// not answer.
#[derive(Debug)]
struct Hurry(Arc<World>);

/// How long it is waited for what may never come.
const PATIENCES: [Duration; 3] = [PATIENCE, LONG_PATIENCE, upload::PATIENCE];

#[async_trait]
impl Clock for Hurry {
    fn now(&self) -> Timestamp {
        Timestamp(1_000_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, duration: Duration) {
        if PATIENCES.contains(&duration) {
            let lost = self.0.patience.acquire().await;
            lost.expect("the semaphore is never closed").forget();
        } else {
            self.0.state().seen.waits.push(duration);
            tokio::task::yield_now().await;
        }
    }
}

impl World {
    fn new() -> Self {
        Self {
            state: Mutex::default(),
            patience: Semaphore::new(0),
        }
    }

    /// Never answers: whoever waits has waited long enough.
    async fn be_silent<T>(&self) -> T {
        self.patience.add_permits(1);
        std::future::pending().await
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Fake {
    /// Starts a server with nothing on it.
    pub(super) async fn start() -> Self {
        // Another test may have chosen the same provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let world = Arc::new(World::new());
        let mut tasks = JoinSet::new();
        let host = host::start(&world, &mut tasks).await;
        let url = calls::start(&world, &mut tasks);
        {
            let mut state = world.state();
            state.host = host;
            state.has_location_records = true;
            state.root = RootAddress::ZERO.as_bytes().to_vec();
        }
        Self { world, url, tasks }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.world.state()
    }

    /// A client of it.
    pub(super) fn client(&self) -> Server {
        self.client_of(Credentials::Nobody)
    }

    /// A client of it that says who it is.
    pub(super) fn client_of(&self, credentials: Credentials) -> Server {
        self.server(&self.url, credentials, ProxySettings::default())
    }

    /// A client that can reach it only through a proxy: nobody else knows its names.
    pub(super) async fn client_behind_a_proxy(&mut self) -> Server {
        let bare = |url: &str| url.trim_start_matches("http://").to_owned();
        let data = std::mem::replace(&mut self.state().host, DATA_HOST.to_owned());
        let ways = proxy::Ways {
            calls: bare(&self.url),
            data: bare(&data),
            data_host: DATA_HOST,
        };
        let proxies = ProxySettings {
            http: Some(proxy::start(ways, &mut self.tasks).await),
            ..ProxySettings::default()
        };
        self.server("http://calls.invalid", Credentials::Nobody, proxies)
    }

    fn server(&self, host: &str, credentials: Credentials, proxies: ProxySettings) -> Server {
        let RemoteUrl::Server(url) = RemoteUrl::parse(&format!("{host}/a/b"), "h").unwrap() else {
            panic!("{host} is a server's address");
        };
        let access = Access {
            credentials,
            proxies,
            retries: Arc::new(UntoldRetries),
            clock: Arc::new(Hurry(Arc::clone(&self.world))),
            pool: BlockingPool::new(2),
        };
        Server::new(url, access).unwrap()
    }

    /// Puts chunks into a file as records, with as many bytes between.
    pub(super) fn hold(&self, file: &str, chunks: &[Vec<u8>], gap: usize) -> Vec<ChunkAddress> {
        let mut bytes = vec![0xee; gap];
        let mut state = self.state();
        let mut addresses = Vec::new();
        for chunk in chunks {
            let offset = bytes.len() as u64;
            let len = record::Encoder::new().encode(chunk, &mut bytes).unwrap();
            bytes.resize(bytes.len() + gap, 0xee);
            let placed = Placed {
                file: file.to_owned(),
                span: ByteSpan {
                    offset,
                    len: u32::try_from(len).unwrap(),
                },
                dictionary: None,
            };
            addresses.push(hash_chunk(chunk));
            state.chunks.insert(hash_chunk(chunk), placed);
        }
        state.files.insert(file.to_owned(), bytes.into());
        addresses
    }

    /// Puts chunks into a file that has an index.
    pub(super) fn hold_table(&self, file: &str, chunks: &[Vec<u8>]) -> Vec<ChunkAddress> {
        let mut writer = table::Writer::new(Vec::new());
        let addresses: Vec<_> = chunks.iter().map(|chunk| hash_chunk(chunk)).collect();
        for (address, chunk) in addresses.iter().zip(chunks) {
            writer.append_chunk(*address, chunk).unwrap();
        }
        let (bytes, _) = writer.finish().unwrap();
        let (_, index) = table::Index::decode_file(&bytes).unwrap();
        let mut state = self.state();
        for address in &addresses {
            let placed = Placed {
                file: file.to_owned(),
                span: index.get(*address).unwrap().data,
                dictionary: None,
            };
            state.chunks.insert(*address, placed);
        }
        state.files.insert(file.to_owned(), bytes.into());
        addresses
    }
}

/// Different chunks of as many bytes, which do not become shorter.
pub(super) fn long_chunks(count: usize, len: usize) -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(7);
    let mut chunk = || {
        let mut bytes = vec![0; len];
        random.fill(&mut bytes[..]);
        bytes
    };
    (0..count).map(|_| chunk()).collect()
}

/// Different chunks of some length.
pub(super) fn chunks(count: usize) -> Vec<Vec<u8>> {
    let chunk = |number: usize| format!("chunk {number} {}", "-".repeat(number % 97)).into_bytes();
    (0..count).map(chunk).collect()
}
