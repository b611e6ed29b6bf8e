//! Where databases are cloned from and pushed to: servers of Dolt's remotes API, directories, and buckets.
//!
//! A transfer sees a [`Remote`] and nothing of what is behind it.

mod bucket;
pub mod credentials;
mod directory;
mod error;
mod hindrance;
mod open;
mod parcel;
mod passed_over;
mod ranges;
mod retry;
mod server;
mod shelf;
mod source;
mod url;

pub use bucket::Bucket;
pub use directory::Directory;
pub use error::RemoteError;
pub(crate) use error::{CHECK, DAMAGED, MARK};
pub use hindrance::Hindrance;
pub use open::{Access, open};
pub use parcel::Parcel;
pub(crate) use retry::Budget;
#[cfg(test)]
pub(crate) use retry::testing::Hasty;
pub use retry::{Retries, Retry, UntoldRetries};
pub use server::{ProxySettings, Server};
pub use shelf::{Drawn, Lot, Put, Shelf};
pub use source::RemoteSource;
pub use url::{BucketUrl, DEFAULT_HOST, RemoteUrl, ServerUrl, UrlError};

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::DamagedFile;
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use holdfast_doltdb::source::MOST_BYTES;
use tokio::sync::mpsc;

/// A repository somewhere else.
///
/// Everything is tried again inside, where a failure may pass; what comes out is final. Every call can be made again
/// after it was cut off, and then has the same effect.
#[async_trait]
pub trait Remote: Send + Sync + fmt::Debug {
    /// Its address, as it is written into a database that follows it.
    fn address(&self) -> String;

    /// Small files beside its chunks, where it can keep some.
    fn shelf(&self) -> Option<&dyn Shelf> {
        None
    }

    /// Asks what it is, and refuses one whose chunks we do not know.
    async fn metadata(&self) -> Result<Metadata, RemoteError>;

    /// Asks for the root.
    async fn root(&self) -> Result<RootAddress, RemoteError>;

    /// Asks which of some chunks are not there, in the order of the question. A chunk that is there has everything
    /// below it there as well.
    async fn absent(&self, addresses: &[ChunkAddress]) -> Result<Vec<ChunkAddress>, RemoteError>;

