//! How much each HTTP/2 connection may send before it is read.
//!
//! What lies in a window is in memory before anything is known of it, and every connection has one. So only some
//! connections get windows that fill a long line; the others get little more than the least that HTTP/2 knows, which is
//! enough for calls and slows nothing but an upload over a long line.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections have wide windows.
const WIDE: usize = 64;

/// Flow-control window of one stream, in bytes: what an upload may have under way. A request that waits takes it from
/// the window of its connection, so that must hold several of them.
const WIDE_STREAM: u32 = 2 << 20;

/// Flow-control window of one connection, in bytes.
const WIDE_CONNECTION: u32 = 8 << 20;

/// The same for connections that find no wide ones.
const NARROW_STREAM: u32 = 64 << 10;
const NARROW_CONNECTION: u32 = 128 << 10;

/// The windows of all connections.
#[derive(Debug, Clone)]
pub(super) struct Windows(Arc<Semaphore>);

/// The windows of one connection, held while it lasts.
#[derive(Debug)]
pub(super) struct Window {
    wide: Option<OwnedSemaphorePermit>,
}

impl Default for Windows {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WIDE)))
    }
}

impl Windows {
    /// The windows of a new connection: wide ones while there are some.
    pub(super) fn take(&self) -> Window {
        let wide = Arc::clone(&self.0).try_acquire_owned().ok();
        Window { wide }
    }
}

impl Window {
    pub(super) fn of_stream(&self) -> u32 {
        match self.wide {
            Some(_) => WIDE_STREAM,
            None => NARROW_STREAM,
        }
    }

    pub(super) fn of_connection(&self) -> u32 {
        match self.wide {
            Some(_) => WIDE_CONNECTION,
            None => NARROW_CONNECTION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_connections_together_have_little_under_way() {
        const CONNECTIONS: usize = 8192;
        let windows = Windows::default();
        let taken: Vec<_> = (0..CONNECTIONS).map(|_| windows.take()).collect();
        let bytes: u64 = taken
            .iter()
            .map(|window| u64::from(window.of_connection()))
            .sum();
        assert!(bytes < 1600 << 20, "{bytes}");
        assert!(
            taken
                .iter()
                .all(|window| window.of_stream() <= window.of_connection())
        );
        drop(taken);
        assert_eq!(windows.take().of_stream(), WIDE_STREAM);
    }
}
