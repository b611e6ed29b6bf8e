//! From the bytes of an upload to a published object, in three states.
//!
//! ```text
//! Receiving ──write──▶ … ──check──▶ Verified ──publish──▶ Published
//!     └── dropped, abandoned, or refused: nothing is left ──┘
//! ```
//!
//! * Truth: the published object. Before [`Upload::publish`] nobody can see anything of an upload.
//! * Order: bytes go to the spool and to the object store side by side; the check reads the spool; only then
//!   is the object completed, durably.
//! * Crash: a killed process leaves spool files, which the next start removes, and parts of an object, which
//!   the store keeps to itself.
//! * Cleanup: whoever drops an upload drops its spool file, and the store's parts soon after; [`Upload::abandon`]
//!   waits for them.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::ChunkAddress;
use crate::id::UploadId;
use crate::index::{IndexError, SortedEntries};
use crate::objects::ObjectUpload;
use crate::pool::BlockingPool;
use crate::repo::check::{Checker, ChildrenRefused, FindChildren, UploadError};
use crate::repo::entries::FileEntries;
use crate::repo::file::{DeclaredFile, StoredFile};
use crate::repo::spool::{Sender, SpoolError, SpoolFile, SpooledFile};
use crate::repo::turns::SharedTurns;
use crate::sort::{SortOptions, Sorted};

/// An upload in one of its states: [`Receiving`], then [`Verified`].
#[derive(Debug)]
pub struct Upload<S> {
    id: UploadId,
    declared: DeclaredFile,
    object: Box<dyn ObjectUpload>,
    state: S,
}

/// Bytes are coming.
#[derive(Debug)]
pub struct Receiving {
    spool: SpoolFile,
    sort: SortOptions,
    decoded_limit: u64,
    leases: Option<(SharedTurns, Sender)>,
}

/// All bytes are there and were checked.
#[derive(Debug)]
pub struct Verified {
    /// Kept until the store has taken its file over.
    _spooled: SpooledFile,
    checked: CheckedFile,
}

/// What the check found out about a file.
#[derive(Debug, Clone)]
pub struct CheckedFile {
    summary: StoredFile,
    leaving: Sorted<20>,
    entries: FileEntries,
}

impl CheckedFile {
    /// What is known of the file.
    pub fn summary(&self) -> &StoredFile {
        &self.summary
    }

    /// How many distinct references leave the file.
    pub fn leaving_count(&self) -> u64 {
        self.leaving.len()
    }

    /// The addresses that chunks of the file refer to and that are not in it, ascending, each once. Blocks
    /// where there are many.
    pub fn leaving(
        &self,
    ) -> Result<impl Iterator<Item = Result<ChunkAddress, SpoolError>> + Send + use<>, SpoolError>
    {
        let failed = |source| SpoolError::Io {
            action: "read the sorted references beside",
            path: "the spool".into(),
            source,
        };
        let records = self.leaving.iter().map_err(failed)?;
        Ok(records.map(move |record| record.map(ChunkAddress::new).map_err(failed)))
    }

    /// The entries of the file for the chunk index, ascending. Blocks where there are many.
    pub fn entries(&self) -> Result<SortedEntries, IndexError> {
        self.entries.sorted()
    }
}

impl Upload<Receiving> {
    /// Begins to receive. `object` was begun with the path of `spool`, which has room for what is declared.
    pub fn begin(
        id: UploadId,
        declared: DeclaredFile,
        mut spool: SpoolFile,
        object: Box<dyn ObjectUpload>,
    ) -> Self {
        spool.keep_written();
        let sort = spool.sort_options();
        Self {
            id,
            declared,
            object,
            state: Receiving {
                spool,
                sort,
                decoded_limit: u64::MAX,
                leases: None,
            },
        }
    }

    /// Lets the check have its turns on the pool as one of those of its sender.
    #[must_use]
    pub fn with_leases(mut self, leases: &SharedTurns, sender: Sender) -> Self {
        self.state.leases = Some((leases.clone(), sender));
        self
    }

    /// Bounds how many bytes the chunks may have together, decoded.
    #[must_use]
    pub fn with_decoded_limit(mut self, decoded_limit: Option<u64>) -> Self {
        self.state.decoded_limit = decoded_limit.unwrap_or(u64::MAX);
        self
    }

    /// Takes the next bytes, when there is room for them; refuses what is more than declared.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), UploadError> {
        let declared = self.declared.len;
        let room = declared.saturating_sub(self.state.spool.len());
        if piece.len() as u64 > room {
            return Err(UploadError::TooLong { declared });
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.state.spool.room_for(piece.len() as u64).await?;
        self.state.spool.append(piece).await?;
        pass_on(&mut self.state.spool, self.object.as_mut()).await
    }

    /// Ends receiving and checks everything. After an error nothing is left of the upload.
    pub async fn check(
        self,
        children: Arc<dyn FindChildren>,
        pool: &BlockingPool,
    ) -> Result<Upload<Verified>, UploadError> {
        let Self {
            id,
            declared,
            mut object,
            state,
        } = self;
        let checker = Checker {
            children,
            pool: pool.clone(),
            sort: state.sort,
            decoded_limit: state.decoded_limit,
            leases: state.leases,
        };
        let verified = match end(state.spool, object.as_mut()).await {
            Ok(spooled) => verify(id, &declared, spooled, &checker).await,
            Err(error) => Err(error),
        };
        conclude(id, declared, object, verified).await
    }
}

