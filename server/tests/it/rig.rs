//! A server in process on a free port, with threads of its own, and a store and an index in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::id::IdSource;
use holdfast_chunkstore::index::MemoryIndex;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::repo;
use holdfast_chunkstore::repo::spool::{SpoolDir, SpoolOptions};
use holdfast_proto::remotesapi as wire;
use holdfast_proto::remotesapi::chunk_store_service_client::ChunkStoreServiceClient;
use holdfast_server::meaning::DoltMeaning;
use holdfast_server::settings::check::{Purpose, check};
use holdfast_server::settings::{Gathered, Origin, Settings};
use holdfast_server::transport::Patience;
use holdfast_server::{Handle, Parts, Service};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::logs::{Logs, Threads};

/// A running server. What it logged is looked through when it is dropped.
pub(crate) struct Rig {
    pub(crate) handle: Handle,
    pub(crate) objects: Arc<MemoryStore>,
    pub(crate) logs: Logs,
    /// Dropped before the directory.
    _threads: Threads,
    directory: TempDir,
}

/// Settings of an open server on a free port, and these over them.
pub(crate) fn settings(directory: &TempDir, changes: &[(&str, &str)]) -> Settings {
    let mut gathered = Gathered::new();
    let data = directory.path().to_str().unwrap();
    let basic = [("data", data), ("listen", "127.0.0.1:0"), ("open", "true")];
    let small = [
        ("upload.free_floor", "1MiB"),
        ("upload.spool_limit", "1GiB"),
        ("stop.grace", "0s"),
    ];
    for (key, value) in basic
        .into_iter()
        .chain(small)
        .chain(changes.iter().copied())
    {
        gathered.set(key, value, Origin::Flag);
    }
    check(gathered, Purpose::Serve).unwrap()
}

impl Rig {
    pub(crate) async fn start(changes: &[(&str, &str)]) -> Self {
        Self::start_with(changes, |_| {}).await
    }

    /// Starts a server of parts that `change` has had its hands on.
    pub(crate) async fn start_with(
        changes: &[(&str, &str)],
        change: impl FnOnce(&mut repo::Parts),
    ) -> Self {
        Self::start_patient(changes, Patience::default(), change).await
    }

    /// Starts a server whose connections may do nothing for so long.
    pub(crate) async fn start_patient(
        changes: &[(&str, &str)],
        patience: Patience,
        change: impl FnOnce(&mut repo::Parts),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(&directory, changes);
        let clock = Arc::new(SystemClock::new());
        let pool = BlockingPool::new(4);
        let options = SpoolOptions {
            max_total_bytes: settings.transfer.spool_limit,
            free_floor_bytes: settings.transfer.free_floor,
        };
        let spool = SpoolDir::open(directory.path().join("spool"), options, pool.clone()).unwrap();
        let spool = spool
            .with_share(settings.transfer.spool_share)
            .with_decoded_limit(settings.transfer.decoded_limit);
        let objects = Arc::new(MemoryStore::new(Arc::<SystemClock>::clone(&clock)));
        let meaning = DoltMeaning::new(settings.transfer.accept_unknown_chunks.clone());
        let mut repositories = repo::Parts {
            objects: Arc::<MemoryStore>::clone(&objects),
            index: Arc::new(MemoryIndex::new(pool.clone())),
            clock,
            ids: Arc::new(IdSource::from_system()),
            pool,
            spool: Arc::new(spool),
            meaning: Arc::new(meaning),
        };
        change(&mut repositories);
        let parts = Parts {
            repositories,
            process: 7,
            patience,
            held: None,
        };
        let logs = Logs::default();
        let threads = Threads::start(logs.clone());
        let start = async move { Service::start(&settings, parts).await };
        Self {
            handle: threads.run(start).await.unwrap(),
            objects,
            logs,
            _threads: threads,
            directory,
        }
    }

    /// What unfinished uploads have on disk.
    pub(crate) fn spooled(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path().join("spool")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until the server has logged a line with all of these texts.
    pub(crate) async fn has_logged(&self, texts: &[&str]) {
        let is_there = || {
            let lines = self.logs.text();
            let mut lines = lines.lines();
            lines.any(|line| texts.iter().all(|text| line.contains(text)))
        };
        let logged = async {
            while !is_there() {
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), logged).await;
        assert!(
            found.is_ok(),
            "no line with {texts:?}: {}",
            self.logs.text()
        );
    }

    /// `http://host:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.handle.local_addr())
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.channel_of(1).await
    }

    /// A connection of its own, from 127.0.0.`last`.
    pub(crate) async fn channel_of(&self, last: u8) -> Channel {
        let endpoint = Channel::from_shared(self.url()).unwrap();
        endpoint
            .local_address(Some([127, 0, 0, last].into()))
            .user_agent("dolt_cli 2.3.1 linux amd64")
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// A client for plain HTTP.
    pub(crate) fn http(&self) -> reqwest::Client {
        http_builder().build().unwrap()
    }

    pub(crate) async fn client(&self) -> ChunkStoreServiceClient<Channel> {
        ChunkStoreServiceClient::new(self.channel().await)
            .max_decoding_message_size(128 << 20)
            .max_encoding_message_size(256 << 20)
    }
}

/// The name that most tests use.
pub(crate) const REPO: &str = "acme/prod";

pub(crate) fn metadata_request(path: &str) -> wire::GetRepoMetadataRequest {
    wire::GetRepoMetadataRequest {
        repo_path: path.to_owned(),
        client_repo_format: Some(wire::ClientRepoFormat {
            nbf_version: "__DOLT__".to_owned(),
            nbs_version: "5".to_owned(),
        }),
        ..Default::default()
    }
}

/// Begins a client for plain HTTP.
pub(crate) fn http_builder() -> reqwest::ClientBuilder {
    // A second installation is refused, and the first one is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy()
}
