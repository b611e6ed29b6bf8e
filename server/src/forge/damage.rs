//! Damaged data files: looked for beside all else, and told to whoever asks whether the server is ready.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use holdfast_chunkstore::objects::{ObjectError, ObjectKey};
use holdfast_chunkstore::repo::{DamagedFile, RepoName, Repositories, RepositoryError};

use super::access::{Action, Principal};
use super::upkeep::Upkeep;
use super::{Caller, Forge, ForgeError};

/// How many damaged files are named to whoever asks whether the server is ready.
const MOST_NAMED: usize = 20;

/// How often damaged files are looked at again: an operator may have put them right.
const AGAIN: Duration = Duration::from_secs(60);

/// After so many such looks the store is listed again, that is once an hour: what is read from a bucket by presigned
/// addresses, and what is not read, is noticed by the list alone.
const LOOKS_PER_LIST: u32 = 60;

impl Forge {
    /// Compares what the records name with what the store lists, one repository after another, now and once an hour; and
    /// looks at what is damaged again once a minute. Returns at once.
    pub fn watch_for_damage(&self) {
        self.watch_at(AGAIN);
    }

    fn watch_at(&self, pace: Duration) {
        let (repositories, upkeep) = (self.repositories.clone(), Arc::clone(&self.upkeep));
        let clock = Arc::clone(self.clock());
        self.upkeep.spawn(async move {
            loop {
                look(&repositories, &upkeep).await;
                for _ in 0..LOOKS_PER_LIST {
                    clock.sleep(pace).await;
                    look_again(&repositories, &upkeep).await;
                }
            }
        });
    }

    /// What is said of a server that is ready: one line, and after it what is damaged, if anything is. One damaged
    /// repository is no reason to send nobody here. Who may not read is told no names.
    pub fn readiness(&self) -> String {
        let may_read = self.access.check(Principal::Anyone, Action::Read).is_ok();
        readiness(&self.repositories.damaged(), may_read)
    }

    /// Reads a data file, named by the last segment of its key, and compares it with what was taken in.
    pub async fn check_file(
        &self,
        caller: &Caller,
        name: &RepoName,
        file: &str,
    ) -> Result<(), ForgeError> {
        let Some(repository) = self.readable(caller, name).await? else {
            return Ok(());
        };
        let _turn = self.rereads.lock().await;
        match repository.check_bytes(file).await? {
            None => Ok(()),
            Some(damaged) => Err(ForgeError::Repository(damaged.error())),
        }
    }

    /// Whether a data file that could not be read, or not as far as was asked for, is damaged.
    pub(super) async fn if_damaged(
        &self,
        key: &ObjectKey,
        error: &ObjectError,
    ) -> Option<ForgeError> {
        if !matches!(
            error,
            ObjectError::NotFound { .. } | ObjectError::Range { .. }
        ) {
            return None;
        }
        // That it cannot be looked at is told where the file is read.
        let damaged = self.repositories.look_at(key).await.ok()??;
        Some(ForgeError::Repository(damaged.error()))
    }

    /// Fails if a data file that was opened is known to be damaged, or has another length than was recorded.
    pub(super) fn check_len(&self, key: &ObjectKey, len: u64) -> Result<(), ForgeError> {
        match self.repositories.check_len(key, len) {
            None => Ok(()),
            Some(damaged) => Err(ForgeError::Repository(damaged.error())),
        }
    }
}

async fn look(repositories: &Repositories, upkeep: &Upkeep) {
    let names = match repositories.every_name().await {
        Ok(names) => names,
        Err(error) => {
            let cause = super::error::one_line(&error);
            tracing::warn!(cause, "could not look for damaged data files");
            return;
        }
    };
    for (name, repository) in names {
        let Ok(repository) = repository else { continue };
        match repository.look_for_damage().await {
            Ok(found) if found > 0 || upkeep.is_waited_for(&repository).await => {
                repository.try_unreadable_again();
                upkeep.look_at(repository);
            }
            Ok(_) => {}
            // A log that cannot be read is told by whatever asks for the repository.
            Err(error) => {
                let cause = super::error::one_line(&error);
                tracing::debug!(repo = %name, cause, "could not look for damaged data files");
            }
        }
    }
}

/// Looks at damaged files again.
async fn look_again(repositories: &Repositories, upkeep: &Upkeep) {
    let names: BTreeSet<_> = repositories
        .damaged()
        .into_iter()
        .map(|file| file.repo)
        .collect();
    for name in names {
        let looked = async {
            let Some(repository) = repositories.find(&name).await? else {
                return Ok(());
            };
            repository.look_again().await?;
            if repository.has_damage().await {
                upkeep.look_at(repository);
            }
            Ok::<_, RepositoryError>(())
        };
        if let Err(error) = looked.await {
            let cause = super::error::one_line(&error);
            tracing::debug!(repo = %name, cause, "could not look at damaged data files again");
        }
    }
}

fn readiness(damaged: &[DamagedFile], may_read: bool) -> String {
    let count = damaged.len();
    let mut text = match count {
        0 => return "ready".to_owned(),
        1 => "ready\n1 data file is damaged".to_owned(),
        count => format!("ready\n{count} data files are damaged"),
    };
    text.push_str(": see the log, and `holdfastd verify`");
    if may_read {
        for DamagedFile { repo, key, what } in damaged.iter().take(MOST_NAMED) {
            write!(text, "\n{repo}: {key}: {what}").expect("a String takes anything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(number: usize) -> DamagedFile {
        DamagedFile {
            repo: "acme/prod".parse().unwrap(),
            key: ObjectKey::parse(format!("pools/1/files/{number}")).unwrap(),
            what: "it is missing".to_owned(),
        }
    }

    #[test]
    fn who_asks_is_told_what_is_damaged_and_no_names_that_are_not_public() {
        assert_eq!(readiness(&[], true), "ready");
        let one = [damaged(1)];
        let told = readiness(&one, true);
        assert!(told.starts_with("ready\n1 data file is damaged"), "{told}");
        assert!(told.ends_with("\nacme/prod: pools/1/files/1: it is missing"));
        assert!(!readiness(&one, false).contains("acme"));
        let many: Vec<_> = (0..1000).map(damaged).collect();
        let told = readiness(&many, true);
        assert!(told.contains("1000 data files") && told.lines().count() == 2 + MOST_NAMED);
    }
}
