//! A store in a directory: `file://`.
//!
//! Anybody who may write to the directory may push to it, Dolt's processes too: they keep to the same lock, and write
//! files before the manifest names them. The store of a live database can be read here, and takes no pushes.

mod place;
mod push;
mod shelf;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::{JOURNAL_ID, ListedFile};
use holdfast_chunkstore::noms_dir::{DamagedFile, Journal, NomsDir, StoreError, damaged_files};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};

use self::place::Place;
use super::error::RemoteError;
use super::url::RemoteUrl;
use super::{
    FileBody, ListedFiles, Metadata, OutgoingFile, Reach, Remote, RemoteChunk, RemoteFile, Shelf,
    Swap, Uploaded, WorkingSets,
};

/// How much of a file is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// A store in a directory.
#[derive(Debug)]
pub struct Directory {
    place: Arc<Place>,
    pool: BlockingPool,
}

impl Directory {
    /// Prepares to use the store in the directory `path`, or that of the database there. Looks only which of them it
    /// is.
    pub fn new(path: &Path, pool: BlockingPool) -> Self {
        Self {
            place: Arc::new(Place::new(path)),
            pool,
        }
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Place) -> T + Send + 'static) -> T {
        let place = Arc::clone(&self.place);
        self.pool.run(move || work(&place)).await
    }
}

#[async_trait]
impl Remote for Directory {
    fn address(&self) -> String {
        RemoteUrl::Directory(self.place.directory().to_owned()).to_string()
    }

    fn shelf(&self) -> Option<&dyn Shelf> {
        Some(self)
    }

    async fn metadata(&self) -> Result<Metadata, RemoteError> {
        let store = self.run(Place::fresh).await?;
        Ok(Metadata {
            size: store.map_or(0, |store| len(&store)),
            working_sets: WorkingSets::Ignored,
            takes_archives: true,
        })
    }

    async fn root(&self) -> Result<RootAddress, RemoteError> {
        let store = self.run(Place::fresh).await?;
        Ok(store.map_or(RootAddress::ZERO, |store| store.root()))
    }

    async fn absent(&self, addresses: &[ChunkAddress]) -> Result<Vec<ChunkAddress>, RemoteError> {
        let addresses = addresses.to_vec();
        self.run(move |place| place.absent(addresses)).await
    }

    async fn read(
        &self,
        addresses: &[ChunkAddress],
        _reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        let addresses = addresses.to_vec();
        self.run(move |place| place.read(&addresses)).await
    }

    async fn stored_lens(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError> {
        let addresses = addresses.to_vec();
        self.run(move |place| place.stored_lens(&addresses)).await
    }

    async fn list_files(&self) -> Result<ListedFiles, RemoteError> {
        let store = self.run(Place::fresh).await?;
        Ok(match store {
            Some(store) => listed(&store),
            None => ListedFiles {
                root: RootAddress::ZERO,
                files: Vec::new(),
            },
        })
    }

    async fn file_len(&self, file: &RemoteFile) -> Result<u64, RemoteError> {
        let path = self.place.directory().join(&file.place);
        let opened = self.pool.run(move || Pieces::open(path, 0, None));
        Ok(opened.await?.len)
    }

    async fn read_file(
        &self,
        file: &RemoteFile,
        from: u64,
        to: Option<u64>,
    ) -> Result<FileBody, RemoteError> {
        let path = self.place.directory().join(&file.place);
        let opened = self.pool.run(move || Pieces::open(path, from, to)).await?;
        let (begins_at, len) = (opened.offset, opened.len);
        let pool = self.pool.clone();
        let pieces = stream::try_unfold(opened, move |mut pieces| {
            let pool = pool.clone();
            async move {
                let read = pool.run(move || {
                    let piece = pieces.next()?;
                    Ok(piece.map(|piece| (piece, pieces)))
                });
                read.await
            }
        });
        Ok(FileBody {
            begins_at,
            len: Some(len),
            bytes: Box::pin(pieces),
        })
    }

    async fn damaged_files(&self) -> Result<Vec<DamagedFile>, RemoteError> {
        let directory = self.place.directory().to_owned();
        Ok(self.pool.run(move || damaged_files(&directory)).await?)
    }

    fn pass_over(&self, files: &[TableFileId]) {
        self.place.pass_over(files);
    }

    async fn drop_passed_over(&self) -> Result<(), RemoteError> {
        self.run(Place::drop_passed_over).await
    }

    /// A disk takes it within a second.
    fn first_file_bytes(&self) -> u64 {
        24 << 20
    }

    async fn upload(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        let file = file.clone();
        self.run(move |place| place.land(&file)).await
    }

    async fn add_files(&self, files: &[ListedFile]) -> Result<(), RemoteError> {
        let files = files.to_vec();
        self.run(move |place| place.add(&files)).await
    }

    async fn commit(
        &self,
        root: RootAddress,
        last: RootAddress,
        files: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        let files = files.to_vec();
        self.run(move |place| place.commit(root, last, &files))
            .await
    }
}

/// How long its files are together.
fn len(store: &NomsDir) -> u64 {
    let files = store.files().iter().map(|file| file.len());
    files.sum::<u64>() + store.journal().map_or(0, Journal::end)
}

/// The files of a store, their places below its directory.
fn listed(store: &NomsDir) -> ListedFiles {
    let place = |path: &Path| {
        let below = path.strip_prefix(store.directory()).unwrap_or(path);
        below.to_string_lossy().into_owned()
    };
    let stored = store.files().iter().map(|file| RemoteFile {
        id: file.id(),
        chunks: file.count(),
        kind: file.kind(),
        place: place(file.path()),
    });
    let journal = store.journal().map(|journal| RemoteFile {
        id: JOURNAL_ID,
        chunks: u32::try_from(journal.count()).unwrap_or(u32::MAX),
        kind: FileKind::Table,
        place: place(journal.path()),
    });
    ListedFiles {
        root: store.root(),
        files: stored.chain(journal).collect(),
    }
}

/// A file that is read piece by piece, as far as it was long when it was opened: a journal grows.
struct Pieces {
    file: File,
    path: PathBuf,
    /// How long the file was.
    len: u64,
    offset: u64,
    end: u64,
}

impl Pieces {
    fn open(path: PathBuf, offset: u64, end: Option<u64>) -> Result<Self, RemoteError> {
        let opened = File::open(&path).and_then(|file| {
            let len = file.metadata()?.len();
            Ok((file, len))
        });
        let (file, len) = opened.map_err(|source| place::io("open", &path, source))?;
        let end = end.map_or(len, |end| end.min(len));
        Ok(Self {
            file,
            path,
            len,
            offset: offset.min(end),
            end,
        })
    }

    fn next(&mut self) -> Result<Option<Bytes>, RemoteError> {
        let len = (self.end - self.offset).min(PIECE_BYTES);
        if len == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; usize::try_from(len).expect("a piece is small")];
        let read = self.file.read_exact_at(&mut piece, self.offset);
        read.map_err(|source| place::io("read", &self.path, source))?;
        self.offset += len;
        Ok(Some(Bytes::from(piece)))
    }
}

impl From<StoreError> for RemoteError {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

#[cfg(test)]
mod tests;
