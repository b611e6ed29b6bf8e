//! Records in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::{RootAddress, TableFileId};

use super::backup_id::BackupId;
use super::catalog::Catalog;
use super::record::{Added, Draft, RecordedFile, digest};
use crate::remote::{Drawn, Lot, Put, RemoteError, RemoteFile, Shelf};

/// A shelf that counts what is read from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    files: Arc<Mutex<BTreeMap<String, Bytes>>>,
    gets: Arc<AtomicUsize>,
}

impl Memory {
    pub(super) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    pub(super) fn reset(&self) {
        self.gets.store(0, Ordering::SeqCst);
    }

    /// The same files, which change for themselves.
    pub(super) fn copied(&self) -> Self {
        let files = self.files.lock().unwrap().clone();
        Self {
            files: Arc::new(Mutex::new(files)),
            gets: Arc::default(),
        }
    }

    pub(super) fn text(&self, number: u64) -> String {
        let files = self.files.lock().unwrap();
        String::from_utf8(files[&id(number).record_name()].to_vec()).unwrap()
    }

    pub(super) fn digest(&self, number: u64) -> String {
        digest(self.text(number).as_bytes())
    }

    pub(super) fn set(&self, number: u64, text: String) {
        let mut files = self.files.lock().unwrap();
        files.insert(id(number).record_name(), Bytes::from(text));
    }

    /// Changes the text of a record, as no program may.
    pub(super) fn change(&self, number: u64, change: impl FnOnce(String) -> String) {
        let before = self.text(number);
        let after = change(before.clone());
        assert_ne!(before, after);
        self.set(number, after);
    }

    pub(super) fn remove(&self, number: u64) {
        let mut files = self.files.lock().unwrap();
        files.remove(&id(number).record_name()).unwrap();
    }

    pub(super) fn longest(&self) -> usize {
        let files = self.files.lock().unwrap();
        files.values().map(Bytes::len).max().unwrap_or_default()
    }

    pub(super) fn total(&self) -> usize {
        self.files.lock().unwrap().values().map(Bytes::len).sum()
    }
}

#[async_trait]
impl Shelf for Memory {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, RemoteError> {
        let mut files = self.files.lock().unwrap();
        if files.contains_key(name) {
            return Ok(Put::Taken);
        }
        files.insert(name.to_owned(), bytes);
        Ok(Put::Done)
    }

    async fn names(&self) -> Result<Vec<String>, RemoteError> {
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        Ok(self.files.lock().unwrap().get(name).cloned())
    }

    fn path(&self, _file: &RemoteFile) -> Option<PathBuf> {
        None
    }

    async fn draw(&self, _file: &RemoteFile, _from: u32, _lot: Lot) -> Result<Drawn, RemoteError> {
        Ok(Drawn {
            count: 0,
            chunks: Vec::new(),
            next: None,
        })
    }
}

pub(super) fn id(number: u64) -> BackupId {
    BackupId::of_number(number).unwrap()
}

/// The root of a backup of a chain.
pub(super) fn root(number: u64) -> RootAddress {
    hash_chunk(format!("root {number}").as_bytes()).into()
}

/// The files of a backup of a chain: one more each time, of which each ninth takes the place of the eight before it, and
/// some that stay.
pub(super) fn files(number: u64, large: u64) -> Vec<RecordedFile> {
    let file = |name: String| RecordedFile {
        id: TableFileId::new(*hash_chunk(name.as_bytes()).as_bytes()),
        chunks: 9,
    };
    let large = (0..large).map(|large| file(format!("large {large}")));
    let joined = (1..=number / 9).map(|joined| file(format!("joined {joined}")));
    let small = (number / 9 * 9..=number).map(|small| file(format!("small {small}")));
    large.chain(joined).chain(small).collect()
}

/// Records that follow one another, of stores with some 40 files.
pub(super) async fn chain(count: u64) -> Memory {
    let memory = Memory::default();
    extend(&memory, count, 40).await;
    memory
}

/// Writes records up to a number.
pub(super) async fn extend(memory: &Memory, to: u64, large: u64) {
    let mut catalog = Catalog::read(memory).await.unwrap();
    let from = catalog.newest().map_or(1, |newest| newest.number() + 1);
    for number in from..=to {
        let draft = Draft {
            at: Timestamp(1_700_000_000_000 + number * 60_000),
            root: root(number),
            replaces: root(number - 1),
            source: "/data/shop".to_owned(),
            added: Added::default(),
            by: None,
            files: files(number, large),
        };
        let appended = catalog.append(memory, &draft).await.unwrap();
        assert_eq!(appended, Some(id(number)));
    }
}

/// Makes the records up to a number such of the first form, and writes those behind them anew.
pub(super) async fn first_form(memory: &Memory, last: u64) {
    let newest = Catalog::read(memory).await.unwrap().newest().unwrap();
    let mut previous = None;
    for number in 1..=newest.number() {
        if number > last {
            memory.remove(number);
            continue;
        }
        let text = serde_json::json!({
            "form": 1, "id": number, "at": 1_700_000_000_000 + number * 60_000, "root": root(number),
            "replaces": root(number - 1), "source": "/data/shop", "added": { "chunks": 0, "bytes": 0 },
            "files": files(number, 40), "by": null, "client": "0.1.0", "previous": previous,
        });
        let text = serde_json::to_string_pretty(&text).unwrap();
        previous = Some(digest(text.as_bytes()));
        memory.set(number, text);
    }
    extend(memory, newest.number(), 40).await;
}
