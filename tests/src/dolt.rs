//! An unmodified `dolt`, run with its own home folder, a fixed author and fixed dates.
//!
//! Found as `$HOLDFAST_DOLT` or `dolt` on PATH; old versions as `dolt-<version>` on PATH or in
//! `$HOLDFAST_OLD_DOLTS` (paths, separated by colons). Where there is none, the caller skips and stderr says why.

mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Finished};
use crate::say;

pub use self::server::SqlServer;

/// No dolt command of the tests may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// The old versions that are looked for on PATH.
pub const OLD_VERSIONS: [&str; 6] = ["1.20.0", "1.36.0", "1.42.0", "1.50.0", "1.59.20", "2.2.0"];

/// With `0` a dolt uploads table files and no archives. Before 2.0 it does so by itself, and 1.59.20 takes any value
/// for the contrary: such a dolt is not told.
pub const ARCHIVE_UPLOADS: &str = "DOLT_ARCHIVE_PULL_STREAMER";

const GLOBAL_CONFIG: &str = r#"{
    "metrics.disabled": "true",
    "versioncheck.disabled": "true",
    "init.defaultbranch": "main",
    "user.name": "Ada Harness",
    "user.email": "ada@example.com"
}"#;

/// An executable of dolt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dolt {
    binary: PathBuf,
    version: String,
}

impl Dolt {
    /// Today's dolt, or `None` after a word on stderr.
    pub fn find() -> Option<Self> {
        let found = process::find("HOLDFAST_DOLT", "dolt");
        if found.is_none() {
            say::skipped("no dolt; set HOLDFAST_DOLT or put `dolt` on PATH");
        }
        found.map(Self::at)
    }

    /// Every old dolt that is installed, oldest first. Stderr says which of [`OLD_VERSIONS`] are missing.
    pub fn find_old() -> Vec<Self> {
        let found = Self::installed(&OLD_VERSIONS);
        for version in OLD_VERSIONS {
            say_if_missing(version, &found);
        }
        found
    }

    /// One old dolt, or `None` after a word on stderr.
    pub fn find_version(version: &str) -> Option<Self> {
        let found = Self::installed(&[version]);
        say_if_missing(version, &found);
        found.into_iter().find(|dolt| dolt.version == version)
    }

    /// Those that `$HOLDFAST_OLD_DOLTS` names, else these versions as far as they are on PATH.
    fn installed(versions: &[&str]) -> Vec<Self> {
        let binaries: Vec<PathBuf> = match std::env::var_os("HOLDFAST_OLD_DOLTS") {
            Some(paths) => std::env::split_paths(&paths)
                .filter(|file| file.is_file())
                .collect(),
            None => versions
                .iter()
                .filter_map(|version| process::on_path(&format!("dolt-{version}")))
                .collect(),
        };
        let mut found: Vec<Self> = binaries.into_iter().map(Self::at).collect();
        found.sort_by_key(Self::version_parts);
        found
    }

    fn at(binary: PathBuf) -> Self {
        let shop = Workshop::new(&Self {
            binary: binary.clone(),
            version: String::new(),
        });
        let printed = shop.command(shop.folder(), &["version"]).expect_success();
        let version = printed
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("dolt version "))
            .unwrap_or_else(|| panic!("{} version printed {printed:?}", binary.display()));
        Self {
            version: version.to_owned(),
            binary,
        }
    }

    /// Its version, as it says: `2.2.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its version as numbers, for comparisons.
    pub fn version_parts(&self) -> (u32, u32, u32) {
        let mut parts = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        (next(), next(), next())
    }

    /// Whether it has `dolt fsck`: 1.42 has not.
    pub fn has_fsck(&self) -> bool {
        self.version_parts() >= (1, 50, 0)
    }

    /// Whether it has `dolt push --all`.
    pub fn has_push_all(&self) -> bool {
        self.version_parts() >= (1, 36, 0)
    }

    /// Whether it has `dolt clone --single-branch` and `--depth`: 1.20 has neither.
    pub fn has_partial_clones(&self) -> bool {
        self.version_parts() >= (1, 36, 0)
    }
}

