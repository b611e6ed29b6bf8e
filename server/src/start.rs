//! From settings to parts: the only place that picks implementations.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::clock::{Clock, SystemClock};
use holdfast_chunkstore::id::IdSource;
#[cfg(feature = "rocks")]
use holdfast_chunkstore::index::{CachedIndex, IndexError, SpareIndex};
use holdfast_chunkstore::index::{ChunkIndex, MemoryIndex};
use holdfast_chunkstore::objects::local::{Access, LocalOptions, LocalStore};
use holdfast_chunkstore::objects::probe::{ProbeError, probe_patiently};
use holdfast_chunkstore::objects::{ObjectError, ObjectStore};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::repo;
use holdfast_chunkstore::repo::spool::{SpoolDir, SpoolOptions};

use crate::lock::{DirectoryLock, LockError};
use crate::meaning::DoltMeaning;
use crate::reading::{self, ReadingDirectory};
use crate::service::Parts;
use crate::settings::{AcceptUnknown, Settings, StoreSettings};
use crate::transport::Patience;
use crate::waiting;

/// A cause of any kind.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the parts cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// The data directory is in use, or cannot be used.
    #[error("could not take the data directory")]
    Lock(#[from] LockError),
    /// A part does not open.
    #[error("could not open {part}")]
    Open {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The store cannot be one.
    #[error("could not use the object store for a forge")]
    Unfit {
        /// What it does wrong.
        #[source]
        source: Cause,
    },
    /// There is no forge in the store.
    #[error("could not find a forge in {place}")]
    NoForge {
        /// Where it was looked for.
        place: String,
    },
}

fn open_error<E: Into<Cause>>(part: &'static str) -> impl FnOnce(E) -> PartsError {
    move |source| PartsError::Open {
        part,
        source: source.into(),
    }
}

/// A store that could not be asked, or that does not let us in, is not unfit.
fn probe_error(error: ProbeError) -> PartsError {
    if matches!(error, ProbeError::Store(_)) {
        return open_error("the object store")(error);
    }
    PartsError::Unfit {
        source: error.into(),
    }
}

/// What a directory does is known without a trial: where only room is lacking, reads go on.
fn unless_only_full(error: ProbeError, objects: &dyn ObjectStore) -> Result<(), PartsError> {
    if error.kind() == ErrorKind::Exhausted && objects.is_exclusive() {
        let cause = &error as &dyn std::error::Error;
        tracing::warn!(
            error = cause,
            "no room in the data directory: uploads will be refused"
        );
        return Ok(());
    }
    Err(probe_error(error))
}

/// Picks the parts of a server, and locks its data directory.
pub async fn server_parts(settings: &Settings) -> Result<Parts, PartsError> {
    let mut held = DirectoryLock::take(&settings.data)?;
    if matches!(settings.store, StoreSettings::Local) {
        // Another data directory may lead to it by a link.
        held = held.and(&settings.data.join("store"))?;
    }
    reading::remove_left(&settings.data);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let objects = objects(settings, Access::Exclusive, &clock).await?;
    let mut random = rand::make_rng::<rand::rngs::StdRng>();
    let probing = probe_patiently(&*objects, &mut random, &*clock);
    let probed = waiting::said(&place(settings), probing).await;
    let probed = probed.map_err(open_error("the object store"))?;
    probed.or_else(|error| unless_only_full(error, &*objects))?;
    let pool = BlockingPool::new(threads(settings));
    let index = index(settings).await?;
    let spool = spool(settings, settings.data.join("spool"), &pool)?;
    let meaning = DoltMeaning::new(settings.transfer.accept_unknown_chunks.clone());
    Ok(Parts {
        repositories: repo::Parts {
            objects,
            index,
            clock,
            ids: Arc::new(IdSource::from_system()),
            pool,
            spool,
            meaning: Arc::new(meaning),
        },
        process: rand::RngExt::random(&mut random),
        patience: Patience::default(),
        held: Some(held),
    })
}

/// What reads a store beside a running server, and the directory that it works in.
#[derive(Debug)]
pub struct ReaderParts {
    /// The parts. Without a stored index there is an empty one in memory.
    pub repositories: repo::Parts,
    /// Removed when dropped.
    pub work: ReadingDirectory,
}

/// What becomes of the chunk index that a server on this data directory left, or is using.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredIndex {
    /// It is left alone.
    Ignored,
    /// What is on disk of it is read, to be doubted.
    Read,
}

