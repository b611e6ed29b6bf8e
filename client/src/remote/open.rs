//! From an address to the remote that is there.

use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::pool::BlockingPool;

use super::credentials::Credentials;
use super::{Directory, ProxySettings, Remote, RemoteError, RemoteUrl, Retries, Server};

/// What the kinds of remotes need.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who speaks to a server. Keys of buckets come from where the AWS SDK looks for them.
    pub credentials: Credentials,
    /// What stands between the user and servers.
    pub proxies: ProxySettings,
    /// What is told of failures after which the same is tried again.
    pub retries: Arc<dyn Retries>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Threads for what blocks.
    pub pool: BlockingPool,
}

/// Prepares to speak to the remote at an address; nothing is sent yet.
pub async fn open(url: RemoteUrl, access: Access) -> Result<Arc<dyn Remote>, RemoteError> {
    match url {
        RemoteUrl::Server(url) => Ok(Arc::new(Server::new(url, access)?)),
        RemoteUrl::Directory(path) => Ok(Arc::new(Directory::new(&path, access.pool))),
        #[cfg(feature = "s3")]
        RemoteUrl::Bucket(url) => Ok(Arc::new(
            super::Bucket::new(&url, None, access.clock, access.pool).await,
        )),
        #[cfg(not(feature = "s3"))]
        RemoteUrl::Bucket(_) => Err(RemoteError::NotBuilt { scheme: "s3" }),
    }
}
