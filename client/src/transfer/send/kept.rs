//! Files that an earlier attempt made, and that may not be part of the remote yet.
//!
//! They are sent first: what is in them need not be made again, and where the remote is a directory or a bucket some may
//! lie there already, named by nothing. A file counts if it is undamaged and everything that its chunks point at is in
//! the others or at the remote, which may have lost what was there in the meantime.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{StoreError, StoredFile};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::children;

use super::outgoing::outgoing_file;
use crate::remote::{OutgoingFile, Remote};
use crate::transfer::error::TransferError;

/// Returns the files that count, and removes the others.
pub(super) async fn usable(
    files: Vec<StoredFile>,
    remote: &Arc<dyn Remote>,
    pool: &BlockingPool,
) -> Result<Vec<OutgoingFile>, TransferError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let files = Arc::new(files);
    let read = Arc::clone(&files);
    let leaving = move || read.iter().map(leaving).collect::<Result<Vec<_>, _>>();
    let leaving: Vec<Option<HashSet<ChunkAddress>>> = pool.run(leaving).await?;
    let all: HashSet<_> = leaving.iter().flatten().flatten().copied().collect();
    let all: Vec<_> = all.into_iter().collect();
    let absent = match all.is_empty() {
        true => HashSet::new(),
        false => remote.absent(&all).await?.into_iter().collect(),
    };
    let choose = move || {
        let counts = choose(&files, leaving, &absent)?;
        let (mut kept, mut useless) = (Vec::new(), Vec::new());
        for (file, counts) in files.iter().zip(counts) {
            match counts {
                true => kept.push(outgoing_file(file)),
                false => useless.push(file.path().to_owned()),
            }
        }
        forget(&useless).map(|()| kept)
    };
    Ok(pool.run(choose).await?)
}

/// Removes files.
pub(super) fn forget(paths: &[PathBuf]) -> Result<(), StoreError> {
    paths
        .iter()
        .try_for_each(|path| std::fs::remove_file(path).map_err(StoreError::io("remove", path)))
}

/// What the chunks of a file point at and is not in it; nothing if it is damaged.
fn leaving(file: &StoredFile) -> Result<Option<HashSet<ChunkAddress>>, StoreError> {
    let (mut leaving, mut decoder) = (HashSet::new(), Decoder::new());
    for address in file.addresses() {
        let address = address?;
        let Some(span) = file.find(address)? else {
            return Ok(None);
        };
        let (mut chunk, mut below) = (Vec::new(), Vec::new());
        let read = file.read_chunk(span, &mut decoder, &mut chunk);
        let is_whole = read.is_ok() && hash_chunk(&chunk) == address;
        if !is_whole || children(&chunk, &mut |child| below.push(child)).is_err() {
            return Ok(None);
        }
        for child in below {
            if file.find(child)?.is_none() {
                leaving.insert(child);
            }
        }
    }
    Ok(Some(leaving))
}

/// Says of each file whether it counts.
fn choose(
    files: &[StoredFile],
    leaving: Vec<Option<HashSet<ChunkAddress>>>,
    absent: &HashSet<ChunkAddress>,
) -> Result<Vec<bool>, StoreError> {
    let mut counts: Vec<bool> = leaving.iter().map(Option::is_some).collect();
    let mut needed: HashMap<usize, Vec<ChunkAddress>> = HashMap::new();
    for (number, leaving) in leaving.into_iter().enumerate() {
        let lacking = leaving.into_iter().flatten();
        needed.insert(number, lacking.filter(|it| absent.contains(it)).collect());
    }
    loop {
        let mut is_same = true;
        for (number, needed) in &needed {
            if !counts[*number] {
                continue;
            }
            for address in needed {
                let mut is_there = false;
                for (file, _) in files.iter().zip(&counts).filter(|(_, counts)| **counts) {
                    is_there = is_there || file.find(*address)?.is_some();
                }
                if !is_there {
                    (counts[*number], is_same) = (false, false);
                    break;
                }
            }
        }
        if is_same {
            return Ok(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use bytes::Bytes;
    use holdfast_chunkstore::format::manifest::ListedFile;
    use holdfast_doltdb::testing::TinyDb;

    use super::*;
    use crate::remote::Directory;
    use crate::transfer::send::outgoing::write_small;

    struct Scene {
        remote: Arc<dyn Remote>,
        pool: BlockingPool,
        place: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let (pool, place) = (BlockingPool::new(2), tempfile::tempdir().unwrap());
            let vault = place.path().join("vault");
            Self {
                remote: Arc::new(Directory::new(&vault, pool.clone())),
                pool,
                place,
            }
        }

        fn file(&self, chunks: &[Bytes]) -> OutgoingFile {
            let addressed = chunks.iter().map(|it| (hash_chunk(it), it.clone()));
            let addressed: Vec<_> = addressed.collect();
            write_small(self.place.path(), &addressed).unwrap()
        }

        fn open(&self, file: &OutgoingFile) -> StoredFile {
            StoredFile::open(self.place.path(), file.id)
                .unwrap()
                .unwrap()
        }

        /// Which of some files count.
        async fn usable(&self, files: &[&OutgoingFile]) -> Vec<bool> {
            let opened = files.iter().map(|file| self.open(file)).collect();
            let kept = usable(opened, &self.remote, &self.pool).await.unwrap();
            let is_kept = |file: &&OutgoingFile| kept.iter().any(|it| it.id == file.id);
            let found: Vec<_> = files.iter().map(is_kept).collect();
            let is_there = |file: &&OutgoingFile| Path::new(&file.path).exists();
            assert_eq!(found, files.iter().map(is_there).collect::<Vec<_>>());
            found
        }
    }

    #[tokio::test]
    async fn a_file_counts_with_what_is_below_its_chunks() {
        let scene = Scene::new();
        let chunks = TinyDb::new().commit_with("main", "first", &[("t", &[7; 50_000])]);
        let (below, above) = chunks.split_at(chunks.len() / 2);
        let make = || (scene.file(below), scene.file(above));
        let (low, high) = make();
        assert_eq!(scene.usable(&[&high, &low]).await, [true, true]);
        assert_eq!(scene.usable(&[&low]).await, [true]);
        assert_eq!(scene.usable(&[&high]).await, [false], "below it is nothing");

        let (low, high) = make();
        scene.remote.upload(&low).await.unwrap();
        let listed = ListedFile {
            id: low.id,
            chunks: low.chunks,
        };
        scene.remote.add_files(&[listed]).await.unwrap();
        assert_eq!(scene.usable(&[&high]).await, [true], "it is at the remote");
    }

    #[tokio::test]
    async fn a_damaged_file_takes_along_what_is_above_it() {
        let scene = Scene::new();
        let chunks = TinyDb::new().commit_with("main", "first", &[("t", &[7; 50_000])]);
        let (below, above) = chunks.split_at(chunks.len() / 2);
        let (low, high) = (scene.file(below), scene.file(above));
        let other = TinyDb::new().commit_with("other", "alone", &[]);
        let other = scene.file(&other);
        let data_len = usize::try_from(low.data_len).unwrap();
        let opened = OpenOptions::new().write(true).open(&low.path).unwrap();
        opened.write_all_at(&vec![0; data_len], 0).unwrap();
        let found = scene.usable(&[&low, &high, &other]).await;
        assert_eq!(found, [false, false, true]);
    }
}
