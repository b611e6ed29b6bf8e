//! Dictionaries that chunks are compressed with, kept for as long as there is room.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::format::archive::Dictionary;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::pool::BlockingPool;
use quick_cache::sync::Cache;

use crate::remote::RemoteError;

/// How much is kept.
const MAX_KEPT_BYTES: u64 = 16 << 20;

/// What zstd keeps of each dictionary beside its bytes, about.
const TABLES_BYTES: u64 = 32 << 10;

/// How many there are, about: they have about 4 KiB.
const EXPECTED: usize = 512;

/// Which dictionary. The bytes of a file never change, so a dictionary is found by where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DictionaryKey {
    /// The name of the file's place.
    pub(super) place: Arc<str>,
    /// Where in the file.
    pub(super) span: ByteSpan,
}

/// The dictionaries of one server.
#[derive(Debug)]
pub(super) struct Dictionaries {
    kept: Cache<DictionaryKey, Arc<Dictionary>, Weight>,
}

#[derive(Debug, Clone)]
struct Weight;

impl quick_cache::Weighter<DictionaryKey, Arc<Dictionary>> for Weight {
    fn weight(&self, key: &DictionaryKey, dictionary: &Arc<Dictionary>) -> u64 {
        let bytes = key.place.len() + dictionary.len();
        TABLES_BYTES + bytes as u64
    }
}

impl Dictionaries {
    /// None are kept yet.
    pub(super) fn new() -> Self {
        Self {
            kept: Cache::with_weighter(EXPECTED, MAX_KEPT_BYTES, Weight),
        }
    }

    /// Finds a dictionary, or makes it of its stored bytes. Whoever asks meanwhile waits, so a task that asks must not
    /// be left lying.
    pub(super) async fn get(
        &self,
        key: &DictionaryKey,
        stored: impl Future<Output = Result<Bytes, RemoteError>>,
        pool: &BlockingPool,
    ) -> Result<Arc<Dictionary>, RemoteError> {
        let load = async {
            let stored = stored.await?;
            let decoded = pool.run(move || Dictionary::decode(&stored)).await;
            match decoded {
                Ok(dictionary) => Ok(Arc::new(dictionary)),
                Err(source) => Err(RemoteError::Dictionary { source }),
            }
        };
        self.kept.get_or_insert_async(key, load).await
    }
}
