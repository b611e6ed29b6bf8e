//! What becomes of each ref of a push.

use holdfast_chunkstore::ChunkAddress;
use holdfast_doltdb::history::History;
use holdfast_doltdb::source::find_one;
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::{DecodeError, MessageKind, ReadError, RefFault, RefName, unusable_refs};

use super::{Force, PushRef, PushRequest, distinct};
use crate::database::StoreSource;
use crate::remote::{RemoteSource, WorkingSets};
use crate::transfer::datasets::Datasets;
use crate::transfer::error::TransferError;
use crate::transfer::losses::Both;
use crate::transfer::working_set;

/// What a working set that a push writes says was done.
const NOTE: &str = "push";

/// How many branches are looked at together for one that can be used: mostly the first can.
const FEW: usize = 16;

/// What became of a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushResult {
    /// It was not there before.
    Created {
        /// Where it is.
        new: ChunkAddress,
    },
    /// It moved.
    Moved {
        /// Where it was.
        old: ChunkAddress,
        /// Where it is.
        new: ChunkAddress,
    },
    /// It is gone.
    Deleted {
        /// Where it was.
        old: ChunkAddress,
    },
    /// It was there already.
    UpToDate {
        /// Where it is.
        at: ChunkAddress,
    },
    /// It stays where it is.
    Rejected {
        /// Why.
        reason: Rejection,
        /// Where it is; nothing where it is not there.
        old: Option<ChunkAddress>,
        /// Where it should have gone; nothing where it should have been deleted.
        new: Option<ChunkAddress>,
    },
}

/// Why a ref stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// Commits of the remote would be lost.
    NonFastForward,
    /// The remote has commits that are not here.
    FetchFirst,
    /// The branch is not where the last fetch saw it.
    StaleLease,
    /// The tag is there, elsewhere.
    TagExists,
    /// Somebody has changes there that are not committed.
    UncommittedChanges,
    /// There is nothing to delete.
    NotThere,
    /// A database has at least one branch.
    LastBranch,
}

/// What a push does.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) results: Vec<(PushRef, PushResult)>,
    /// The datasets of the remote when it is done.
    pub(super) datasets: Datasets,
    /// Working sets that are written along.
    pub(super) working_sets: Vec<NewChunk>,
    /// What must be there with everything below it.
    pub(super) roots: Vec<ChunkAddress>,
}

/// Decides what becomes of refs.
pub(super) struct Planner<'a> {
    pub(super) request: &'a PushRequest,
    pub(super) here: &'a StoreSource,
    pub(super) local: &'a Datasets,
    pub(super) there: RemoteSource,
    pub(super) remote: Datasets,
    pub(super) working_sets: WorkingSets,
    pub(super) now_seconds: u64,
}

