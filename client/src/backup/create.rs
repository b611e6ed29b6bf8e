//! One backup, or what is new since the last one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::{Clock, Timestamp};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::RefName;

use super::backup_id::BackupId;
use super::catalog::Catalog;
use super::error::BackupError;
use super::mend::{Mended, VaultMender};
use super::needing::needing;
use super::origin::{BackupSource, Opened, Workplace};
use super::record::{Added, Draft, Last, RecordedFile};
use super::reliance::{FileDamage, Reliance, Share};
use crate::remote::{Budget, Remote, RemoteSource, Shelf, Swap, WorkingSets};
use crate::transfer::datasets::Datasets;
use crate::transfer::losses::{Both, losses};
use crate::transfer::send::{Sender, Sent};
use crate::transfer::usable::Usable;
use crate::transfer::{Extent, Observer};

/// How often a number that is taken, or a root that moved, is tried again.
const ATTEMPTS: u32 = 10;

/// How often a source is read whose chunks a collection takes away.
const READS: u32 = 3;

/// What is to be backed up where.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// What is backed up.
    pub source: BackupSource,
    /// Where to.
    pub target: Arc<dyn Remote>,
    /// A folder for this source and this target, where files gather before they are sent.
    pub work: PathBuf,
    /// What becomes of something else that is there.
    pub occupied: Occupied,
    /// How far it goes.
    pub extent: Extent,
    /// How much of the target's data is read back.
    pub check: Share,
    /// Who does it.
    pub by: Option<String>,
}

/// What becomes of a root that no backup put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// It stays, and nothing is backed up there.
    Refused,
    /// Its place is taken. Its chunks stay.
    Replaced,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The number of the backup, where numbers are kept.
    pub id: Option<BackupId>,
    /// The root that was backed up.
    pub root: RootAddress,
    /// What was added.
    pub added: Added,
    /// How it ended.
    pub outcome: Outcome,
    /// What of the target was damaged and mended.
    pub mended: Mended,
}

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the latest one.
    New,
    /// It is there, and a later one came first.
    Overtaken,
    /// The last backup holds the same.
    Unchanged,
    /// Nothing was changed: that was asked for.
    DryRun,
}

