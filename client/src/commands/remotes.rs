//! Remotes as users name them: by the names that a database gives them, and by addresses.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::clock::{Clock, SystemClock};
use holdfast_client::database::{Database, DatabasePaths, RepoState, StoreSource};
use holdfast_client::remote::{self, Access, DEFAULT_HOST, Remote, RemoteUrl};
use holdfast_client::transfer::{Identity, KnownNames};

use super::ends::{is_directory, is_path};
use super::{Complaint, pool, user::User};
use crate::args::{Environment, How};
use crate::ui::retries::ToldRetries;

/// The name of the remote that is meant when none is given and none followed.
const USUAL: &str = "origin";

/// What follows a remote that is named by its address alone: `refs/remotes/fetched/<branch>`. Such a ref keeps what came
/// from being collected, and dolt merges it by its name. A remote that the user calls so has such refs itself: then a
/// number is added.
fn by_address(state: &RepoState) -> String {
    let numbered = (2..).map(|number| format!("fetched-{number}"));
    let mut names = std::iter::once("fetched".to_owned()).chain(numbered);
    let free = names.find(|name| !state.remotes.contains_key(name));
    free.expect("there are more numbers than remotes")
}

/// A remote, and what the database calls it.
pub(super) struct Named {
    pub(super) name: Option<String>,
    pub(super) remote: Arc<dyn Remote>,
}

/// The remote that the branch which is checked out follows, else the usual one.
pub(super) fn followed(state: &RepoState) -> &str {
    let branch = state.branch().and_then(|branch| state.branches.get(branch));
    branch.map_or(USUAL, |upstream| upstream.remote.as_str())
}

/// Opens the database in a directory, and its chunks.
pub(super) async fn open_database(directory: &Path) -> anyhow::Result<(Database, StoreSource)> {
    let pool = pool();
    let database = Database::open(directory, &pool).await?;
    let source = StoreSource::new(Arc::clone(database.store()), pool);
    Ok((database, source))
}

/// A remote of a database, and who speaks to it.
pub(super) struct Followed<'a> {
    pub(super) speaker: Speaker<'a>,
    /// What the database calls the remote.
    pub(super) name: String,
    /// Whether the remote has no name in the database, and `name` only stands for it.
    pub(super) is_by_address: bool,
    pub(super) remote: Arc<dyn Remote>,
}

impl<'a> Followed<'a> {
    /// Opens a database, and finds its remote of that name or address, else the one that is followed.
    pub(super) async fn open(
        how: &How,
        remote: Option<String>,
        environment: &'a Environment,
    ) -> anyhow::Result<Self> {
        let (database, _) = open_database(&how.database.directory).await?;
        let speaker = Speaker::of(&how.database.directory, how.user.clone(), environment)?;
        let state = database.repo_state();
        let text = remote.unwrap_or_else(|| followed(state).to_owned());
        let Named { name, remote } = speaker.find(state, &text).await?;
        let is_by_address = name.is_none();
        let name = match name {
            Some(name) => name,
            None => by_address(state),
        };
        Ok(Self {
            speaker,
            name,
            is_by_address,
            remote,
        })
    }
}

/// Who does something, and to whom it speaks.
pub(super) struct Speaker<'a> {
    pub(super) user: User,
    pub(super) name: Option<String>,
    pub(super) environment: &'a Environment,
    pub(super) clock: Arc<dyn Clock>,
}

impl<'a> Speaker<'a> {
    pub(super) fn new(name: Option<String>, environment: &'a Environment) -> anyhow::Result<Self> {
        Ok(Self::from(
            User::read(environment, None)?,
            name,
            environment,
        ))
    }

    /// The same for what is done with the database in a directory, whose settings count first.
    pub(super) fn of(
        database: &Path,
        name: Option<String>,
        environment: &'a Environment,
    ) -> anyhow::Result<Self> {
        let user = User::read(environment, Some(database))?;
        Ok(Self::from(user, name, environment))
    }

    fn from(user: User, name: Option<String>, environment: &'a Environment) -> Self {
        Self {
            user,
            name,
            environment,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// The remote of that name, or at that address.
    pub(super) async fn find(&self, state: &RepoState, text: &str) -> anyhow::Result<Named> {
        if let Some(entry) = state.remotes.get(text) {
            return Ok(Named {
                name: Some(text.to_owned()),
                remote: self.open(&entry.url).await?,
            });
        }
        if !text.contains(['/', '@']) && !is_directory(text) {
            return Err(Complaint::NoRemote {
                name: text.to_owned(),
                known: KnownNames::near(text, state.remotes.keys().map(String::as_str)),
            }
            .into());
        }
        // The address of a remote that has a name is that remote.
        let address = self.parse(text)?.to_string();
        let mut remotes = state.remotes.iter();
        let known = remotes.find(|(_, entry)| entry.url == text || entry.url == address);
        Ok(Named {
            name: known.map(|(name, _)| name.clone()),
            remote: self.open(text).await?,
        })
    }

    /// The remote at an address.
    pub(super) async fn open(&self, text: &str) -> anyhow::Result<Arc<dyn Remote>> {
        let access = Access {
            credentials: self.user.credentials(self.name.clone(), self.environment)?,
            proxies: self.environment.proxies.clone(),
            retries: Arc::new(ToldRetries::new()),
            clock: Arc::clone(&self.clock),
            pool: pool(),
        };
        Ok(remote::open(self.parse(text)?, access).await?)
    }

    /// Reads an address, or the path of a directory: that of a store, or of a database, whose store is meant then.
    pub(super) fn parse(&self, text: &str) -> anyhow::Result<RemoteUrl> {
        if is_path(text) || is_directory(text) {
            // What is not there yet has no other name.
            let path = match std::fs::canonicalize(text) {
                Ok(path) => path,
                Err(_) => std::path::absolute(text)?,
            };
            let store = DatabasePaths::new(&path).store();
            return Ok(RemoteUrl::Directory(match store.is_dir() {
                true => store,
                false => path,
            }));
        }
        let host = self.user.settings.get("remotes.default_host");
        Ok(RemoteUrl::parse(text, host.unwrap_or(DEFAULT_HOST))?)
    }

    /// Whether a setting is on, in the words that Dolt reads.
    pub(super) fn is_on(&self, name: &'static str) -> Result<bool, Complaint> {
        match self.user.settings.get(name) {
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            None | Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(other) => Err(Complaint::Setting {
                name,
                text: other.to_owned(),
            }),
        }
    }

    /// Who is written into working sets.
    pub(super) fn identity(&self) -> Option<Identity> {
        let settings = &self.user.settings;
        let both = settings.get("user.name").zip(settings.get("user.email"));
        both.map(|(name, email)| Identity {
            name: name.to_owned(),
            email: email.to_owned(),
        })
    }
}
