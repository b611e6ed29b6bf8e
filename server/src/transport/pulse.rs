//! Whether anything still happens on a connection.
//!
//! Three things may last forever by the rules of HTTP and not by ours: a connection on which nothing was asked
//! yet, an answer that its client does not read, and an HTTP/2 connection on which nothing is asked any more.
//! Time is counted in beats, so that what passes often costs no look at a clock.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use tokio_util::sync::CancellationToken;

use super::client_wait::{ClientWait, Idle};
use super::{BodyError, ResponseBody};

/// How long a connection may do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// One beat.
    pub beat: Duration,
    /// How many beats the first byte may take to arrive; and then the first request, from there or from the end
    /// of the TLS handshake.
    pub first_request: u32,
    /// How many beats an answer may lie unread. Dolt itself gives up after seconds.
    pub unread: u32,
    /// The same for an answer that holds memory for which others wait. One piece of a download is to be read in that time.
    pub unread_wanted: u32,
    /// How many beats a connection is kept on which nothing runs. A Go client closes after 90 seconds, except
    /// for gRPC, which comes again when it is told to go.
    pub idle: u32,
    /// How many beats streams may wait for their clients on a connection whose place another one waits for. Dolt closes
    /// a stream of its own after 15 seconds.
    pub idle_streams: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(10),
            first_request: 3,
            unread: 12,
            unread_wanted: 3,
            idle: 30,
            idle_streams: 3,
        }
    }
}

impl Patience {
    /// How long a connection may be there without a byte.
    pub(super) fn first_byte(&self) -> Duration {
        self.beat * self.first_request
    }
}

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Lives,
    /// It is told to end.
    Idle,
    /// It is cut, for this reason.
    Dead(&'static str),
}

/// The life of one connection.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    state: Mutex<State>,
    /// Set when idle streams shall end.
    given_up: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The requests that run.
    running: HashMap<u64, Course>,
    /// Whether requests ran at the last beat, and all were idle for long enough.
    is_idle: bool,
    /// For how many beats nothing has run, since the connection was told to end at the latest.
    silent: u32,
    is_told_to_end: bool,
    /// For how many beats nothing may run, where its place was given up.
    given_up_for: Option<u32>,
}

/// How one request goes.
#[derive(Debug)]
struct Course {
    /// For how many beats it has been waiting for its client to read on.
    unread: Arc<AtomicU32>,
    /// Whether it waits for its client to send more.
    wait: ClientWait,
}

/// One request, from its head to the end of its answer's body.
#[derive(Debug)]
pub(super) struct Running {
    pulse: Arc<Pulse>,
    number: u64,
    unread: Arc<AtomicU32>,
    wait: ClientWait,
}

