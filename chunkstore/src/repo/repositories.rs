//! All repositories of a forge: names to handles.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::id::{PoolId, RepoId};
use crate::objects::ObjectKey;
use crate::repo::catalog::{self, Binding};
use crate::repo::damage::{DamagedFile, DamagedFiles, wrong_len};
use crate::repo::error::RepositoryError;
use crate::repo::layout;
use crate::repo::name::RepoName;
use crate::repo::parts::Parts;
use crate::repo::repository::{Repository, Shared};

/// How many repositories stay open when nobody uses them.
const KEPT_OPEN: usize = 1024;

/// All repositories of a forge. Clones are the same.
#[derive(Debug, Clone)]
pub struct Repositories {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    defaults: u32,
    bindings: quick_cache::sync::Cache<RepoName, Binding>,
    /// One handle per repository at any time: in an exclusive store its state is what is true.
    open: Mutex<HashMap<RepoId, Weak<Shared>>>,
    /// The same, by where their files are.
    pools: Mutex<HashMap<PoolId, Weak<Shared>>>,
    damaged: Arc<DamagedFiles>,
    kept: quick_cache::sync::Cache<RepoId, Arc<Shared>>,
}

impl Repositories {
    /// Opens the forge that is kept in `parts.objects`, or begins a new one there.
    pub async fn open(parts: Parts) -> Result<Self, RepositoryError> {
        let defaults = catalog::open_forge(&parts).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                parts,
                defaults,
                bindings: quick_cache::sync::Cache::new(KEPT_OPEN),
                open: Mutex::default(),
                pools: Mutex::default(),
                damaged: Arc::default(),
                kept: quick_cache::sync::Cache::new(KEPT_OPEN),
            }),
        })
    }

    /// Finds the repository that a name means. One that was reserved and has no record yet looks empty.
    pub async fn find(&self, name: &RepoName) -> Result<Option<Repository>, RepositoryError> {
        if let Some(binding) = self.inner.bindings.get(name) {
            return Ok(Some(self.handle(name, binding)));
        }
        let Some(binding) = catalog::lookup(&self.inner.parts, name).await? else {
            return Ok(None);
        };
        self.inner.bindings.insert(name.clone(), binding);
        Ok(Some(self.handle(name, binding)))
    }

    /// Finds the repository that a name means, or gives it one. It is listed from its first record on.
    pub async fn reserve(&self, name: &RepoName) -> Result<Repository, RepositoryError> {
        if let Some(repository) = self.find(name).await? {
            return Ok(repository);
        }
        let binding = catalog::bind(&self.inner.parts, name).await?;
        self.inner.bindings.insert(name.clone(), binding);
        Ok(self.handle(name, binding))
    }

    /// Lists the repositories that have at least one record, by name.
    pub async fn list(&self) -> Result<Vec<Repository>, RepositoryError> {
        let mut repositories = Vec::new();
        for (_, repository) in self.every_name().await? {
            let repository = repository?;
            if repository.state().await?.sequence > 0 {
                repositories.push(repository);
            }
        }
        Ok(repositories)
    }

    /// Lists every name with the repository that it means, by name; also those without a record. No log is read,
    /// and what cannot be read of one name says nothing of the others.
    pub async fn every_name(
        &self,
    ) -> Result<Vec<(RepoName, Result<Repository, RepositoryError>)>, RepositoryError> {
        let names = catalog::names(&self.inner.parts).await?;
        let handle = |(name, binding): catalog::Named| {
            let repository = binding.map(|binding| self.handle(&name, binding));
            (name, repository)
        };
        Ok(names.into_iter().map(handle).collect())
    }

    /// A secret that all servers of this forge share; the first to ask for it makes it.
    pub async fn secret(&self, name: &str) -> Result<[u8; 32], RepositoryError> {
        catalog::secret(&self.inner.parts, name).await
    }

    /// Which defaults the forge was made with: 0 before they were first changed, then one more each time.
    pub fn defaults(&self) -> u32 {
        self.inner.defaults
    }

    /// The parts that the repositories share.
    pub fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Asks the object store for something small: whether it answers at all, and still holds the forge.
    pub async fn ping(&self) -> Result<(), RepositoryError> {
        catalog::check_forge(&self.inner.parts).await
    }

    /// The data files of which this process knows that they are damaged, by repository.
    pub fn damaged(&self) -> Vec<DamagedFile> {
        self.inner.damaged.all()
    }

    /// Looks again at a data file that could not be read by its key, or was short. Nothing if it is what it should be,
    /// or if no repository that is open names it.
    pub async fn look_at(&self, key: &ObjectKey) -> Result<Option<DamagedFile>, RepositoryError> {
        let Some((pool, upload)) = layout::parse_file(key) else {
            return Ok(None);
        };
        let Some(repository) = self.of_pool(pool) else {
            return Ok(None);
        };
        match repository.state().await?.files.get(&upload) {
            Some(file) => repository.look_at(file).await,
            None => Ok(None),
        }
    }

    /// What is wrong with a data file that was opened: that it is known to be damaged, or has another length than its
    /// record says, as far as that is at hand.
    pub fn check_len(&self, key: &ObjectKey, len: u64) -> Option<DamagedFile> {
        let (pool, upload) = layout::parse_file(key)?;
        if let Some(known) = self.inner.damaged.get(upload) {
            return Some(known);
        }
        let repository = self.of_pool(pool)?;
        let file = repository.file_at_hand(upload)?;
        let is_right = file.len == len;
        (!is_right).then(|| repository.note_damage(&file, wrong_len(len, file.len)))
    }

    fn of_pool(&self, pool: PoolId) -> Option<Repository> {
        let shared = self.inner.pools.lock().get(&pool)?.upgrade()?;
        Some(Repository::from_shared(shared))
    }

    fn handle(&self, name: &RepoName, binding: Binding) -> Repository {
        let mut open = self.inner.open.lock();
        if let Some(shared) = open.get(&binding.repo).and_then(Weak::upgrade) {
            self.inner.kept.insert(binding.repo, Arc::clone(&shared));
            return Repository::from_shared(shared);
        }
        let (mut parts, damaged) = (self.inner.parts.clone(), Arc::clone(&self.inner.damaged));
        if let Some(meaning) = parts.meaning.of_repository(name) {
            parts.meaning = meaning;
        }
        let shared = Arc::new(Shared::new(parts, damaged, name.clone(), binding));
        let mut pools = self.inner.pools.lock();
        pools.retain(|_, weak| weak.strong_count() > 0);
        pools.insert(binding.pool, Arc::downgrade(&shared));
        drop(pools);
        open.retain(|_, weak| weak.strong_count() > 0);
        open.insert(binding.repo, Arc::downgrade(&shared));
        self.inner.kept.insert(binding.repo, Arc::clone(&shared));
        Repository::from_shared(shared)
    }
}
