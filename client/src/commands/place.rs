//! What is looked at: the database in a directory, a store without one, or a remote.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use holdfast_chunkstore::noms_dir::{DamagedFile, NomsDir, StoreError, damaged_files};
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use holdfast_client::database::{Database, DatabaseError, DatabasePaths, RepoState, StoreSource};
use holdfast_client::remote::{DEFAULT_HOST, RemoteSource, RemoteUrl, UrlError};
use holdfast_client::transfer::{KnownNames, from_head, is_from_head, usual_branch};
use holdfast_doltdb::history::History;
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::{ChunkSource, RefName, Refs};

use super::remotes::Speaker;
use super::{Complaint, pool};
use crate::args::{Directory, Environment, NamedPlace, Place};
use crate::ui;

static NO_GHOSTS: LazyLock<HashSet<ChunkAddress>> = LazyLock::new(HashSet::new);

/// A place with its root and its chunks.
pub(super) struct Looked {
    /// How it is called.
    pub(super) name: String,
    pub(super) root: RootAddress,
    pub(super) source: Box<dyn ChunkSource>,
    /// Files of a store that are listed and cannot be used; they were passed over.
    pub(super) damaged: Vec<DamagedFile>,
    behind: Behind,
}

/// What gives the chunks.
enum Behind {
    Database(Database),
    Store(Arc<NomsDir>),
    Remote,
}

impl Looked {
    /// The store, where it is on this machine.
    pub(super) fn store(&self) -> Option<&Arc<NomsDir>> {
        match &self.behind {
            Behind::Database(database) => Some(database.store()),
            Behind::Store(store) => Some(store),
            Behind::Remote => None,
        }
    }

    /// Commits that a shallow clone left out.
    pub(super) fn ghosts(&self) -> &HashSet<ChunkAddress> {
        self.store().map_or(&NO_GHOSTS, |store| store.ghosts())
    }

    /// The branch that is checked out, where one is.
    pub(super) fn current_branch(&self) -> Option<&str> {
        match &self.behind {
            Behind::Database(database) => database.repo_state().branch(),
            Behind::Store(_) | Behind::Remote => None,
        }
    }

    /// Takes what a user wrote to a commit.
    pub(super) async fn resolve(&self, revision: &str) -> anyhow::Result<ChunkAddress> {
        let revision = self.written_out(revision).await?;
        let history = History::new(&*self.source, self.ghosts());
        let found = history.resolve(self.root, &revision).await?;
        match found {
            Some(found) => Ok(found.commit),
            None => Err(Complaint::Unknown {
                known: self.known(&revision).await?,
                name: revision,
            }
            .into()),
        }
    }

    /// The branches and tags that there are, for an error about one that there is not.
    async fn known(&self, wanted: &str) -> anyhow::Result<KnownNames> {
        let mut refs = Refs::open(&*self.source, self.root).await?;
        let mut names = Vec::new();
        while let Some((name, _)) = refs.next().await? {
            match name {
                RefName::Branch(name) | RefName::Tag(name) => names.push(name),
                _ => {}
            }
        }
        let (base, _) = wanted.split_at(wanted.find(['~', '^']).unwrap_or(wanted.len()));
        Ok(KnownNames::near(base, names.iter().map(String::as_str)))
    }