fn say_if_missing(version: &str, found: &[Dolt]) {
    if !found.iter().any(|dolt| dolt.version == version) {
        say::skipped(format_args!(
            "no dolt {version}; put `dolt-{version}` on PATH, or name its file in HOLDFAST_OLD_DOLTS"
        ));
    }
}

#[derive(Debug)]
struct Shop {
    dolt: Dolt,
    root: Arc<TempDir>,
    home: PathBuf,
    settings: Vec<(String, String)>,
}

/// A temporary folder with a dolt, its home folder, and the databases that a test makes. Clones share it.
#[derive(Debug, Clone)]
pub struct Workshop {
    shop: Arc<Shop>,
}

impl Workshop {
    /// Makes an empty one.
    pub fn new(dolt: &Dolt) -> Self {
        let root = TempDir::with_prefix("holdfast-dolt-").expect("a temporary folder can be made");
        Self::within(Arc::new(root), dolt, Vec::new())
    }

    fn within(root: Arc<TempDir>, dolt: &Dolt, settings: Vec<(String, String)>) -> Self {
        let home = root.path().join(format!("home-{}", dolt.version));
        fs::create_dir_all(home.join(".dolt")).unwrap();
        fs::create_dir_all(home.join("tmp")).unwrap();
        fs::write(home.join(".dolt/config_global.json"), GLOBAL_CONFIG).unwrap();
        Self {
            shop: Arc::new(Shop {
                dolt: dolt.clone(),
                root,
                home,
                settings,
            }),
        }
    }

    /// The same folder, worked on by another dolt.
    pub fn using(&self, dolt: &Dolt) -> Self {
        Self::within(
            Arc::clone(&self.shop.root),
            dolt,
            self.shop.settings.clone(),
        )
    }

    /// The same, with these variables added to every command's environment.
    pub fn with(&self, settings: &[(String, String)]) -> Self {
        let all = self.shop.settings.iter().chain(settings).cloned().collect();
        Self::within(Arc::clone(&self.shop.root), &self.shop.dolt, all)
    }

    /// The variables that were added.
    pub fn settings(&self) -> &[(String, String)] {
        &self.shop.settings
    }

    /// The dolt that works here.
    pub fn dolt(&self) -> &Dolt {
        &self.shop.dolt
    }

    /// Where databases are made.
    pub fn folder(&self) -> &Path {
        self.shop.root.path()
    }

    /// The home folder of the dolt here.
    pub fn home(&self) -> &Path {
        &self.shop.home
    }

    /// The database called `name`, which may not exist yet.
    pub fn database(&self, name: &str) -> Database {
        Database {
            workshop: self.clone(),
            folder: self.folder().join(name),
        }
    }

    /// Makes an empty database.
    pub fn init(&self, name: &str) -> Database {
        let database = self.database(name);
        fs::create_dir_all(&database.folder).unwrap();
        database.ok(&["init"]);
        database
    }

    /// Clones `url`, with more arguments such as `--single-branch`, into a database called `name`, and checks the copy
    /// where this dolt has `dolt fsck`.
    #[track_caller]
    pub fn clone_from(&self, url: &str, name: &str, more: &[&str]) -> Database {
        self.try_clone_from(url, name, more).expect_success();
        let database = self.database(name);
        if self.dolt().has_fsck() {
            database.fsck();
        }
        database
    }

    /// Clones the last `depth` commits of `url` into a database called `name`: one that `dolt fsck` cannot check, for
    /// it panics where a parent is missing.
    #[track_caller]
    pub fn clone_shallow(&self, url: &str, name: &str, depth: usize) -> Database {
        self.try_clone_from(url, name, &["--depth", &depth.to_string()])
            .expect_success();
        self.database(name)
    }

    /// `dolt backup restore` of `url` into a database called `name`, checked as a clone is.
    #[track_caller]
    pub fn restore(&self, url: &str, name: &str) -> Database {
        self.command(self.folder(), &["backup", "restore", url, name])
            .expect_success();
        let database = self.database(name);
        if self.dolt().has_fsck() {
            database.fsck();
        }
        database
    }

