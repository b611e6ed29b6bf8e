//! Files on their way into a repository: received, checked, noted; not yet named by any record.
//!
//! # Truth
//! The upload notes in the object store. AddTableFiles names a file without its upload, and another server
//! may be the one that is asked.
//!
//! # Order
//! What leaves the file is found; then bytes and index entries, side by side; then the note; then success is answered.
//!
//! # Crash
//! Bytes or index entries without a note, or a note that no record names, are left; they promise nothing. Those of a
//! file that was named go when it is released ([`crate::repo::expiry`]).
//!
//! # Retry
//! The same file may come again: if it is named, or was checked not long ago, it is skipped; else it is taken
//! as a new upload beside the old one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::Digest as _;

use crate::address::{ChunkAddress, TableFileId};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::id::{RepoId, Stamp, UploadId};
use crate::objects::{ObjectError, ObjectKey, ObjectStoreExt as _};
use crate::repo::check::UploadError;
use crate::repo::error::{RepositoryError, index, object};
use crate::repo::file::{DeclaredFile, Sha256, StoredFile};
use crate::repo::layout;
use crate::repo::receive::{CheckedFile, Receiving, Upload, Verified, end, pass_on};
use crate::repo::record::Actor;
use crate::repo::repository::Repository;
use crate::repo::spool::{Sender, SpoolError};
use crate::repo::state::State;
use crate::repo::version::check_version;

/// How long a checked file that no record names yet is still relied on.
const RELIED_ON: Duration = Duration::from_hours(12);
/// The version of a note that this code writes.
const NOTE_VERSION: u32 = 1;
/// The longest note that is read.
const MAX_NOTE_LEN: u64 = 1 << 20;
/// How many addresses are looked up at once.
pub(crate) const BATCH: usize = 16_384;
/// More leaving references than this stand beside the note.
const INLINE: usize = 1000;

/// What is known of one upload.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UploadNote {
    version: u32,
    /// The file.
    pub file: StoredFile,
    /// When it was checked.
    pub time: Timestamp,
    /// Who sent it.
    pub actor: Actor,
    /// References that leave the file and that the repository did not hold when it was checked.
    leaving: Leaving,
    /// The record after which they were looked up, or an earlier one; 0 in the note of an older version.
    #[serde(default)]
    looked_up_at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Leaving {
    Inline(Vec<ChunkAddress>),
    /// An object of `count` addresses of 20 bytes each.
    Side {
        object: String,
        sha256: Sha256,
        count: u64,
    },
}

impl UploadNote {
    /// Whether the file may be counted on although no record names it.
    pub(crate) fn is_relied_on(&self, now: Timestamp) -> bool {
        now.since(self.time) < RELIED_ON
    }

    /// Whether files that counted when its references were looked up may count no more: what was found in them then may
    /// be nowhere now. What was merged away is in other files, and looked up again for nothing.
    pub(crate) fn is_older_than_a_release(&self, state: &State) -> bool {
        let mut released = state.released.values();
        released.any(|file| file.sequence > self.looked_up_at)
    }

    /// The object beside the note, if it has one of its repository.
    pub(crate) fn side(&self, repo: RepoId) -> Option<ObjectKey> {
        match &self.leaving {
            Leaving::Inline(_) => None,
            Leaving::Side { object, .. } => layout::parse_side(repo, object),
        }
    }

    /// Writes the note down.
    pub(crate) fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec_pretty(self).expect("a note has only text keys"))
    }

    /// Reads what [`UploadNote::encode`] wrote under a key, and nothing that a later Holdfast did.
    pub(crate) fn decode(key: &ObjectKey, bytes: &[u8]) -> Result<Self, RepositoryError> {
        check_version(key, bytes, NOTE_VERSION)?;
        serde_json::from_slice(bytes).map_err(|error| RepositoryError::Damaged {
            key: key.clone(),
            what: error.to_string(),
        })
    }
}

/// Why an upload did not become a stored file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadFailure {
    /// The bytes were refused, or could not be stored.
    #[error("take in a table file")]
    Upload(#[source] UploadError),
    /// The repository failed.
    #[error("take in a table file")]
    Repository(#[source] RepositoryError),
}

impl UploadFailure {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Upload(error) => error.kind(),
            Self::Repository(error) => error.kind(),
        }
    }
}

impl From<UploadError> for UploadFailure {
    fn from(error: UploadError) -> Self {
        Self::Upload(error)
    }
}

impl From<RepositoryError> for UploadFailure {
    fn from(error: RepositoryError) -> Self {
        Self::Repository(error)
    }
}

/// A file that is being received. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    repository: Repository,
    actor: Actor,
    upload: Upload<Receiving>,
}

