//! A bounded set of threads for what blocks: files, hashing, compression, RocksDB.
//!
//! At most `threads` calls run at once; the rest wait their turn in the order they came. Dropping the future
//! of a call that already runs does not stop it.

use std::sync::Arc;

use tokio::sync::Semaphore;

#[cfg(feature = "testing")]
thread_local! {
    static MUST_NOT_BLOCK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// From here on whatever blocks on this thread panics, as far as it is known to `about_to_block`.
#[cfg(feature = "testing")]
pub fn forbid_blocking() {
    MUST_NOT_BLOCK.set(true);
}

/// Told of by what waits for a file. Does nothing but in tests.
#[inline]
pub(crate) fn about_to_block() {
    #[cfg(feature = "testing")]
    assert!(
        !MUST_NOT_BLOCK.get(),
        "a thread of the runtime is about to wait for a file"
    );
}

/// A bounded pool of blocking calls. Clones share the bound.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    permits: Arc<Semaphore>,
    threads: u32,
}

impl BlockingPool {
    /// Makes a pool that runs at most `threads` calls at once (at least one).
    pub fn new(threads: usize) -> Self {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
        Self {
            permits: Arc::new(Semaphore::new(crate::format::to_usize(threads))),
            threads,
        }
    }

    /// How many calls run at once.
    pub fn threads(&self) -> usize {
        crate::format::to_usize(self.threads)
    }

    /// Waits until no call runs, also of those whose futures were dropped.
    pub async fn quiet(&self) {
        let all = self.permits.acquire_many(self.threads).await;
        drop(all.expect("the semaphore is never closed"));
    }

    /// Runs `work` on a thread that may block. A panic in `work` goes on in the caller.
    #[expect(clippy::disallowed_methods, reason = "the bounded pool itself")]
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that shuts down cancels a blocking task; nobody waits for the answer then.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn calls_whose_futures_were_dropped_are_waited_for() {
        let pool = BlockingPool::new(2);
        let is_over = Arc::new(AtomicBool::new(false));
        let (go_on, wait) = mpsc::channel::<()>();
        let over = Arc::clone(&is_over);
        let work = pool.run(move || {
            wait.recv().unwrap();
            over.store(true, Ordering::SeqCst);
        });
        // It runs from its first poll on, and goes on without its future.
        assert!(work.now_or_never().is_none());
        assert!(pool.quiet().now_or_never().is_none());
        go_on.send(()).unwrap();
        pool.quiet().await;
        assert!(is_over.load(Ordering::SeqCst));
    }
}
