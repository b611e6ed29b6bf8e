//! Small objects below the store's prefix, each created under the condition that none of its name is there.
//!
//! * Retry: an answer that was lost is no answer, so the object is read again: whoever finds his own bytes put them
//!   there.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::objects::{ObjectError, ObjectKey, ObjectStoreExt as _};

use super::Bucket;
use crate::remote::shelf::{Drawn, FOLDER, Lot, MAX_LEN, Put, Shelf};
use crate::remote::{Budget, RemoteError, RemoteFile};

#[async_trait]
impl Shelf for Bucket {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, RemoteError> {
        self.prove().await?;
        let Some(key) = key(name) else {
            return Ok(Put::Taken);
        };
        let mut budget = Budget::new();
        loop {
            let failure = match self.store.create(&key, bytes.clone()).await {
                Ok(()) => return Ok(Put::Done),
                Err(failure) => failure,
            };
            match self.get(name).await? {
                Some(there) if there == bytes => return Ok(Put::Done),
                Some(_) => return Ok(Put::Taken),
                None => {}
            }
            let failure = RemoteError::from(failure);
            if !failure.kind().is_transient() || !budget.wait(&*self.clock).await {
                return Err(failure);
            }
        }
    }

    async fn names(&self) -> Result<Vec<String>, RemoteError> {
        let objects = self.objects.list_all(&format!("{FOLDER}/")).await?;
        let names = objects.iter().map(|object| object.key.name().to_owned());
        Ok(names.collect())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        let Some(key) = key(name) else {
            return Ok(None);
        };
        match self.objects.read(&key, None, MAX_LEN).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, _file: &RemoteFile) -> Option<PathBuf> {
        None
    }

    async fn draw(&self, file: &RemoteFile, from: u32, lot: Lot) -> Result<Drawn, RemoteError> {
        let listed = ListedFile {
            id: file.id,
            chunks: file.chunks,
        };
        let stored = self.indexes.open(listed).await?;
        Ok(self.pool.run(move || lot.draw(&stored, from)).await?)
    }
}

/// The key of a small object; none for a name that no object can have.
fn key(name: &str) -> Option<ObjectKey> {
    ObjectKey::parse(format!("{FOLDER}/{name}")).ok()
}
