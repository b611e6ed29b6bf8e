//! The tree of settings, and how it comes about.
//!
//! Each setting has one line in [`reference::SETTINGS`]. Its text comes from the settings file, the
//! environment and the flags ([`load`]), the later over the earlier; [`check`] understands all of them and
//! reports every complaint at once. Nothing else of the server reads the environment.

pub mod check;
pub mod former;
pub mod load;
pub mod reference;
mod spelling;
mod units;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_chunkstore::repo::RepoName;

use crate::peer::TrustedProxies;
pub use check::Purpose;
pub use load::{Complaint, Gathered, Origin};

/// The shortest time for which files stay that count no more: no address of them is good any more then.
pub const LEAST_KEPT: Duration = Duration::from_hours(56);

/// A text that no log and no message ever shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for comparing and signing.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory to work in.
    pub data: PathBuf,
    /// `HOST:PORT` to listen on.
    pub listen: String,
    /// How clients reach this server, without a slash at the end.
    pub public_url: Option<String>,
    /// Where everything is kept.
    pub store: StoreSettings,
    /// Certificate and key, where TLS is served.
    pub tls: Option<TlsSettings>,
    /// Whether clear text is refused.
    pub require_tls: bool,
    /// Number of the key that signs addresses of data.
    pub address_key: u32,
    /// Who may do what.
    pub access: AccessSettings,
    /// How table files come and go.
    pub transfer: TransferSettings,
    /// Memory for the filters of the chunk index, in bytes.
    pub index_cache: u64,
    /// Memory for places of chunks that are kept at hand, in bytes.
    pub index_places: u64,
    /// How long files stay that count no more.
    pub retired_keep: Duration,
    /// Connections, and what comes on them.
    pub network: NetworkSettings,
    /// The end of the server.
    pub stop: StopSettings,
    /// Log lines.
    pub log: LogSettings,
}

/// Where everything is kept.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// In `<data>/store`.
    Local,
    /// In a bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// What every key begins with; empty for nothing.
        prefix: String,
        /// Address of the S3 server, where it is not Amazon's.
        endpoint: Option<String>,
        /// The bucket is part of the path.
        path_style: bool,
        /// The region that requests are signed for, where it is not the usual one or that of the environment.
        region: Option<String>,
        /// Address under which clients reach the S3 server.
        public_endpoint: Option<String>,
        /// Access key, where it is not left to Amazon's usual sources.
        access_key_id: Option<String>,
        /// Its secret.
        secret_access_key: Option<Secret>,
    },
}

/// Files for TLS.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// PEM file with the certificate chain.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Who may do what.
#[derive(Debug, Clone)]
pub struct AccessSettings {
    /// Everybody may read and write.
    pub open: bool,
    /// Also when the address is not a loopback one.
    pub open_to_the_network: bool,
    /// Nobody may write.
    pub read_only: bool,
    /// Who may read, where the settings say so; else that is left to the store.
    pub readers: Option<Readers>,
    /// The administrator token.
    pub admin_token: Option<Secret>,
}

/// The fewest characters of a token that cannot be guessed.
const LEAST_TOKEN: usize = 16;

impl AccessSettings {
    /// What is to be said of a token that can be guessed, and how to make one that cannot.
    pub fn short_token(&self) -> Option<String> {
        let token = self.admin_token.as_ref()?;
        let is_short = token.reveal().chars().count() < LEAST_TOKEN;
        is_short.then(|| {
            format!(
                "admin_token has fewer than {LEAST_TOKEN} characters and can be guessed: make one with \
                 `openssl rand -hex 32`"
            )
        })
    }
}

/// Who may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Everybody.
    Everybody,
    /// Who has the administrator token.
    Token,
}

/// Who sends table files to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// This server.
    Server,
    /// The bucket, by presigned addresses.
    Presigned,
}

/// How table files come and go.
#[derive(Debug, Clone)]
pub struct TransferSettings {
    /// Who sends table files to clients.
    pub delivery: Delivery,
    /// Whether the newer stream of chunk locations is offered.
    pub stream_chunk_locations: bool,
    /// Whether the services are described to callers.
    pub reflection: bool,
    /// Which repositories take chunks that are not understood.
    pub accept_unknown_chunks: AcceptUnknown,
    /// Free bytes on disk below which uploads are refused.
    pub free_floor: u64,
    /// How many bytes all unfinished uploads may take on disk.
    pub spool_limit: u64,
    /// How many percent of that those of one peer may take.
    pub spool_share: u8,
    /// How many bytes the chunks of one file may have decoded, where that is bounded.
    pub decoded_limit: Option<u64>,
    /// Threads for what blocks; 0 for one per processor.
    pub threads: usize,
    /// How many received files are checked at once.
    pub checks: usize,
}

/// Which repositories take chunks of which it cannot be told what they refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptUnknown {
    /// None.
    Nowhere,
    /// These.
    In(Vec<RepoName>),
    /// All.
    Everywhere,
}

impl AcceptUnknown {
    /// Whether this repository does.
    pub fn is_in(&self, name: &RepoName) -> bool {
        match self {
            Self::Nowhere => false,
            Self::In(names) => names.contains(name),
            Self::Everywhere => true,
        }
    }
}

/// Connections, and what comes on them.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// How many are served at once.
    pub max_connections: usize,
    /// How many of one peer.
    pub max_connections_per_peer: usize,
    /// How many requests of one peer run at once.
    pub max_requests_per_peer: usize,
    /// Where proxies are whose word on the address of a caller is taken.
    pub trusted_proxies: TrustedProxies,
}

/// The end of the server, from a signal to stop on.
#[derive(Debug, Clone, Copy)]
pub struct StopSettings {
    /// How long the port stays open at least.
    pub grace: Duration,
    /// How long nothing must have run before the port closes.
    pub quiet: Duration,
    /// How long what runs may go on.
    pub timeout: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Log lines.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// How they look.
    pub format: LogFormat,
    /// Which are written.
    pub filter: String,
}
