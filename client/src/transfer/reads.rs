//! Reads that are under way at once, and what comes of them, in the order in which it comes.

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::TransferError;

/// How much may have come and not be taken off, in messages; what those hold is bounded by who sends them.
const WAITING: usize = 4;

/// Reads that are under way. Those that were not waited for end with it.
#[derive(Debug)]
pub(crate) struct Reads<T, K> {
    to: mpsc::Sender<T>,
    from: mpsc::Receiver<T>,
    tasks: JoinSet<Result<K, TransferError>>,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<T, K> {
    /// Something came.
    Came(T),
    /// A read of this kind ended.
    Ended(K),
}

impl<T: Send + 'static, K: Send + 'static> Reads<T, K> {
    /// None are under way.
    pub(crate) fn new() -> Self {
        let (to, from) = mpsc::channel(WAITING);
        Self {
            to,
            from,
            tasks: JoinSet::new(),
        }
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Begins one, which sends on what it reads.
    pub(crate) fn begin<F>(&mut self, read: impl FnOnce(mpsc::Sender<T>) -> F)
    where
        F: Future<Output = Result<K, TransferError>> + Send + 'static,
    {
        self.tasks.spawn(read(self.to.clone()));
    }

    /// Waits for what happens next; nothing when all have ended and all that came was taken off.
    pub(crate) async fn next(&mut self) -> Result<Option<Event<T, K>>, TransferError> {
        if self.tasks.is_empty() {
            return Ok(self.from.try_recv().ok().map(Event::Came));
        }
        tokio::select! {
            biased;
            Some(came) = self.from.recv() => Ok(Some(Event::Came(came))),
            Some(done) = self.tasks.join_next() => Ok(Some(Event::Ended(joined(done)??))),
            else => Ok(None),
        }
    }
}

/// What a task did; a panic of it goes on here.
pub(crate) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, TransferError> {
    match result {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(TransferError::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_came_is_told_though_all_reads_ended() {
        let mut reads = Reads::new();
        assert!(reads.next().await.unwrap().is_none());
        for kind in 0..3 {
            reads.begin(|to| async move {
                for number in 0..9 {
                    to.send(number).await.unwrap();
                }
                Ok(kind)
            });
        }
        let (mut came, mut ended) = (Vec::new(), Vec::new());
        while let Some(event) = reads.next().await.unwrap() {
            match event {
                Event::Came(number) => came.push(number),
                Event::Ended(kind) => ended.push(kind),
            }
        }
        came.sort_unstable();
        ended.sort_unstable();
        let wanted: Vec<_> = (0..9).flat_map(|number| [number; 3]).collect();
        assert_eq!((came, ended), (wanted, vec![0, 1, 2]));
    }

    #[tokio::test]
    async fn the_first_failure_ends_all() {
        let mut reads = Reads::<u8, u8>::new();
        reads.begin(|_| async { Err(TransferError::Unsteady) });
        reads.begin(|_| std::future::pending());
        let error = reads.next().await.unwrap_err();
        assert!(matches!(error, TransferError::Unsteady));
    }
}
