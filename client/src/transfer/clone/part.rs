//! What some branches of a remote reach, chunk by chunk, and not a byte of anything else.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_chunkstore::noms_dir::{NomsDir, StoreWriter};
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::history::History;
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::{RefName, unusable_refs};

use super::place::Form;
use super::{Cloned, Cloner, Scope};
use crate::database::StoreSource;
use crate::remote::{Reach, RemoteSource};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::error::TransferError;
use crate::transfer::estimate::Estimator;
use crate::transfer::fetch::{Extent, TagReader, UnknownTag};
use crate::transfer::gather::{Gather, Gathered};
use crate::transfer::refs::{NewRefs, RemoteRefs};
use crate::transfer::revision::from_head;
use crate::transfer::usable::{Usable, unusable};

/// What of a remote is taken.
struct Part {
    /// The branch that is checked out.
    branch: String,
    /// The branches and where they are.
    heads: Vec<(String, ChunkAddress)>,
    /// The commits that are taken, with everything below them that is not left out.
    roots: Vec<ChunkAddress>,
    /// Commits that a shallow clone leaves out.
    ghosts: Vec<ChunkAddress>,
    tags: Vec<UnknownTag>,
}

impl Cloner<'_> {
    /// Clones what the branches of the request reach.
    pub(super) async fn part(self) -> Result<Cloned, TransferError> {
        let request = self.request;
        let root = request.remote.root().await?;
        if root.is_zero() {
            return Err(TransferError::Empty);
        }
        let part = self.choose_part(root).await?;
        if request.extent == Extent::DryRun {
            return self.estimate_part(part).await;
        }
        self.prepare().await?;
        let place = self.place.clone();
        self.pool.run(move || place.take_back()).await?;
        let gather = Gather {
            remote: Arc::clone(&request.remote),
            reach: self.reach(),
            known: None,
            left_out: part.ghosts.iter().copied().collect(),
            folder: self.place.incoming(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
        };
        let gathered = gather.run(part.roots.clone()).await?;
        self.write(part, gathered).await
    }

    fn reach(&self) -> Reach {
        match self.request.scope {
            Scope::Branch { reach, .. } => reach,
            _ => Reach::Exact,
        }
    }

    /// Says what would come.
    async fn estimate_part(self, part: Part) -> Result<Cloned, TransferError> {
        self.check_free().await?;
        let estimator = Estimator {
            remote: Arc::clone(&self.request.remote),
            known: None,
            left_out: part.ghosts.iter().copied().collect(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
        };
        let estimate = estimator.run(part.roots).await?;
        let finish = move || {
            let mut tags = 0;
            for tag in part.tags {
                tags += usize::from(estimate.has(tag.commit)?);
            }
            Ok(Cloned {
                branch: part.branch,
                branches: part.heads.len(),
                tags,
                chunks: estimate.chunks,
                bytes: estimate.bytes,
                is_least: estimate.is_least,
            })
        };
        self.pool.run(finish).await
    }

    async fn choose_part(&self, root: RootAddress) -> Result<Part, TransferError> {
        let source = RemoteSource::reaching(Arc::clone(&self.request.remote), self.reach());
        let address = self.request.remote.address();
        let usable = Usable::by_name(Datasets::read(&source, root).await?);
        self.check_asked(&usable)?;
        let mut refs = RemoteRefs::among(&usable.datasets);
        let no_ghosts = HashSet::new();
        let history = History::new(&source, &no_ghosts);
        let mut part = Part {
            branch: String::new(),
            heads: Vec::new(),
            roots: Vec::new(),
            ghosts: Vec::new(),
            tags: Vec::new(),
        };
        match &self.request.scope {
            Scope::Branches(branches) => {
                for branch in branches {
                    let branch = refs.choose(Some(branch), None)?;
                    part.heads.push((branch.to_owned(), refs.branches[branch]));
                }
                let first = part.heads.first().ok_or(TransferError::NoBranches)?;
                part.branch = first.0.clone();
            }
            Scope::Branch { at, .. } => {
                part.branch = self.choose_usable(&source, &mut refs).await?;
                let head = match at {
                    None => refs.branches[&part.branch],
                    Some(at) => {
                        // The branch that is cloned is the one that will be checked out.
                        let revision = from_head(at, &part.branch);
                        let resolved = history.resolve(root, &revision).await?;
                        let missing = || TransferError::NoRevision {
                            name: at.clone(),
                            known: usable.datasets.known(&RefName::Other(at.clone())),
                        };
                        resolved.ok_or_else(missing)?.commit
                    }
                };
                part.heads.push((part.branch.clone(), head));
            }
            Scope::Everything => return Err(TransferError::NoBranches),
        }
        if matches!(self.request.scope, Scope::Branches(_)) {
            let heads = part.heads.iter();
            let heads = heads.map(|(branch, head)| (RefName::Branch(branch.clone()), *head));
            if let Some((_, fault)) = unusable_refs(&source, heads).await?.into_iter().next() {
                return Err(unusable(&address, fault));
            }
        }
        part.roots = part.heads.iter().map(|(_, head)| *head).collect();
        if let Scope::Branch {
            depth: Some(depth), ..
        } = &self.request.scope
        {
            let shallow = history.kept_and_ghosts(part.heads[0].1, *depth).await?;
            (part.roots, part.ghosts) = (shallow.kept, shallow.ghosts);
        } else {
            let tags = TagReader {
                of: &address,
                observer: &*self.observer,
            };
            usable.warn_of_tags(&address, &*self.observer);
            let none = Datasets::default();
            part.tags = tags.unknown(&source, &usable.datasets, &none).await?;
        }
        Ok(part)
    }

    /// Lands what was gathered, and writes the refs.
    async fn write(self, part: Part, gathered: Gathered) -> Result<Cloned, TransferError> {
        let request = self.request;
        let (chunks, bytes) = (gathered.chunks, gathered.bytes);
        let unknown = part.tags;
        let sort_out = move || gathered.reached(unknown).map(|tags| (gathered, tags));
        let (gathered, tags) = self.pool.run(sort_out).await?;
        let place = self.place.clone();
        let ghosts = part.ghosts;
        let land = move || -> Result<NomsDir, TransferError> {
            let files = gathered.land(&place.store())?;
            if !ghosts.is_empty() {
                place.write_ghosts(ghosts)?;
            }
            Ok(place.begin_store(RootAddress::ZERO, files)?)
        };
        let opened = self.pool.run(land).await?;
        let source = StoreSource::new(Arc::new(opened), self.pool.clone());
        let local = match request.scope {
            Scope::Branches(_) => part.heads.clone(),
            _ => part.heads[..1].to_vec(),
        };
        let is_bare = request.form == Form::Bare;
        let new = NewRefs {
            remote: request.remote_name.as_deref(),
            followed: match is_bare {
                true => Vec::new(),
                false => part.heads.clone(),
            },
            tags: tags.iter().map(UnknownTag::named).collect(),
            local,
            identity: request.identity.as_ref(),
        };
        let now = self.clock.now().seconds();
        let mut made = match is_bare {
            true => new.write_bare()?,
            false => new.write(&source, now).await?,
        };
        made.chunks.extend(tags.iter().map(|tag| tag.chunk.clone()));
        let repo_state = self.repo_state(&part.branch);
        let cloned = Cloned {
            branch: part.branch,
            branches: part.heads.len(),
            tags: tags.len(),
            chunks,
            bytes,
            is_least: false,
        };
        let place = self.place;
        let finish = move || {
            let store = StoreWriter::open(&place.store())?;
            let chunks: Vec<NewChunk> = made.chunks;
            store.commit(made.root, &[], &pairs(&chunks), now)?;
            place.finish(&repo_state)
        };
        self.pool.run(finish).await?;
        Ok(cloned)
    }
}
