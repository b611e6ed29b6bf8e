//! What a backup relies on: the files of its target, looked at before the backup is said to be done.
//!
//! Each backup looks at the name, the footer and the index of every file, and reads a share of the chunks. Which share
//! follows from the number of the backup before, and from the day where nothing changed and no backup was made: backups
//! that follow one another read all chunks in turns.
//!
//! # Memory
//! The index of each file as a store keeps it, and some ten thousand addresses at a time.

use std::num::NonZeroU64;
use std::sync::Arc;

use holdfast_chunkstore::noms_dir::DamagedFile;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, TableFileId};
use holdfast_doltdb::source::each;

use super::error::BackupError;
use crate::remote::{Lot, Remote, RemoteFile, RemoteSource, Shelf};
use crate::transfer::{Forgiving, Observer, described};

/// How many chunks are read at once.
const BATCH: usize = 256;

/// How many faults of a file are named.
const NAMED: usize = 20;

/// How much of the data a backup reads back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In how many backups everything is read once; nothing where no data is read.
    turns: Option<NonZeroU64>,
}

impl Share {
    /// No data: names, footers and indexes only.
    pub const NONE: Self = Self { turns: None };

    /// At least so many of a million chunks.
    pub fn of(per_million: u32) -> Self {
        let turns = 1_000_000_u64.checked_div(u64::from(per_million));
        Self {
            turns: turns.map(|turns| NonZeroU64::new(turns).unwrap_or(NonZeroU64::MIN)),
        }
    }

    /// The chunks that are read in a turn.
    fn lot(self, turn: u64) -> Lot {
        match self.turns {
            Some(of) => Lot::Turn { of, turn },
            None => Lot::None,
        }
    }
}

/// What is wrong with a file of a target.
#[derive(Debug)]
pub(super) struct FileDamage {
    pub(super) id: TableFileId,
    /// The file, where it is there and has a sound index.
    pub(super) file: Option<RemoteFile>,
    /// The first faults, each in a line.
    pub(super) faults: Vec<String>,
}

/// A target, and how much of it is looked at.
pub(super) struct Reliance<'a> {
    pub(super) target: &'a Arc<dyn Remote>,
    pub(super) share: Share,
    pub(super) observer: &'a dyn Observer,
}

