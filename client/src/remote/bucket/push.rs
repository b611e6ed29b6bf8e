//! What is written into a bucket: files first, and then the manifest, in the place of the version that was read.
//!
//! * Order: a file is there, whole, before the manifest lists it.
//! * Crash: files that nothing lists; nobody removes them, and the same push finds them again.
//! * Retry: an answer that was lost is no answer, so the manifest is read again: it says who won.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::format::manifest::{ListedFile, Manifest};
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::objects::{
    MAX_PIECE_BYTES, ObjectError, ObjectKey, ObjectStore as _, ObjectUpload, ObjectVersion,
    Replacement, VersionedStore,
};
use holdfast_chunkstore::{RootAddress, TableFileId};

use super::Bucket;
use super::index::key_of;
use crate::remote::{Budget, OutgoingFile, RemoteError, Swap, Uploaded};

/// The longest thing that a probe reads.
const PROBE_BYTES: u64 = 64;

/// A root that is to take the place of another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) last: RootAddress,
    pub(super) root: RootAddress,
}

impl Bucket {
    /// Makes sure, once and before anything is written, that the server keeps to conditions.
    pub(super) async fn prove(&self) -> Result<(), RemoteError> {
        let proof = self.is_proven.get_or_try_init(|| async {
            let name: u128 = rand::RngExt::random(&mut rand::rng());
            let key = ObjectKey::parse(format!("holdfast-probe-{name:032x}"));
            let key = key.expect("hexadecimal digits make a key");
            let outcome = probe(&*self.store, &key).await;
            let removed = self.objects.delete(&key).await;
            outcome?;
            removed?;
            #[cfg(feature = "s3")]
            self.give_up_left_uploads().await;
            Ok(())
        });
        proof.await.copied()
    }

