//! What passes by itself is waited out, and nobody is told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{Clock, SystemClock, Timestamp};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::objects::ObjectStore;
use holdfast_chunkstore::objects::memory::MemoryStore;
use holdfast_chunkstore::objects::retrying::{RetryPolicy, RetryingStore};
use holdfast_chunkstore::repo::{Committed, FileKind, Proposal, Repositories};
use holdfast_chunkstore::testing::faults::{Break, FaultPlan, FaultyStore, Operation};
use holdfast_chunkstore::testing::generate::table_file_of;
use holdfast_chunkstore::testing::worlds::{acme, actor, named, parent, parts, root_of, upload};
use tempfile::TempDir;

/// Waits for nothing.
#[derive(Debug)]
struct Impatient(SystemClock);

#[async_trait]
impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep(&self, _duration: Duration) {
        tokio::task::yield_now().await;
    }
}

/// Calls to objects in memory, each of which is tried again; and its clock.
fn retrying(
    memory: &Arc<MemoryStore>,
    plan: &Arc<FaultPlan>,
) -> (Arc<dyn ObjectStore>, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(Impatient(SystemClock::new()));
    let memory: Arc<dyn ObjectStore> = Arc::<MemoryStore>::clone(memory);
    let faulty = Arc::new(FaultyStore::new(memory, Arc::clone(plan)));
    let retrying = RetryingStore::new(faulty, RetryPolicy::default(), Arc::clone(&clock));
    (Arc::new(retrying), clock)
}

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock::new())))
}

/// Pushes two files, of which one has more leaving references than its note takes, each call once.
async fn push(plan: &Arc<FaultPlan>) {
    let memory = memory();
    let scratch = TempDir::new().unwrap();
    // The forge opens without faults; what is tried is a push.
    let opened = acme(parts(Arc::<MemoryStore>::clone(&memory), scratch.path(), 1)).await;
    drop(opened);
    let (objects, clock) = retrying(&memory, plan);
    let mut parts = parts(objects, scratch.path(), 2);
    parts.clock = clock;
    let repository = acme(parts).await;

    let leaves: Vec<Vec<u8>> = (0..1500)
        .map(|leaf| format!("leaf {leaf}").into_bytes())
        .collect();
    let children: Vec<_> = leaves.iter().map(|leaf| hash_chunk(leaf)).collect();
    let root = parent(1, &children);
    let (upper, lower) = (table_file_of(vec![root.clone()]), table_file_of(leaves));
    upload(&repository, &upper, FileKind::Table).await.unwrap();
    upload(&repository, &lower, FileKind::Table).await.unwrap();
    let proposal = Proposal {
        last: RootAddress::ZERO,
        current: root_of(&root),
        files: vec![named(&upper), named(&lower)],
        actor: actor(),
    };
    let committed = repository.commit(&proposal).await.unwrap();
    assert!(matches!(committed, Committed::Moved(_)), "{committed:?}");
}

/// The body of an upload comes once: the store that takes it repeats what it can by itself.
fn is_of_a_body(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Upload | Operation::Write | Operation::Complete | Operation::Abort
    )
}

#[tokio::test]
async fn one_fault_at_any_call_is_not_seen_by_who_pushes() {
    let plan = FaultPlan::count_only();
    push(&plan).await;
    let calls = plan.calls();
    let created = calls
        .iter()
        .filter(|call| call.operation == Operation::Create);
    assert!(created.count() >= 3, "two notes and a record: {calls:?}");
    for (number, call) in calls.iter().enumerate() {
        if is_of_a_body(call.operation) {
            continue;
        }
        for at in [Break::BeforeEffect, Break::AfterEffect] {
            let plan = FaultPlan::fail_at(number, at);
            push(&plan).await;
            assert!(plan.has_struck(), "{call:?}");
        }
    }
}

/// Begins a forge, with a secret and a name, and opens it again as another server does.
async fn begin_forge(plan: &Arc<FaultPlan>) {
    let memory = memory();
    let scratch = TempDir::new().unwrap();
    let (objects, clock) = retrying(&memory, plan);
    let mut first = parts(objects, scratch.path(), 1);
    first.clock = clock;
    let repositories = Repositories::open(first).await.unwrap();
    let secret = repositories.secret("test").await.unwrap();
    let name = "acme/prod".parse().unwrap();
    let repository = repositories.reserve(&name).await.unwrap();

    let other = parts(memory, scratch.path(), 2);
    let others = Repositories::open(other).await.unwrap();
    assert_eq!(others.secret("test").await.unwrap(), secret);
    let found = others.find(&name).await.unwrap().unwrap();
    assert_eq!(
        (found.id(), found.pool()),
        (repository.id(), repository.pool())
    );
}

#[tokio::test]
async fn one_fault_at_any_call_is_not_seen_by_who_begins_a_forge() {
    let plan = FaultPlan::count_only();
    begin_forge(&plan).await;
    let calls = plan.calls();
    let created = calls
        .iter()
        .filter(|call| call.operation == Operation::Create);
    assert_eq!(
        created.count(),
        4,
        "the forge, a secret, a member, a name: {calls:?}"
    );
    for (number, call) in calls.iter().enumerate() {
        for at in [Break::BeforeEffect, Break::AfterEffect] {
            let plan = FaultPlan::fail_at(number, at);
            begin_forge(&plan).await;
            assert!(plan.has_struck(), "{call:?}");
        }
    }
}
