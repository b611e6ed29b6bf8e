//! A store in a bucket, in the layout of Dolt's own `s3://` remotes.
//!
//! ```text
//! <prefix>/manifest       the root and the files, replaced under the condition of its version
//! <prefix>/<id>           a table file
//! <prefix>/<id>.darc      an archive
//! <prefix>/holdfast-backups/…   small objects of our own
//! ```
//!
//! * Truth: the bucket. Files never change; which of them count, the manifest says.
//! * Cleanup: none. Dolt removes nothing from such a remote, and neither do we; many small files are joined, and stay there
//!   unlisted.
//!
//! The prefix is the store's: keys here are the names below it. The index of each file is read once, into a temporary
//! file; chunks are read by ranges.

mod index;
mod joining;
#[cfg(feature = "s3")]
mod left;
mod push;
mod read;
mod shelf;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::{self, ListedFile, Manifest};
use holdfast_chunkstore::noms_dir::{DamagedFile, StoreError, file_name};
use holdfast_chunkstore::objects::retrying::{RetryPolicy, RetryingStore};
#[cfg(feature = "s3")]
use holdfast_chunkstore::objects::s3::{S3Credentials, S3Settings, S3Store};
use holdfast_chunkstore::objects::{
    ObjectError, ObjectKey, ObjectStore, ObjectVersion, VersionedStore,
};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress, TableFileId};
use tokio::sync::OnceCell;

use self::index::{Indexes, key_of};
use self::push::Move;
use self::read::{Found, Reader};
use super::error::RemoteError;
use super::passed_over::PassedOver;
#[cfg(feature = "s3")]
use super::url::BucketUrl;
use super::{
    FileBody, ListedFiles, Metadata, OutgoingFile, Reach, Remote, RemoteChunk, RemoteFile, Shelf,
    Swap, Uploaded, WorkingSets,
};

/// A store in a bucket.
#[derive(Debug)]
pub struct Bucket {
    address: String,
    store: Arc<dyn VersionedStore>,
    /// The same, where it may hold parts of uploads that were cut off.
    #[cfg(feature = "s3")]
    s3: Option<Arc<S3Store>>,
    /// The same, with what can be repeated without harm repeated.
    objects: RetryingStore,
    indexes: Indexes,
    reader: Reader,
    clock: Arc<dyn Clock>,
    pool: BlockingPool,
    /// As it was read last.
    manifest: Mutex<Option<Arc<Manifest>>>,
    /// Damaged files that do not count here.
    passed_over: PassedOver,
    /// Whether the server was seen to keep to conditions.
    is_proven: OnceCell<()>,
}

impl Bucket {
    /// Prepares to speak to a bucket; nothing is sent yet. Without keys they come from where the AWS SDK looks for
    /// them.
    #[cfg(feature = "s3")]
    pub async fn new(
        url: &BucketUrl,
        keys: Option<S3Credentials>,
        clock: Arc<dyn Clock>,
        pool: BlockingPool,
    ) -> Self {
        let settings = S3Settings {
            endpoint: url.endpoint.clone(),
            public_endpoint: None,
            region: url.region.clone(),
            bucket: url.bucket.clone(),
            prefix: url.prefix.clone(),
            path_style: url.is_path_style,
            credentials: keys,
        };
        let store = Arc::new(S3Store::new(settings, Arc::clone(&clock)).await);
        let plain = Arc::clone(&store) as Arc<dyn VersionedStore>;
        Self {
            s3: Some(store),
            ..Self::over(url.to_string(), plain, clock, pool)
        }
    }