    /// Tries to clone.
    pub fn try_clone_from(&self, url: &str, name: &str, more: &[&str]) -> Finished {
        let arguments: Vec<&str> = ["clone"]
            .into_iter()
            .chain(more.iter().copied())
            .chain([url, name])
            .collect();
        self.command(self.folder(), &arguments)
    }

    /// Runs dolt in `folder`.
    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Finished {
        self.command_with_input(folder, arguments, "")
    }

    fn command_with_input(&self, folder: &Path, arguments: &[&str], input: &str) -> Finished {
        let mut command = self.prepared(folder);
        command.args(arguments);
        process::run(command, input, LIMIT)
    }

    fn prepared(&self, folder: &Path) -> Command {
        const DATE: &str = "2026-01-02T03:04:05Z";
        let mut command = Command::new(&self.shop.dolt.binary);
        command
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.shop.home)
            .env("DOLT_ROOT_PATH", &self.shop.home)
            .env("TMPDIR", self.shop.home.join("tmp"))
            .env("NO_COLOR", "1")
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .env("DOLT_AUTHOR_DATE", DATE)
            .env("DOLT_COMMITTER_DATE", DATE)
            .envs(self.shop.settings.iter().map(|(key, value)| (key, value)));
        if self.shop.dolt.version_parts() < (2, 0, 0) {
            command.env_remove(ARCHIVE_UPLOADS);
        }
        command
    }
}

/// A database folder and the dolt that works on it.
#[derive(Debug, Clone)]
pub struct Database {
    workshop: Workshop,
    folder: PathBuf,
}

impl Database {
    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The workshop that it is in.
    pub fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    /// Runs a command in it.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.workshop.command(&self.folder, arguments)
    }

    /// Runs a command that must succeed, and returns all that it printed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        let text = finished.text();
        finished.expect_success();
        text
    }

    /// Runs a command that must fail, and returns all that it printed.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        self.run(arguments).expect_failure()
    }

    /// Runs statements, separated by semicolons; the answers come as CSV.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        self.ok_with_input(&["sql", "-r", "csv"], statements)
    }

    #[track_caller]
    fn ok_with_input(&self, arguments: &[&str], input: &str) -> String {
        self.workshop
            .command_with_input(&self.folder, arguments, input)
            .expect_success()
    }

    /// Runs statements and commits what they changed.
    #[track_caller]
    pub fn commit(&self, message: &str, statements: &str) -> String {
        self.sql(&format!(
            "{statements};\ncall dolt_commit('-Am', '{message}');"
        ))
    }

    /// `dolt push`.
    #[track_caller]
    pub fn push(&self, arguments: &[&str]) -> String {
        self.ok(&prefixed("push", arguments))
    }

    /// `dolt fetch`.
    #[track_caller]
    pub fn fetch(&self, arguments: &[&str]) -> String {
        self.ok(&prefixed("fetch", arguments))
    }

    /// `dolt pull`.
    #[track_caller]
    pub fn pull(&self, arguments: &[&str]) -> String {
        self.ok(&prefixed("pull", arguments))
    }

    /// The messages of the commits of the checked out branch, newest first.
    #[track_caller]
    pub fn log(&self) -> Vec<String> {
        let printed = self.sql("select message from dolt_log;");
        printed.lines().skip(1).map(str::to_owned).collect()
    }

    /// How many rows of `table` meet `condition`, on the checked out branch.
    #[track_caller]
    pub fn count(&self, table: &str, condition: &str) -> usize {
        let printed = self.sql(&format!("select count(*) from {table} where {condition};"));
        printed
            .lines()
            .nth(1)
            .and_then(|line| line.parse().ok())
            .expect("a count is a number")
    }

    /// `dolt fsck`: it must find nothing wrong.
    #[track_caller]
    pub fn fsck(&self) {
        let printed = self.ok(&["fsck"]);
        assert!(printed.contains("No problems found"), "fsck says {printed}");
    }

    /// Copies it to a database called `name`.
    pub fn copy_to(&self, name: &str) -> Self {
        let copy = self.workshop.database(name);
        copy_folder(&self.folder, &copy.folder);
        copy
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

fn prefixed<'a>(first: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [first].into_iter().chain(rest.iter().copied()).collect()
}
