//! The directory of a server's indexes: `<directory>/<number>`, of which the greatest is in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use crate::index::healing::{HealingIndex, IndexFactory};
use crate::index::rocks::{RocksIndex, RocksSettings, failure};
use crate::index::{ChunkIndex, IndexError};
use crate::pool::BlockingPool;

/// How often an index that a server may be changing is opened for reading before its error counts.
const READ_ONLY_ATTEMPTS: usize = 5;

/// Where a server keeps its index, and the one that replaces it when it is damaged. Nobody else may use the
/// directory.
#[derive(Debug, Clone)]
pub struct RocksDirectory {
    path: PathBuf,
    settings: RocksSettings,
    blocking: BlockingPool,
    /// The greatest number given so far: somebody may have removed the directory under an open index, whose
    /// path must not be used again.
    last: Arc<AtomicU64>,
}

impl RocksDirectory {
    /// Names a directory; it is created on first use.
    pub fn new(path: &Path, settings: RocksSettings, blocking: BlockingPool) -> Self {
        Self {
            path: path.to_path_buf(),
            settings,
            blocking,
            last: Arc::default(),
        }
    }

    /// Opens the index that was used last, or begins one, and removes all others. The damage that made it
    /// begin anew is returned beside it.
    pub async fn open(&self) -> Result<(RocksIndex, Option<IndexError>), IndexError> {
        let number = self.greatest().await?.unwrap_or(0);
        let opened = self.open_number(number).await?;
        self.remove_all_below(number).await;
        Ok(opened)
    }

    /// Opens the index as [`RocksDirectory::open`] does, and keeps it whole from then on. Damage is logged.
    pub async fn open_healing(&self) -> Result<HealingIndex, IndexError> {
        let (index, damage) = self.open().await?;
        if let Some(damage) = damage {
            tracing::warn!(
                error = &damage as &dyn std::error::Error,
                directory = %self.path.display(),
                "chunk index was damaged, started a new one"
            );
        }
        Ok(HealingIndex::new(Arc::new(index), Arc::new(self.clone())))
    }

    /// Opens what is on disk of the index that was used last, beside a server that may be using it, for reading
    /// only: an addition fails. What that server holds in memory is not seen. RocksDB writes its own log into
    /// `log_directory`. Nothing where there is no index.
    pub async fn open_read_only(
        &self,
        log_directory: &Path,
    ) -> Result<Option<RocksIndex>, IndexError> {
        let path = self.path.clone();
        let listed = self.blocking.run(move || existing_numbers(&path)).await;
        let listed = listed.map_err(failure::files("list the indexes"))?;
        let Some(number) = listed.into_iter().max() else {
            return Ok(None);
        };
        let path = self.path.join(number.to_string());
        let open = || {
            let blocking = self.blocking.clone();
            RocksIndex::open_read_only(&path, &self.settings, log_directory, blocking)
        };
        // A running server may remove files between the reading of their list and their opening.
        for _ in 1..READ_ONLY_ATTEMPTS {
            if let Ok(index) = open().await {
                return Ok(Some(index));
            }
        }
        open().await.map(Some)
    }

    async fn open_number(
        &self,
        number: u64,
    ) -> Result<(RocksIndex, Option<IndexError>), IndexError> {
        self.last.fetch_max(number, Ordering::Relaxed);
        let path = self.path.join(number.to_string());
        RocksIndex::open(&path, &self.settings, self.blocking.clone()).await
    }

    async fn greatest(&self) -> Result<Option<u64>, IndexError> {
        let path = self.path.clone();
        let numbers = self.blocking.run(move || numbers(&path)).await;
        let numbers = numbers.map_err(failure::files("list the indexes"))?;
        Ok(numbers.into_iter().max())
    }

    /// Removes older indexes. One that cannot be removed now is removed when the server starts again.
    async fn remove_all_below(&self, number: u64) {
        let path = self.path.clone();
        let remove = move || {
            for older in numbers(&path).unwrap_or_default() {
                if older < number {
                    std::fs::remove_dir_all(path.join(older.to_string())).ok();
                }
            }
        };
        self.blocking.run(remove).await;
    }
}

#[async_trait]
impl IndexFactory for RocksDirectory {
    async fn make(&self) -> Result<Arc<dyn ChunkIndex>, IndexError> {
        let greatest = self.greatest().await?.unwrap_or(0);
        let number = 1 + greatest.max(self.last.load(Ordering::Relaxed));
        let (index, _) = self.open_number(number).await?;
        Ok(Arc::new(index))
    }

    async fn retire(&self, damaged: Arc<dyn ChunkIndex>) {
        self.blocking.run(move || drop(damaged)).await;
        self.remove_all_below(self.last.load(Ordering::Relaxed))
            .await;
    }
}

fn numbers(path: &Path) -> std::io::Result<Vec<u64>> {
    std::fs::create_dir_all(path)?;
    existing_numbers(path)
}

fn existing_numbers(path: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(numbers),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(
            name.to_str()
                .and_then(|name| name.parse::<u32>().ok())
                .map(u64::from),
        );
    }
    Ok(numbers)
}
