//! The store fails at each of its calls in turn, once before and once after the effect of the call; then a new
//! server opens what is left, and it must be whole.

use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::SystemClock;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::ObjectStore;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::repo::verify::VerifyProgress;
use holdfast_chunkstore::repo::{Committed, FileKind, Proposal, Repository};
use holdfast_chunkstore::testing::faults::{Break, FaultPlan, FaultyStore};
use holdfast_chunkstore::testing::generate::{Made, table_file_of};
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;

/// How often a client repeats a call that failed.
const TRIES: usize = 3;

struct Quiet;

impl VerifyProgress for Quiet {
    fn records(&self, _done: u64, _of: u64) {}
    fn bytes(&self, _done: u64, _of: u64) {}
}

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

fn tree(salt: u64) -> (Made, RootAddress) {
    let leaf = format!("leaf {salt}").into_bytes();
    let root = parent(salt, &[hash_chunk(&leaf)]);
    let address = root_of(&root);
    (table_file_of(vec![leaf, root]), address)
}

/// Sends, adds and commits, repeating what fails as a client does. Whether the push was acknowledged.
async fn push(repository: &Repository, salt: u64, last: RootAddress) -> bool {
    let (made, root) = tree(salt);
    let mut sent = false;
    for _ in 0..TRIES {
        sent = sent || upload(repository, &made, FileKind::Table).await.is_ok();
    }
    let mut added = false;
    for _ in 0..TRIES {
        added = added || (sent && repository.add(&[named(&made)], &actor()).await.is_ok());
    }
    let proposal = Proposal {
        last,
        current: root,
        files: vec![named(&made)],
        actor: actor(),
    };
    for _ in 0..TRIES {
        if added && let Ok(committed) = repository.commit(&proposal).await {
            assert_ne!(
                committed,
                Committed::Stale,
                "a repeated push was taken for a lost race"
            );
            return true;
        }
    }
    false
}

/// What is done under each fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Push,
    Merge,
}

/// Forty pushes without faults, of which a merge finds work.
async fn prepared(objects: &Arc<dyn ObjectStore>, pushes: u64) -> RootAddress {
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(Arc::clone(objects), scratch.path(), 1)).await;
    let mut last = RootAddress::ZERO;
    for salt in 0..pushes {
        assert!(push(&repository, salt, last).await);
        last = tree(salt).1;
    }
    last
}

async fn run(act: Act, pushes: u64, plan: &Arc<FaultPlan>) {
    let objects = store();
    let last = prepared(&objects, pushes).await;
    let next = pushes + 1000;
    let acknowledged = {
        let scratch = TempDir::new().unwrap();
        // The forge itself opens without faults; what is tried is the work.
        let faulty: Arc<dyn ObjectStore> =
            Arc::new(FaultyStore::new(Arc::clone(&objects), Arc::clone(plan)));
        let repository = open(faulty, &scratch).await;
        match (repository, act) {
            (None, _) => false,
            (Some(repository), Act::Push) => push(&repository, next, last).await,
            (Some(repository), Act::Merge) => {
                let _outcome = repository.merge().await;
                false
            }
        }
    };
    let scratch = TempDir::new().unwrap();
    let repository = acme(parts(Arc::clone(&objects), scratch.path(), 3)).await;
    let report = repository.verify(&Quiet).await.unwrap();
    assert_eq!(report.damages, 0, "{act:?} {plan:?} {report:?}");
    let root = repository.state().await.unwrap().root;
    if acknowledged {
        assert_eq!(root, tree(next).1, "an acknowledged push is gone: {plan:?}");
    } else {
        assert!(root == last || root == tree(next).1);
    }
    assert!(
        push(&repository, 9_999, root).await,
        "the repository takes no more pushes: {plan:?}"
    );
    let report = repository.verify(&Quiet).await.unwrap();
    assert_eq!(report.damages, 0);
}

async fn open(objects: Arc<dyn ObjectStore>, scratch: &TempDir) -> Option<Repository> {
    use holdfast_chunkstore::repo::Repositories;
    for seed in 0..3 {
        let repositories =
            Repositories::open(parts(Arc::clone(&objects), scratch.path(), seed + 10)).await;
        if let Ok(repositories) = repositories
            && let Ok(repository) = repositories.reserve(&"acme/prod".parse().unwrap()).await
        {
            return Some(repository);
        }
    }
    None
}

async fn every_step(act: Act, pushes: u64) {
    let plan = FaultPlan::count_only();
    run(act, pushes, &plan).await;
    let count = plan.count();
    eprintln!(
        "{act:?} after {pushes} pushes: {count} storage calls, each failed before and after its effect"
    );
    assert!(count > 5);
    for number in 0..count {
        for at in [Break::BeforeEffect, Break::AfterEffect] {
            let plan = FaultPlan::fail_at(number, at);
            run(act, pushes, &plan).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_push_survives_a_fault_at_every_storage_call() {
    every_step(Act::Push, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_push_survives_a_fault_at_every_storage_call() {
    every_step(Act::Push, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_survives_a_fault_at_every_storage_call() {
    every_step(Act::Merge, 33).await;
}
