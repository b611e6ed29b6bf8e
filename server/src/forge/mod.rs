//! The domain: who may do what to which repository. No gRPC, no HTTP.
//!
//! ```text
//! client_version, addresses, error, refusals, turns → access → Forge { damage, locate, files, upload, commit, upkeep }
//! ```

pub mod access;
pub mod addresses;
pub mod client_version;
pub mod commit;
pub mod damage;
pub mod error;
pub mod files;
pub mod locate;
pub mod refusals;
pub mod turns;
pub mod upkeep;
pub mod upload;

use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::repo::{Actor, RepoName, Repositories, Repository, View};
use holdfast_chunkstore::{ErrorKind, RootAddress};
use tokio_util::sync::CancellationToken;

use crate::origin::BaseUrl;
use crate::settings::{AccessSettings, Delivery, Readers, Settings};
use access::{Access, Action, Credentials, Principal};
use addresses::Addresses;
pub use error::ForgeError;
use refusals::Refusals;
use turns::Turns;
use upkeep::Upkeep;

/// The name of the secret that data addresses are signed with; from the second one on a number follows.
const ADDRESS_SECRET: &str = "data-addresses";
/// From which defaults on a store is read with the token, where the settings do not say who may read.
const READ_WITH_TOKEN: u32 = 1;

/// Who asks, by what program, and how he reaches us.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// What his program calls itself.
    pub client: String,
    /// What his program can read.
    pub view: View,
    /// How he reaches us.
    pub base_url: BaseUrl,
}

impl Caller {
    /// How the log of a repository names him.
    pub fn actor(&self) -> Actor {
        Actor {
            name: self.principal.name().to_owned(),
            client: self.client.clone(),
        }
    }
}

/// What is told of a repository at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Bytes in its files: more than 0 if it has a root.
    pub stored_len: u64,
    /// Whether the newer stream of chunk locations is offered.
    pub stream_chunk_locations: bool,
}

/// The forge.
#[derive(Debug)]
pub struct Forge {
    repositories: Repositories,
    access: Access,
    addresses: Addresses,
    delivery: Delivery,
    stream_chunk_locations: bool,
    turns: Turns,
    /// Files that clients doubt are read one at a time, beside the checks of uploads: any reader can ask for it.
    rereads: tokio::sync::Mutex<()>,
    refusals: Arc<Refusals>,
    upkeep: Arc<Upkeep>,
}

impl Forge {
    /// Takes the repositories of a forge. Work that nobody waits for is broken off by `stopping`.
    pub async fn open(
        settings: &Settings,
        repositories: Repositories,
        stopping: CancellationToken,
    ) -> Result<Self, ForgeError> {
        let readers = readers(&settings.access, &repositories);
        let addresses = addresses(&repositories, settings.address_key, readers).await?;
        let upkeep = Upkeep::new(repositories.clone(), settings.retired_keep, stopping);
        Ok(Self {
            repositories,
            access: Access::new(settings.access.clone(), readers),
            addresses,
            delivery: settings.transfer.delivery,
            stream_chunk_locations: settings.transfer.stream_chunk_locations,
            turns: Turns::new(settings.transfer.checks),
            rereads: tokio::sync::Mutex::default(),
            refusals: Arc::default(),
            upkeep: Arc::new(upkeep),
        })
    }

    /// Finds out who somebody is.
    pub fn principal(&self, credentials: &Credentials) -> Result<Principal, ForgeError> {
        self.access.principal(credentials)
    }

    /// Whether somebody may do something; the answer is the same for every repository.
    pub fn check(&self, principal: Principal, action: Action) -> Result<(), ForgeError> {
        self.access.check(principal, action)
    }

    /// Whether a caller without the token may do less than one with it.
    pub fn asks_for_token(&self) -> bool {
        let refused = self.check(Principal::Anyone, Action::Write).err();
        refused.is_some_and(|error| error.kind() == ErrorKind::Unauthenticated)
    }

    /// Tells what a client asks first.
    pub async fn metadata(&self, caller: &Caller, name: &RepoName) -> Result<Metadata, ForgeError> {
        let stored_len = match self.readable(caller, name).await? {
            Some(repository) => repository.state().await?.stored_len(),
            None => 0,
        };
        Ok(Metadata {
            stored_len,
            stream_chunk_locations: self.stream_chunk_locations,
        })
    }

    /// Tells the root.
    pub async fn root(&self, caller: &Caller, name: &RepoName) -> Result<RootAddress, ForgeError> {
        Ok(match self.readable(caller, name).await? {
            Some(repository) => repository.state().await?.root,
            None => RootAddress::ZERO,
        })
    }

    /// Whether the object store answers.
    pub async fn ping(&self) -> Result<(), ForgeError> {
        Ok(self.repositories.ping().await?)
    }

    /// Waits for work that nobody else waits for, and takes no more of it.
    pub async fn finish_upkeep(&self) {
        self.upkeep.finish().await;
    }

    /// The time.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.repositories.parts().clock
    }

    /// The repository that somebody wants to read; nothing where there is none yet and he may create it: to
    /// him it looks empty.
    async fn readable(
        &self,
        caller: &Caller,
        name: &RepoName,
    ) -> Result<Option<Repository>, ForgeError> {
        self.access.check(caller.principal, Action::Read)?;
        let found = self.repositories.find(name).await?;
        if self.access.check(caller.principal, Action::Write).is_ok() {
            return Ok(found);
        }
        let missing = || ForgeError::NoRepository { name: name.clone() };
        let repository = found.ok_or_else(missing)?;
        // A name counts from its first record on; once it has one it never has none again.
        let exists =
            repository.recent_state().await?.sequence > 0 || repository.state().await?.sequence > 0;
        if exists {
            Ok(Some(repository))
        } else {
            Err(missing())
        }
    }

    /// The repository that somebody wants to write to; made where there is none.
    async fn writable(&self, caller: &Caller, name: &RepoName) -> Result<Repository, ForgeError> {
        self.access.check(caller.principal, Action::Write)?;
        Ok(self.repositories.reserve(name).await?)
    }
}

/// Who may read: as the settings say, else as the store was made.
fn readers(access: &AccessSettings, repositories: &Repositories) -> Readers {
    match access.readers {
        _ if access.open => Readers::Everybody,
        Some(readers) => readers,
        None if repositories.defaults() >= READ_WITH_TOKEN => Readers::Token,
        None => {
            tracing::info!(
                "this store was made when everybody could read by default, and so it stays: set reads to public or \
                 token"
            );
            Readers::Everybody
        }
    }
}

/// Reads the key that signs, the one before it, and the one that servers sign with whose settings are ahead.
async fn addresses(
    repositories: &Repositories,
    number: u32,
    readers: Readers,
) -> Result<Addresses, ForgeError> {
    let key = async |number: u32| match number {
        1 => repositories.secret(ADDRESS_SECRET).await,
        number => {
            let name = format!("{ADDRESS_SECRET}-{number}");
            repositories.secret(&name).await
        }
    };
    let mut others = vec![key(number + 1).await?];
    if number > 1 {
        others.push(key(number - 1).await?);
    }
    Ok(Addresses::new(key(number).await?)
        .with_others(others)
        .read_by(readers))
}
