//! Everything that a remote has, file by file.

use std::sync::{Arc, Mutex};

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_doltdb::ChunkSource;

use super::place::Form;
use super::{Cloned, Cloner};
use crate::database::StoreSource;
use crate::remote::RemoteSource;
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::download::{Downloader, Turn};
use crate::transfer::error::TransferError;
use crate::transfer::refs::{NewRefs, RemoteRefs, check_names};

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
        // Before anything is written, and before all of it comes.
        let there = RemoteSource::new(Arc::clone(&request.remote));
        self.choose(&self.refs(&there, listed.root).await?)?;
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
        let source = StoreSource::new(Arc::new(opened), self.pool.clone());
        let refs = self.refs(&source, root).await?;
        let branch = self.choose(&refs)?;
        let cloned = Cloned {
            branch: branch.to_owned(),
            branches: refs.branches.len(),
            tags: refs.tags.len(),
            chunks,
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

    /// The branches and tags of the remote, whose names are those of the clone as well.
    async fn refs(
        &self,
        source: &dyn ChunkSource,
        root: RootAddress,
    ) -> Result<RemoteRefs, TransferError> {
        let datasets = Datasets::read(source, root).await?;
        let address = self.request.remote.address();
        match self.request.form {
            Form::Bare => datasets.check_names(&address)?,
            Form::Database => {
                let public = datasets.iter().filter(|(name, _)| name.is_public());
                let public: Vec<_> = public.map(|(name, _)| name).collect();
                check_names(&address, &public)?;
            }
        }
        Ok(RemoteRefs::among(&datasets))
    }
}