    /// Finds what a user wants to look at: the chunk of any dataset by its full name, or a commit.
    pub(super) async fn find(&self, text: &str) -> anyhow::Result<Option<ChunkAddress>> {
        let datasets = AddressMap::open(&*self.source, self.root).await?;
        if let Some(address) = datasets.get(text.as_bytes()).await? {
            return Ok(Some(address));
        }
        match self.resolve(text).await {
            Ok(commit) => Ok(Some(commit)),
            Err(error) => match error.downcast_ref() {
                Some(Complaint::Unknown { .. } | Complaint::NoBranches { .. }) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// A revision in which a branch stands for `HEAD`: the one that is checked out, or the usual one where none is.
    async fn written_out(&self, revision: &str) -> anyhow::Result<String> {
        if !is_from_head(revision) {
            return Ok(revision.to_owned());
        }
        let branch = match self.current_branch() {
            Some(branch) => branch.to_owned(),
            None => {
                let usual = usual_branch(&*self.source, self.root).await?;
                usual.ok_or_else(|| Complaint::NoBranches {
                    place: self.name.clone(),
                })?
            }
        };
        Ok(from_head(revision, &branch).into_owned())
    }
}

/// Where something lies, before it is opened.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Directory(PathBuf),
    Remote(String),
}

/// Opens what the flags name.
pub(super) async fn look(place: &Place, environment: &Environment) -> anyhow::Result<Looked> {
    let target = match &place.remote {
        None => Target::Directory(place.database.directory.clone()),
        Some(named) => match remote_called(named, &place.database)? {
            Some(url) => Target::Remote(url),
            None => Target::Remote(named.clone()),
        },
    };
    open(target, place, environment).await
}

/// Opens what was named first, or what the flags name.
pub(super) async fn look_at(
    named: &NamedPlace,
    environment: &Environment,
) -> anyhow::Result<Looked> {
    let Some(text) = &named.named else {
        return look(&named.place, environment).await;
    };
    let called = remote_called(text, &named.place.database)?;
    open(target(text, called), &named.place, environment).await
}

/// Tells a directory from a remote: what has a scheme is an address, and the name of a remote wins over a directory
/// of that name, as with git.
fn target(text: &str, called: Option<String>) -> Target {
    match called {
        Some(url) => Target::Remote(url),
        None if text.contains("://") => Target::Remote(text.to_owned()),
        None if Path::new(text).is_dir() || text.starts_with(['/', '.']) => {
            Target::Directory(PathBuf::from(text))
        }
        None => Target::Remote(text.to_owned()),
    }
}

/// The address of a remote that the database in a directory knows by this name.
fn remote_called(name: &str, database: &Directory) -> anyhow::Result<Option<String>> {
    if name.contains("://") {
        return Ok(None);
    }
    let state = match RepoState::load(&DatabasePaths::new(&database.directory)) {
        Ok(state) => state,
        Err(DatabaseError::None { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut known = state.remotes.into_iter().chain(state.backups);
    let found = known.find(|(known, _)| known == name);
    Ok(found.map(|(_, entry)| entry.url))
}

async fn open(target: Target, place: &Place, environment: &Environment) -> anyhow::Result<Looked> {
    let text = match target {
        Target::Directory(directory) => return open_directory(&directory).await,
        Target::Remote(text) => text,
    };
    let speaker = Speaker::of(&place.database.directory, place.user.clone(), environment)?;
    let url = speaker
        .parse(&text)
        .map_err(|error| match error.downcast() {
            Ok(UrlError::Syntax { text }) if !text.contains(':') => {
                anyhow::Error::from(Complaint::NoPlace { place: text })
            }
            Ok(error) => error.into(),
            Err(error) => error,
        })?;
    if let RemoteUrl::Directory(directory) = url {
        return open_directory(&directory).await;
    }
    let remote = speaker.open(&text).await?;
    let (name, root) = (remote.address(), remote.root().await?);
    if root.is_zero() {
        // Servers show an empty repository to whoever may make one, so nobody can tell.
        ui::note(&format!("{} is empty, or not there", ui::plain(&name)));
    }
    Ok(Looked {
        name,
        root,
        source: Box::new(RemoteSource::new(remote)),
        damaged: Vec::new(),
        behind: Behind::Remote,
    })
}

/// Opens what [`look_at`] opens, also where files of a store are damaged: those are passed over.
pub(super) async fn look_at_damaged(
    named: &NamedPlace,
    environment: &Environment,
) -> anyhow::Result<Looked> {
    let error = match look_at(named, environment).await {
        Err(error) => error,
        looked => return looked,
    };
    let directory = match &named.named {
        Some(text) => match target(text, remote_called(text, &named.place.database)?) {
            Target::Directory(directory) => directory,
            Target::Remote(text) => match RemoteUrl::parse(&text, DEFAULT_HOST) {
                Ok(RemoteUrl::Directory(directory)) => directory,
                _ => return Err(error),
            },
        },
        None if named.place.remote.is_none() => named.place.database.directory.clone(),
        None => return Err(error),
    };
    let is_damage = error.downcast_ref::<DatabaseError>().is_some_and(|error| {
        matches!(error, DatabaseError::Store { .. }) && error.kind() == ErrorKind::Corrupt
    });
    match is_damage {
        true => open_damaged(&directory).await?.ok_or(error),
        false => Err(error),
    }
}

/// Opens a store without its damaged files; nothing where it is no file that is damaged.
async fn open_damaged(directory: &Path) -> anyhow::Result<Option<Looked>> {
    let pool = pool();
    let inside = DatabasePaths::new(directory).store();
    let store = match inside.is_dir() {
        true => inside,
        false => directory.to_owned(),
    };
    let open = move || {
        let damaged = damaged_files(&store)?;
        let without = damaged.iter().map(|file| file.id).collect();
        let opened = NomsDir::open_without(&store, &without)?;
        Ok::<_, StoreError>((damaged, Arc::new(opened)))
    };
    let (damaged, store) = pool.run(open).await?;
    Ok((!damaged.is_empty()).then(|| Looked {
        name: directory.display().to_string(),
        root: store.root(),
        source: Box::new(StoreSource::new(Arc::clone(&store), pool)),
        damaged,
        behind: Behind::Store(store),
    }))
}

/// Opens a database, or a store that lies in a directory without one.
async fn open_directory(directory: &Path) -> anyhow::Result<Looked> {
    let pool = pool();
    let (store, behind) = match Database::open(directory, &pool).await {
        Ok(database) => (Arc::clone(database.store()), Behind::Database(database)),
        Err(none @ DatabaseError::None { .. }) => {
            let path = directory.to_owned();
            match pool.run(move || NomsDir::open(&path)).await {
                Ok(store) => {
                    let store = Arc::new(store);
                    (Arc::clone(&store), Behind::Store(store))
                }
                Err(StoreError::NoStore { .. }) => return Err(none.into()),
                Err(source) => return Err(DatabaseError::Store { source }.into()),
            }
        }
        Err(error) => return Err(error.into()),
    };
    let root = store.root();
    let source = Box::new(StoreSource::new(store, pool));
    Ok(Looked {
        name: directory.display().to_string(),
        root,
        source,
        damaged: Vec::new(),
        behind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_what_git_would_take_it_for() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().to_str().unwrap();
        let remote = |text: &str| Target::Remote(text.to_owned());
        let local = |text: &str| Target::Directory(text.into());
        for (text, wanted) in [
            ("https://h/a/b", remote("https://h/a/b")),
            ("file:///x", remote("file:///x")),
            ("owner/repo", remote("owner/repo")),
            (there, local(there)),
            ("/no/such/place", local("/no/such/place")),
            ("./nothing", local("./nothing")),
        ] {
            assert_eq!(target(text, None), wanted, "{text}");
        }
        let called = target(there, Some("https://h/a/b".to_owned()));
        assert_eq!(called, remote("https://h/a/b"), "the name of a remote wins");
    }

    #[test]
    fn names_of_remotes_are_those_of_the_database() {
        use holdfast_chunkstore::objects::durable;
        let directory = tempfile::tempdir().unwrap();
        let database = Directory {
            directory: directory.path().to_owned(),
        };
        assert_eq!(remote_called("origin", &database).unwrap(), None);
        let entry = holdfast_client::database::RemoteEntry::new("origin", "https://h/a/b");
        let state = RepoState::cloned("main", entry);
        let dolt = DatabasePaths::new(directory.path()).dolt();
        durable::create_root(&dolt).unwrap();
        let path = dolt.join("repo_state.json");
        durable::write_over(&path, "new-", 0o644, &state.encode()).unwrap();
        let called = remote_called("origin", &database).unwrap();
        assert_eq!(called.as_deref(), Some("https://h/a/b"));
        assert_eq!(remote_called("other", &database).unwrap(), None);
    }
}
