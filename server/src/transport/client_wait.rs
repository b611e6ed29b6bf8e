//! Whether a request has nothing to do until its client sends more, and what it is told when its place is wanted.
//!
//! Connections are many and places are few. A stream on which nothing happens takes a place as well as one that works,
//! and HTTP has no end for it: so each request tells its connection when it waits, and ends when it is asked to.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A body from which so many bytes came in a beat is not waited for in vain: as slow as an upload may be.
const LEAST_BYTES_A_BEAT: u64 = 10 << 10;

/// How one request stands, among its extensions. Clones are of one request.
#[derive(Debug, Clone, Default)]
pub struct ClientWait {
    shared: Arc<Shared>,
    /// Set for all requests of a connection that gives up its place.
    given_up: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether more was asked of the client and has not come.
    waits: AtomicBool,
    /// Whether it is of no use to a clone, a fetch or a push.
    is_aside: AtomicBool,
    /// How much is being done all the same.
    works: AtomicU32,
    /// How many bytes came since the last beat.
    came: AtomicU64,
    /// For how many beats there was nothing to do.
    idle: AtomicU32,
    /// How many others wait for the memory that the answer holds.
    wanted_by: OnceLock<Arc<AtomicUsize>>,
}

/// Something that is done for a request, until dropped.
#[derive(Debug)]
pub struct Working(Arc<Shared>);

impl ClientWait {
    /// A request of a connection that gives up its place when this is set.
    pub(super) fn new(given_up: CancellationToken) -> Self {
        Self {
            shared: Arc::default(),
            given_up,
        }
    }

    /// From here on the request waits for its client.
    pub fn waits(&self) {
        self.shared.waits.store(true, Ordering::Relaxed);
    }

    /// So many bytes came, or what else was waited for.
    pub fn came(&self, len: usize) {
        self.shared.waits.store(false, Ordering::Relaxed);
        self.shared.came.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// The request is no step of a clone, a fetch or a push: its place is the first to be given up.
    pub fn is_aside(&self) {
        self.shared.is_aside.store(true, Ordering::Relaxed);
    }

    /// The answer holds memory while its client does not read, for which so many others wait.
    pub fn holds_memory(&self, wanted_by: Arc<AtomicUsize>) {
        // The first answer of a request is its only one.
        let _held_already = self.shared.wanted_by.set(wanted_by);
    }

    /// Whether another answer waits for the memory that this one holds.
    pub(super) fn is_memory_wanted(&self) -> bool {
        let wanted_by = self.shared.wanted_by.get();
        wanted_by.is_some_and(|others| others.load(Ordering::Relaxed) > 0)
    }

    /// Begins to work on what came.
    pub fn work(&self) -> Working {
        self.shared.works.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(&self.shared))
    }

    /// Comes when the connection gives up its place and nothing is to be done. Whoever polls it polls it again after
    /// something was done.
    pub fn given_up(&self) -> GivenUp {
        GivenUp {
            wait: self.clone(),
            place: Some(Box::pin(self.given_up.clone().cancelled_owned())),
        }
    }

    /// Counts a beat; tells for how many there was nothing to do.
    pub(super) fn beat(&self) -> Idle {
        let shared = &self.shared;
        let came = shared.came.swap(0, Ordering::Relaxed);
        if shared.is_aside.load(Ordering::Relaxed) {
            return Idle::Aside;
        }
        if !shared.is_idle() || came >= LEAST_BYTES_A_BEAT {
            shared.idle.store(0, Ordering::Relaxed);
            return Idle::For(0);
        }
        Idle::For(shared.idle.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// See [`ClientWait::given_up`].
#[derive(Debug)]
pub struct GivenUp {
    wait: ClientWait,
    /// Nothing from when it was set.
    place: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Future for GivenUp {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(place) = &mut self.place {
            match place.as_mut().poll(context) {
                Poll::Ready(()) => self.place = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        match self.wait.shared.is_idle() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// For how long a request has had nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Idle {
    /// So many beats.
    For(u32),
    /// It does not matter for how long.
    Aside,
}

impl Shared {
    fn is_idle(&self) -> bool {
        let waits = self.waits.load(Ordering::Relaxed) && self.works.load(Ordering::Relaxed) == 0;
        waits || self.is_aside.load(Ordering::Relaxed)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.works.fetch_sub(1, Ordering::Relaxed);
        // What it waited for before it did something is no part of the time since.
        self.0.idle.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn beats(wait: &ClientWait, count: u32) -> Vec<Idle> {
        (0..count).map(|_| wait.beat()).collect()
    }

    #[test]
    fn what_waits_for_its_client_is_idle_and_what_works_or_receives_is_not() {
        let wait = ClientWait::default();
        assert_eq!(beats(&wait, 2), [Idle::For(0); 2], "it waits for us");
        wait.waits();
        assert_eq!(beats(&wait, 2), [Idle::For(1), Idle::For(2)]);
        // A byte now and then is no progress.
        wait.came(1);
        wait.waits();
        assert_eq!(wait.beat(), Idle::For(3));
        wait.came(10 << 10);
        wait.waits();
        assert_eq!(beats(&wait, 2), [Idle::For(0), Idle::For(1)]);
        let work = wait.work();
        assert_eq!(wait.beat(), Idle::For(0));
        drop(work);
        assert_eq!(wait.beat(), Idle::For(1));
        wait.is_aside();
        let _work = wait.work();
        assert_eq!(wait.beat(), Idle::Aside);
    }

    #[tokio::test]
    async fn a_request_with_something_to_do_is_not_given_up() {
        let place = CancellationToken::new();
        let wait = ClientWait::new(place.clone());
        let mut given_up = wait.given_up();
        wait.waits();
        assert!((&mut given_up).now_or_never().is_none());
        let work = wait.work();
        place.cancel();
        assert!((&mut given_up).now_or_never().is_none());
        drop(work);
        assert!((&mut given_up).now_or_never().is_some());
    }
}