/// Hands over what is in the spool file by now: a store may look there for the bytes that it is given.
pub(crate) async fn pass_on(
    spool: &mut SpoolFile,
    object: &mut dyn ObjectUpload,
) -> Result<(), UploadError> {
    for piece in spool.take_written() {
        object.write(piece).await?;
    }
    Ok(())
}

/// Hands over the rest, and ends the spool file.
pub(crate) async fn end(
    mut spool: SpoolFile,
    object: &mut dyn ObjectUpload,
) -> Result<SpooledFile, UploadError> {
    spool.flush().await?;
    pass_on(&mut spool, object).await?;
    Ok(spool.finish().await?)
}

/// A file that we made of stored ones, on its way into a store. It is checked like any other, but as bytes alone:
/// what its chunks refer to was checked with the stored files.
#[derive(Debug)]
pub struct MadeFile {
    pub(crate) declared: DeclaredFile,
    pub(crate) spooled: SpooledFile,
    pub(crate) sort: SortOptions,
}

impl MadeFile {
    /// What the file is.
    pub fn declared(&self) -> &DeclaredFile {
        &self.declared
    }

    /// Where it lies, for the store that an object is begun in.
    pub fn path(&self) -> &Path {
        self.spooled.path()
    }

    /// Hands the bytes to the object and checks the file. After an error nothing is left.
    pub async fn check(
        self,
        id: UploadId,
        mut object: Box<dyn ObjectUpload>,
        pool: &BlockingPool,
    ) -> Result<Upload<Verified>, UploadError> {
        let checker = Checker {
            children: Arc::new(NoChildren),
            pool: pool.clone(),
            sort: self.sort,
            // What went into it was taken in.
            decoded_limit: u64::MAX,
            leases: None,
        };
        let (declared, spooled) = (self.declared, self.spooled);
        let verified = match hand_over(&spooled, object.as_mut(), pool).await {
            Ok(()) => verify(id, &declared, spooled, &checker).await,
            Err(error) => Err(error),
        };
        conclude(id, declared, object, verified).await
    }
}

/// Finds no references: where only the bytes are in question.
pub(crate) struct NoChildren;

impl FindChildren for NoChildren {
    fn children(
        &self,
        _chunk: &[u8],
        _visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        Ok(())
    }
}

/// How much of a spooled file is handed to an object at once.
const PIECE_BYTES: u64 = 1 << 20;

async fn hand_over(
    spooled: &SpooledFile,
    object: &mut dyn ObjectUpload,
    pool: &BlockingPool,
) -> Result<(), UploadError> {
    let mut offset = 0;
    while offset < spooled.len() {
        let len = PIECE_BYTES.min(spooled.len() - offset);
        let file = spooled.file();
        let read = move || {
            let mut piece = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut piece, offset)?;
            Ok(Bytes::from(piece))
        };
        let piece = pool.run(read).await.map_err(UploadError::Scratch)?;
        object.write(piece).await?;
        offset += len;
    }
    Ok(())
}

async fn conclude(
    id: UploadId,
    declared: DeclaredFile,
    object: Box<dyn ObjectUpload>,
    verified: Result<Verified, UploadError>,
) -> Result<Upload<Verified>, UploadError> {
    match verified {
        Ok(state) => Ok(Upload {
            id,
            declared,
            object,
            state,
        }),
        Err(error) => {
            object.abort().await;
            Err(error)
        }
    }
}

async fn verify(
    id: UploadId,
    declared: &DeclaredFile,
    spooled: SpooledFile,
    checker: &Checker,
) -> Result<Verified, UploadError> {
    let findings = Box::pin(checker.check(declared, &spooled)).await?;
    let summary = StoredFile {
        upload: id,
        id: declared.id,
        kind: declared.kind,
        len: spooled.len(),
        chunks: findings.chunks,
        split_offset: findings.split_offset,
        sha256: spooled.sha256(),
        md5: spooled.md5(),
    };
    Ok(Verified {
        _spooled: spooled,
        checked: CheckedFile {
            summary,
            leaving: findings.leaving,
            entries: FileEntries::new(id, findings.entries),
        },
    })
}

impl Upload<Verified> {
    /// What the check found out.
    pub fn checked(&self) -> &CheckedFile {
        &self.state.checked
    }

    /// What is known of the file.
    pub fn summary(&self) -> &StoredFile {
        self.state.checked.summary()
    }

    /// Makes the object durable and then visible.
    pub async fn publish(self) -> Result<CheckedFile, UploadError> {
        self.object.complete().await?;
        Ok(self.state.checked)
    }
}

impl<S> Upload<S> {
    /// Which upload this is.
    pub fn id(&self) -> UploadId {
        self.id
    }

    /// What was said of the file before it came.
    pub fn declared(&self) -> &DeclaredFile {
        &self.declared
    }

    /// Gives the upload up and removes what the store keeps of it.
    pub async fn abandon(self) {
        let Self { object, state, .. } = self;
        drop(state);
        object.abort().await;
    }
}
