//! Checks a store as `holdfastd verify` does: every named file is there with its bytes, every chunk has its
//! children, the log is unbroken.

use holdfast_chunkstore::repo::Repositories;
use holdfast_chunkstore::repo::verify::{Stage, VerifyProgress};
use holdfast_server::Settings;
use holdfast_server::start::{self, StoredIndex};

struct Silence;

impl VerifyProgress for Silence {
    fn done(&self, _stage: Stage, _done: u64, _of: u64) {}
}

/// The names of all repositories of a store, sorted.
pub async fn repositories(settings: &Settings) -> Vec<String> {
    let parts = start::reader_parts(settings, StoredIndex::Read)
        .await
        .unwrap();
    let repositories = Repositories::open(parts.repositories.clone())
        .await
        .unwrap();
    let listed = repositories.list().await.unwrap();
    let mut names: Vec<String> = listed
        .iter()
        .map(|repository| repository.name().to_string())
        .collect();
    names.sort();
    names
}

/// Verifies every repository of a store; panics with what is damaged. Returns how many there are.
pub async fn assert_whole(settings: &Settings) -> usize {
    let parts = start::reader_parts(settings, StoredIndex::Read)
        .await
        .unwrap();
    let repositories = Repositories::open(parts.repositories.clone())
        .await
        .unwrap();
    let listed = repositories.list().await.unwrap();
    for repository in &listed {
        let report = repository.verify(&Silence).await;
        assert_eq!(report.damages, 0, "{report:#?}");
    }
    listed.len()
}
