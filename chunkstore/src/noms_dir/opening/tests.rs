//! A store that changes while it is opened, at each step.

use std::path::Path;

use super::*;
use crate::format::manifest::ListedFile;
use crate::format::{FileKind, table};
use crate::hash::hash_chunk;
use crate::noms_dir::{NewStore, StoreWriter, writer};
use crate::objects::durable;

fn root_of(chunk: &[u8]) -> RootAddress {
    hash_chunk(chunk).into()
}

fn land(writer: &StoreWriter, chunks: &[&[u8]]) -> ListedFile {
    let mut file = table::Writer::new(writer.begin_file().unwrap());
    for chunk in chunks {
        file.append_chunk(hash_chunk(chunk), chunk).unwrap();
    }
    let (file, written) = file.finish().unwrap();
    file.land(written.id, FileKind::Table).unwrap();
    ListedFile {
        id: written.id,
        chunks: written.count,
    }
}

/// A store with a journal whose root is `first`.
fn made(directory: &Path) {
    let store = NewStore::create(directory).unwrap();
    store.finish(RootAddress::ZERO, Vec::new()).unwrap();
    write_journal(directory);
    push(directory, b"first");
}

fn write_journal(directory: &Path) {
    durable::write_over(&directory.join(layout::JOURNAL), "new-", 0o600, b"").unwrap();
}

/// A root whose chunk lies in a file that only the next manifest lists.
fn push(directory: &Path, chunk: &[u8]) {
    let writer = StoreWriter::open(directory).unwrap();
    let file = land(&writer, &[chunk]);
    writer.commit(root_of(chunk), &[file], &[], 1).unwrap();
}

/// A root whose chunk lies in the journal; the manifest stays.
fn commit(directory: &Path, chunk: &[u8]) {
    let writer = StoreWriter::open(directory).unwrap();
    let chunks = [(hash_chunk(chunk), bytes::Bytes::copy_from_slice(chunk))];
    writer.commit(root_of(chunk), &[], &chunks, 1).unwrap();
}

/// As a collection of Dolt: one file with all that the root needs, the manifest, and then the rest is removed.
fn collect(directory: &Path, chunk: &[u8]) {
    let writer = StoreWriter::open(directory).unwrap();
    let file = land(&writer, &[chunk, b"collected"]);
    let manifest = Manifest::new(root_of(chunk), vec![file]);
    writer::replace_manifest(directory, &manifest).unwrap();
    durable::remove(&directory.join(layout::JOURNAL)).unwrap();
    for old in writer.store().files() {
        durable::remove(old.path()).unwrap();
    }
}

fn assert_has_its_root(store: &NomsDir) {
    let root = store.root().chunk().unwrap();
    assert!(store.find(root).unwrap().is_some(), "{root} is absent");
}

#[test]
fn what_changes_between_two_steps_is_seen_whole() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("push", |directory| push(directory, b"second")),
        ("commit", |directory| commit(directory, b"second")),
        ("gc", |directory| collect(directory, b"first")),
        ("gc and on", |directory| {
            collect(directory, b"first");
            write_journal(directory);
            push(directory, b"second");
        }),
    ];
    for (name, change) in changes {
        for at in [Step::Listed, Step::Replayed, Step::Opened] {
            let folder = tempfile::tempdir().unwrap();
            made(folder.path());
            let mut is_changed = false;
            let mut told = |step| {
                if step == at && !std::mem::replace(&mut is_changed, true) {
                    change(folder.path());
                }
            };
            let store = open(folder.path(), &[], &HashSet::new(), &mut told)
                .unwrap_or_else(|error| panic!("{name} at {at:?}: {error}"));
            assert!(is_changed);
            assert_has_its_root(&store);
            let roots = [root_of(b"first"), root_of(b"second")];
            assert!(roots.contains(&store.root()), "{name} at {at:?}");
        }
    }
}

#[test]
fn a_store_that_never_rests_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let mut number = 0_u32;
    let mut told = |step| {
        if step == Step::Replayed {
            number += 1;
            push(folder.path(), &number.to_be_bytes());
        }
    };
    let error = open(folder.path(), &[], &HashSet::new(), &mut told).unwrap_err();
    assert!(matches!(error, StoreError::Changing { .. }), "{error}");
    assert_eq!(number, ATTEMPTS);
}

#[test]
fn a_listed_file_that_is_missing_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let store = open(folder.path(), &[], &HashSet::new(), &mut |_| ()).unwrap();
    durable::remove(store.files()[0].path()).unwrap();
    let mut steps = Vec::new();
    let error = open(folder.path(), &[], &HashSet::new(), &mut |step| {
        steps.push(step)
    })
    .unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert_eq!(
        steps.iter().filter(|step| **step == Step::Listed).count(),
        1
    );
}