    /// A store among the objects of `store`, whose keys have no prefix any more.
    pub fn over(
        address: String,
        store: Arc<dyn VersionedStore>,
        clock: Arc<dyn Clock>,
        pool: BlockingPool,
    ) -> Self {
        let plain = Arc::clone(&store) as Arc<dyn ObjectStore>;
        let objects = RetryingStore::new(plain, RetryPolicy::default(), Arc::clone(&clock));
        Self {
            indexes: Indexes::new(objects.clone(), pool.clone(), &address),
            reader: Reader::new(objects.clone(), pool.clone()),
            address,
            store,
            #[cfg(feature = "s3")]
            s3: None,
            objects,
            clock,
            pool,
            manifest: Mutex::default(),
            passed_over: PassedOver::default(),
            is_proven: OnceCell::new(),
        }
    }

    fn manifest(&self) -> MutexGuard<'_, Option<Arc<Manifest>>> {
        self.manifest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the manifest and its version; that of an empty store, which has no version, where there is none.
    async fn read_manifest(&self) -> Result<(Arc<Manifest>, Option<ObjectVersion>), RemoteError> {
        let limit = manifest::MAX_LEN as u64;
        let read = self.store.read_version(&manifest_key(), limit).await?;
        let (manifest, version) = match read {
            Some((text, version)) => {
                let manifest = Manifest::decode(&text);
                let manifest = manifest.map_err(|source| StoreError::Manifest {
                    path: PathBuf::from(&self.address).join(manifest_key().as_str()),
                    source,
                })?;
                (manifest, Some(version))
            }
            None => (Manifest::new(RootAddress::ZERO, Vec::new()), None),
        };
        self.remember(manifest.clone());
        Ok((Arc::new(manifest), version))
    }

    /// The manifest that was read last, or the one that is there.
    async fn known_manifest(&self) -> Result<Arc<Manifest>, RemoteError> {
        let known = self.manifest().clone();
        match known {
            Some(manifest) => Ok(manifest),
            None => Ok(self.read_manifest().await?.0),
        }
    }

    /// The files of a manifest that count.
    fn counted(&self, manifest: &Manifest) -> Vec<ListedFile> {
        let mut files = manifest.files.clone();
        files.retain(|file| !self.passed_over.contains(file.id));
        files
    }

