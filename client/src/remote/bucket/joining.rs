//! Small files of a bucket joined into one, so that a store of many pushes does not end up as many files, each of which
//! costs every reader requests.
//!
//! * Truth: the manifest. The parts stay in the bucket, as Dolt removes nothing there: readers of an older manifest go on
//!   with them.
//! * Order: the joined file is in the bucket, whole, before a manifest lists it in the place of its parts.
//! * Crash: a file that nothing lists; a later push that joins the same parts finds it.
//! * Cost: each part is read and written anew, a few times in all however many pushes come.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::noms_dir::{
    Joinable, Joined, StoreError, StoredFile, choose_small, file_name, join,
};
use holdfast_chunkstore::objects::Replacement;

use super::Bucket;
use crate::remote::{Budget, OutgoingFile, RemoteError};

/// How many parts are read at once.
const AT_ONCE: usize = 8;

/// So many bytes are joined at once at most: they pass through this machine.
const MOST_BYTES: u64 = 64 << 20;

impl Bucket {
    /// Joins small files where there are many. The push is done: what hinders this hinders nothing else, and the next
    /// push tries it again.
    pub(super) async fn join_small(&self) {
        drop(self.try_join_small().await);
    }

    async fn try_join_small(&self) -> Result<(), RemoteError> {
        let manifest = self.known_manifest().await?;
        let heads = self.indexes.heads(&manifest.files).await?;
        let files = manifest.files.iter().zip(heads);
        let mut files: Vec<_> = files.collect();
        let chosen = choose_small(files.iter().map(|(file, head)| Joinable {
            id: file.id,
            len: head.len,
            chunks: file.chunks,
        }));
        let mut bytes = 0;
        let fits = |file: &&Joinable| {
            bytes += file.len;
            bytes <= MOST_BYTES
        };
        let chosen: Vec<_> = chosen.iter().take_while(fits).map(|file| file.id).collect();
        if chosen.len() < 2 {
            return Ok(());
        }
        files.retain(|(file, _)| chosen.contains(&file.id));
        let directory = self.pool.run(tempfile::tempdir).await;
        let directory = Arc::new(directory.map_err(io(&std::env::temp_dir()))?);
        let brought = files.iter().map(|(file, head)| {
            let path = directory.path().join(file_name(file.id, head.kind));
            async move { self.indexes.fetch_whole(file.id, *head, path).await }
        });
        let brought: Vec<_> = brought.collect();
        stream::iter(brought)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let ids: Vec<_> = files.iter().map(|(file, _)| file.id).collect();
        let place = Arc::clone(&directory);
        let joined = self.pool.run(move || {
            let open = |id| StoredFile::open(place.path(), id).transpose();
            let opened = ids
                .into_iter()
                .filter_map(open)
                .map(|file| file.map(Arc::new));
            let opened: Vec<_> = opened.collect::<Result<_, StoreError>>()?;
            let joined = join(place.path(), &opened)?;
            let outgoing = joined.as_ref().map(|joined| outgoing(place.path(), joined));
            Ok::<_, StoreError>(joined.zip(outgoing.transpose()?))
        });
        let Some((joined, outgoing)) = joined.await? else {
            return Ok(());
        };
        self.send(&outgoing).await?;
        self.list_joined(&joined).await
    }

    /// Puts a joined file that was sent in the place of its parts, unless one of them is not listed any more.
    async fn list_joined(&self, joined: &Joined) -> Result<(), RemoteError> {
        self.indexes.open(joined.file()).await?;
        let mut budget = Budget::new();
        loop {
            let (manifest, version) = self.read_manifest().await?;
            let mut files = manifest.files.clone();
            if !joined.replace_in(&mut files) {
                return Ok(());
            }
            let next = manifest.replaced(manifest.root, files);
            let failure = match self.replace_manifest(next, version.as_ref()).await {
                Ok(Replacement::Done) => return Ok(()),
                Ok(Replacement::Outdated) => RemoteError::Contended,
                Err(error) => error,
            };
            if !failure.kind().is_transient() || !budget.wait(&*self.clock).await {
                return Err(failure);
            }
        }
    }
}

/// A joined file on its way into the bucket.
fn outgoing(directory: &Path, joined: &Joined) -> Result<OutgoingFile, StoreError> {
    let id = joined.file().id;
    let file = StoredFile::open(directory, id)?.ok_or_else(|| StoreError::Missing {
        id,
        directory: directory.to_owned(),
    })?;
    Ok(OutgoingFile {
        path: file.path().to_owned(),
        id,
        kind: file.kind(),
        len: file.len(),
        data_len: file.data_len(),
        chunks: file.count(),
    })
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RemoteError {
    let path = path.to_owned();
    |source| {
        RemoteError::from(StoreError::Io {
            action: "make a directory in",
            path,
            source,
        })
    }
}