impl Reliance<'_> {
    /// Looks at names, lengths and indexes alone, before anything else of the target is read.
    pub(super) async fn look_at_indexes(&self) -> Result<Vec<FileDamage>, BackupError> {
        let damaged = self.target.damaged_files().await?;
        let damage = |file: DamagedFile| FileDamage {
            id: file.id,
            file: None,
            faults: vec![format!("file {}: {}", file.id, described(file.error))],
        };
        Ok(damaged.into_iter().map(damage).collect())
    }

    /// Looks for damaged files. A server is not looked at: it checks what it holds itself.
    pub(super) async fn look(&self, turn: u64) -> Result<Vec<FileDamage>, BackupError> {
        let Some(shelf) = self.target.shelf() else {
            return Ok(Vec::new());
        };
        let mut damaged: Vec<FileDamage> = Vec::new();
        for file in self.target.list_files().await?.files {
            let faults = self.look_at(shelf, &file, turn).await?;
            if !faults.is_empty() {
                damaged.push(FileDamage {
                    id: file.id,
                    file: Some(file),
                    faults,
                });
            }
        }
        if !damaged.is_empty() {
            // What another backup joined meanwhile is not listed any more: what it held lies in the joined file.
            let listed = self.target.list_files().await?.files;
            damaged.retain(|damage| is_listed(&listed, damage.id));
        }
        Ok(damaged)
    }

    /// What is wrong with a file.
    async fn look_at(
        &self,
        shelf: &dyn Shelf,
        file: &RemoteFile,
        turn: u64,
    ) -> Result<Vec<String>, BackupError> {
        let lot = self.share.lot(turn);
        let mut faults = Vec::new();
        let mut from = Some(0);
        while let Some(first) = from {
            let drawn = match shelf.draw(file, first, lot).await {
                Ok(drawn) => drawn,
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    faults.push(format!("file {}: {}", file.id, described(error)));
                    return Ok(faults);
                }
                Err(error) => return Err(error.into()),
            };
            if first == 0 && file.chunks != 0 && drawn.count != file.chunks {
                let (id, found, listed) = (file.id, drawn.count, file.chunks);
                faults.push(format!(
                    "file {id} holds {found} chunks, and {listed} are listed"
                ));
            }
            self.read(file, &drawn.chunks, &mut faults).await?;
            if faults.len() >= NAMED {
                faults.truncate(NAMED);
                return Ok(faults);
            }
            from = drawn.next;
        }
        Ok(faults)
    }

    /// Reads chunks of a file back.
    async fn read(
        &self,
        file: &RemoteFile,
        chunks: &[ChunkAddress],
        faults: &mut Vec<String>,
    ) -> Result<(), BackupError> {
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, self.observer);
        for batch in chunks.chunks(BATCH) {
            each(&source, batch, |address, chunk| {
                if chunk.is_none() {
                    let fault = source.fault(address);
                    let fault = fault.unwrap_or_else(|| "it is missing".to_owned());
                    faults.push(format!("chunk {address} of file {}: {fault}", file.id));
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn is_listed(files: &[RemoteFile], id: TableFileId) -> bool {
    files.iter().any(|file| file.id == id)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use holdfast_chunkstore::RootAddress;
    use holdfast_chunkstore::format::manifest::ListedFile;
    use holdfast_chunkstore::format::{FileKind, table};
    use holdfast_chunkstore::hash::hash_chunk;
    use holdfast_chunkstore::noms_dir::{ManifestUpdate, NewFile, file_name};
    use holdfast_chunkstore::objects::durable;
    use holdfast_chunkstore::pool::BlockingPool;

    use super::*;
    use crate::remote::Directory;
    use crate::transfer::{Silent, TransferEvent};

    /// Puts a table file into a store; nothing lists it yet.
    fn land(store: &Path, chunks: &[&[u8]]) -> ListedFile {
        let mut writer = table::Writer::new(NewFile::begin(store).unwrap());
        for chunk in chunks {
            writer.append_chunk(hash_chunk(chunk), chunk).unwrap();
        }
        let (mut file, written) = writer.finish().unwrap();
        file.flush().unwrap();
        file.land(written.id, FileKind::Table).unwrap();
        ListedFile {
            id: written.id,
            chunks: written.count,
        }
    }

    fn list(store: &Path, added: &[ListedFile], gone: &[ListedFile]) {
        let update = ManifestUpdate::begin(store).unwrap();
        let gone = gone.iter().map(|file| file.id).collect();
        let root = RootAddress::new([1; 20]);
        update.finish_without(root, added, &gone).unwrap();
    }

    /// Joins a file with another as soon as something is read.
    #[derive(Debug)]
    struct Joins {
        store: PathBuf,
        gone: Mutex<Option<ListedFile>>,
    }

    impl Observer for Joins {
        fn tell(&self, _event: TransferEvent) {
            let Some(gone) = self.gone.lock().unwrap().take() else {
                return;
            };
            let joined = land(&self.store, &[b"second", b"more"]);
            list(&self.store, &[joined], &[gone]);
            durable::remove(&self.store.join(file_name(gone.id, FileKind::Table))).unwrap();
        }

        fn warn(&self, _warning: &str) {}
    }

    #[tokio::test]
    async fn what_is_joined_between_the_list_and_the_look_is_no_damage() {
        let place = tempfile::tempdir().unwrap();
        let [first, second] = [&b"first"[..], b"second"].map(|chunk| land(place.path(), &[chunk]));
        list(place.path(), &[first, second], &[]);
        let target = || Arc::new(Directory::new(place.path(), BlockingPool::new(2)));
        let target: Arc<dyn Remote> = target();
        let joins = Joins {
            store: place.path().to_owned(),
            gone: Mutex::new(Some(second)),
        };
        let look = |observer| Reliance {
            target: &target,
            share: Share::of(1_000_000),
            observer,
        };
        let found = look(&joins).look(0).await.unwrap();
        assert!(joins.gone.lock().unwrap().is_none(), "it was joined");
        assert!(found.is_empty(), "{found:?}");
        // What is listed and not there is damage.
        durable::remove(&place.path().join(file_name(first.id, FileKind::Table))).unwrap();
        let damaged = look(&Silent).look_at_indexes().await.unwrap();
        assert_eq!(damaged.len(), 1);
        assert_eq!(damaged[0].id, first.id);
    }

    #[test]
    fn backups_that_follow_one_another_read_each_chunk_once() {
        let share = Share::of(50_000);
        for number in 0..1000_u32 {
            let address = hash_chunk(&number.to_be_bytes());
            let turns = (7..27).filter(|turn| share.lot(*turn).takes(address));
            assert_eq!(turns.count(), 1, "{address}");
        }
    }

    #[test]
    fn a_share_is_never_less_than_was_asked_for() {
        let address = hash_chunk(b"any");
        assert!(!Share::NONE.lot(0).takes(address));
        for per_million in [600_000, 1_000_000] {
            let share = Share::of(per_million);
            assert!((0..3).all(|turn| share.lot(turn).takes(address)));
        }
        assert_eq!(Share::of(0), Share::NONE);
    }
}