/// Picks the parts for reading a store that a server may be using. Begins no forge where there is none.
pub async fn reader_parts(
    settings: &Settings,
    stored_index: StoredIndex,
) -> Result<ReaderParts, PartsError> {
    let work = reading_directory(settings)?;
    let repositories = repositories_to_read(settings, stored_index, work.path()).await?;
    Ok(ReaderParts { repositories, work })
}

/// Makes the directory for reading a store.
pub fn reading_directory(settings: &Settings) -> Result<ReadingDirectory, PartsError> {
    ReadingDirectory::make(&settings.data).map_err(open_error("a directory to work in"))
}

/// The parts of [`reader_parts`] in a directory that is there already. What was begun when the future is
/// dropped goes on to write there for a while, on threads of the runtime.
pub async fn repositories_to_read(
    settings: &Settings,
    stored_index: StoredIndex,
    work: &Path,
) -> Result<repo::Parts, PartsError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let no_forge = || PartsError::NoForge {
        place: place(settings),
    };
    let is_local = matches!(settings.store, StoreSettings::Local);
    if is_local && !settings.data.join("store").is_dir() {
        return Err(no_forge());
    }
    let objects = objects(settings, Access::Shared, &clock).await?;
    match objects.head(&repo::layout::forge()).await {
        Ok(_) => {}
        Err(ObjectError::NotFound { .. }) => return Err(no_forge()),
        Err(error) => return Err(open_error("the object store")(error)),
    }
    let pool = BlockingPool::new(threads(settings));
    let spool = spool(settings, work.join("spool"), &pool)?;
    let index = match stored_index {
        StoredIndex::Ignored => Arc::new(MemoryIndex::new(pool.clone())),
        StoredIndex::Read => index_for_reading(settings, work, &pool).await?,
    };
    Ok(repo::Parts {
        objects,
        index,
        clock,
        ids: Arc::new(IdSource::from_system()),
        pool,
        spool,
        meaning: Arc::new(DoltMeaning::new(AcceptUnknown::Everywhere)),
    })
}

fn place(settings: &Settings) -> String {
    match &settings.store {
        StoreSettings::Local => settings.data.join("store").display().to_string(),
        StoreSettings::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}"),
    }
}

fn threads(settings: &Settings) -> usize {
    match settings.transfer.threads {
        0 => std::thread::available_parallelism()
            .map_or(2, NonZero::get)
            .max(2),
        threads => threads,
    }
}

fn spool(
    settings: &Settings,
    path: PathBuf,
    pool: &BlockingPool,
) -> Result<Arc<SpoolDir>, PartsError> {
    let options = SpoolOptions {
        max_total_bytes: settings.transfer.spool_limit,
        free_floor_bytes: settings.transfer.free_floor,
    };
    let spool = SpoolDir::open(path, options, pool.clone());
    let spool = spool.map_err(open_error("the spool directory"))?;
    let spool = spool
        .with_share(settings.transfer.spool_share)
        .with_decoded_limit(settings.transfer.decoded_limit);
    Ok(Arc::new(spool))
}

