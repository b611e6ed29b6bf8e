//! Tokens that come over the network in clear text, where anybody on the way reads them.

use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::clock::Clock;
use http::HeaderMap;
use parking_lot::Mutex;

use crate::origin;
use crate::transport::Arrival;

/// How often it is said.
const EVERY: Duration = Duration::from_hours(1);

/// Knows when it was said last.
#[derive(Debug)]
pub struct ClearTextTokens {
    clock: Arc<dyn Clock>,
    said: Mutex<Option<Duration>>,
}

impl ClearTextTokens {
    /// Nothing was said yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            said: Mutex::default(),
        }
    }

    /// Whether a token that came so is to be warned of now. This machine sees its own clear text alone, and a proxy
    /// that names `https` took the token by TLS.
    pub fn is_to_be_said(&self, arrival: Arrival, headers: &HeaderMap) -> bool {
        let is_local = arrival.peer.ip().to_canonical().is_loopback();
        let by_proxy = origin::forwarded_scheme(headers) == Some("https");
        if arrival.secure || is_local || by_proxy {
            return false;
        }
        let now = self.clock.monotonic();
        let mut said = self.said.lock();
        let is_due = said.is_none_or(|last| now.saturating_sub(last) >= EVERY);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}