/// Makes a backup.
pub async fn create(
    request: &BackupRequest,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Created, BackupError> {
    // What is only counted gathers nowhere.
    let workplace = match request.extent {
        Extent::Whole => Some(Workplace::open(&request.work, pool).await?),
        Extent::DryRun => None,
    };
    let outgoing = workplace.as_ref().map(Workplace::outgoing);
    let mut reads = 0;
    loop {
        reads += 1;
        let maker = Maker {
            request,
            opened: request.source.open(pool).await?,
            outgoing: outgoing.clone().unwrap_or_default(),
            pool,
            clock,
            observer: Arc::clone(&observer),
        };
        match maker.run().await {
            Err(error) if reads < READS && error.is_of_a_collection() => {}
            Err(error) => return Err(error),
            Ok(created) => {
                if let Some(workplace) = workplace {
                    workplace.clear(pool).await?;
                }
                return Ok(created);
            }
        }
    }
}

/// Which share of the data is read after the backup before.
fn turn(last: Option<BackupId>) -> u64 {
    last.map_or(0, BackupId::number)
}

/// Which share is read where nothing changed and no backup is made: another one each day.
fn unchanged_turn(last: Option<BackupId>, now: Timestamp) -> u64 {
    let days = now.seconds() / (24 * 60 * 60);
    turn(last).wrapping_add(days)
}

struct Maker<'a> {
    request: &'a BackupRequest,
    opened: Opened,
    /// Where files gather; a dry run makes none.
    outgoing: PathBuf,
    pool: &'a BlockingPool,
    clock: &'a Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Maker<'_> {
    async fn run(&self) -> Result<Created, BackupError> {
        let (target, root) = (&self.request.target, self.opened.root);
        let damaged = self.reliance().look_at_indexes().await?;
        self.refuse_if_dry(&damaged).await?;
        let ids: Vec<_> = damaged.iter().map(|damage| damage.id).collect();
        target.pass_over(&ids);
        let metadata = target.metadata().await?;
        if metadata.working_sets == WorkingSets::Asserted {
            return Err(BackupError::Live {
                target: target.address(),
            });
        }
        let there = target.root().await?;
        let last = match target.shelf() {
            Some(shelf) => Catalog::read(shelf).await?.last(shelf).await?,
            None => None,
        };
        let created = |id, sent: Sent, outcome, mended| Created {
            id,
            root,
            added: added(sent),
            outcome,
            mended,
        };
        let is_last = match (&last, target.shelf()) {
            (Some(last), _) => last.root == root,
            (None, Some(_)) => false,
            (None, None) => true,
        };
        if there == root && is_last {
            let id = last.map(|last| last.id);
            let mut mended = self.mend(damaged).await?;
            let turn = unchanged_turn(id, self.clock.now());
            mended.add(self.look_and_mend(turn).await?);
            let sent = Sent::default();
            return Ok(created(id, sent, Outcome::Unchanged, mended));
        }
        self.check_place(there, last.as_ref()).await?;
        let mut mended = self.mend(damaged).await?;
        self.check_refs(there).await?;
        let sender = Sender {
            remote: Arc::clone(target),
            is_empty: there.is_zero() && metadata.size == 0,
            takes_archives: metadata.takes_archives,
            origin: self.opened.origin.clone(),
            folder: self.outgoing.clone(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
            extent: self.request.extent,
        };
        let roots: Vec<_> = root.chunk().into_iter().collect();
        let sent = sender.run(&roots).await?;
        if self.request.extent == Extent::DryRun {
            return Ok(created(None, sent, Outcome::DryRun, mended));
        }
        let turn = turn(last.map(|last| last.id));
        mended.add(self.look_and_mend(turn).await?);
        let id = match target.shelf() {
            Some(shelf) => Some(self.record(shelf, there, sent).await?),
            None => None,
        };
        let outcome = self.move_root(there, id).await?;
        Ok(created(id, sent, outcome, mended))
    }

    fn reliance(&self) -> Reliance<'_> {
        Reliance {
            target: &self.request.target,
            share: self.request.check,
            observer: &*self.observer,
        }
    }

    /// Looks at what the backup relies on, and mends what is damaged: no record is written before.
    async fn look_and_mend(&self, turn: u64) -> Result<Mended, BackupError> {
        if self.request.extent == Extent::DryRun {
            return Ok(Mended::default());
        }
        let damaged = self.reliance().look(turn).await?;
        self.mend(damaged).await
    }

    async fn mend(&self, damaged: Vec<FileDamage>) -> Result<Mended, BackupError> {
        let (Some(shelf), false) = (self.request.target.shelf(), damaged.is_empty()) else {
            return Ok(Mended::default());
        };
        let target = self.request.target.address();
        for fault in damaged.iter().flat_map(|damage| &damage.faults) {
            self.observer.warn(&format!("{target} is damaged: {fault}"));
        }
        let mender = VaultMender {
            target: &self.request.target,
            opened: &self.opened,
            outgoing: &self.outgoing,
            pool: self.pool,
            clock: self.clock,
            observer: &self.observer,
        };
        mender.mend(shelf, &damaged).await
    }

    /// Refuses a dry run over damage, as it writes nothing.
    async fn refuse_if_dry(&self, damaged: &[FileDamage]) -> Result<(), BackupError> {
        if damaged.is_empty() || self.request.extent == Extent::Whole {
            return Ok(());
        }
        let ids: Vec<_> = damaged.iter().map(|damage| damage.id).collect();
        self.request.target.pass_over(&ids);
        let listed = self.request.target.list_files().await?.files;
        let backups = match self.request.target.shelf() {
            Some(shelf) => needing(shelf, &listed, ids.into_iter().collect()).await?,
            None => Vec::new(),
        };
        let backups = backups.into_iter().flat_map(|(_, backups)| backups);
        let backups: BTreeSet<_> = backups.collect();
        Err(BackupError::Damaged {
            target: self.request.target.address(),
            faults: (damaged.iter().flat_map(|damage| damage.faults.clone())).collect(),
            backups: backups.into_iter().rev().collect(),
        })
    }

    /// Refuses a place that holds something else than earlier backups of the same database.
    async fn check_place(
        &self,
        there: RootAddress,
        last: Option<&Last>,
    ) -> Result<(), BackupError> {
        if there.is_zero()
            || there == self.opened.root
            || self.request.occupied == Occupied::Replaced
        {
            return Ok(());
        }
        let shelf = self.request.target.shelf();
        let is_recorded = match (last, shelf) {
            (Some(last), _) if last.root == there => true,
            (_, Some(shelf)) => newest_of(shelf, there).await?.is_some(),
            (_, None) => false,
        };
        let is_ours = match (is_recorded, shelf) {
            (true, _) if last.is_none_or(|last| last.source == self.request.source.name()) => true,
            // The database may have moved.
            (true, _) => self.knows(there, |heads, absent| absent < heads).await?,
            (false, Some(_)) => false,
            // A server keeps no records: what its refs reach must still be reached.
            (false, None) => {
                let is_known = |heads, absent| absent < heads || heads == 0;
                let is_ours = self.knows(there, is_known).await?;
                if is_ours {
                    self.check_losses(there).await?;
                }
                is_ours
            }
        };
        match is_ours {
            true => Ok(()),
            false => Err(self.foreign(there)),
        }
    }

    /// Judges by how many branches and tags there are below a root of the target, and how many of them the source
    /// lacks.
    async fn knows(
        &self,
        there: RootAddress,
        judge: impl FnOnce(usize, usize) -> bool,
    ) -> Result<bool, BackupError> {
        let source = RemoteSource::new(Arc::clone(&self.request.target));
        let datasets = Datasets::read(&source, there).await?;
        let heads = datasets.iter().filter(|(name, _)| name.is_public());
        let heads: Vec<_> = heads.map(|(_, address)| address).collect();
        let count = heads.len();
        let absent = self.opened.absent(heads, self.pool).await?;
        Ok(judge(count, absent.len()))
    }

    /// Refuses to leave commits of a server behind.
    async fn check_losses(&self, there: RootAddress) -> Result<(), BackupError> {
        let target = RemoteSource::new(Arc::clone(&self.request.target));
        let before = Datasets::read(&target, there).await?;
        let after = Datasets::read(&*self.opened.source, self.opened.root).await?;
        let both = Both {
            first: &*self.opened.source,
            second: &target,
        };
        let losses = losses(&before, &after, &both).await?;
        match losses.is_empty() {
            true => Ok(()),
            false => Err(BackupError::Ahead {
                target: self.request.target.address(),
                losses,
            }),
        }
    }

    /// Looks at the refs that are new at the target. A vault takes all of them as they are, and a restore leaves out
    /// what Dolt could not use; a server refuses that, and is sent nothing.
    async fn check_refs(&self, there: RootAddress) -> Result<(), BackupError> {
        let target = RemoteSource::new(Arc::clone(&self.request.target));
        let before = Datasets::read(&target, there).await?;
        let after = Datasets::read(&*self.opened.source, self.opened.root).await?;
        let all = after.clone();
        let is_new = |name: &RefName, at| before.get(name) != Some(at);
        let is_vault = self.request.target.shelf().is_some();
        let refused = all
            .iter()
            .filter(|(name, at)| !is_vault && is_new(name, *at));
        let refused = refused.filter_map(|(name, _)| Some((name.check_placed().err()?, name)));
        let refused: Vec<_> = refused.map(|(fault, name)| (name, fault.into())).collect();
        let unusable = Usable::by_kind(&*self.opened.source, after, is_new).await?;
        let unusable = unusable.passed_over.into_iter();
        for (name, source) in refused.into_iter().chain(unusable) {
            if before.get(&name) == all.get(&name) {
                continue;
            }
            if !is_vault {
                return Err(BackupError::UnusableRef {
                    target: self.request.target.address(),
                    command: name.dolt_removal(),
                    source,
                });
            }
            let origin = self.request.source.name();
            let warning = format!("{origin}: {source}; a restore of this backup leaves it out");
            self.observer.warn(&warning);
        }
        Ok(())
    }

    fn foreign(&self, root: RootAddress) -> BackupError {
        BackupError::Foreign {
            target: self.request.target.address(),
            root,
        }
    }

    fn contended(&self) -> BackupError {
        BackupError::Contended {
            target: self.request.target.address(),
        }
    }

    /// Writes down the backup, all of whose chunks are there, under the first number that is free.
    async fn record(
        &self,
        shelf: &dyn Shelf,
        replaces: RootAddress,
        sent: Sent,
    ) -> Result<BackupId, BackupError> {
        let listed = self.request.target.list_files().await?;
        let files = listed.files.iter().map(|file| RecordedFile {
            id: file.id,
            chunks: file.chunks,
        });
        let mut draft = Draft {
            at: self.clock.now(),
            root: self.opened.root,
            replaces,
            source: self.request.source.name(),
            added: added(sent),
            by: self.request.by.clone(),
            files: files.collect(),
        };
        for _ in 0..ATTEMPTS {
            draft.at = self.clock.now();
            let mut catalog = Catalog::read(shelf).await?;
            if let Some(id) = catalog.append(shelf, &draft).await? {
                return Ok(id);
            }
        }
        Err(self.contended())
    }

    /// Makes the backup what Dolt sees, unless a later one is that already.
    async fn move_root(
        &self,
        mut there: RootAddress,
        id: Option<BackupId>,
    ) -> Result<Outcome, BackupError> {
        let (target, root) = (&self.request.target, self.opened.root);
        let mut budget = Budget::new();
        for _ in 0..ATTEMPTS {
            match target.commit(root, there, &[]).await? {
                Swap::Won => return Ok(Outcome::New),
                Swap::Lost => {}
            }
            there = target.root().await?;
            if there == root {
                return Ok(Outcome::New);
            }
            let winner = match target.shelf() {
                Some(shelf) => newest_of(shelf, there).await?,
                None => None,
            };
            match winner {
                Some(winner) if Some(winner) > id => return Ok(Outcome::Overtaken),
                Some(_) => {}
                None => self.check_place(there, None).await?,
            }
            if !budget.wait(&**self.clock).await {
                budget.renew();
            }
        }
        Err(self.contended())
    }
}

fn added(sent: Sent) -> Added {
    Added {
        chunks: sent.chunks,
        bytes: sent.bytes,
    }
}

/// The newest backup of a root.
async fn newest_of(shelf: &dyn Shelf, root: RootAddress) -> Result<Option<BackupId>, BackupError> {
    Catalog::read(shelf).await?.newest_of(shelf, root).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_changes_the_share_moves_on_with_the_day() {
        let day = |day: u64| Timestamp(day * 24 * 60 * 60 * 1000 + 77);
        let last = Some(BackupId::FIRST.next());
        let turns = (20_000..20_003).map(|number| unchanged_turn(last, day(number)));
        assert_eq!(turns.collect::<Vec<_>>(), [20_002, 20_003, 20_004]);
        assert_eq!(
            unchanged_turn(last, Timestamp(day(20_000).0 + 3_600_000)),
            20_002
        );
        assert_eq!(turn(last), 2);
    }
}
