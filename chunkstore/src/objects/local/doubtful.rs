//! Names that stand there and may not be durable: the sync behind a link failed, and the name could not be taken back.
//!
//! A reader of such a name makes it durable first, or is told of the failure: nothing may be built on what a crash of
//! the machine takes back. At the next start everything is made durable once.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The names, each with how many failures it has seen.
#[derive(Debug, Default)]
pub(super) struct DoubtfulNames(Mutex<HashMap<PathBuf, u64>>);

impl DoubtfulNames {
    /// Notes that a name may not be durable.
    pub(super) fn add(&self, name: &Path) {
        *self.0.lock().entry(name.to_owned()).or_default() += 1;
    }

    /// Syncs the folder of a name if the name is in doubt.
    pub(super) fn settle(
        &self,
        name: &Path,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(failures) = self.0.lock().get(name).copied() else {
            return Ok(());
        };
        sync()?;
        let mut names = self.0.lock();
        // A failure since the sync began is not settled by it.
        if names.get(name) == Some(&failures) {
            names.remove(name);
        }
        Ok(())
    }
}
