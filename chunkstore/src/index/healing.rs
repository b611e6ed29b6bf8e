//! An index that throws itself away when it is damaged.
//!
//! # Truth
//! The stored files, as for every index. So damage costs a rebuild and is nobody's error: whoever asks finds
//! markers missing, adds those files again, and goes on.
//!
//! # Order
//! The first call that meets [`IndexError::Damaged`] has a fresh, empty index made and puts it in the damaged
//! one's place; calls that meet the same damage meanwhile wait for that and use the same one. The generation
//! goes up with the exchange, so that no answer of the empty index is taken for one of the full index.
//!
//! # Retry
//! A question is asked again of the fresh index, a few times at most. Entries can be read only once, so an
//! addition that met damage ends without a marker; who needs the file adds it again.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::RwLock;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{ChunkIndex, FileSet, FoundPlaces, IndexError, Located, SortedEntries};

/// How many fresh indexes one question may use up before the damage is its answer.
const ATTEMPTS: usize = 3;

/// Makes the index that replaces a damaged one.
#[async_trait]
pub trait IndexFactory: Send + Sync + fmt::Debug {
    /// Makes an empty index that shares nothing with those made before. The damaged one may still be in use.
    async fn make(&self) -> Result<Arc<dyn ChunkIndex>, IndexError>;

    /// Closes a damaged index and removes what it holds, when the last call that uses it has ended.
    async fn retire(&self, damaged: Arc<dyn ChunkIndex>) {
        drop(damaged);
    }
}

/// A chunk index that never answers [`IndexError::Damaged`] as long as it can be made anew.
#[derive(Debug)]
pub struct HealingIndex {
    factory: Arc<dyn IndexFactory>,
    current: RwLock<Current>,
    exchange: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Current {
    index: Arc<dyn ChunkIndex>,
    generation: u64,
}

impl HealingIndex {
    /// Begins with `index`; `factory` makes its successors.
    pub fn new(index: Arc<dyn ChunkIndex>, factory: Arc<dyn IndexFactory>) -> Self {
        Self {
            factory,
            current: RwLock::new(Current {
                index,
                generation: 0,
            }),
            exchange: tokio::sync::Mutex::new(()),
        }
    }

    fn current(&self) -> Current {
        self.current.read().clone()
    }

    /// Puts a fresh index in the place of the damaged one of `generation`, unless somebody did.
    async fn exchange(&self, generation: u64, damage: &IndexError) -> Result<(), IndexError> {
        let _one_at_a_time = self.exchange.lock().await;
        if self.current().generation != generation {
            return Ok(());
        }
        let index = self.factory.make().await?;
        tracing::warn!(
            error = damage as &dyn std::error::Error,
            generation,
            "chunk index is damaged, starting a new one"
        );
        let generation = generation + 1;
        let fresh = Current { index, generation };
        let damaged = std::mem::replace(&mut *self.current.write(), fresh);
        self.factory.retire(damaged.index).await;
        Ok(())
    }

    async fn ask<T>(
        &self,
        question: impl Fn(Arc<dyn ChunkIndex>) -> BoxFuture<'static, Result<T, IndexError>>
        + Send
        + Sync,
    ) -> Result<T, IndexError> {
        let mut attempt = 0;
        loop {
            let current = self.current();
            match question(current.index).await {
                Err(damage @ IndexError::Damaged { .. }) if attempt < ATTEMPTS => {
                    self.exchange(current.generation, &damage).await?;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChunkIndex for HealingIndex {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        let current = self.current();
        match current.index.add_file(pool, file, count, entries).await {
            Err(damage @ IndexError::Damaged { .. }) => {
                self.exchange(current.generation, &damage).await
            }
            answer => answer,
        }
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        let files: Arc<[UploadId]> = files.into();
        self.ask(move |index| {
            let files = Arc::clone(&files);
            Box::pin(async move { index.has_files(pool, &files).await })
        })
        .await
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        let addresses: Arc<[ChunkAddress]> = addresses.into();
        self.ask(move |index| {
            let addresses = Arc::clone(&addresses);
            Box::pin(async move { index.locate(pool, &addresses).await })
        })
        .await
    }

    /// Markers and entries are asked of one and the same index.
    async fn locate_in_files(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> Result<Located, IndexError> {
        let files = files.clone();
        let addresses: Arc<[ChunkAddress]> = addresses.into();
        self.ask(move |index| {
            let (files, addresses) = (files.clone(), Arc::clone(&addresses));
            Box::pin(async move { index.locate_in_files(pool, &files, &addresses).await })
        })
        .await
    }

    async fn forget_others(
        &self,
        pool: PoolId,
        kept: &FileSet,
        least: u64,
    ) -> Result<u64, IndexError> {
        let kept = kept.clone();
        self.ask(move |index| {
            let kept = kept.clone();
            Box::pin(async move { index.forget_others(pool, &kept, least).await })
        })
        .await
    }

    fn generation(&self) -> u64 {
        self.current.read().generation
    }
}
