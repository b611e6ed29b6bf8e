//! What is known of all backups between two numbers, from few of their records, and whether these agree.
//!
//! Each record holds the digest of the one before, and some hold those of many before them. So the newest record vouches
//! for all others, and one that is read is proven by those that were read with it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};

use super::backup_id::BackupId;
use super::catalog::{AT_ONCE, Catalog, Loaded};
use super::error::BackupError;
use super::record::{BackupRecord, ListedBackup, RecordError};
use super::spine;
use crate::remote::Shelf;

/// What is known of some backups.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What lists show of them, and whose record says so.
    known: BTreeMap<BackupId, (ListedBackup, BackupId)>,
    /// The digests that the records that were read hold of those before them.
    previous: BTreeMap<BackupId, Option<String>>,
    /// Records that cannot be read, and those that others tell something else of.
    faults: Vec<BackupError>,
}

impl Survey {
    /// Reads what is needed to know all backups from `from` to `to`, both included. Some earlier ones may be known then
    /// as well.
    pub(super) async fn read(
        catalog: &Catalog,
        shelf: &dyn Shelf,
        from: BackupId,
        to: BackupId,
    ) -> Result<Self, BackupError> {
        let mut survey = Self::default();
        let spine = spine::spine(to, |id| catalog.contains(id));
        let spine: Vec<_> = spine.take_while(|id| *id >= from).collect();
        survey.add_all(catalog, shelf, spine).await?;
        // Of records of the first form none tells, until one of this form does; nor does one that cannot be read.
        let others = catalog.between(from, to);
        let others = others.filter(|id| !survey.known.contains_key(id) && !survey.has_failed(*id));
        let others: Vec<_> = others.collect();
        survey.add_all(catalog, shelf, others).await?;
        Ok(survey)
    }

    /// Reads records that are there. One that is no record is a fault.
    pub(super) async fn add_all(
        &mut self,
        catalog: &Catalog,
        shelf: &dyn Shelf,
        ids: Vec<BackupId>,
    ) -> Result<(), BackupError> {
        let ids = ids.into_iter().filter(|id| !self.previous.contains_key(id));
        let loads: Vec<_> = ids.map(|id| catalog.load(shelf, id)).collect();
        let mut loads = stream::iter(loads).buffered(AT_ONCE);
        while let Some(loaded) = loads.next().await {
            match loaded {
                Ok(Loaded { record, digest }) => self.add(record, digest),
                Err(error @ BackupError::Record { .. }) => self.faults.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes in a record that was read.
    pub(super) fn add(&mut self, record: BackupRecord, digest: String) {
        let by = record.id;
        self.learn(record.listed(digest), by);
        self.previous.insert(by, record.previous);
        for listed in record.before {
            self.learn(listed, by);
        }
    }

    fn learn(&mut self, listed: ListedBackup, by: BackupId) {
        let id = listed.id;
        match self.known.get(&id) {
            None => drop(self.known.insert(id, (listed, by))),
            Some((known, _)) if *known == listed => {}
            Some((_, before)) => {
                let by = if by == id { *before } else { by };
                let source = RecordError::Told { by };
                self.faults.push(BackupError::Record { id, source });
            }
        }
    }

    fn has_failed(&self, wanted: BackupId) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|fault| matches!(fault, BackupError::Record { id, .. } if *id == wanted))
    }

    /// How many backups are known.
    pub(super) fn len(&self) -> u64 {
        self.known.len() as u64
    }

    /// What lists show of the backups from `from` on, the oldest first, as far as it is known, each with the digest that
    /// the record behind it holds: a record that was changed is no other by being told again.
    pub(super) fn vouched_from(mut self, from: BackupId) -> Vec<ListedBackup> {
        for (id, previous) in &self.previous {
            let before = BackupId::of_number(id.number() - 1);
            let before = before.and_then(|before| self.known.get_mut(&before));
            if let Some(((listed, _), previous)) = before.zip(previous.as_ref()) {
                listed.digest.clone_from(previous);
            }
        }
        let known = self.known.into_iter();
        let listed = known.filter(|(id, _)| *id >= from);
        listed.map(|(_, (listed, _))| listed).collect()
    }

    /// What lists show of some backups, in the order of the question.
    pub(super) fn pick(
        mut self,
        ids: impl Iterator<Item = BackupId>,
    ) -> Result<Vec<ListedBackup>, BackupError> {
        let mut picked = Vec::new();
        for id in ids {
            match self.known.remove(&id) {
                Some((listed, _)) => picked.push(listed),
                None => return Err(self.fault_of(id)),
            }
        }
        Ok(picked)
    }

    fn fault_of(&mut self, wanted: BackupId) -> BackupError {
        let faults = std::mem::take(&mut self.faults).into_iter();
        let mut faults =
            faults.filter(|fault| matches!(fault, BackupError::Record { id, .. } if *id == wanted));
        faults.next().unwrap_or(BackupError::Record {
            id: wanted,
            source: RecordError::Gap,
        })
    }

    /// What is wrong: records that cannot be read, that others tell something else of, or that follow others than those
    /// before them.
    pub(super) fn into_faults(mut self) -> Vec<BackupError> {
        for (id, previous) in &self.previous {
            let before = BackupId::of_number(id.number() - 1);
            let expected = match before.map(|before| self.known.get(&before)) {
                // The first record follows none.
                None => None,
                Some(Some((listed, _))) => Some(&listed.digest),
                // The one before is gone or cannot be read, which is told already.
                Some(None) => continue,
            };
            if previous.as_ref() != expected {
                let source = RecordError::Previous;
                self.faults.push(BackupError::Record { id: *id, source });
            }
        }
        self.faults
    }
}

#[cfg(test)]
mod tests;
