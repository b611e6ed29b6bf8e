//! Small files in a folder of the store's directory.
//!
//! * Order: a file is durable before it has its name, which it gets only if nobody has it.
//! * Crash: a temporary file, whose name begins with a dot and which nobody reads.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::noms_dir::{StoreError, StoredFile};
use holdfast_chunkstore::objects::durable;

use super::Directory;
use super::place::io;
use crate::remote::shelf::{Drawn, FOLDER, Lot, Put, Shelf};
use crate::remote::{RemoteError, RemoteFile};

impl Directory {
    fn folder(&self) -> PathBuf {
        self.place.directory().join(FOLDER)
    }
}

#[async_trait]
impl Shelf for Directory {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, RemoteError> {
        let (folder, name) = (self.folder(), name.to_owned());
        self.pool.run(move || put(&folder, &name, &bytes)).await
    }

    async fn names(&self) -> Result<Vec<String>, RemoteError> {
        let folder = self.folder();
        self.pool.run(move || names(&folder)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        let path = self.folder().join(name);
        let read = self.pool.run(move || match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path, error)),
        });
        read.await
    }

    fn path(&self, file: &RemoteFile) -> Option<PathBuf> {
        Some(self.place.directory().join(&file.place))
    }

    async fn draw(&self, file: &RemoteFile, from: u32, lot: Lot) -> Result<Drawn, RemoteError> {
        let path = self.place.directory().join(&file.place);
        let (directory, id) = (path.parent().unwrap_or(Path::new(".")).to_owned(), file.id);
        let draw = move || {
            let stored = StoredFile::open(&directory, id)?;
            let stored = stored.ok_or(StoreError::Missing { id, directory })?;
            lot.draw(&stored, from)
        };
        Ok(self.pool.run(draw).await?)
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<Put, RemoteError> {
    durable::create_root(folder).map_err(|error| io("make", folder, error))?;
    let written = durable::write_temporary(folder, bytes);
    let file = written.map_err(|error| io("write to", folder, error))?;
    let path = folder.join(name);
    match durable::link(file.path(), &path) {
        Ok(()) => Ok(Put::Done),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Put::Taken),
        Err(error) => Err(io("name", &path, error)),
    }
}

fn names(folder: &Path) -> Result<Vec<String>, RemoteError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("list", folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io("list", folder, error))?;
        let name = entry.file_name().into_string();
        names.extend(name.ok().filter(|name| !name.starts_with('.')));
    }
    names.sort_unstable();
    Ok(names)
}
