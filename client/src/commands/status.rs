//! `holdfast status`.

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::{LockState, probe_lock};
use holdfast_client::database::{
    Database, DatabaseError, DatabasePaths, StoreSource, Unfinished, Upstream,
};
use holdfast_doltdb::history::{Distance, History};
use holdfast_doltdb::model::{Commit, WorkingSet};
use holdfast_doltdb::source::get_one;
use holdfast_doltdb::tree::AddressMap;
use holdfast_doltdb::{ReadError, RefName, unusable_refs};
use indicatif::BinaryBytes;
use serde_json::json;

use super::pool;
use crate::args::{Directory, Format, Output};
use crate::ui::{self, paint::Paint};

pub(super) async fn status(directory: Directory, output: Output) -> anyhow::Result<()> {
    let paths = DatabasePaths::new(&directory.directory);
    let unfinished = Unfinished::find(&paths)?;
    let status = match Database::open(&directory.directory, &pool()).await {
        Ok(database) => Status::read(&database, unfinished).await?,
        // A clone that was cut off is no database yet.
        Err(DatabaseError::None { .. }) if unfinished.is_some() => Status {
            unfinished,
            ..Status::default()
        },
        Err(error) => return Err(error.into()),
    };
    match output.format {
        Format::Json => ui::print(&status.json().to_string()),
        Format::Text => {
            for line in status.lines(output) {
                ui::print(&line)?;
            }
            Ok(())
        }
    }
}

/// What is to be said of a database.
#[derive(Debug, Default)]
struct Status {
    branch: Option<String>,
    head: Option<ChunkAddress>,
    upstream: Option<Followed>,
    work: Option<Work>,
    ghosts: usize,
    is_held: bool,
    unfinished: Option<Unfinished>,
}

/// The branch that the present one follows.
#[derive(Debug)]
struct Followed {
    name: String,
    /// Nothing where one of the two is not there.
    distance: Option<Distance>,
}

/// What lies uncommitted on a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Work {
    /// What would be committed is not what the head has.
    is_staged: bool,
    /// What is there is not what would be committed.
    is_changed: bool,
    is_merging: bool,
    is_rebasing: bool,
}

impl Work {
    fn is_clean(self) -> bool {
        !(self.is_staged || self.is_changed || self.is_merging || self.is_rebasing)
    }
}

impl Status {
    async fn read(database: &Database, unfinished: Option<Unfinished>) -> anyhow::Result<Self> {
        let store = database.store();
        let lock = probe_lock(store.directory());
        let lock = lock.map_err(|source| DatabaseError::Store { source })?;
        let mut status = Self {
            ghosts: store.ghosts().len(),
            is_held: lock == LockState::Held,
            unfinished,
            ..Self::default()
        };
        let Some(branch) = database.repo_state().branch() else {
            return Ok(status);
        };
        status.branch = Some(branch.to_owned());
        let source = StoreSource::new(std::sync::Arc::clone(store), pool());
        let refs = AddressMap::open(&source, store.root()).await?;
        let find = async |name: String| find(&source, &refs, &name).await;
        let head = find(format!("refs/heads/{branch}")).await?;
        status.head = head;
        let set = format!("workingSets/heads/{branch}");
        if let (Some(head), Some(set)) = (head, find(set).await?) {
            status.work = Some(read_work(&source, head, set).await?);
        }
        if let Some(upstream) = database.repo_state().branches.get(branch) {
            let name = short_name(upstream);
            let theirs = find(format!("refs/remotes/{name}")).await?;
            let distance = match (head, theirs) {
                (Some(ours), Some(theirs)) => {
                    let history = History::new(&source, store.ghosts());
                    Some(history.ahead_behind(ours, theirs).await?)
                }
                _ => None,
            };
            status.upstream = Some(Followed { name, distance });
        }
        Ok(status)
    }

