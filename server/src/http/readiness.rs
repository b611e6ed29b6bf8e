//! Whether the object store answers: asked once for all probes at once, and at most once a second.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::forge::{Forge, error};

/// How long the object store may take to answer before the server calls itself not ready.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// How long after it was asked it is not asked again.
const EVERY: Duration = Duration::from_secs(1);

/// What is said of a store that takes longer.
const NO_ANSWER: &str = "the object store does not answer";

/// Nothing where the store answered, or why the server is not ready, for its clients.
type Outcome = Result<(), Arc<str>>;

/// What the store answered last, or is being asked.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Option<Asked>>);

#[derive(Debug)]
struct Asked {
    /// By the monotonic clock.
    at: Duration,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

impl Readiness {
    /// Whether the store of a forge answers, or did within the last second. It is asked by one of `tasks`.
    pub async fn of(&self, forge: &Arc<Forge>, tasks: &TaskTracker) -> Outcome {
        self.asked(forge, tasks).await
    }

    fn asked(
        &self,
        forge: &Arc<Forge>,
        tasks: &TaskTracker,
    ) -> Shared<BoxFuture<'static, Outcome>> {
        let now = forge.clock().monotonic();
        let mut last = self.0.lock();
        if let Some(Asked { at, outcome }) = &*last
            && (outcome.peek().is_none() || now.saturating_sub(*at) < EVERY)
        {
            return outcome.clone();
        }
        // It ends whether or not a probe waits for it.
        let asking = tasks.spawn(ask(Arc::clone(forge)));
        let outcome = asking.map(|end| end.unwrap_or_else(|_| Err(NO_ANSWER.into())));
        let outcome = outcome.boxed().shared();
        *last = Some(Asked {
            at: now,
            outcome: outcome.clone(),
        });
        outcome
    }
}

async fn ask(forge: Arc<Forge>) -> Outcome {
    match tokio::time::timeout(PING_LIMIT, forge.ping()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            error::log(&error);
            Err(error.for_client().into())
        }
        Err(_) => Err(NO_ANSWER.into()),
    }
}
