//! A repository on a server that speaks Dolt's remotes API.
//!
//! ```text
//! proxies, trust, contact, channel, speech → { connection → calls, answers → locations │ flow → data │ dictionaries, chunks, ranges, held } → errand → { fetch │ upload } → Server
//!             calls: gRPC, with the user's credentials  data: HTTP, at addresses that calls give
//! ```
//!
//! Nothing that a server says is believed: what an answer cannot be ends the call, and every chunk is checked.

mod answers;
mod calls;
mod channel;
mod chunks;
mod connection;
mod contact;
mod data;
mod dictionaries;
mod doubt;
mod errand;
mod fetch;
mod flow;
mod held;
mod locations;
mod proxies;
mod range;
mod speech;
mod trust;
mod upload;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use proxies::ProxySettings;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_proto::remotesapi::ClientCapability;
use tokio::sync::mpsc;

use super::{
    Access, FileBody, ListedFiles, Metadata, OutgoingFile, Parcel, Reach, Remote, RemoteChunk,
    RemoteError, RemoteFile, Retries, ServerUrl, Swap, Uploaded,
};
use connection::Connection;
use contact::Contacts;
use data::Data;
use fetch::Fetcher;
use proxies::Proxies;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the system asks whether a silent peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What we say that we can do: read data by HTTP/2.
const CAPABILITIES: [i32; 1] = [ClientCapability::Http2Download as i32];

/// A repository on a server.
#[derive(Debug)]
pub struct Server {
    connection: Connection,
    fetcher: Arc<Fetcher>,
}

/// What calls and requests for data share.
struct Means {
    proxies: Proxies,
    contacts: Contacts,
    retries: Arc<dyn Retries>,
    clock: Arc<dyn Clock>,
}

impl Server {
    /// Prepares to speak to a server; nothing is sent yet.
    pub fn new(url: ServerUrl, access: Access) -> Result<Self, RemoteError> {
        let Access {
            credentials,
            proxies,
            retries,
            clock,
            pool,
        } = access;
        let means = Means {
            proxies: Proxies::new(proxies),
            contacts: Contacts::default(),
            retries,
            clock,
        };
        let data = Data::new(&means)?;
        Ok(Self {
            connection: Connection::new(url, credentials, &means)?,
            fetcher: Arc::new(Fetcher::new(data, pool)),
        })
    }
}

#[async_trait]
impl Remote for Server {
    fn address(&self) -> String {
        self.connection.url.to_string()
    }

    async fn metadata(&self) -> Result<Metadata, RemoteError> {
        self.connection.metadata().await
    }

    async fn root(&self) -> Result<RootAddress, RemoteError> {
        self.connection.root().await
    }

    async fn absent(&self, addresses: &[ChunkAddress]) -> Result<Vec<ChunkAddress>, RemoteError> {
        self.connection.absent(addresses).await
    }

    async fn read(
        &self,
        addresses: &[ChunkAddress],
        reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        match fetch::read(&self.connection, &self.fetcher, addresses, reach).await {
            Err(error) => Err(self.connection.doubt(error).await),
            read => read,
        }
    }

    async fn read_each(
        &self,
        addresses: Vec<ChunkAddress>,
        reach: Reach,
        to: mpsc::Sender<Parcel>,
    ) -> Result<Vec<ChunkAddress>, RemoteError> {
        match fetch::read_each(&self.connection, &self.fetcher, addresses, reach, to).await {
            Err(error) => Err(self.connection.doubt(error).await),
            read => read,
        }
    }

    async fn stored_lens(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError> {
        self.connection.stored_lens(addresses).await
    }

    async fn list_files(&self) -> Result<ListedFiles, RemoteError> {
        self.connection.list_files().await
    }

    async fn file_len(&self, file: &RemoteFile) -> Result<u64, RemoteError> {
        self.fetcher.data.file_len(file).await
    }

    async fn read_file(
        &self,
        file: &RemoteFile,
        from: u64,
        to: Option<u64>,
    ) -> Result<FileBody, RemoteError> {
        self.fetcher.data.read_file(file, from, to).await
    }

    async fn doubt_file(&self, file: &RemoteFile) -> Result<(), RemoteError> {
        self.connection.check_file(&file.place).await
    }

    async fn upload(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        let Fetcher { data, pool, .. } = &*self.fetcher;
        upload::upload(&self.connection, data, pool, file).await
    }

    async fn add_files(&self, files: &[ListedFile]) -> Result<(), RemoteError> {
        self.connection.add_files(files).await
    }

    async fn commit(
        &self,
        root: RootAddress,
        last: RootAddress,
        files: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        self.connection.commit(root, last, files).await
    }
}

fn user_agent() -> String {
    format!("holdfast/{}", env!("CARGO_PKG_VERSION"))
}