    fn json(&self) -> serde_json::Value {
        let upstream = self.upstream.as_ref().map(|followed| {
            let distance = followed.distance;
            json!({
                "name": followed.name,
                "ahead": distance.map(|distance| distance.ahead),
                "behind": distance.map(|distance| distance.behind),
                "exact": distance.map(|distance| !distance.is_cut),
            })
        });
        let work = self.work.map(|work| {
            json!({
                "clean": work.is_clean(),
                "staged": work.is_staged,
                "changed": work.is_changed,
                "merging": work.is_merging,
                "rebasing": work.is_rebasing,
            })
        });
        let unfinished = self.unfinished.as_ref().map(|unfinished| {
            json!({
                "clone_of": unfinished.clone_of,
                "files": unfinished.files,
                "bytes": unfinished.len_bytes,
            })
        });
        json!({
            "branch": self.branch,
            "head": self.head,
            "upstream": upstream,
            "working_set": work,
            "left_out_commits": self.ghosts,
            "shallow": self.ghosts > 0,
            "in_use": self.is_held,
            "unfinished": unfinished,
        })
    }

    fn lines(&self, output: Output) -> Vec<String> {
        let mut lines = Vec::new();
        let attention = |text: &str| output.paint(Paint::Attention, text);
        if let Some(unfinished) = &self.unfinished {
            lines.push(attention(&unfinished_line(unfinished)));
        }
        let Some(branch) = &self.branch else {
            if lines.is_empty() {
                lines.push("no branch is checked out".to_owned());
            }
            return lines;
        };
        lines.push(match self.head {
            Some(head) => format!("on branch {}, at {head}", output.paint(Paint::Good, branch)),
            None => attention(&format!("on branch {branch}, which is not there")),
        });
        lines.extend(self.upstream.as_ref().map(Followed::line));
        match self.work {
            None => lines.push("no working set".to_owned()),
            Some(work) if work.is_clean() => {
                lines.push("nothing to commit, the working set is clean".to_owned());
            }
            Some(work) => lines.extend(work_lines(work).map(attention)),
        }
        match self.ghosts {
            0 => {}
            1 => lines.push("shallow: 1 commit is left out".to_owned()),
            count => lines.push(format!("shallow: {count} commits are left out")),
        }
        if self.is_held {
            lines.push("in use: a dolt or holdfast process has the database open".to_owned());
        }
        lines
    }
}

/// How a branch of a remote is called here.
fn short_name(upstream: &Upstream) -> String {
    let head = &upstream.head;
    let branch = head.strip_prefix("refs/heads/").unwrap_or(head);
    format!("{}/{branch}", upstream.remote)
}

/// Where a dataset stands; one that Dolt could not use is passed over with a warning.
async fn find(
    source: &StoreSource,
    refs: &AddressMap<'_, StoreSource>,
    name: &str,
) -> anyhow::Result<Option<ChunkAddress>> {
    let Some(address) = refs.get(name.as_bytes()).await? else {
        return Ok(None);
    };
    let named = [(RefName::parse(name), address)];
    Ok(match unusable_refs(source, named).await?.pop() {
        None => Some(address),
        Some((_, fault)) => {
            ui::warn(&format!("{fault}; it is passed over"));
            None
        }
    })
}

async fn read_work(
    source: &StoreSource,
    head: ChunkAddress,
    set: ChunkAddress,
) -> anyhow::Result<Work> {
    let wrong = |address| move |source| ReadError::Decode { address, source };
    let (head_chunk, set_chunk) = (get_one(source, head).await?, get_one(source, set).await?);
    let commit = Commit::decode(&head_chunk).map_err(wrong(head))?;
    let set_found = WorkingSet::decode(&set_chunk).map_err(wrong(set))?;
    let staged = set_found.staged_root.unwrap_or(commit.root);
    Ok(Work {
        is_staged: staged != commit.root,
        is_changed: set_found.working_root != staged,
        is_merging: set_found.is_merging,
        is_rebasing: set_found.is_rebasing,
    })
}

