//! One contender in one round: its server, and the databases that talk to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};

use holdfast_tests::bench::database::Database;
use holdfast_tests::bench::dolt::Dolt;
use holdfast_tests::bench::files::copy_database;

use crate::Ground;
use crate::contender::{Contender, Remote};
use crate::measure::{Sample, measure};
use crate::step::Step;

/// Rows that a small push touches.
const SMALL: u64 = 400;

/// Writers that push at once, and rows that each touches.
const WRITERS: u64 = 8;
const WRITER_ROWS: u64 = 10;

/// What takes hundredths of a second is done so often and divided.
const TIMES: u32 = 5;

/// A server and the databases around it.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    contender: Contender,
    remote: Remote,
    dolt: Dolt,
    database: &'a Database,
    folder: PathBuf,
}

impl<'a> Lane<'a> {
    /// Starts the server and prepares the database to push.
    pub(crate) fn open(ground: &Ground<'a>, contender: Contender, folder: &Path) -> Result<Self> {
        let remote = contender.start(ground.programs, ground.bucket, &folder.join("server"))?;
        let dolt = ground.dolt.with(remote.dolt_settings());
        let lane = Self {
            contender,
            remote,
            dolt,
            database: ground.database,
            folder: folder.to_owned(),
        };
        copy_database(ground.database.folder(), &lane.pusher())?;
        let add = ["remote", "add", "origin", lane.remote.url()];
        lane.dolt.run(&lane.pusher(), &add)?;
        Ok(lane)
    }

    pub(crate) fn name(&self) -> &'static str {
        self.contender.name()
    }

    /// The most memory that the server had, in MB.
    pub(crate) fn peak_memory(&self) -> Result<Option<f64>> {
        self.remote.peak_memory()
    }

    /// Takes a step, and checks that it did what it is for.
    pub(crate) fn take(&mut self, step: Step) -> Result<Sample> {
        let taken = match step {
            Step::FirstPush => self.push(),
            Step::Clone => self.clone_all(),
            Step::SmallPush => self.small_push(),
            Step::SmallFetch => self.small_fetch(),
            Step::PushNothing => self.nothing(&["push", "origin", "main"], &self.pusher()),
            Step::FetchNothing => self.nothing(&["fetch", "origin"], &self.clone_folder()),
            Step::ShallowClone => self.shallow_clone(),
            Step::Writers => self.writers(),
        };
        taken.with_context(|| format!("the server said last: {}", self.remote.log_end()))
    }

    fn pusher(&self) -> PathBuf {
        self.folder.join("pusher")
    }

    fn clone_folder(&self) -> PathBuf {
        self.folder.join("clone")
    }

    /// Runs dolt and takes the time.
    fn timed(&self, folder: &Path, arguments: &[&str]) -> Result<Sample> {
        measure(self.remote.process(), || {
            self.dolt.run(folder, arguments).map(drop)
        })
    }

    fn push(&self) -> Result<Sample> {
        self.timed(&self.pusher(), &["push", "origin", "main"])
    }

    fn clone_all(&self) -> Result<Sample> {
        let sample = self.timed(&self.folder, &["clone", self.remote.url(), "clone"])?;
        self.ensure_same("main", &self.clone_folder(), "main")?;
        Ok(sample)
    }

    fn small_push(&self) -> Result<Sample> {
        let update = self.database.scattered_update(SMALL, 1);
        self.dolt.commit(&self.pusher(), &update, "a small push")?;
        self.push()
    }

    fn small_fetch(&self) -> Result<Sample> {
        let sample = self.timed(&self.clone_folder(), &["fetch", "origin"])?;
        self.ensure_same("main", &self.clone_folder(), "origin/main")?;
        Ok(sample)
    }

    fn nothing(&self, arguments: &[&str], folder: &Path) -> Result<Sample> {
        let sample = measure(self.remote.process(), || {
            (0..TIMES).try_for_each(|_| self.dolt.run(folder, arguments).map(drop))
        })?;
        Ok(sample.divided(TIMES))
    }

    fn shallow_clone(&self) -> Result<Sample> {
        let arguments = ["clone", "--depth", "1", self.remote.url(), "shallow"];
        let sample = self.timed(&self.folder, &arguments)?;
        let shallow = self.folder.join("shallow");
        self.ensure_same("main", &shallow, "main")?;
        fs::remove_dir_all(&shallow)?;
        Ok(sample)
    }

    fn writers(&self) -> Result<Sample> {
        let writers: Vec<(PathBuf, String)> = (0..WRITERS)
            .map(|number| {
                let branch = format!("writer-{number}");
                (self.folder.join(&branch), branch)
            })
            .collect();
        for (number, (folder, branch)) in (0..).zip(&writers) {
            copy_database(&self.clone_folder(), folder)?;
            let update = self.database.scattered_update(WRITER_ROWS, 10 + number);
            let checkout = format!("call dolt_checkout('-b', '{branch}')");
            self.dolt
                .commit(folder, &format!("{checkout};\n{update}"), branch)?;
        }
        let sample = measure(self.remote.process(), || {
            thread::scope(|scope| {
                let pushes: Vec<_> = writers
                    .iter()
                    .map(|(folder, branch)| {
                        scope.spawn(|| self.dolt.run(folder, &["push", "origin", branch]))
                    })
                    .collect();
                pushes.into_iter().try_for_each(|push| match push.join() {
                    Ok(pushed) => pushed.map(drop),
                    Err(_) => Err(anyhow!("a writer did not end in time")),
                })
            })
        })?;
        self.dolt.run(&self.clone_folder(), &["fetch", "origin"])?;
        for (folder, branch) in &writers {
            let fetched = self
                .dolt
                .head(&self.clone_folder(), &format!("origin/{branch}"))?;
            ensure!(
                fetched == self.dolt.head(folder, branch)?,
                "{branch} is lost"
            );
            fs::remove_dir_all(folder)?;
        }
        Ok(sample)
    }

    /// Checks that a database has the commit that the pusher's branch is at.
    fn ensure_same(&self, pushed: &str, folder: &Path, branch: &str) -> Result<()> {
        let want = self.dolt.head(&self.pusher(), pushed)?;
        let got = self.dolt.head(folder, branch)?;
        ensure!(want == got, "{branch} is at {got} and not at {want}");
        Ok(())
    }
}