    /// Sends a file, unless one that serves as well is there.
    pub(super) async fn send(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        self.prove().await?;
        let key = key_of(file.id, file.kind);
        let is_damaged = self.passed_over.contains(file.id);
        if is_damaged {
            // It is sent again under its name, of which nothing good is there.
            self.objects.delete(&key).await?;
            self.indexes.forget(file.id);
        }
        match self.objects.head(&key).await {
            Ok(meta) if meta.len == file.len => return Ok(Uploaded::Known),
            Ok(_) => return self.check_other(file).await,
            Err(ObjectError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut upload = self.store.upload(&key, &file.path).await?;
        if let Err(error) = self.send_pieces(file, &mut *upload).await {
            upload.abort().await;
            return Err(error);
        }
        match upload.complete().await {
            Ok(()) => {
                self.passed_over.forget(is_damaged.then_some(file.id));
                Ok(Uploaded::Sent)
            }
            // Somebody else sent it meanwhile.
            Err(ObjectError::AlreadyExists { .. }) => self.check_other(file).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that a file of the same name and another length holds as many chunks: they are the same ones, compressed
    /// otherwise.
    async fn check_other(&self, file: &OutgoingFile) -> Result<Uploaded, RemoteError> {
        let listed = ListedFile {
            id: file.id,
            chunks: file.chunks,
        };
        let there = self.indexes.open(listed).await?;
        match there.count() == file.chunks {
            true => Ok(Uploaded::Known),
            false => Err(RemoteError::from(StoreError::Count {
                path: PathBuf::from(&self.address).join(file.id.to_string()),
                listed: file.chunks,
                found: there.count(),
            })),
        }
    }

    async fn send_pieces(
        &self,
        file: &OutgoingFile,
        upload: &mut dyn ObjectUpload,
    ) -> Result<(), RemoteError> {
        let wrong = |action, source| {
            RemoteError::from(StoreError::Io {
                action,
                path: file.path.clone(),
                source,
            })
        };
        let path = file.path.clone();
        let opened = self.pool.run(move || File::open(path)).await;
        let source = Arc::new(opened.map_err(|source| wrong("open", source))?);
        loop {
            let source = Arc::clone(&source);
            let read = self.pool.run(move || {
                let mut piece = Vec::with_capacity(MAX_PIECE_BYTES);
                let mut part = (&*source).take(MAX_PIECE_BYTES as u64);
                part.read_to_end(&mut piece).map(|_| Bytes::from(piece))
            });
            let piece = read.await.map_err(|source| wrong("read", source))?;
            if piece.is_empty() {
                return Ok(());
            }
            upload.write(piece).await?;
        }
    }

    /// Lists files that were sent, takes damaged ones off the list, and moves the root if that is asked for.
    pub(super) async fn swap(
        &self,
        goal: Option<Move>,
        added: &[ListedFile],
        damaged: &HashSet<TableFileId>,
    ) -> Result<Swap, RemoteError> {
        self.prove().await?;
        // Each is there, and has as many chunks as will be listed.
        self.indexes.open_all(added).await?;
        let mut budget = Budget::new();
        loop {
            let (manifest, version) = self.read_manifest().await?;
            let is_new = |file: &&ListedFile| !manifest.files.iter().any(|old| old.id == file.id);
            let new: Vec<_> = added.iter().filter(is_new).copied().collect();
            let root = goal.map_or(manifest.root, |goal| goal.root);
            let mut files = manifest.files.clone();
            files.retain(|file| !damaged.contains(&file.id));
            let is_listed = new.is_empty() && files.len() == manifest.files.len();
            if manifest.root == root && is_listed {
                return Ok(Swap::Won);
            }
            if goal.is_some_and(|goal| goal.last != manifest.root) {
                return Ok(Swap::Lost);
            }
            files.extend(new);
            if root != manifest.root {
                self.check_root(root, &files).await?;
            }
            let next = manifest.replaced(root, files);
            let failure = match self.replace_manifest(next, version.as_ref()).await {
                Ok(Replacement::Done) => {
                    self.join_small().await;
                    return Ok(Swap::Won);
                }
                Ok(Replacement::Outdated) => RemoteError::Contended,
                Err(error) => error,
            };
            if !failure.kind().is_transient() || !budget.wait(&*self.clock).await {
                return Err(failure);
            }
        }
    }

    /// Puts a manifest in the place of the version that was read.
    pub(super) async fn replace_manifest(
        &self,
        next: Manifest,
        version: Option<&ObjectVersion>,
    ) -> Result<Replacement, RemoteError> {
        let body = Bytes::from(next.encode());
        let key = super::manifest_key();
        let replaced = self.store.replace(&key, body, version).await?;
        if replaced == Replacement::Done {
            self.remember(next);
        }
        Ok(replaced)
    }

    /// Checks that the chunk of a root is in one of the files, the newest first.
    async fn check_root(&self, root: RootAddress, files: &[ListedFile]) -> Result<(), RemoteError> {
        let Some(address) = root.chunk() else {
            return Ok(());
        };
        let counts = |file: &&ListedFile| !self.passed_over.contains(file.id);
        for file in files.iter().rev().filter(counts) {
            let opened = self.indexes.open(*file).await?;
            let found = self.reader.locate(vec![opened], vec![address]).await?;
            if found.iter().any(Option::is_some) {
                return Ok(());
            }
        }
        Err(RemoteError::NoRoot { root })
    }

    /// Keeps the manifest that was read or written last.
    pub(super) fn remember(&self, manifest: Manifest) {
        *self.manifest() = Some(Arc::new(manifest));
    }
}

/// Tries on an object of its own whether the server keeps to the conditions that pushes rest on.
async fn probe(store: &dyn VersionedStore, key: &ObjectKey) -> Result<(), RemoteError> {
    let put = async |text: &'static str, version| {
        let body = Bytes::from_static(text.as_bytes());
        Ok::<_, RemoteError>(store.replace(key, body, version).await?)
    };
    let refused = |header, what| Err(RemoteError::Unconditional { header, what });
    if put("first", None).await? != Replacement::Done {
        return refused(
            "If-None-Match",
            "does not create an object that is not there",
        );
    }
    let Some((_, first)) = store.read_version(key, PROBE_BYTES).await? else {
        return refused("If-None-Match", "does not give back what it stored");
    };
    if put("again", None).await? != Replacement::Outdated {
        return refused("If-None-Match", "creates an object over another one");
    }
    if put("second", Some(&first)).await? != Replacement::Done {
        return refused(
            "If-Match",
            "does not replace an object of the version that it named",
        );
    }
    if put("third", Some(&first)).await? != Replacement::Outdated {
        return refused("If-Match", "replaces an object of another version");
    }
    match store.read_version(key, PROBE_BYTES).await? {
        Some((bytes, _)) if bytes == "second" => Ok(()),
        _ => refused("If-Match", "does not give back what it stored"),
    }
}
