//! One client in one round, and its databases.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use holdfast_tests::bench::database::Database;
use holdfast_tests::bench::files::copy_database;
use holdfast_tests::bench::measure::{self, Usage};

use crate::Ground;
use crate::client::Client;
use crate::remote::Remote;
use crate::round::SOURCE;
use crate::step::Step;

/// What takes hundredths of a second is done so often and divided.
const TIMES: u32 = 5;

/// A client with a database to push, and with those that it clones.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    ground: &'a Ground,
    remote: &'a Remote,
    client: Client,
    database: &'a Database,
    folder: PathBuf,
}

impl<'a> Lane<'a> {
    /// Prepares the database to push.
    pub(crate) fn open(
        ground: &'a Ground,
        remote: &'a Remote,
        client: Client,
        database: &'a Database,
        folder: &Path,
    ) -> Result<Self> {
        let lane = Self {
            ground,
            remote,
            client,
            database,
            folder: folder.to_owned(),
        };
        copy_database(database.folder(), &lane.pusher())?;
        let (far, near) = (remote.url(client.name()), remote.near_url(client.name()));
        for add in [
            ["remote", "add", "origin", &far],
            ["remote", "add", "check", &near],
        ] {
            ground.dolt.run(&lane.pusher(), &add)?;
        }
        Ok(lane)
    }

    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Commits changes to the database that is pushed.
    pub(crate) fn commit(&self, statements: &str, message: &str) -> Result<()> {
        self.ground.dolt.commit(&self.pusher(), statements, message)
    }

    /// Takes a step, and checks that what is cloned or fetched is the commit `head`, or that what is pushed is there.
    pub(crate) fn take(&self, step: Step, head: &str) -> Result<Usage> {
        match step {
            Step::Clone => self.whole(|| self.clone_all(head)),
            Step::ShallowClone => self.clone_shallow(head),
            Step::FetchNothing => self.fetch_nothing(head),
            Step::SmallFetch | Step::LargeFetch => self.fetch(head),
            Step::FirstPush => self.whole(|| self.push()),
            Step::SmallPush => self.push(),
        }
    }

    fn pusher(&self) -> PathBuf {
        self.folder.join("pusher")
    }

    fn clone_folder(&self) -> PathBuf {
        self.folder.join("clone")
    }

    /// Runs the client and takes its time, when nobody else has work to do.
    fn timed(&self, folder: &Path, arguments: &[&str]) -> Result<Usage> {
        measure::sync()?;
        measure::wait_until_idle(self.remote.process())?;
        self.run(folder, arguments)
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Result<Usage> {
        let binary = self.client.binary(&self.ground.programs)?;
        measure::run(self.ground.home.command(binary, folder, arguments))
    }

    /// Takes a step that moves everything, and checks that nothing of it went around the line.
    fn whole(&self, take: impl FnOnce() -> Result<Usage>) -> Result<Usage> {
        let before = self.remote.carried_mb();
        let usage = take()?;
        if let Some((before, after)) = before.zip(self.remote.carried_mb()) {
            let (carried, size) = (after - before, self.database.size_mb()?);
            // How well the parts are packed is the client's choice.
            ensure!(
                carried > size / 2.0,
                "{carried:.1} MB went over the line, of {size:.1} MB"
            );
        }
        Ok(usage)
    }

    fn clone_all(&self, head: &str) -> Result<Usage> {
        let arguments = ["clone", &self.remote.url(SOURCE), "clone"];
        let usage = self.timed(&self.folder, &arguments)?;
        self.ensure_head(&self.clone_folder(), "main", head)?;
        Ok(usage)
    }

    fn clone_shallow(&self, head: &str) -> Result<Usage> {
        let url = self.remote.url(SOURCE);
        let arguments = ["clone", "--depth", "1", &url, "shallow"];
        let usage = self.timed(&self.folder, &arguments)?;
        let shallow = self.folder.join("shallow");
        self.ensure_head(&shallow, "main", head)?;
        fs::remove_dir_all(&shallow)?;
        Ok(usage)
    }

    fn fetch_nothing(&self, head: &str) -> Result<Usage> {
        let fetch = ["fetch", "origin"];
        let mut sum = self.timed(&self.clone_folder(), &fetch)?;
        for _ in 1..TIMES {
            let usage = self.run(&self.clone_folder(), &fetch)?;
            sum = Usage {
                wall: sum.wall + usage.wall,
                cpu: sum.cpu + usage.cpu,
                peak_mb: sum.peak_mb.max(usage.peak_mb),
            };
        }
        self.ensure_head(&self.clone_folder(), "origin/main", head)?;
        Ok(Usage {
            wall: sum.wall / TIMES,
            cpu: sum.cpu / TIMES,
            ..sum
        })
    }

    fn fetch(&self, head: &str) -> Result<Usage> {
        let usage = self.timed(&self.clone_folder(), &["fetch", "origin"])?;
        self.ensure_head(&self.clone_folder(), "origin/main", head)?;
        Ok(usage)
    }

    fn push(&self) -> Result<Usage> {
        let pusher = self.pusher();
        let usage = self.timed(&pusher, &["push", "origin", "main"])?;
        let pushed = self.ground.dolt.head(&pusher, "main")?;
        self.ground.dolt.run(&pusher, &["fetch", "check"])?;
        self.ensure_head(&pusher, "check/main", &pushed)?;
        Ok(usage)
    }

    fn ensure_head(&self, folder: &Path, branch: &str, want: &str) -> Result<()> {
        let got = self.ground.dolt.head(folder, branch)?;
        ensure!(want == got, "{branch} is at {got} and not at {want}");
        Ok(())
    }
}
