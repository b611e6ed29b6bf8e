//! What is written into a store: files first, without a lock, and then the manifest under the lock.
//!
//! * Order: a file is durable under its name before the manifest lists it. Everything that takes time is done before
//!   the lock is taken, for others wait a tenth of a second for it.
//! * Crash: files that nothing lists, which `dolt gc` removes and the same push finds again.

use std::fs::{File, Metadata};
use std::io::{BufReader, copy};
use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{
    ManifestUpdate, NewFile, NomsDir, StoreError, StoreStamp, StoredFile, file_name, join_small,
};
use holdfast_chunkstore::objects::durable;

use super::place::{Place, io};
use crate::remote::{OutgoingFile, RemoteError, Swap, Uploaded};

/// How often the lock is waited for, a tenth of a second each time.
const LOCK_TRIES: u32 = 5;

/// How much of a file is copied at once.
const BUFFER_BYTES: usize = 1 << 20;

impl Place {
    /// Copies a file into the store, unless it is there.
    pub(super) fn land(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        self.prepare()?;
        let path = self.directory().join(file_name(file.id, file.kind));
        let has_len = |metadata: Metadata| metadata.len() == file.len;
        let is_damaged = self.passed_over.contains(file.id);
        if !is_damaged && path.metadata().is_ok_and(has_len) {
            return Ok(Uploaded::Known);
        }
        NewFile::sweep(self.directory())?;
        let source = File::open(&file.path).map_err(|error| io("open", &file.path, error))?;
        let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
        let mut target = NewFile::begin(self.directory())?;
        let copied =
            copy(&mut source, &mut target).map_err(|error| io("copy", &file.path, error))?;
        if copied != file.len {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            return Err(io("copy the whole of", &file.path, error));
        }
        target.land(file.id, file.kind)?;
        if is_damaged {
            self.count_again(file.id);
        }
        Ok(Uploaded::Sent)
    }

    /// Takes the files that are passed over off the list.
    pub(super) fn drop_passed_over(&self) -> Result<(), RemoteError> {
        self.prepare()?;
        let damaged = self.passed_over.all();
        let update = self.begin_update()?;
        let root = update.manifest().root;
        update.finish_without(root, &[], &damaged)?;
        self.passed_over.forget(damaged);
        Ok(())
    }

    /// Lists files that landed.
    pub(super) fn add(&self, files: &[ListedFile]) -> Result<(), RemoteError> {
        self.prepare()?;
        self.open_landed(files)?;
        let update = self.begin_update()?;
        let root = update.manifest().root;
        update.finish(root, files)?;
        self.join_small();
        Ok(())
    }

    /// Joins small files where there are many. The push is done: what hinders this hinders nobody, and the next push
    /// tries it again.
    fn join_small(&self) {
        let join = || -> Result<(), RemoteError> {
            let Some(store) = self.current()? else {
                return Ok(());
            };
            // Before the lock is taken: it takes time.
            match join_small(self.directory(), store.files())? {
                Some(joined) => Ok(self.begin_update()?.join(joined)?),
                None => Ok(()),
            }
        };
        drop(join());
    }

    /// Moves the root from `last` to `root` and lists files that landed, in one step.
    pub(super) fn commit(
        &self,
        root: RootAddress,
        last: RootAddress,
        files: &[ListedFile],
    ) -> Result<Swap, RemoteError> {
        self.prepare()?;
        let landed = self.open_landed(files)?;
        let seen = self.current()?;
        let update = self.begin_update()?;
        let manifest = update.manifest();
        let is_listed = |file: &ListedFile| manifest.files.iter().any(|known| known.id == file.id);
        if manifest.root == root && files.iter().all(is_listed) {
            // An attempt whose last sync failed may have put it there.
            let directory = self.directory();
            durable::sync_directory(directory).map_err(|error| io("sync", directory, error))?;
            return Ok(Swap::Won);
        }
        if manifest.root != last {
            return Ok(Swap::Lost);
        }
        let store = match seen {
            Some(store) if store.manifest() == manifest => Some(store),
            _ => self.fresh()?,
        };
        if !has_chunk_of(root, store.as_ref(), &landed)? {
            return Err(RemoteError::NoRoot { root });
        }
        update.finish(root, files)?;
        self.join_small();
        Ok(Swap::Won)
    }

    /// Makes the directory, and refuses one that takes no pushes.
    fn prepare(&self) -> Result<(), RemoteError> {
        let directory = self.directory();
        if self.is_of_database() || StoreStamp::of(directory)?.has_journal() {
            return Err(RemoteError::Database {
                path: directory.to_owned(),
            });
        }
        durable::create_root(directory).map_err(|error| io("make", directory, error))
    }

    /// Opens files that landed: each is there, is whole, and has as many chunks as will be listed.
    fn open_landed(&self, files: &[ListedFile]) -> Result<Vec<StoredFile>, RemoteError> {
        let directory = self.directory();
        let open = |listed: &ListedFile| StoredFile::open_listed(directory, *listed);
        let opened = files.iter().map(open).collect::<Result<_, StoreError>>();
        Ok(opened?)
    }

    fn begin_update(&self) -> Result<ManifestUpdate, RemoteError> {
        for _ in 1..LOCK_TRIES {
            match ManifestUpdate::begin(self.directory()) {
                Err(StoreError::Held { .. }) => {}
                update => return Ok(update?),
            }
        }
        Ok(ManifestUpdate::begin(self.directory())?)
    }
}

/// Whether the chunk of a root lies in the store or in one of the files that landed.
fn has_chunk_of(
    root: RootAddress,
    store: Option<&Arc<NomsDir>>,
    landed: &[StoredFile],
) -> Result<bool, StoreError> {
    let Some(address) = root.chunk() else {
        return Ok(true);
    };
    for file in landed {
        if file.find(address)?.is_some() {
            return Ok(true);
        }
    }
    match store {
        Some(store) => Ok(store.find(address)?.is_some()),
        None => Ok(false),
    }
}
