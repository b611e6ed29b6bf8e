//! One round: a server, an author whose commits are fetched, and a lane for each client.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use holdfast_tests::bench::database::Database;
use holdfast_tests::bench::files::copy_database;

use crate::Ground;
use crate::client::Client;
use crate::lane::Lane;
use crate::remote::Remote;
use crate::report::Report;
use crate::step::Step;

/// The repository that both clients clone and fetch from.
pub(crate) const SOURCE: &str = "source";

/// A server with a repository to clone, and everybody who talks to it.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    ground: &'a Ground,
    database: &'a Database,
    remote: Remote,
    folder: PathBuf,
}

impl<'a> Round<'a> {
    /// Starts the server and pushes the database.
    pub(crate) fn open(ground: &'a Ground, database: &'a Database, folder: &Path) -> Result<Self> {
        let store = folder.join("server");
        let remote = Remote::start(ground.server, ground.link, &ground.programs, &store)?;
        let round = Self {
            ground,
            database,
            remote,
            folder: folder.to_owned(),
        };
        let author = round.author();
        copy_database(database.folder(), &author)?;
        let url = round.remote.near_url(SOURCE);
        let dolt = &ground.dolt;
        dolt.run(&author, &["remote", "add", "origin", &url])?;
        dolt.run(&author, &["push", "origin", "main"])?;
        Ok(round)
    }

    fn author(&self) -> PathBuf {
        self.folder.join("author")
    }

    /// Takes every step with both clients in turn, so that they meet the same moods of the machine; who is first
    /// changes from step to step and from round to round. A step that fails is reported, and the others are taken.
    pub(crate) fn run(&self, number: u32, report: &mut Report) -> Result<()> {
        let open = |client: Client| {
            let folder = self.folder.join(client.name());
            let lane = Lane::open(self.ground, &self.remote, client, self.database, &folder);
            lane.with_context(|| format!("prepare for {}", client.name()))
        };
        let mut order = [open(Client::Dolt)?, open(Client::Holdfast)?];
        if number % 2 == 1 {
            order.reverse();
        }
        for (salt, step) in (1..).zip(Step::ALL) {
            let head = self.prepare(step, salt)?;
            for lane in &order {
                self.prepare_lane(lane, step, salt)?;
                let taken = lane
                    .take(step, &head)
                    .with_context(|| format!("the server said last: {}", self.remote.log_end()));
                report.add(lane.client(), step, taken);
            }
            order.reverse();
        }
        Ok(())
    }

    /// Pushes what is to be fetched, and returns the commit that the author's branch is at.
    fn prepare(&self, step: Step, salt: u64) -> Result<String> {
        let (author, dolt) = (self.author(), &self.ground.dolt);
        if let (Step::SmallFetch | Step::LargeFetch, Some(rows)) = (step, step.rows()) {
            let update = self.database.scattered_update(rows, salt);
            dolt.commit(&author, &update, step.words())?;
            dolt.run(&author, &["push", "origin", "main"])?;
        }
        dolt.head(&author, "main")
    }

    /// Commits what is to be pushed.
    fn prepare_lane(&self, lane: &Lane<'_>, step: Step, salt: u64) -> Result<()> {
        if let (Step::SmallPush, Some(rows)) = (step, step.rows()) {
            let update = self.database.scattered_update(rows, salt);
            lane.commit(&update, step.words())?;
        }
        Ok(())
    }
}
