//! All repositories of a forge: names to handles.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::id::RepoId;
use crate::repo::catalog::{self, Binding};
use crate::repo::error::RepositoryError;
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

    fn handle(&self, name: &RepoName, binding: Binding) -> Repository {
        let mut open = self.inner.open.lock();
        if let Some(shared) = open.get(&binding.repo).and_then(Weak::upgrade) {
            self.inner.kept.insert(binding.repo, Arc::clone(&shared));
            return Repository::from_shared(shared);
        }
        let mut parts = self.inner.parts.clone();
        if let Some(meaning) = parts.meaning.of_repository(name) {
            parts.meaning = meaning;
        }
        let shared = Arc::new(Shared::new(parts, name.clone(), binding));
        open.retain(|_, weak| weak.strong_count() > 0);
        open.insert(binding.repo, Arc::downgrade(&shared));
        self.inner.kept.insert(binding.repo, Arc::clone(&shared));
        Repository::from_shared(shared)
    }
}