    /// Reads the first of some chunks, and checks each against its address: one answer for each in their order, nothing
    /// for a chunk that is not there. Reads at least one, and no more behind those that have [`MOST_BYTES`] together.
    async fn read(
        &self,
        addresses: &[ChunkAddress],
        reach: Reach,
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError>;

    /// Reads chunks as [`Remote::read`] does and sends them on a few at a time, in any order, each once. Returns those
    /// that are not there. However many are asked for, what is in memory and not yet taken off is bounded; whoever asks
    /// must go on taking until this returns.
    async fn read_each(
        &self,
        addresses: Vec<ChunkAddress>,
        reach: Reach,
        to: mpsc::Sender<Parcel>,
    ) -> Result<Vec<ChunkAddress>, RemoteError> {
        let mut parts = parcel::Parts::new(addresses);
        while let Some(part) = parts.next_part() {
            let chunks = self.read(&part, reach).await?;
            let parcel = parts.take(part, chunks);
            if to.send(parcel).await.is_err() {
                break;
            }
        }
        Ok(parts.into_missing())
    }

    /// Asks how long the stored forms of chunks are, without reading them: one answer per address in their order,
    /// nothing for a chunk that is not there. Nothing shows that a remote says the truth of it.
    async fn stored_lens(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError>;

    /// Asks for the files, and the root that they hold.
    async fn list_files(&self) -> Result<ListedFiles, RemoteError>;

    /// Asks how long a file is.
    async fn file_len(&self, file: &RemoteFile) -> Result<u64, RemoteError>;

    /// Begins to read a file from `from` on, up to `to` or to its end. Both must lie in the file, and something between
    /// them.
    async fn read_file(
        &self,
        file: &RemoteFile,
        from: u64,
        to: Option<u64>,
    ) -> Result<FileBody, RemoteError>;

    /// Asks a remote that can tell to compare a file, out of which wrong bytes came, with what it took in: an error of
    /// damage if it is another one now.
    async fn doubt_file(&self, _file: &RemoteFile) -> Result<(), RemoteError> {
        Ok(())
    }

    /// Looks at the names, the lengths and the indexes of the files that a store lists, and returns those that are missing
    /// or damaged. A server looks after its files itself, and names none.
    async fn damaged_files(&self) -> Result<Vec<DamagedFile>, RemoteError> {
        Ok(Vec::new())
    }

    /// Counts these files, which are damaged, and no others as not listed from now on, so that what they held is absent;
    /// one that is sent again counts again. Others see the list as it is until [`Remote::drop_passed_over`].
    fn pass_over(&self, _files: &[TableFileId]) {}

    /// Takes the files that are passed over off the list.
    async fn drop_passed_over(&self) -> Result<(), RemoteError> {
        Ok(())
    }

    /// How long the first file is that is sent there: nothing is known of the line yet. What follows is as long as the
    /// line takes.
    fn first_file_bytes(&self) -> u64 {
        128 << 10
    }

    /// Sends a file, unless the remote says that it has it. No root can name its chunks yet.
    async fn upload(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError>;

    /// Makes the chunks of files that were sent part of the repository; the root stays.
    async fn add_files(&self, files: &[ListedFile]) -> Result<(), RemoteError>;

    /// Moves the root from `last` to `root`, if it is still there. The files were sent before, and become part of the
    /// repository in the same step.
    async fn commit(
        &self,
        root: RootAddress,
        last: RootAddress,
        files: &[ListedFile],
    ) -> Result<Swap, RemoteError>;
}

/// What a remote says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The bytes of its files; zero where there are none.
    pub size: u64,
    /// What a push does with the working set of a branch.
    pub working_sets: WorkingSets,
    /// Whether it takes archives.
    pub takes_archives: bool,
}

/// What a push does with the working set of a branch that it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkingSets {
    /// Leaves it alone: nobody works there.
    Ignored,
    /// Refuses to move a branch whose working set has changes, and moves a clean one along: somebody works there.
    Asserted,
}

/// How far a read may reach beyond what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not a byte: what lies between may be somebody else's.
    Exact,
    /// Over small gaps, which takes fewer requests.
    Near,
}

/// A chunk that came and was checked.
#[derive(Debug, Clone)]
pub struct RemoteChunk {
    /// Its bytes.
    pub chunk: Bytes,
    /// Its stored form as in a table file, if it came in that form.
    pub record: Option<Bytes>,
}

/// A file that is to be sent.
#[derive(Debug, Clone)]
pub struct OutgoingFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its id.
    pub id: TableFileId,
    /// What kind of file it is.
    pub kind: FileKind,
    /// Its length in bytes.
    pub len: u64,
    /// How many of them are data.
    pub data_len: u64,
    /// How many chunks are in it.
    pub chunks: u32,
}

/// What became of a file that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// It was sent.
    Sent,
    /// The remote had it.
    Known,
}

/// What became of an attempt to move a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// It moved.
    Won,
    /// It had moved before.
    Lost,
}

/// The bytes of a file on their way.
pub struct FileBody {
    /// Where in the file they begin: a server that knows no ranges sends all of it.
    pub begins_at: u64,
    /// How long the file is, if the remote said so.
    pub len: Option<u64>,
    /// The bytes.
    pub bytes: Pin<Box<dyn Stream<Item = Result<Bytes, RemoteError>> + Send>>,
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody")
            .field("begins_at", &self.begins_at)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The files of a remote at one moment, and the root that is in them.
#[derive(Debug, Clone)]
pub struct ListedFiles {
    /// The root.
    pub root: RootAddress,
    /// The files.
    pub files: Vec<RemoteFile>,
}

/// A file of a remote.
#[derive(Clone)]
pub struct RemoteFile {
    /// Its id.
    pub id: TableFileId,
    /// How many chunks the remote says are in it.
    pub chunks: u32,
    /// What kind of file it is.
    pub kind: FileKind,
    /// Where its bytes are. Whoever has the address of one on a server can read it, so it is never shown.
    pub(crate) place: String,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteFile")
            .field("id", &self.id)
            .field("chunks", &self.chunks)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
