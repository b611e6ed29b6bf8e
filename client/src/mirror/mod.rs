//! One remote made equal to another: its branches and tags, and nothing that somebody works on.
//!
//! Working sets, stashes and whatever else the target keeps under names of its own stay as they are; only the working
//! set of a branch that is removed goes with it.

mod error;
mod plan;

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::{DecodeError, ReadError, RefName};

pub use error::MirrorError;

use self::plan::Plan;
use crate::backup::{BackupSource, Opened, Workplace};
use crate::remote::{Budget, Metadata, Remote, RemoteSource, Swap, WorkingSets};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::losses::{Both, losses};
use crate::transfer::send::{Sender, Sent, write_small};
use crate::transfer::usable::Usable;
use crate::transfer::working_set;
use crate::transfer::{Extent, Observer, RefUpdate, TransferError, Vanished};

/// How often a root that moved meanwhile is tried again.
const ATTEMPTS: u32 = 10;

/// What is made equal to what.
#[derive(Debug, Clone)]
pub struct MirrorRequest {
    /// What is copied.
    pub source: BackupSource,
    /// What becomes equal to it.
    pub target: Arc<dyn Remote>,
    /// A folder for these two, where files gather before they are sent.
    pub work: PathBuf,
    /// What becomes of branches and tags of the target that the source does not have.
    pub vanished: Vanished,
    /// What becomes of commits of the target that its refs would no longer reach.
    pub ahead: Ahead,
    /// How far it goes.
    pub extent: Extent,
}

/// What becomes of commits of the target that its refs would no longer reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// They stay, and nothing is done.
    Refused,
    /// No branch leads to them any more.
    LeftBehind,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// The branches and tags of the target that moved, by name.
    pub updates: Vec<RefUpdate>,
    /// How many chunks the target lacked.
    pub chunks: u64,
    /// How many bytes those have in their stored form.
    pub bytes: u64,
}

/// Makes a remote equal to another one.
pub async fn mirror(
    request: &MirrorRequest,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Mirrored, MirrorError> {
    let workplace = match request.extent {
        Extent::Whole => Some(Workplace::open(&request.work, pool).await?),
        Extent::DryRun => None,
    };
    let opened = request.source.open(pool).await?;
    let datasets = Datasets::read(&*opened.source, opened.root).await?;
    let is_mirrored = |name: &RefName, _| name.is_public();
    let source = Usable::by_kind(&*opened.source, datasets, is_mirrored).await?;
    source.warn(&request.source.name(), &*observer);
    let mirrorer = Mirrorer {
        request,
        opened,
        source,
        outgoing: workplace
            .as_ref()
            .map_or_else(PathBuf::new, Workplace::outgoing),
        pool,
        clock,
        observer,
    };
    let mirrored = mirrorer.run().await?;
    if let Some(workplace) = workplace {
        workplace.clear(pool).await?;
    }
    Ok(mirrored)
}

struct Mirrorer<'a> {
    request: &'a MirrorRequest,
    opened: Opened,
    source: Usable,
    /// Where files gather; a dry run makes none.
    outgoing: PathBuf,
    pool: &'a BlockingPool,
    clock: &'a Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Mirrorer<'_> {
    async fn run(&self) -> Result<Mirrored, MirrorError> {
        let target = &self.request.target;
        let metadata = target.metadata().await?;
        if metadata.working_sets == WorkingSets::Asserted {
            return Err(MirrorError::Live {
                target: target.address(),
            });
        }
        let mut sent: Option<Sent> = None;
        let mut budget = Budget::new();
        for _ in 0..ATTEMPTS {
            let root = target.root().await?;
            let plan = self.plan(root).await?;
            if sent.is_none() && !plan.roots.is_empty() {
                sent = Some(self.send(root, metadata, &plan.roots).await?);
            }
            let sent = sent.unwrap_or_default();
            let written = plan.datasets.write().map_err(TransferError::from)?;
            let mirrored = Mirrored {
                updates: plan.updates,
                chunks: sent.chunks,
                bytes: sent.bytes,
            };
            if mirrored.updates.is_empty() || self.request.extent == Extent::DryRun {
                return Ok(mirrored);
            }
            let small = self.send_small(written.chunks).await?;
            match target.commit(written.root, root, &[small]).await? {
                Swap::Won => return Ok(mirrored),
                Swap::Lost => {
                    if !budget.wait(&**self.clock).await {
                        budget.renew();
                    }
                }
            }
        }
        Err(MirrorError::Contended {
            target: target.address(),
        })
    }

    async fn plan(&self, root: RootAddress) -> Result<Plan, MirrorError> {
        let there = RemoteSource::new(Arc::clone(&self.request.target));
        let target = Datasets::read(&there, root).await?;
        let (source, vanished) = (&self.source, self.request.vanished);
        let before = target.clone();
        let plan = Plan::make(&source.datasets, &source.passed_over, target, vanished);
        self.check_working_sets(&there, &before, &plan).await?;
        if self.request.ahead == Ahead::Refused {
            // The source has what is new, and most of what is there.
            let both = Both {
                first: &*self.opened.source,
                second: &there,
            };
            let losses = losses(&before, &plan.datasets, &both).await?;
            if !losses.is_empty() {
                return Err(MirrorError::Ahead {
                    target: self.request.target.address(),
                    losses,
                });
            }
        }
        Ok(plan)
    }

    /// Refuses to remove working sets with changes along with their branches; told to go on, it says which.
    async fn check_working_sets(
        &self,
        there: &RemoteSource,
        before: &Datasets,
        plan: &Plan,
    ) -> Result<(), MirrorError> {
        let mut branches = Vec::new();
        for update in &plan.updates {
            let (RefName::Branch(branch), Some(head), None) =
                (&update.name, update.old, update.new)
            else {
                continue;
            };
            let working_set = before.get(&RefName::WorkingSet(branch.clone()));
            let Some(address) = working_set else { continue };
            match working_set::is_clean(there, address, head).await {
                Ok(true) => {}
                // What stands for something else holds no changes.
                Err(ReadError::Decode {
                    source: DecodeError::WrongKind { .. },
                    ..
                }) => {}
                Ok(false) => branches.push(branch.escape_default().to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let target = self.request.target.address();
        match self.request.ahead {
            _ if branches.is_empty() => Ok(()),
            Ahead::Refused => Err(MirrorError::Uncommitted { target, branches }),
            Ahead::LeftBehind => {
                let branches = branches.join(", ");
                self.observer.warn(&format!(
                    "{target}: changes that are not committed go with {branches}"
                ));
                Ok(())
            }
        }
    }

    async fn send(
        &self,
        root: RootAddress,
        metadata: Metadata,
        roots: &[ChunkAddress],
    ) -> Result<Sent, MirrorError> {
        let sender = Sender {
            remote: Arc::clone(&self.request.target),
            is_empty: root.is_zero() && metadata.size == 0,
            takes_archives: metadata.takes_archives,
            origin: self.opened.origin.clone(),
            folder: self.outgoing.clone(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
            extent: self.request.extent,
        };
        Ok(sender.run(roots).await?)
    }

    /// Sends the chunks of the new refs in a file of their own.
    async fn send_small(&self, chunks: Vec<NewChunk>) -> Result<ListedFile, MirrorError> {
        let folder = self.outgoing.clone();
        let write = move || write_small(&folder, &pairs(&chunks));
        let file = self.pool.run(write).await.map_err(TransferError::from)?;
        self.request.target.upload(&file).await?;
        Ok(ListedFile {
            id: file.id,
            chunks: file.chunks,
        })
    }
}