impl Incoming {
    /// Hands over the next bytes.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), UploadFailure> {
        Ok(self.upload.write(piece).await?)
    }

    /// Checks every chunk of the file and makes it durable. Success means that AddTableFiles will find it, on
    /// any server.
    pub async fn finish(self) -> Result<StoredFile, UploadFailure> {
        let verified = self.repository.check(self.upload).await?;
        if let Err(error) = self.repository.check_id(verified.checked()).await {
            verified.abandon().await;
            return Err(error);
        }
        self.repository
            .keep(verified, &self.actor, Leave::Find)
            .await
    }
}

/// What is to be done about references that leave a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Those that the repository lacks are noted.
    Find,
    /// The file holds only what the repository holds already: nothing new can leave it.
    Nothing,
}

impl Repository {
    /// Whether a file need not be sent: it is named already, or was checked not long ago.
    pub async fn knows(&self, declared: &DeclaredFile) -> Result<bool, RepositoryError> {
        let state = self.state().await?;
        for file in state.files.values().filter(|file| is_same(file, declared)) {
            if self.look_at(file).await?.is_none() {
                return Ok(true);
            }
        }
        let now = self.time_of(&state);
        let is_it = |note: &UploadNote| {
            let upload = note.file.upload;
            let is_gone = state.released.contains_key(&upload) || self.damage(upload).is_some();
            // Of what was merged away the bytes go some day: not before the client has named the file.
            let retired = state.retired.get(&upload);
            let is_kept = retired.map_or(note.is_relied_on(now), |retired| {
                now.since(retired.at) < RELIED_ON
            });
            is_kept && !is_gone && is_same(&note.file, declared)
        };
        if self
            .note_at_hand(declared.id)
            .is_some_and(|note| is_it(&note))
        {
            return Ok(true);
        }
        let notes = self.notes(declared.id).await?;
        Ok(notes.iter().any(|note| is_it(note)))
    }

    /// Begins to receive a file. The room that it takes in the spool is counted with `sender`.
    pub async fn receive(
        &self,
        declared: DeclaredFile,
        actor: Actor,
        sender: Sender,
    ) -> Result<Incoming, UploadFailure> {
        let upload = self.begin(declared, sender).await?;
        Ok(Incoming {
            repository: self.clone(),
            actor,
            upload,
        })
    }

    pub(crate) async fn begin(
        &self,
        declared: DeclaredFile,
        sender: Sender,
    ) -> Result<Upload<Receiving>, UploadFailure> {
        let parts = &self.shared.parts;
        let upload = parts.ids.upload();
        let key = layout::file_of(self.shared.pool, declared.id, upload, declared.kind);
        let spool = parts
            .spool
            .receive(sender, declared.len, &parts.clock)
            .await
            .map_err(UploadError::from)?;
        let object = parts
            .objects
            .upload(&key, spool.path())
            .await
            .map_err(UploadError::from)?;
        let begun = Upload::begin(upload, declared, spool, object);
        let begun = begun.with_decoded_limit(parts.spool.decoded_limit());
        Ok(begun.with_leases(parts.spool.leases(), sender))
    }

    pub(crate) async fn check(
        &self,
        upload: Upload<Receiving>,
    ) -> Result<Upload<Verified>, UploadFailure> {
        let parts = &self.shared.parts;
        let children = parts.find_children();
        Ok(upload.check(children, &parts.pool).await?)
    }

    /// Makes a checked file durable, fills the index, and notes the file.
    pub(crate) async fn keep(
        &self,
        verified: Upload<Verified>,
        actor: &Actor,
        leave: Leave,
    ) -> Result<StoredFile, UploadFailure> {
        let parts = &self.shared.parts;
        let file = verified.summary().clone();
        let stamp = parts.ids.stamp();
        // Files may be released while what leaves this one is looked up.
        let looked_up_at = self.recent_state().await?.sequence;
        let leaving = match leave {
            Leave::Find => self.find_leaving(verified.checked(), stamp).await,
            Leave::Nothing => Ok(Leaving::Inline(Vec::new())),
        };
        let leaving = match leaving {
            Ok(leaving) => leaving,
            Err(error) => {
                verified.abandon().await;
                return Err(error);
            }
        };
        let checked = verified.checked().clone();
        let entries = parts.pool.run(move || checked.entries()).await;
        let entries = entries.map_err(index("read the entries of an upload"))?;
        // At the same time: entries that nobody names yet are rubbish and no harm if the file does not come to be.
        let publish = async { Ok(verified.publish().await?) };
        let enter = async { Ok::<_, UploadFailure>(self.enter(&file, entries).await?) };
        futures::try_join!(publish, enter)?;
        let note = UploadNote {
            version: NOTE_VERSION,
            file: file.clone(),
            time: parts.clock.now(),
            actor: actor.clone(),
            leaving,
            looked_up_at,
        };
        let key = layout::upload(self.shared.repo, file.id, file.upload);
        parts
            .objects
            .create_stamped(&key, note.encode())
            .await
            .map_err(object("note an upload"))?;
        self.shared.notes.insert(file.id, Arc::new(note));
        Ok(file)
    }

