//! Everything that a remote has, file by file.

use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_doltdb::{ChunkSource, RefName};

use super::place::Form;
use super::{Cloned, Cloner};
use crate::database::StoreSource;
use crate::remote::{ListedFiles, RemoteSource};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::download::{Downloader, Folders};
use crate::transfer::error::TransferError;
use crate::transfer::fetch::Extent;
use crate::transfer::refs::{NewRefs, RemoteRefs};
use crate::transfer::usable::Usable;

impl Cloner<'_> {
    /// Clones all files.
    pub(super) async fn whole(self) -> Result<Cloned, TransferError> {
        let request = self.request;
        let metadata = request.remote.metadata().await?;
        let listed = match metadata.size {
            0 => return Err(TransferError::Empty),
            _ => request.remote.list_files().await?,
        };
        if listed.root.is_zero() {
            return Err(TransferError::Empty);
        }
        if request.extent == Extent::DryRun {
            return self.estimate_whole(metadata.size, &listed).await;
        }
        let (root, files) = self.take_files(listed).await?;
        let chunks = files.iter().map(|file| u64::from(file.chunks)).sum();
        let place = self.place.clone();
        let begin = move || place.begin_store(root, files);
        let opened = self.pool.run(begin).await?;
        let bytes = opened.files().iter().map(|file| file.len()).sum();
        let source = StoreSource::new(Arc::new(opened), self.pool.clone());
        let is_taken = |name: &RefName, _| request.form == Form::Bare || name.is_public();
        let datasets = Datasets::read(&source, root).await?;
        let usable = Usable::by_kind(&source, datasets, is_taken).await?;
        self.check_asked(&usable)?;
        usable.warn(&request.remote.address(), &*self.observer);
        let refs = RemoteRefs::among(&usable.datasets);
        let branch = self.choose(&refs)?;
        let cloned = Cloned {
            branch: branch.to_owned(),
            branches: refs.branches.len(),
            tags: refs.tags.len(),
            chunks,
            bytes,
            is_least: false,
        };
        let repo_state = self.repo_state(branch);
        let now = self.clock.now().seconds();
        let made = match request.form {
            Form::Bare if usable.passed_over.is_empty() => None,
            Form::Bare => Some(usable.datasets.write()?),
            Form::Database => {
                let new = NewRefs {
                    remote: request.remote_name.as_deref(),
                    followed: refs.branches.clone().into_iter().collect(),
                    tags: refs.tags.clone().into_iter().collect(),
                    local: vec![(branch.to_owned(), refs.branches[branch])],
                    identity: request.identity.as_ref(),
                };
                Some(new.write(&source, now).await?)
            }
        };
        let place = self.place;
        let finish = move || {
            if let Some(made) = made {
                let store = StoreWriter::open(&place.store())?;
                store.commit(made.root, &[], &pairs(&made.chunks), now)?;
            }
            place.finish(&repo_state)
        };
        self.pool.run(finish).await?;
        Ok(cloned)
    }

    /// Takes all files, and looks at the refs meanwhile: what cannot become a clone is refused long before all is here.
    async fn take_files(
        &self,
        listed: ListedFiles,
    ) -> Result<(RootAddress, Vec<ListedFile>), TransferError> {
        let before = self.prepare().await?;
        let folders = Folders {
            parts: self.place.parts(),
            store: self.place.store(),
        };
        let downloader = Downloader::new(
            &self.request.remote,
            folders,
            self.pool,
            self.clock,
            &self.observer,
        );
        let there = RemoteSource::new(Arc::clone(&self.request.remote));
        let root_there = listed.root;
        let look = async {
            let chosen = self.look(&there, root_there).await.map(drop);
            let is_refused = matches!(
                chosen,
                Err(TransferError::NoBranch { .. }
                    | TransferError::NoBranches
                    | TransferError::RemoteName { .. })
            );
            chosen.map_err(|error| (error, is_refused))
        };
        let take = async {
            let taken = downloader.take_all(listed).await;
            taken.map_err(|error| (error, false))
        };
        match futures::try_join!(look, take) {
            Ok(((), taken)) => Ok(taken),
            Err((error, is_refused)) => {
                if is_refused {
                    // What of the download still runs would write beside it.
                    self.pool.quiet().await;
                    let place = self.place.clone();
                    // What cannot be removed changes nothing about why.
                    drop(self.pool.run(move || place.undo(before)).await);
                }
                Err(error)
            }
        }
    }

    /// Looks at the refs of the remote before all of it is here: the branches and tags by their names, and the branch
    /// that is checked out.
    async fn look(
        &self,
        source: &dyn ChunkSource,
        root: RootAddress,
    ) -> Result<(RemoteRefs, String), TransferError> {
        let usable = Usable::by_name(Datasets::read(source, root).await?);
        self.check_asked(&usable)?;
        let mut refs = RemoteRefs::among(&usable.datasets);
        let branch = self.choose_usable(source, &mut refs).await?;
        Ok((refs, branch))
    }

    /// Says what would come: all files, which the remote says are `size` bytes long.
    async fn estimate_whole(
        self,
        size: u64,
        listed: &ListedFiles,
    ) -> Result<Cloned, TransferError> {
        self.check_free().await?;
        let source = RemoteSource::new(Arc::clone(&self.request.remote));
        let (refs, branch) = self.look(&source, listed.root).await?;
        let chunks = listed.files.iter().map(|file| u64::from(file.chunks));
        Ok(Cloned {
            branch,
            branches: refs.branches.len(),
            tags: refs.tags.len(),
            chunks: chunks.sum(),
            bytes: size,
            is_least: false,
        })
    }
}