impl Pulse {
    /// Begins a request.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.silent = 0;
        let unread = Arc::new(AtomicU32::new(0));
        let wait = ClientWait::new(self.given_up.clone());
        let course = Course {
            unread: Arc::clone(&unread),
            wait: wait.clone(),
        };
        state.running.insert(number, course);
        Running {
            pulse: Arc::clone(self),
            number,
            unread,
            wait,
        }
    }

    /// Whether something was asked, and nothing runs.
    pub(super) fn is_silent(&self) -> bool {
        let state = self.state.lock();
        state.next > 0 && state.running.is_empty()
    }

    /// Whether requests run, and all of them have been waiting for their client for so long that another one may have the
    /// connection's place.
    pub(super) fn is_idle(&self) -> bool {
        self.state.lock().is_idle
    }

    /// The connection gives its place to another one that waits: streams on which nothing is to be done end, and then it
    /// has one beat to end itself. Where nothing runs all was sent long ago, and it has the rest of this one.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        state.given_up_for = Some(u32::from(!state.running.is_empty()));
        self.given_up.cancel();
    }

    /// The connection is told to end. Its client has as long as for a first request to do so where nothing runs: one
    /// that does not read is never heard of again, and would hold a stopping server until all is cut.
    pub(super) fn tell_to_end(&self) {
        let mut state = self.state.lock();
        state.is_told_to_end = true;
        state.silent = 0;
    }

    /// Counts a beat, and tells what has lasted too long.
    pub(super) fn beat(&self, patience: &Patience) -> Verdict {
        let mut state = self.state.lock();
        let is_idle = |course: &Course| match course.wait.beat() {
            Idle::For(beats) => beats >= patience.idle_streams,
            Idle::Aside => true,
        };
        // Each of them counts the beat.
        let idle = state.running.values().filter(|course| is_idle(course));
        state.is_idle = !state.running.is_empty() && idle.count() == state.running.len();
        if state.running.is_empty() {
            state.silent += 1;
            let last = state.given_up_for.unwrap_or(patience.first_request);
            return match state.silent {
                silent if state.next == 0 && silent > patience.first_request => {
                    Verdict::Dead("no request came")
                }
                silent if state.is_told_to_end && silent > last => {
                    Verdict::Dead("nothing runs on it")
                }
                silent if !state.is_told_to_end && silent > patience.idle => Verdict::Idle,
                _ => Verdict::Lives,
            };
        }
        for Course { unread, wait } in state.running.values() {
            let beats = unread.load(Ordering::Relaxed);
            let is_wanted = beats > patience.unread_wanted && wait.is_memory_wanted();
            if beats > patience.unread || is_wanted {
                return Verdict::Dead("an answer is not read");
            }
            // A body that moves on right now begins to count anew.
            if beats > 0 {
                let (was, is) = (beats, beats + 1);
                let _moved_on =
                    unread.compare_exchange(was, is, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
        Verdict::Lives
    }
}

impl Running {
    /// Where the request says that it waits for its client.
    pub(super) fn wait(&self) -> ClientWait {
        self.wait.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pulse.state.lock().running.remove(&self.number);
    }
}

/// The body of an answer that notices whether it is read.
pub(super) struct Noticed {
    body: ResponseBody,
    running: Running,
}

impl Noticed {
    /// Wraps a body.
    pub(super) fn new(body: ResponseBody, running: Running) -> Self {
        Self { body, running }
    }
}

impl Body for Noticed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // From a piece that was handed out until the next one is asked for, the client is waited for.
        let waits_for_client = u32::from(polled.is_ready());
        self.running
            .unread
            .store(waits_for_client, Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::{FutureExt as _, StreamExt as _};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const PATIENCE: Patience = Patience {
        beat: Duration::from_secs(1),
        first_request: 2,
        unread: 3,
        unread_wanted: 1,
        idle: 5,
        idle_streams: 2,
    };

    fn beats(pulse: &Pulse, count: u32) -> Vec<Verdict> {
        (0..count).map(|_| pulse.beat(&PATIENCE)).collect()
    }

    #[test]
    fn a_connection_without_a_request_is_cut() {
        let pulse = Pulse::default();
        assert_eq!(beats(&pulse, 2), [Verdict::Lives; 2]);
        assert_eq!(pulse.beat(&PATIENCE), Verdict::Dead("no request came"));
    }

    #[test]
    fn an_idle_one_is_told_to_end_and_then_cut() {
        let pulse = Arc::new(Pulse::default());
        let running = pulse.begin();
        assert_eq!(beats(&pulse, 20), [Verdict::Lives; 20], "a request runs");
        drop(running);
        assert_eq!(beats(&pulse, 5), [Verdict::Lives; 5]);
        assert_eq!(beats(&pulse, 2), [Verdict::Idle; 2]);
        pulse.tell_to_end();
        assert_eq!(beats(&pulse, 2), [Verdict::Lives; 2]);
        assert_eq!(pulse.beat(&PATIENCE), Verdict::Dead("nothing runs on it"));
        drop(pulse.begin());
        assert_eq!(pulse.beat(&PATIENCE), Verdict::Lives);
    }

    #[test]
    fn one_whose_place_is_given_up_has_a_beat_to_end() {
        for (has_stream, lives) in [(false, 0), (true, 1)] {
            let pulse = Arc::new(Pulse::default());
            let running = Some(pulse.begin()).filter(|_| has_stream);
            pulse.give_up();
            pulse.tell_to_end();
            drop(running);
            assert_eq!(beats(&pulse, lives), vec![Verdict::Lives; lives as usize]);
            assert_eq!(pulse.beat(&PATIENCE), Verdict::Dead("nothing runs on it"));
        }
    }

    #[test]
    fn a_connection_is_idle_when_all_its_requests_are() {
        let pulse = Arc::new(Pulse::default());
        assert!(!pulse.is_idle());
        let idle = |count| {
            beats(&pulse, count);
            pulse.is_idle()
        };
        let stream = pulse.begin();
        assert!(!idle(3), "it waits for us");
        stream.wait().waits();
        assert!(!idle(1) && idle(1));
        let other = pulse.begin();
        assert!(!idle(1));
        other.wait().is_aside();
        assert!(idle(1));
        drop((stream, other));
        assert!(!idle(1), "nothing runs");
    }

    #[test]
    fn an_answer_that_is_not_read_is_told_from_one_that_is_not_there_yet() {
        let pulse = Arc::new(Pulse::default());
        let frames = [(); 2].map(|()| Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x"))));
        let frames = futures::stream::iter(frames).chain(futures::stream::pending());
        let body = StreamBody::new(frames).boxed_unsync();
        let mut body = Noticed::new(body, pulse.begin());
        assert_eq!(beats(&pulse, 10), [Verdict::Lives; 10], "nothing was sent");
        for _ in 0..2 {
            body.frame().now_or_never().unwrap().unwrap().unwrap();
            assert_eq!(beats(&pulse, 3), [Verdict::Lives; 3]);
        }
        assert_eq!(
            pulse.beat(&PATIENCE),
            Verdict::Dead("an answer is not read")
        );
        assert!(body.frame().now_or_never().is_none());
        assert_eq!(beats(&pulse, 10), [Verdict::Lives; 10], "we are waited for");
    }

    #[test]
    fn an_answer_is_to_be_read_sooner_while_others_wait_for_its_memory() {
        let pulse = Arc::new(Pulse::default());
        let running = pulse.begin();
        let (wait, others) = (running.wait(), Arc::new(AtomicUsize::new(0)));
        wait.holds_memory(Arc::clone(&others));
        let frame = Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x")));
        let frames = futures::stream::iter([frame]).chain(futures::stream::pending());
        let mut body = Noticed::new(StreamBody::new(frames).boxed_unsync(), running);
        body.frame().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(beats(&pulse, 2), [Verdict::Lives; 2], "no other waits");
        others.store(1, Ordering::Relaxed);
        let dead = Verdict::Dead("an answer is not read");
        assert_eq!(pulse.beat(&PATIENCE), dead);
        assert!(body.frame().now_or_never().is_none());
        assert_eq!(beats(&pulse, 10), [Verdict::Lives; 10], "we are waited for");
    }
}
