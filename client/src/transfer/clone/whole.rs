//! Everything that a remote has, file by file.

use std::sync::{Arc, Mutex};

use holdfast_chunkstore::noms_dir::StoreWriter;

use super::place::Form;
use super::{Cloned, Cloner};
use crate::database::StoreSource;
use crate::remote::{ListedFiles, RemoteSource};
use crate::transfer::datasets::pairs;
use crate::transfer::download::{Downloader, Turn};
use crate::transfer::error::TransferError;
use crate::transfer::fetch::Extent;
use crate::transfer::refs::{NewRefs, RemoteRefs};

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
        self.prepare().await?;
        let downloader = Downloader {
            remote: Arc::clone(&request.remote),
            clock: Arc::clone(self.clock),
            parts: self.place.parts(),
            store: self.place.store(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
            taken: Mutex::default(),
            turn: Turn::default(),
        };
        let (root, files) = downloader.take_all(listed).await?;
        let chunks = files.iter().map(|file| u64::from(file.chunks)).sum();
        let place = self.place.clone();
        let begin = move || place.begin_store(root, files);
        let opened = self.pool.run(begin).await?;
        let bytes = opened.files().iter().map(|file| file.len()).sum();
        let source = StoreSource::new(Arc::new(opened), self.pool.clone());
        let refs = RemoteRefs::read(&source, root).await?;
        let branch = self.choose(&refs)?;
        let cloned = Cloned {
            branch: branch.to_owned(),
            branches: refs.branches.len(),
            tags: refs.tags.len(),
            chunks,
            bytes,
            is_least: false,
        };
        let repo_state = self.repo_state(branch, None);
        let now = self.clock.now().seconds();
        let made = match request.form {
            Form::Bare => None,
            Form::Database => {
                let new = NewRefs {
                    remote: &request.remote_name,
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

    /// Says what would come: all files, which the remote says are `size` bytes long.
    async fn estimate_whole(
        self,
        size: u64,
        listed: &ListedFiles,
    ) -> Result<Cloned, TransferError> {
        self.check_free().await?;
        let source = RemoteSource::new(Arc::clone(&self.request.remote));
        let refs = RemoteRefs::read(&source, listed.root).await?;
        let chunks = listed.files.iter().map(|file| u64::from(file.chunks));
        Ok(Cloned {
            branch: self.choose(&refs)?.to_owned(),
            branches: refs.branches.len(),
            tags: refs.tags.len(),
            chunks: chunks.sum(),
            bytes: size,
            is_least: false,
        })
    }
}
