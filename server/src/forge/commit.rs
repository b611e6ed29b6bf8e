//! Files and roots enter a repository.

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::repo::{Committed, NamedFile, Proposal, RepoName};

use super::{Caller, Forge, ForgeError};

/// What a client wants the root to become.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Where he believes it to be.
    pub last: RootAddress,
    /// Where it shall be.
    pub current: RootAddress,
    /// The files to add first.
    pub files: Vec<NamedFile>,
}

impl Forge {
    /// Adds files that were uploaded.
    pub async fn add(
        &self,
        caller: &Caller,
        name: &RepoName,
        files: &[NamedFile],
    ) -> Result<(), ForgeError> {
        let repository = self.writable(caller, name).await?;
        repository.add(files, &caller.actor()).await?;
        tracing::info!(repo = %name, files = files.len(), "table files added");
        self.upkeep.look_at(repository);
        Ok(())
    }

    /// Moves the root; false if it was not where the client believed it to be.
    pub async fn commit(
        &self,
        caller: &Caller,
        name: &RepoName,
        wish: Wish,
    ) -> Result<bool, ForgeError> {
        let repository = self.writable(caller, name).await?;
        let Wish {
            last,
            current,
            files,
        } = wish;
        let proposal = Proposal {
            last,
            current,
            files,
            actor: caller.actor(),
        };
        let committed = repository.commit(&proposal).await?;
        match &committed {
            Committed::Moved(refs) => {
                tracing::info!(repo = %name, root = %current, refs = refs.len(), "root moved");
            }
            Committed::Already => tracing::debug!(repo = %name, root = %current, "root was there"),
            Committed::Stale => tracing::debug!(repo = %name, root = %current, "root has moved on"),
        }
        self.upkeep.look_at(repository);
        Ok(match committed {
            Committed::Moved(_) | Committed::Already => true,
            Committed::Stale => false,
        })
    }
}