async fn objects(
    settings: &Settings,
    access: Access,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn ObjectStore>, PartsError> {
    match &settings.store {
        StoreSettings::Local => local_objects(&settings.data.join("store"), access, settings).await,
        StoreSettings::S3 { .. } => {
            let opening = s3::objects(&settings.store, access, clock);
            let opened = waiting::said(&place(settings), opening).await;
            opened.map_err(open_error("the object store"))?
        }
    }
}

async fn local_objects(
    path: &Path,
    access: Access,
    settings: &Settings,
) -> Result<Arc<dyn ObjectStore>, PartsError> {
    let options = LocalOptions {
        access,
        free_floor_bytes: settings.transfer.free_floor,
        ..LocalOptions::default()
    };
    let store = LocalStore::open(path, options).await;
    Ok(Arc::new(store.map_err(open_error("the object directory"))?))
}

#[cfg(feature = "rocks")]
fn index_directory(settings: &Settings) -> holdfast_chunkstore::index::rocks::RocksDirectory {
    use holdfast_chunkstore::index::rocks::{RocksDirectory, RocksSettings};
    let rocks = RocksSettings {
        filter_bytes: usize::try_from(settings.index_cache).unwrap_or(usize::MAX),
        ..RocksSettings::default()
    };
    // Lookups wait for the disk and not for the processor; and not for uploads that are being checked.
    let blocking = BlockingPool::new(threads(settings) * 4);
    RocksDirectory::new(&settings.data.join("index"), rocks, blocking)
}

#[cfg(feature = "rocks")]
async fn index(settings: &Settings) -> Result<Arc<dyn ChunkIndex>, PartsError> {
    let directory = index_directory(settings);
    let index: Arc<dyn ChunkIndex> = match directory.open_healing().await {
        Ok(index) => Arc::new(index),
        Err(full @ IndexError::Full { .. }) => spare_index(settings, &directory, &full).await,
        Err(error) => return Err(open_error("the chunk index")(error)),
    };
    let kept = usize::try_from(settings.index_places).unwrap_or(usize::MAX);
    Ok(Arc::new(CachedIndex::new(index, kept)))
}

/// About how much memory an entry takes that is kept because the disk is full, in bytes.
#[cfg(feature = "rocks")]
const SPARE_ENTRY_BYTES: u64 = 128;

/// Reads go on where the disk has no room for an open index: with what is there of it, and in memory what is not.
#[cfg(feature = "rocks")]
async fn spare_index(
    settings: &Settings,
    directory: &holdfast_chunkstore::index::rocks::RocksDirectory,
    full: &IndexError,
) -> Arc<dyn ChunkIndex> {
    tracing::warn!(
        error = full as &dyn std::error::Error,
        "no room to open the chunk index: until a start with free space it is only read, and files that it lacks \
         are looked up in memory"
    );
    let pool = BlockingPool::new(threads(settings));
    let stored = directory.open_read_only(&settings.data.join("index")).await;
    let stored: Arc<dyn ChunkIndex> = match stored {
        Ok(Some(index)) => Arc::new(index),
        Ok(None) | Err(_) => Arc::new(MemoryIndex::new(pool.clone())),
    };
    let most_entries = settings.index_cache / SPARE_ENTRY_BYTES;
    Arc::new(SpareIndex::new(stored, most_entries, pool))
}

/// The index on disk as it is, damaged or not; an empty one where there is none.
#[cfg(feature = "rocks")]
async fn index_for_reading(
    settings: &Settings,
    work: &Path,
    pool: &BlockingPool,
) -> Result<Arc<dyn ChunkIndex>, PartsError> {
    use holdfast_chunkstore::index::UnreadableIndex;
    match index_directory(settings).open_read_only(work).await {
        Ok(Some(index)) => Ok(Arc::new(index)),
        Ok(None) => Ok(Arc::new(MemoryIndex::new(pool.clone()))),
        Err(IndexError::Damaged { action, source }) => {
            Ok(Arc::new(UnreadableIndex::new(action, source)))
        }
        Err(error) => Err(open_error("the chunk index")(error)),
    }
}

#[cfg(not(feature = "rocks"))]
async fn index_for_reading(
    _settings: &Settings,
    _work: &Path,
    pool: &BlockingPool,
) -> Result<Arc<dyn ChunkIndex>, PartsError> {
    Ok(Arc::new(MemoryIndex::new(pool.clone())))
}

#[cfg(not(feature = "rocks"))]
async fn index(settings: &Settings) -> Result<Arc<dyn ChunkIndex>, PartsError> {
    tracing::info!("built without RocksDB: the chunk index is in memory");
    Ok(Arc::new(MemoryIndex::new(BlockingPool::new(threads(
        settings,
    )))))
}

#[cfg(feature = "s3")]
mod s3 {
    use std::sync::Arc;

    use std::time::Duration;

    use holdfast_chunkstore::clock::Clock;
    use holdfast_chunkstore::objects::limited::LimitedStore;
    use holdfast_chunkstore::objects::local::Access;
    use holdfast_chunkstore::objects::retrying::{RetryPolicy, RetryingStore};
    use holdfast_chunkstore::objects::s3::{Lifecycle, S3Credentials, S3Settings, S3Store};
    use holdfast_chunkstore::objects::{ObjectKey, ObjectStore};
    use holdfast_chunkstore::repo::layout;

    use super::{PartsError, open_error, probe_error};
    use crate::settings::StoreSettings;

    /// An upload that was begun longer ago than this is not under way any more, at any server.
    const UPLOADS_LEFT_AFTER: Duration = Duration::from_hours(7 * 24);

    pub(super) async fn objects(
        settings: &StoreSettings,
        access: Access,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn ObjectStore>, PartsError> {
        let store = S3Store::new(bucket(settings)?, Arc::clone(clock)).await;
        let lifecycle = store.probe_lifecycle().await;
        match lifecycle.map_err(probe_error)? {
            Lifecycle::KeepsObjects => {}
            Lifecycle::KeepsParts if access == Access::Exclusive => {
                tracing::info!(
                    "the bucket has no lifecycle rule that aborts incomplete multipart uploads: what a crash leaves of \
                     one is kept, and paid for, until a start of holdfastd finds it a week later"
                );
            }
            Lifecycle::KeepsParts => {}
            Lifecycle::CannotTell => {
                tracing::info!("the bucket does not tell whether it expires objects");
            }
        }
        if access == Access::Exclusive {
            give_up_left_uploads(&store).await;
        }
        Ok(bounded(Arc::new(store), clock))
    }

    /// Clears away what crashes left of uploads. It costs room and no more, so a failure does not stop the start.
    async fn give_up_left_uploads(store: &S3Store) {
        let given_up = store.give_up_left_uploads(UPLOADS_LEFT_AFTER, layout::is_of_an_upload);
        match given_up.await {
            Ok(None | Some(0)) => {}
            Ok(Some(uploads)) => {
                tracing::info!(
                    uploads,
                    "uploads that were left in the bucket a week ago were given up"
                );
            }
            Err(error) => {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(
                    error = cause,
                    "could not look for uploads that were left in the bucket"
                );
            }
        }
    }

    /// How many calls to the bucket are under way at once, and how many more of uploads.
    const CALLS_AT_ONCE: usize = 256;

    /// Puts what every bucket needs in front of it. Who waits to try again holds no turn.
    fn bounded(store: Arc<dyn ObjectStore>, clock: &Arc<dyn Clock>) -> Arc<dyn ObjectStore> {
        let policy = RetryPolicy {
            seed: u64::from(std::process::id()),
            ..RetryPolicy::default()
        };
        let limited = Arc::new(LimitedStore::new(store, CALLS_AT_ONCE));
        Arc::new(RetryingStore::new(limited, policy, Arc::clone(clock)))
    }

    fn bucket(settings: &StoreSettings) -> Result<S3Settings, PartsError> {
        let StoreSettings::S3 {
            bucket,
            prefix,
            endpoint,
            path_style,
            region,
            public_endpoint,
            access_key_id,
            secret_access_key,
        } = settings
        else {
            return Err(open_error("the bucket")("the store is not on s3://"));
        };
        let prefix = match prefix.as_str() {
            "" => None,
            text => Some(ObjectKey::parse(text).map_err(open_error("the bucket's prefix"))?),
        };
        let credentials = access_key_id.as_ref().zip(secret_access_key.as_ref());
        Ok(S3Settings {
            endpoint: endpoint.clone(),
            public_endpoint: public_endpoint.clone(),
            region: region.clone(),
            bucket: bucket.clone(),
            prefix,
            path_style: *path_style,
            credentials: credentials.map(|(access_key, secret_key)| S3Credentials {
                access_key: access_key.clone(),
                secret_key: secret_key.reveal().to_owned(),
            }),
        })
    }

    #[cfg(test)]
    mod tests {
        use holdfast_chunkstore::clock::SystemClock;
        use holdfast_chunkstore::objects::memory::MemoryStore;

        use super::*;

        #[test]
        fn calls_to_a_bucket_are_bounded_and_tried_again() {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let memory = Arc::new(MemoryStore::new(Arc::clone(&clock)));
            let stack = format!("{:?}", bounded(memory, &clock));
            let [retrying, limited, memory] = ["RetryingStore", "LimitedStore", "MemoryStore"]
                .map(|name| stack.find(name).expect("it is in the stack"));
            assert!(retrying < limited && limited < memory, "{stack}");
        }
    }
}

#[cfg(not(feature = "s3"))]
mod s3 {
    use std::sync::Arc;

    use holdfast_chunkstore::clock::Clock;
    use holdfast_chunkstore::objects::{ObjectError, ObjectStore};

    use super::{PartsError, open_error};
    use crate::settings::StoreSettings;

    pub(super) async fn objects(
        _settings: &StoreSettings,
        _clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn ObjectStore>, PartsError> {
        Err(open_error("the bucket")(
            "this holdfastd was built without S3",
        ))
    }
}
