//! The two ends of a backup or a mirror, as users name them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::hash::hash_chunk;
use holdfast_client::backup::BackupSource;
use holdfast_client::remote::{Remote, RemoteUrl};

use super::remotes::Speaker;

impl Speaker<'_> {
    /// Where something goes: an address, or a path that looks like none.
    pub(super) async fn target(&self, text: &str) -> anyhow::Result<Arc<dyn Remote>> {
        match is_path(text) || is_directory(text) {
            true => {
                let url = RemoteUrl::Directory(std::path::absolute(text)?);
                self.open(&url.to_string()).await
            }
            false => self.open(text).await,
        }
    }

    /// Where something comes from: a directory, or an address. The store of a `file://` address is read as the one of
    /// a directory.
    pub(super) async fn source(&self, text: &str) -> anyhow::Result<BackupSource> {
        if is_path(text) || is_directory(text) {
            return Ok(BackupSource::Directory(std::path::absolute(text)?));
        }
        match self.parse(text)? {
            RemoteUrl::Directory(path) => Ok(BackupSource::Directory(path)),
            _ => Ok(BackupSource::Remote(self.open(text).await?)),
        }
    }

    /// The folder for what goes from one to the other: below the one that was named, or the user's cache.
    pub(super) fn work(
        &self,
        named: Option<&Path>,
        source: &BackupSource,
        target: &dyn Remote,
    ) -> PathBuf {
        let told = format!("{}\n{}", source.name(), target.address());
        self.kept(named, &told)
    }

    /// A folder that the same words lead to each time: below the one that was named, or the user's cache.
    pub(super) fn kept(&self, named: Option<&Path>, told: &str) -> PathBuf {
        let base = match (named, &self.environment.home) {
            (Some(named), _) => named.to_owned(),
            (None, Some(home)) => Path::new(home).join(".cache").join("holdfast"),
            (None, None) => std::env::temp_dir().join("holdfast"),
        };
        base.join(hash_chunk(told.as_bytes()).to_string())
    }
}

/// Whether a text without a scheme is the path of a directory that is there.
pub(super) fn is_directory(text: &str) -> bool {
    !text.contains("://") && Path::new(text).is_dir()
}

/// Whether a text can only be a path.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.'])
}
