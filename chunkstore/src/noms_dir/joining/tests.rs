//! What is joined, and what becomes of the parts.

use super::*;
use crate::address::RootAddress;
use crate::noms_dir::{ManifestUpdate, NewStore, NomsDir, StoreWriter};

fn chunk(number: u32) -> Vec<u8> {
    format!("chunk {number}").into_bytes()
}

fn land(directory: &Path, numbers: impl IntoIterator<Item = u32>) -> ListedFile {
    let mut writer = table::Writer::new(NewFile::begin(directory).unwrap());
    for number in numbers {
        let chunk = chunk(number);
        writer.append_chunk(hash_chunk(&chunk), &chunk).unwrap();
    }
    let (file, written) = writer.finish().unwrap();
    file.land(written.id, FileKind::Table).unwrap();
    ListedFile {
        id: written.id,
        chunks: written.count,
    }
}

fn root_of(number: u32) -> RootAddress {
    hash_chunk(&chunk(number)).into()
}

#[track_caller]
fn assert_has_all(directory: &Path, count: u32) {
    let store = NomsDir::open(directory).unwrap();
    for number in 0..count {
        let address = hash_chunk(&chunk(number));
        let place = store.find(address).unwrap().unwrap();
        let mut read = Vec::new();
        store
            .read_chunk(address, place, &mut Decoder::new(), &mut read)
            .unwrap();
        assert_eq!(read, chunk(number));
    }
}

fn table_files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 32).count()
}

#[test]
fn a_store_of_many_commits_stays_one_of_few_files() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("noms");
    let store = NewStore::create(&directory).unwrap();
    store.finish(RootAddress::ZERO, Vec::new()).unwrap();
    let before = NomsDir::open(&directory).unwrap();
    let count: u32 = 500;
    let mut most = 0;
    for number in 0..count {
        let writer = StoreWriter::open(&directory).unwrap();
        // Each file has a chunk of the one before as well.
        let file = land(&directory, number.saturating_sub(1)..=number);
        writer.commit(root_of(number), &[file], &[], 1).unwrap();
        most = most.max(table_files(&directory));
    }
    assert!(most <= FEW + 4, "{most} files");
    assert_eq!(
        NomsDir::open(&directory).unwrap().files().len(),
        table_files(&directory)
    );
    assert_has_all(&directory, count);
    assert_eq!(before.root(), RootAddress::ZERO);
}

#[test]
fn a_damaged_file_and_one_that_went_meanwhile_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("remote");
    let store = NewStore::create(&directory).unwrap();
    let files: Vec<_> = (0..40).map(|number| land(&directory, [number])).collect();
    store.finish(root_of(0), files.clone()).unwrap();
    let damaged = directory.join(files[7].id.to_string());
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[2] ^= 1;
    durable::write_over(&damaged, "new-", 0o600, &bytes).unwrap();

    let opened = NomsDir::open(&directory).unwrap();
    let joined = join_small(&directory, opened.files()).unwrap().unwrap();
    assert_eq!(joined.parts.len(), 39);
    let update = ManifestUpdate::begin(&directory).unwrap();
    update.join(joined).unwrap();
    let after = NomsDir::open(&directory).unwrap();
    let ids: Vec<_> = after.files().iter().map(|file| file.id()).collect();
    assert!(ids.len() == 2 && ids.contains(&files[7].id), "{ids:?}");
    assert_eq!(after.root(), root_of(0));
    assert_eq!(table_files(&directory), 2);

    // Parts that another joined meanwhile: the manifest stays.
    let again = Joined {
        directory: directory.clone(),
        file: files[0],
        kind: FileKind::Table,
        parts: opened.files().to_vec(),
    };
    let update = ManifestUpdate::begin(&directory).unwrap();
    update.join(again).unwrap();
    let unchanged = NomsDir::open(&directory).unwrap();
    assert_eq!(unchanged.manifest(), after.manifest());
}
