//! Statements 51, 52, 53 and 55: the files that a clone takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::TinyDb;
use holdfast_tests::forge::Forge;
use holdfast_tests::peer::Peer;
use holdfast_tests::table::{self, TableFile};
use holdfast_tests::web;

use crate::Setup;
use crate::presence::{children_of, numbered};

/// A repository of several files, one of which is an archive.
async fn several_files(forge: &Forge) -> (Peer, TinyDb, Vec<TableFile>) {
    let peer = forge.peer("acme/prod");
    let mut database = TinyDb::new();
    let mut files = Vec::new();
    for step in 0..3 {
        let content = numbered(vec![b'a' + step; 20_000]);
        let fresh = database.commit_with("main", &format!("step {step}"), &[("table", &content)]);
        files.push(peer.push(&database, &fresh).await);
    }
    let last = database.root();
    let fresh = database.commit_with(
        "main",
        "archive",
        &[("table", &numbered(vec![b'z'; 600_000]))],
    );
    let archive = TableFile::archive(&fresh);
    peer.store(&archive).await;
    assert!(
        peer.commit(database.root(), last, &[&archive])
            .await
            .unwrap()
    );
    files.push(archive);
    (peer, database, files)
}

/// Everything that a clone would get, read by the tests' own reader.
async fn cloned(peer: &Peer) -> (RootAddress, BTreeMap<ChunkAddress, Bytes>) {
    let listing = peer.files().await.unwrap();
    let mut chunks = BTreeMap::new();
    for listed in &listing.table_file_info {
        let file = web::get(&listed.url, &[]).await;
        assert_eq!(file.status, http::StatusCode::OK, "{}", file.text());
        let read = table::read(&file.body);
        assert_eq!(
            read.len(),
            usize::try_from(listed.num_chunks).unwrap(),
            "num_chunks of {}",
            listed.file_id
        );
        chunks.extend(read);
    }
    (
        RootAddress::try_from(&listing.root_hash[..]).unwrap(),
        chunks,
    )
}

fn assert_closed(root: RootAddress, chunks: &BTreeMap<ChunkAddress, Bytes>) {
    let mut seen = BTreeSet::new();
    let mut open: Vec<ChunkAddress> = root.chunk().into_iter().collect();
    while let Some(address) = open.pop() {
        if seen.insert(address) {
            let chunk = chunks
                .get(&address)
                .unwrap_or_else(|| panic!("{address} is in no listed file"));
            open.extend(children_of(chunk));
        }
    }
}

pub(crate) async fn s51_root_and_files_are_of_one_moment(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, mut database, _) = several_files(&forge).await;
    let (root, chunks) = cloned(&peer).await;
    assert_eq!(root, database.root());
    assert_closed(root, &chunks);

    let done = AtomicBool::new(false);
    let writer = async {
        for step in 0..12 {
            let fresh = database.commit("main", &format!("while others clone {step}"));
            peer.push(&database, &fresh).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    let reader = async {
        let mut roots = BTreeSet::new();
        while !done.load(Ordering::Relaxed) {
            let (root, chunks) = cloned(&peer).await;
            assert_closed(root, &chunks);
            roots.insert(root);
        }
        assert!(roots.len() > 1, "the clones saw {} roots", roots.len());
    };
    futures::join!(writer, reader);
    forge.finish();
}

pub(crate) async fn s52_the_number_of_chunks_is_that_of_the_footer(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, _, files) = several_files(&forge).await;
    let listing = peer.files().await.unwrap();
    assert!(!listing.table_file_info.is_empty());
    for listed in &listing.table_file_info {
        let file = web::get(&listed.url, &[]).await.body;
        assert!(listed.num_chunks > 0);
        assert_eq!(listed.num_chunks, table::count(&file), "{}", listed.file_id);
        if let Some(ours) = files.iter().find(|file| file.name() == listed.file_id) {
            assert_eq!(listed.num_chunks, ours.chunks);
        }
    }
    forge.finish();
}

pub(crate) async fn s53_a_file_id_is_its_bare_name_and_there_is_no_appendix(setup: Setup) {
    let forge = setup.start(|_| {});
    let (peer, _, files) = several_files(&forge).await;
    let listing = peer.files().await.unwrap();
    assert!(listing.appendix_table_file_info.is_empty());
    for listed in &listing.table_file_info {
        assert_eq!(listed.file_id.len(), 32, "{}", listed.file_id);
        assert!(
            listed.file_id.parse::<ChunkAddress>().is_ok(),
            "{}",
            listed.file_id
        );
    }
    let names: BTreeSet<&str> = listing
        .table_file_info
        .iter()
        .map(|listed| &listed.file_id[..])
        .collect();
    assert!(
        names.contains(&files.last().unwrap().name()[..]),
        "the archive too, without its suffix: {names:?}"
    );
    forge.finish();
}

pub(crate) async fn s55_an_old_client_is_listed_no_archive(setup: Setup) {
    let forge = setup.start(|_| {});
    let (_, database, _) = several_files(&forge).await;
    for agent in [
        "dolt_cli 1.55.3 linux amd64",
        "dolt_cli 1.20.0 linux amd64",
        "dolt_cli  linux amd64",
    ] {
        let old = Peer::calling_itself(agent, forge.base_url(), "acme/prod");
        for listed in old.files().await.unwrap().table_file_info {
            let file = web::get(&listed.url, &[]).await.body;
            assert!(
                table::is_classic(&file),
                "{agent}: {} is an archive",
                listed.file_id
            );
            assert!(
                !listed.url.split('?').next().unwrap().ends_with(".darc"),
                "{agent}: {}",
                listed.url
            );
        }
        let (root, chunks) = cloned(&old).await;
        assert_eq!(root, database.root(), "{agent}");
        assert_closed(root, &chunks);
    }
    for agent in ["dolt_cli 1.55.4 linux amd64", "dolt_cli 2.3.1 darwin arm64"] {
        let new = Peer::calling_itself(agent, forge.base_url(), "acme/prod");
        let archives = new.files().await.unwrap().table_file_info;
        assert!(
            archives
                .iter()
                .any(|listed| listed.url.split('?').next().unwrap().ends_with(".darc")),
            "{agent}"
        );
    }
    forge.finish();
}