impl Planner<'_> {
    pub(super) async fn plan(self) -> Result<Plan, TransferError> {
        let mut plan = Plan {
            results: Vec::new(),
            datasets: self.remote.clone(),
            working_sets: Vec::new(),
            roots: Vec::new(),
        };
        for pushed in &self.request.refs {
            let mut result = self.decide(pushed, &mut plan).await?;
            if let PushResult::Rejected { old, new, .. } = &mut result {
                *old = plan.datasets.get(&pushed.destination);
                *new = pushed.source.as_ref().and_then(|name| self.local.get(name));
            }
            match result {
                PushResult::Created { new } | PushResult::Moved { new, .. } => {
                    plan.datasets.set(&pushed.destination, Some(new));
                    plan.roots.push(new);
                }
                PushResult::Deleted { .. } => plan.datasets.set(&pushed.destination, None),
                PushResult::UpToDate { .. } | PushResult::Rejected { .. } => {}
            }
            plan.results.push((pushed.clone(), result));
        }
        plan.roots = distinct(plan.roots);
        Ok(plan)
    }

    async fn decide(&self, pushed: &PushRef, plan: &mut Plan) -> Result<PushResult, TransferError> {
        let old = plan.datasets.get(&pushed.destination);
        let Some(source) = &pushed.source else {
            return self.delete(pushed, old, plan).await;
        };
        let new = self.local.get(source);
        let new = new.ok_or_else(|| TransferError::NoRef {
            name: source.to_string(),
            known: self.local.known(source),
        })?;
        check_mapping(source, &pushed.destination)?;
        if old != Some(new) {
            let faults = unusable_refs(self.here, [(pushed.destination.clone(), new)]).await?;
            let kind = faults
                .into_iter()
                .next()
                .map_or(Ok(()), |(_, fault)| Err(fault));
            // What is there under a name that nothing new may have can go on.
            let name = match old {
                None => pushed.destination.check_placed().map_err(RefFault::from),
                Some(_) => Ok(()),
            };
            let kind = match (old, kind) {
                (Some(_), Err(RefFault::Name(_))) => Ok(()),
                (_, kind) => kind,
            };
            let checked = name.and(kind);
            checked.map_err(|source| TransferError::Unusable {
                name: pushed.destination.to_string(),
                source,
            })?;
        }
        match (old, &pushed.destination) {
            (Some(old), _) if old == new => Ok(PushResult::UpToDate { at: new }),
            (None, RefName::Tag(_)) => Ok(PushResult::Created { new }),
            (Some(old), RefName::Tag(_)) => Ok(match pushed.force {
                Force::WithLease => PushResult::Moved { old, new },
                Force::No => rejected(Rejection::TagExists),
            }),
            (old, RefName::Branch(branch)) => {
                let is_forced = pushed.force == Force::WithLease;
                self.branch((branch, is_forced), old, new, plan).await
            }
            (_, other) => Err(TransferError::NoRef {
                name: other.to_string(),
                known: self.local.known(other),
            }),
        }
    }

    async fn branch(
        &self,
        (branch, is_forced): (&str, bool),
        old: Option<ChunkAddress>,
        new: ChunkAddress,
        plan: &mut Plan,
    ) -> Result<PushResult, TransferError> {
        if is_forced && self.is_stale(branch, old) {
            return Ok(rejected(Rejection::StaleLease));
        }
        if let (false, Some(old)) = (is_forced, old)
            && let Some(reason) = self.in_the_way(old, new).await?
        {
            return Ok(rejected(reason));
        }
        if is_forced || self.working_sets == WorkingSets::Asserted {
            let name = RefName::WorkingSet(branch.to_owned());
            if !is_forced && !self.is_clean(&name, old).await? {
                return Ok(rejected(Rejection::UncommittedChanges));
            }
            let identity = self.request.identity.as_ref();
            let working_set =
                working_set::clean(self.here, new, identity, NOTE, self.now_seconds).await?;
            plan.datasets.set(&name, Some(working_set.address));
            plan.working_sets.push(working_set);
        }
        Ok(match old {
            Some(old) => PushResult::Moved { old, new },
            None => PushResult::Created { new },
        })
    }

    /// Why a branch of the remote may not move from `old` to `new` without force.
    async fn in_the_way(
        &self,
        old: ChunkAddress,
        new: ChunkAddress,
    ) -> Result<Option<Rejection>, TransferError> {
        match find_one(self.here, old).await? {
            None => return Ok(Some(Rejection::FetchFirst)),
            // A branch that stands for something else holds no history that could go on.
            Some(chunk) if MessageKind::of_head(&chunk) != Some(MessageKind::Commit) => {
                return Ok(Some(Rejection::NonFastForward));
            }
            Some(_) => {}
        }
        let ghosts = self.here.store().ghosts();
        let follows = History::new(self.here, ghosts)
            .is_ancestor(old, new)
            .await?;
        Ok((!follows).then_some(Rejection::NonFastForward))
    }

    async fn delete(
        &self,
        pushed: &PushRef,
        old: Option<ChunkAddress>,
        plan: &mut Plan,
    ) -> Result<PushResult, TransferError> {
        let name = &pushed.destination;
        let Some(old) = old else {
            return Ok(rejected(Rejection::NotThere));
        };
        if let RefName::Branch(branch) = name {
            // A database has at least one branch, and one that cannot be used is none.
            if !self.has_other_branch(name, plan).await?
                && unusable_refs(&self.there, [(name.clone(), old)])
                    .await?
                    .is_empty()
            {
                return Ok(rejected(Rejection::LastBranch));
            }
            let working_set = RefName::WorkingSet(branch.clone());
            if pushed.force == Force::No {
                if !self.is_clean(&working_set, Some(old)).await? {
                    return Ok(rejected(Rejection::UncommittedChanges));
                }
            } else if self.is_stale(branch, Some(old)) {
                return Ok(rejected(Rejection::StaleLease));
            }
            // A working set goes with its branch: a branch of that name made later would find it.
            plan.datasets.set(&working_set, None);
        }
        Ok(PushResult::Deleted { old })
    }

    /// Whether the remote has a branch besides this one that Dolt could use.
    async fn has_other_branch(&self, name: &RefName, plan: &Plan) -> Result<bool, ReadError> {
        let is_other = |(other, _): &(RefName, _)| {
            matches!(other, RefName::Branch(_)) && other != name && other.check_usable().is_ok()
        };
        let others: Vec<_> = plan.datasets.iter().filter(is_other).collect();
        // Those of this push are here.
        let both = Both {
            first: self.here,
            second: &self.there,
        };
        for few in others.chunks(FEW) {
            if unusable_refs(&both, few.to_vec()).await?.len() < few.len() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a branch of the remote is not where the last fetch saw it. Of a remote that nothing follows nothing was
    /// seen.
    fn is_stale(&self, branch: &str, old: Option<ChunkAddress>) -> bool {
        // No fetch from a bare address is remembered: what is there was not seen.
        let Some(remote) = &self.request.remote_name else {
            return old.is_some();
        };
        let seen = self.local.get(&RefName::RemoteBranch {
            remote: remote.clone(),
            branch: branch.to_owned(),
        });
        seen != old
    }

    /// Whether nothing is changed and nothing staged in a working set of the remote, whose branch is at `head`.
    async fn is_clean(
        &self,
        name: &RefName,
        head: Option<ChunkAddress>,
    ) -> Result<bool, ReadError> {
        match (self.remote.get(name), head) {
            (Some(address), Some(head)) => {
                match working_set::is_clean(&self.there, address, head).await {
                    // What stands for something else holds no changes.
                    Err(ReadError::Decode {
                        source: DecodeError::WrongKind { .. },
                        ..
                    }) => Ok(true),
                    found => found,
                }
            }
            // A working set without its branch is nobody's.
            _ => Ok(true),
        }
    }
}

/// Refuses to make of a ref one that stands for another kind of chunk.
fn check_mapping(here: &RefName, there: &RefName) -> Result<(), TransferError> {
    match here.kind() == there.kind() && there.is_public() {
        true => Ok(()),
        false => Err(TransferError::Mapping {
            here: here.to_string(),
            there: there.to_string(),
        }),
    }
}

fn rejected(reason: Rejection) -> PushResult {
    PushResult::Rejected {
        reason,
        old: None,
        new: None,
    }
}
