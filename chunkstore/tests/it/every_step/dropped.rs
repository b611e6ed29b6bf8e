//! A caller that goes away: the future of each act is dropped at each of its awaits in turn, as a server drops that of
//! a call whose connection is cut. Then the same server does the act again, and a new one finds it whole.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use holdfast_chunkstore::repo::Repository;
use holdfast_chunkstore::testing::faults::{FaultPlan, FaultyStore};

use super::{Act, ENOUGH_TO_MERGE, Kind, Prepared};

/// The value of a future that is ready within so many polls; one that is not is dropped.
async fn within_polls<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

impl Prepared {
    /// Does the act, is dropped after so many polls, and does it again. Whether the first time came to its end.
    async fn run_dropped(&self, polls: usize) -> bool {
        let ground = self.ground.copy().await;
        let ended = {
            let plan = FaultPlan::yielding();
            let store = FaultyStore::new(ground.open().await, plan);
            let repository = ground.serve(Arc::new(store), 2).await;
            let first = Box::pin(self.once(&repository));
            let ended = within_polls(polls, first).await.is_some();
            self.once(&repository).await;
            ended
        };
        self.judge(&ground, &format!("dropped after {polls} polls"))
            .await;
        ended
    }

    async fn once(&self, repository: &Repository) {
        match self.act {
            // The first time may have been dropped when all was merged.
            Act::Merge => while repository.merge().await.unwrap().is_some() {},
            act => assert!(act.play(repository, self.last).await, "{act:?} fails"),
        }
    }
}

async fn dropped_at_every_await(act: Act, kind: Kind, pushes: u64) {
    dropped_at_each(1, act, kind, pushes).await;
}

/// Drops it at the first await and then at each that lies `step` behind the one before.
async fn dropped_at_each(step: usize, act: Act, kind: Kind, pushes: u64) {
    let prepared = Prepared::make(act, kind, pushes).await;
    let mut polls = 1;
    while !prepared.run_dropped(polls).await {
        polls += step;
    }
    assert!(polls > 5, "{act:?} hardly waits: {polls} polls");
    let line = format!(
        "{act:?} in {kind:?} after {pushes} pushes: dropped at {} awaits\n",
        (polls - 1) / step
    );
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_push_may_be_dropped_at_every_await() {
    dropped_at_every_await(Act::Push, Kind::Memory, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_push_into_a_directory_may_be_dropped_at_every_await() {
    dropped_at_every_await(Act::Push, Kind::Directory, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_may_be_dropped_at_every_await() {
    dropped_at_every_await(Act::Add, Kind::Memory, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_may_be_dropped_at_every_await() {
    dropped_at_every_await(Act::Commit, Kind::Memory, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_may_be_dropped_at_many_awaits() {
    dropped_at_each(23, Act::Merge, Kind::Memory, ENOUGH_TO_MERGE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: some 760 merges, a minute"]
async fn a_merge_may_be_dropped_at_every_await() {
    dropped_at_every_await(Act::Merge, Kind::Memory, ENOUGH_TO_MERGE).await;
}