    /// Looks up what leaves a file; what the repository lacks is written down.
    async fn find_leaving(
        &self,
        checked: &CheckedFile,
        stamp: Stamp,
    ) -> Result<Leaving, UploadFailure> {
        let mut lacking: Vec<ChunkAddress> = Vec::new();
        let mut overflow = None;
        let pool = &self.shared.parts.pool;
        let found = checked.clone();
        let leaving = pool.run(move || found.leaving()).await;
        let mut leaving = leaving.map_err(UploadError::from)?;
        loop {
            let (rest, batch) = pool.run(move || take_batch(leaving)).await;
            leaving = rest;
            let batch = batch.map_err(UploadError::from)?;
            if batch.is_empty() {
                break;
            }
            let absent = self.absent(&batch).await?;
            lacking.extend(
                batch
                    .iter()
                    .zip(absent)
                    .filter(|(_, absent)| *absent)
                    .map(|(address, _)| *address),
            );
            if lacking.len() > INLINE {
                let side = match &mut overflow {
                    Some(side) => side,
                    None => overflow
                        .insert(SideWriter::begin(self, stamp, checked.leaving_count()).await?),
                };
                side.append(&std::mem::take(&mut lacking)).await?;
            }
        }
        match overflow {
            None => Ok(Leaving::Inline(lacking)),
            Some(mut side) => {
                side.append(&lacking).await?;
                Ok(side.finish().await?)
            }
        }
    }

    /// What this process took in last under a name. Other servers may have taken in something else since.
    pub(crate) fn note_at_hand(&self, id: TableFileId) -> Option<Arc<UploadNote>> {
        self.shared.notes.get(&id)
    }

    /// Everything that was uploaded under a name, by whatever server.
    pub(crate) async fn notes(
        &self,
        id: TableFileId,
    ) -> Result<Vec<Arc<UploadNote>>, RepositoryError> {
        let objects = &self.shared.parts.objects;
        let prefix = layout::uploads_of(self.shared.repo, id);
        let mut notes = Vec::new();
        for meta in objects
            .list_all(&prefix)
            .await
            .map_err(object("look for an upload"))?
        {
            // One that was listed may be deleted by now.
            if let Some(note) = self.read_note_if_there(&meta.key).await? {
                notes.push(Arc::new(note));
            }
        }
        Ok(notes)
    }

    /// What is known of one upload.
    pub(crate) async fn note(
        &self,
        id: TableFileId,
        upload: UploadId,
    ) -> Result<Option<Arc<UploadNote>>, RepositoryError> {
        if let Some(note) = self
            .note_at_hand(id)
            .filter(|note| note.file.upload == upload)
        {
            return Ok(Some(note));
        }
        self.stored_note(id, upload)
            .await
            .map(|note| note.map(Arc::new))
    }

    /// What is written down of one upload, read anew.
    pub(crate) async fn stored_note(
        &self,
        id: TableFileId,
        upload: UploadId,
    ) -> Result<Option<UploadNote>, RepositoryError> {
        let key = layout::upload(self.shared.repo, id, upload);
        self.read_note_if_there(&key).await
    }

