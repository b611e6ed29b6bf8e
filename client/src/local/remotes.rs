//! The remotes that a database knows, and the refs that follow them.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::RefName;

use super::LocalError;
use crate::database::{self, Database, DatabasePaths, RemoteEntry, RepoState, StoreSource};
use crate::transfer::KnownNames;
use crate::transfer::datasets::{Datasets, pairs};

/// What Dolt lets no name of a remote contain.
const FORBIDDEN: &str = " \t\n\r./\\!@#$%^&*(){}[],<>'\"?=+|";

/// Checks that Dolt could use a remote of this name, and refs that follow it.
pub fn check_remote_name(name: &str) -> Result<(), LocalError> {
    let follows = RefName::RemoteBranch {
        remote: name.to_owned(),
        branch: "main".to_owned(),
    };
    let is_forbidden = name.is_empty() || name.contains(|letter| FORBIDDEN.contains(letter));
    match is_forbidden || follows.check().is_err() {
        true => Err(LocalError::RemoteName {
            name: name.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Adds a remote all of whose branches are followed. Blocks.
pub fn add_remote(directory: &Path, name: &str, url: &str) -> Result<(), LocalError> {
    let paths = DatabasePaths::new(directory);
    let state = RepoState::load(&paths)?;
    check_remote_name(name)?;
    if state.remotes.contains_key(name) {
        let name = name.to_owned();
        return Err(LocalError::RemoteExists { name });
    }
    check_address(&state, name, url)?;
    Ok(database::add_remote(&paths, &RemoteEntry::new(name, url))?)
}

/// Gives a remote another address; the refs that follow it stay where they are. Blocks.
pub fn set_remote_url(directory: &Path, name: &str, url: &str) -> Result<(), LocalError> {
    let paths = DatabasePaths::new(directory);
    let state = RepoState::load(&paths)?;
    check_known(&state, name)?;
    check_address(&state, name, url)?;
    Ok(database::set_remote_url(&paths, name, url)?)
}

/// Removes a remote and the refs that follow it. Returns how many those were.
pub async fn remove_remote(
    directory: &Path,
    name: &str,
    pool: &BlockingPool,
    clock: &dyn Clock,
) -> Result<usize, LocalError> {
    let database = Database::open(directory, pool).await?;
    let store = database.paths().store();
    let writer = pool.run(move || StoreWriter::open(&store)).await?;
    // What was read before the lock may be what another command has changed since.
    let at = database.paths().clone();
    let state = pool.run(move || RepoState::load(&at)).await?;
    check_known(&state, name)?;
    let source = StoreSource::new(Arc::clone(writer.store()), pool.clone());
    let mut datasets = Datasets::read(&source, writer.store().root()).await?;
    let is_of_it =
        |found: &RefName| matches!(found, RefName::RemoteBranch { remote, .. } if remote == name);
    let gone: Vec<_> = datasets
        .iter()
        .map(|(found, _)| found)
        .filter(is_of_it)
        .collect();
    for found in &gone {
        datasets.set(found, None);
    }
    let count = gone.len();
    let (paths, name) = (database.paths().clone(), name.to_owned());
    let now = clock.now().seconds();
    let written = datasets.write()?;
    let remove = move || -> Result<(), LocalError> {
        if count > 0 {
            writer.commit(written.root, &[], &pairs(&written.chunks), now)?;
        }
        Ok(database::remove_remote(&paths, &name)?)
    };
    pool.run(remove).await?;
    Ok(count)
}

fn check_known(state: &RepoState, name: &str) -> Result<(), LocalError> {
    match state.remotes.contains_key(name) {
        true => Ok(()),
        false => Err(LocalError::NoRemote {
            name: name.to_owned(),
            known: KnownNames::near(name, state.remotes.keys().map(String::as_str)),
        }),
    }
}

/// Refuses the address of a backup, as Dolt does.
fn check_address(state: &RepoState, name: &str, url: &str) -> Result<(), LocalError> {
    let backup = state.backups.values().find(|backup| backup.url == url);
    match backup {
        None => Ok(()),
        Some(backup) => Err(LocalError::BackupAddress {
            name: name.to_owned(),
            backup: backup.name.clone(),
        }),
    }
}