fn work_lines(work: Work) -> impl Iterator<Item = &'static str> {
    let all = [
        (work.is_merging, "a merge waits to be finished"),
        (work.is_rebasing, "a rebase waits to be finished"),
        (work.is_staged, "changes are staged and not committed"),
        (work.is_changed, "changes are not staged"),
    ];
    all.into_iter()
        .filter_map(|(is_so, text)| is_so.then_some(text))
}

impl Followed {
    fn line(&self) -> String {
        let name = &self.name;
        let Some(distance) = self.distance else {
            return format!("follows {name}, which was not fetched yet");
        };
        let least = if distance.is_cut { "at least " } else { "" };
        let commits = |count: u64| match count {
            1 => format!("{least}1 commit"),
            count => format!("{least}{count} commits"),
        };
        match (distance.ahead, distance.behind) {
            (0, 0) => format!("up to date with {name}"),
            (ahead, 0) => format!("ahead of {name} by {}", commits(ahead)),
            (0, behind) => format!("behind {name} by {}", commits(behind)),
            (ahead, behind) => {
                let (ahead, behind) = (commits(ahead), commits(behind));
                format!("diverged from {name}: {ahead} ahead, {behind} behind")
            }
        }
    }
}

fn unfinished_line(unfinished: &Unfinished) -> String {
    let what = match &unfinished.clone_of {
        Some(url) => format!("an unfinished clone of {}", ui::plain(url)),
        None => "an unfinished transfer".to_owned(),
    };
    let (files, bytes) = (unfinished.files, BinaryBytes(unfinished.len_bytes));
    format!("{what} waits to be continued ({files} files, {bytes} kept)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Color;

    fn lines(status: &Status) -> Vec<String> {
        status.lines(Output {
            format: Format::Text,
            quiet: false,
            color: Color::Never,
        })
    }

    fn followed(ahead: u64, behind: u64, is_cut: bool) -> String {
        let distance = Some(Distance {
            ahead,
            behind,
            is_cut,
        });
        let name = "origin/main".to_owned();
        Followed { name, distance }.line()
    }

    #[test]
    fn distances_are_said_in_words() {
        assert_eq!(followed(0, 0, false), "up to date with origin/main");
        assert_eq!(followed(1, 0, false), "ahead of origin/main by 1 commit");
        assert_eq!(
            followed(0, 2, true),
            "behind origin/main by at least 2 commits"
        );
        assert_eq!(
            followed(3, 1, false),
            "diverged from origin/main: 3 commits ahead, 1 commit behind"
        );
    }

    #[test]
    fn what_waits_is_named() {
        let mut status = Status {
            branch: Some("main".to_owned()),
            head: Some(ChunkAddress::ZERO),
            work: Some(Work {
                is_staged: false,
                is_changed: true,
                is_merging: true,
                is_rebasing: false,
            }),
            ghosts: 2,
            is_held: true,
            ..Status::default()
        };
        assert_eq!(
            lines(&status),
            [
                "on branch main, at 00000000000000000000000000000000",
                "a merge waits to be finished",
                "changes are not staged",
                "shallow: 2 commits are left out",
                "in use: a dolt or holdfast process has the database open",
            ]
        );
        assert_eq!(status.json()["working_set"]["clean"], false);
        status.work = Some(Work {
            is_staged: false,
            is_changed: false,
            is_merging: false,
            is_rebasing: false,
        });
        assert!(lines(&status)[1].contains("clean"));
        assert_eq!(status.json()["working_set"]["clean"], true);
    }

    #[test]
    fn a_clone_that_was_cut_off_is_said_to_be_one() {
        let status = Status {
            unfinished: Some(Unfinished {
                clone_of: Some("https://h/a/b".to_owned()),
                files: 3,
                len_bytes: 2048,
            }),
            ..Status::default()
        };
        assert_eq!(
            lines(&status),
            ["an unfinished clone of https://h/a/b waits to be continued (3 files, 2.00 KiB kept)"]
        );
        assert_eq!(status.json()["unfinished"]["files"], 3);
    }
}
