//! Requests of one peer: so many run at once, more wait for their turn.
//!
//! They are served in the order in which they came. A request waits with its head in memory and its body in the buffers
//! of its connection, so the number of those that wait is bounded too.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::peer::Peer;
use crate::spaced::Spaced;
use crate::transport::{BodyError, ResponseBody};

/// How many wait for each one that runs.
const WAITING_FOR_ONE: usize = 4;
/// How many of all peers wait: with the longest heads they take some 400 MiB.
const WAITING_IN_ALL: usize = 32 << 10;
/// How long after a line on requests that wait the next one is left out.
const QUIET: Duration = Duration::from_secs(5);

/// The requests of all peers.
#[derive(Debug)]
pub struct Requests {
    per_peer: usize,
    peers: Mutex<HashMap<Peer, OfPeer>>,
    waiting: Spaced,
    places_to_wait: Semaphore,
}

#[derive(Debug)]
struct OfPeer {
    turns: Arc<Semaphore>,
    /// How many run and wait.
    count: usize,
}

/// So many requests of one peer run and wait that one more is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests from this address wait: try again in some seconds")]
pub struct TooMany;

/// One request that runs, until dropped.
#[derive(Debug)]
pub struct Running {
    counted: Counted,
    _turn: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Counted {
    requests: Arc<Requests>,
    peer: Peer,
}

impl Requests {
    /// Lets `per_peer` requests of each peer run at once.
    pub fn new(per_peer: usize) -> Arc<Self> {
        Arc::new(Self {
            per_peer: per_peer.min(Semaphore::MAX_PERMITS),
            peers: Mutex::default(),
            waiting: Spaced::new(QUIET),
            places_to_wait: Semaphore::new(WAITING_IN_ALL),
        })
    }

    /// Begins a request, when its turn comes.
    pub async fn begin(self: &Arc<Self>, peer: Peer) -> Result<Running, TooMany> {
        let (counted, turns) = self.count(peer)?;
        let turn = match Arc::clone(&turns).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let _place = self.places_to_wait.try_acquire().map_err(|_| TooMany)?;
                if let Some(left_out) = self.waiting.turn() {
                    tracing::info!(
                        %peer,
                        left_out,
                        "a request waits: of its peer as many as network.max_requests_per_peer run"
                    );
                }
                let turn = turns.acquire_owned().await;
                turn.expect("the semaphore is never closed")
            }
        };
        Ok(Running {
            counted,
            _turn: turn,
        })
    }

    fn count(self: &Arc<Self>, peer: Peer) -> Result<(Counted, Arc<Semaphore>), TooMany> {
        let mut peers = self.peers.lock();
        let of_peer = peers.entry(peer).or_insert_with(|| OfPeer {
            turns: Arc::new(Semaphore::new(self.per_peer)),
            count: 0,
        });
        if of_peer.count >= self.per_peer.saturating_mul(1 + WAITING_FOR_ONE) {
            return Err(TooMany);
        }
        of_peer.count += 1;
        let counted = Counted {
            requests: Arc::clone(self),
            peer,
        };
        Ok((counted, Arc::clone(&of_peer.turns)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut peers = self.requests.peers.lock();
        if let Some(of_peer) = peers.get_mut(&self.peer) {
            of_peer.count -= 1;
            if of_peer.count == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

impl Running {
    /// Runs on until the body of the answer ends.
    pub fn until_sent(self, response: Response<ResponseBody>) -> Response<ResponseBody> {
        response.map(|body| {
            ResponseBody::new(Held {
                body,
                _running: self,
            })
        })
    }

    /// Whom the request is counted with.
    pub fn peer(&self) -> Peer {
        self.counted.peer
    }
}

struct Held {
    body: ResponseBody,
    _running: Running,
}

impl Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use futures::FutureExt as _;
    use http_body_util::{BodyExt as _, Empty};

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::of([10, 0, 0, last].into())
    }

    #[test]
    fn what_is_over_the_limit_waits_in_turn_and_other_peers_do_not() {
        let requests = Requests::new(2);
        let begin = |last| Box::pin(requests.begin(peer(last)));
        let running: Vec<_> = (0..2)
            .map(|_| begin(1).now_or_never().unwrap().unwrap())
            .collect();
        let mut waiting: Vec<_> = (0..3).map(|_| begin(1)).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        assert!(begin(2).now_or_never().unwrap().is_ok());
        // One that goes away while it waits holds up no other.
        drop(waiting.remove(0));
        drop(running);
        assert!(waiting.into_iter().all(|one| one.now_or_never().is_some()));
        assert!(requests.peers.lock().is_empty());
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let requests = Requests::new(1);
        let begin = || Box::pin(requests.begin(peer(1)));
        let running = begin().now_or_never().unwrap().unwrap();
        let mut waiting: Vec<_> = (0..WAITING_FOR_ONE).map(|_| begin()).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        assert_eq!(begin().now_or_never().unwrap().unwrap_err(), TooMany);
        drop(running);
        let running = (&mut waiting[0]).now_or_never().unwrap().unwrap();
        assert_eq!(running.peer(), peer(1));
        drop((waiting, running));
        assert!(requests.peers.lock().is_empty());
    }

    #[test]
    fn a_request_runs_until_its_answer_was_sent() {
        let requests = Requests::new(1);
        let running = requests.begin(peer(1)).now_or_never().unwrap().unwrap();
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let answer = running.until_sent(Response::new(body));
        let mut next = Box::pin(requests.begin(peer(1)));
        assert!((&mut next).now_or_never().is_none());
        drop(answer);
        assert!(next.now_or_never().is_some());
    }
}