    async fn absent_from(
        &self,
        manifest: &Manifest,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<ChunkAddress>, RemoteError> {
        let files = self.indexes.open_all(&self.counted(manifest)).await?;
        let found = self.reader.locate(files, addresses.to_vec()).await?;
        let found = addresses.iter().zip(found);
        let absent = found.filter_map(|(address, found)| found.is_none().then_some(*address));
        Ok(absent.collect())
    }

    async fn lens_in(
        &self,
        manifest: &Manifest,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError> {
        let files = self.indexes.open_all(&self.counted(manifest)).await?;
        let found = self.reader.locate(files, addresses.to_vec()).await?;
        let len = |found: Found| found.map(|(_, span)| span.data.len);
        Ok(found.into_iter().map(len).collect())
    }

    async fn read_from(
        &self,
        manifest: &Manifest,
        addresses: &[ChunkAddress],
        reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        let files = self.indexes.open_all(&self.counted(manifest)).await?;
        let found = self.reader.locate(files.clone(), addresses.to_vec());
        let found = found.await?;
        self.reader.read(&files, addresses, &found, reach).await
    }
}

#[async_trait]
impl Remote for Bucket {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    async fn metadata(&self) -> Result<Metadata, RemoteError> {
        let (manifest, _) = self.read_manifest().await?;
        let heads = self.indexes.heads(&self.counted(&manifest)).await?;
        Ok(Metadata {
            size: heads.iter().map(|head| head.len).sum(),
            working_sets: WorkingSets::Ignored,
            takes_archives: true,
        })
    }

    async fn root(&self) -> Result<RootAddress, RemoteError> {
        Ok(self.read_manifest().await?.0.root)
    }

    async fn absent(&self, addresses: &[ChunkAddress]) -> Result<Vec<ChunkAddress>, RemoteError> {
        let known = self.known_manifest().await?;
        let absent = self.absent_from(&known, addresses).await?;
        if absent.is_empty() {
            return Ok(absent);
        }
        let (manifest, _) = self.read_manifest().await?;
        match manifest == known {
            true => Ok(absent),
            false => self.absent_from(&manifest, addresses).await,
        }
    }

    async fn read(
        &self,
        addresses: &[ChunkAddress],
        reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        let known = self.known_manifest().await?;
        let read = self.read_from(&known, addresses, reach).await?;
        if read.iter().all(Option::is_some) {
            return Ok(read);
        }
        let (manifest, _) = self.read_manifest().await?;
        match manifest == known {
            true => Ok(read),
            false => self.read_from(&manifest, addresses, reach).await,
        }
    }

    async fn stored_lens(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError> {
        let known = self.known_manifest().await?;
        let lens = self.lens_in(&known, addresses).await?;
        if lens.iter().all(Option::is_some) {
            return Ok(lens);
        }
        let (manifest, _) = self.read_manifest().await?;
        match manifest == known {
            true => Ok(lens),
            false => self.lens_in(&manifest, addresses).await,
        }
    }

    async fn list_files(&self) -> Result<ListedFiles, RemoteError> {
        let (manifest, _) = self.read_manifest().await?;
        let listed = self.counted(&manifest);
        let heads = self.indexes.heads(&listed).await?;
        let files = listed.iter().zip(heads);
        let files = files.map(|(file, head)| RemoteFile {
            id: file.id,
            chunks: file.chunks,
            kind: head.kind,
            place: file_name(file.id, head.kind),
        });
        Ok(ListedFiles {
            root: manifest.root,
            files: files.collect(),
        })
    }

    async fn file_len(&self, file: &RemoteFile) -> Result<u64, RemoteError> {
        Ok(self.indexes.head(file.id).await?.len)
    }

    async fn read_file(
        &self,
        file: &RemoteFile,
        from: u64,
        to: Option<u64>,
    ) -> Result<FileBody, RemoteError> {
        let len = self.file_len(file).await?;
        let end = to.map_or(len, |end| end.min(len));
        let begins_at = from.min(end);
        let key = key_of(file.id, file.kind);
        let bytes = match begins_at == end {
            true => stream::empty().boxed(),
            false => self.objects.get(&key, Some(begins_at..end)).await?.stream,
        };
        Ok(FileBody {
            begins_at,
            len: Some(len),
            bytes: Box::pin(bytes.map_err(RemoteError::from)),
        })
    }

    async fn damaged_files(&self) -> Result<Vec<DamagedFile>, RemoteError> {
        let (manifest, _) = self.read_manifest().await?;
        let mut damaged = Vec::new();
        for file in &manifest.files {
            match self.indexes.open(*file).await {
                Ok(_) => {}
                Err(RemoteError::Store { source }) if source.kind() == ErrorKind::Corrupt => {
                    damaged.push(DamagedFile {
                        id: file.id,
                        error: source,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    fn pass_over(&self, files: &[TableFileId]) {
        self.passed_over.set(files);
    }

    async fn drop_passed_over(&self) -> Result<(), RemoteError> {
        let damaged = self.passed_over.all();
        self.swap(None, &[], &damaged).await?;
        self.passed_over.forget(damaged);
        Ok(())
    }

    async fn upload(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        self.send(file).await
    }

    async fn add_files(&self, files: &[ListedFile]) -> Result<(), RemoteError> {
        self.swap(None, files, &HashSet::new()).await.map(drop)
    }

    async fn commit(
        &self,
        root: RootAddress,
        last: RootAddress,
        files: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        let goal = Some(Move { last, root });
        self.swap(goal, files, &HashSet::new()).await
    }
}

impl From<ObjectError> for RemoteError {
    fn from(source: ObjectError) -> Self {
        Self::Bucket { source }
    }
}

/// The name of the manifest's object.
fn manifest_key() -> ObjectKey {
    ObjectKey::parse("manifest").expect("a word is a key")
}

#[cfg(test)]
mod tests;
