//! An unmodified `dolt` with a home folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::process;

/// No command may take longer.
const LIMIT: Duration = Duration::from_mins(60);

const GLOBAL_CONFIG: &str = r#"{
    "metrics.disabled": "true",
    "versioncheck.disabled": "true",
    "init.defaultbranch": "main",
    "user.name": "Ada Bench",
    "user.email": "ada@example.com"
}"#;

/// Runs dolt.
#[derive(Debug, Clone)]
pub(crate) struct Dolt {
    binary: PathBuf,
    home: PathBuf,
    settings: Vec<(String, String)>,
}

impl Dolt {
    /// Makes a home folder below `work`.
    pub(crate) fn new(binary: &Path, work: &Path) -> Result<Self> {
        let home = work.join("home");
        fs::create_dir_all(home.join(".dolt"))?;
        fs::create_dir_all(home.join("tmp"))?;
        fs::write(home.join(".dolt/config_global.json"), GLOBAL_CONFIG)?;
        Ok(Self {
            binary: binary.to_owned(),
            home,
            settings: Vec::new(),
        })
    }

    /// The same with more variables in its environment.
    pub(crate) fn with(&self, settings: &[(String, String)]) -> Self {
        Self {
            settings: settings.to_vec(),
            ..self.clone()
        }
    }

    /// Its version, as it says.
    pub(crate) fn version(&self) -> Result<String> {
        let printed = self.run(&self.home, &["version"])?;
        Ok(printed.lines().next().unwrap_or_default().to_owned())
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        self.run_with_input(folder, arguments, "")
    }

    /// Runs statements, separated by semicolons, and returns the answers as CSV.
    pub(crate) fn sql(&self, folder: &Path, statements: &str) -> Result<String> {
        self.run_with_input(folder, &["sql", "-r", "csv"], statements)
    }

    /// Returns the hash of the commit that a branch is at.
    pub(crate) fn head(&self, folder: &Path, branch: &str) -> Result<String> {
        let printed = self.sql(folder, &format!("select hashof('{branch}')"))?;
        let hash = printed.lines().nth(1).context("dolt prints a hash")?;
        Ok(hash.to_owned())
    }

    fn run_with_input(&self, folder: &Path, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("DOLT_ROOT_PATH", &self.home)
            .env("TMPDIR", self.home.join("tmp"))
            .env("NO_COLOR", "1")
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .envs(self.settings.iter().map(|(key, value)| (key, value)));
        let finished = process::run(command, input, LIMIT);
        ensure!(finished.success, "{finished:#?}");
        Ok(finished.stdout)
    }
}