    async fn read_note_if_there(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<UploadNote>, RepositoryError> {
        match self.read_note(key).await {
            Ok(note) => Ok(Some(note)),
            Err(RepositoryError::Object {
                source: ObjectError::NotFound { .. },
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn read_note(&self, key: &ObjectKey) -> Result<UploadNote, RepositoryError> {
        let bytes = self
            .shared
            .parts
            .objects
            .read(key, None, MAX_NOTE_LEN)
            .await
            .map_err(object("read an upload's note"))?;
        UploadNote::decode(key, &bytes)
    }

    /// Reads in batches what leaves an uploaded file.
    pub(crate) fn leaving<'a>(&'a self, note: &'a UploadNote) -> LeavingReader<'a> {
        LeavingReader {
            repository: self,
            note,
            read: 0,
            hasher: sha2::Sha256::new(),
        }
    }
}

/// Takes the next addresses off an iterator that may block.
fn take_batch<I>(mut addresses: I) -> (I, Result<Vec<ChunkAddress>, SpoolError>)
where
    I: Iterator<Item = Result<ChunkAddress, SpoolError>>,
{
    let batch = addresses.by_ref().take(BATCH).collect();
    (addresses, batch)
}

/// Whether a stored file is the one that a client means.
fn is_same(file: &StoredFile, declared: &DeclaredFile) -> bool {
    (file.id, file.kind, file.len, file.chunks)
        == (declared.id, declared.kind, declared.len, declared.chunks)
        && declared.md5.is_none_or(|md5| md5 == file.md5)
}

/// Reads the leaving references of a note, batch by batch. Whether an object of them is the one that was written is
/// known with its last batch, which is not given out otherwise.
#[derive(Debug)]
pub(crate) struct LeavingReader<'a> {
    repository: &'a Repository,
    note: &'a UploadNote,
    read: u64,
    /// Of what was read of an object.
    hasher: sha2::Sha256,
}

impl LeavingReader<'_> {
    /// The next batch; nothing behind the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<ChunkAddress>>, RepositoryError> {
        let (object_name, sha256, count) = match &self.note.leaving {
            Leaving::Inline(addresses) if self.read == 0 && !addresses.is_empty() => {
                self.read = addresses.len() as u64;
                return Ok(Some(addresses.clone()));
            }
            Leaving::Inline(_) => return Ok(None),
            Leaving::Side {
                object,
                sha256,
                count,
            } => (object, *sha256, *count),
        };
        if self.read >= count {
            return Ok(None);
        }
        let until = count.min(self.read + BATCH as u64);
        let key =
            ObjectKey::parse(object_name.as_str()).map_err(|error| RepositoryError::Damaged {
                key: layout::upload(
                    self.repository.shared.repo,
                    self.note.file.id,
                    self.note.file.upload,
                ),
                what: error.to_string(),
            })?;
        let width = ChunkAddress::LEN as u64;
        let (range, limit) = (self.read * width..until * width, BATCH as u64 * width);
        let objects = &self.repository.shared.parts.objects;
        let read = objects.read(&key, Some(range), limit).await;
        let damaged = |what: String| RepositoryError::Damaged {
            key: key.clone(),
            what,
        };
        let bytes = read.map_err(|error| match error {
            ObjectError::Range { len, .. } => {
                damaged(format!("it has {len} bytes, too few for {count} addresses"))
            }
            error => object("read what leaves an upload")(error),
        })?;
        self.read = until;
        let (hasher, hashed) = (self.hasher.clone(), bytes.clone());
        let pool = &self.repository.shared.parts.pool;
        self.hasher = pool.run(move || hasher.chain_update(hashed)).await;
        if until == count && Sha256(self.hasher.clone().finalize().into()) != sha256 {
            let what = "its SHA-256 is not the one that the upload's note names";
            return Err(damaged(what.to_owned()));
        }
        let (addresses, _) = bytes.as_chunks::<{ ChunkAddress::LEN }>();
        Ok(Some(
            addresses
                .iter()
                .map(|bytes| ChunkAddress::new(*bytes))
                .collect(),
        ))
    }
}

/// Writes leaving references into an object of their own.
#[derive(Debug)]
struct SideWriter {
    key: ObjectKey,
    spool: crate::repo::spool::SpoolFile,
    object: Box<dyn crate::objects::ObjectUpload>,
    count: u64,
}

impl SideWriter {
    async fn begin(
        repository: &Repository,
        stamp: Stamp,
        most: u64,
    ) -> Result<Self, UploadFailure> {
        let parts = &repository.shared.parts;
        let key = layout::side(repository.shared.repo, stamp, "leaving");
        let mut spool = parts
            .spool
            .create(most.saturating_mul(ChunkAddress::LEN as u64))
            .await
            .map_err(UploadError::from)?;
        spool.keep_written();
        let object = parts
            .objects
            .upload(&key, spool.path())
            .await
            .map_err(object("write what leaves an upload"))?;
        Ok(Self {
            key,
            spool,
            object,
            count: 0,
        })
    }

    async fn append(&mut self, addresses: &[ChunkAddress]) -> Result<(), UploadFailure> {
        let bytes = Bytes::from(
            addresses
                .iter()
                .flat_map(|address| *address.as_bytes())
                .collect::<Vec<u8>>(),
        );
        self.count += addresses.len() as u64;
        self.spool.append(bytes).await.map_err(UploadError::from)?;
        pass_on(&mut self.spool, self.object.as_mut()).await?;
        Ok(())
    }

    async fn finish(mut self) -> Result<Leaving, UploadFailure> {
        let spooled = end(self.spool, self.object.as_mut()).await?;
        let completed = self.object.complete().await;
        completed.map_err(object("write what leaves an upload"))?;
        Ok(Leaving::Side {
            object: self.key.to_string(),
            sha256: spooled.sha256(),
            count: self.count,
        })
    }
}
