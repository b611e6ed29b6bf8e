//! Which hosts were reached: one that answered before and cannot be reached now may be back in a moment, as when it is
//! started again. One that never answered is told at once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The hosts that answered something, each as `host:port`.
#[derive(Debug, Clone, Default)]
pub(super) struct Contacts(Arc<Mutex<HashSet<String>>>);

impl Contacts {
    /// Notes that a host answered.
    pub(super) fn note(&self, host: &str) {
        let mut hosts = self.lock();
        if !hosts.contains(host) {
            hosts.insert(host.to_owned());
        }
    }

    /// Whether a host answered before.
    pub(super) fn has(&self, host: &str) -> bool {
        self.lock().contains(host)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
