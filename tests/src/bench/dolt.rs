//! An unmodified `dolt` with a home folder of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::home::{Home, LIMIT};
use crate::process;

/// Runs dolt.
#[derive(Debug, Clone)]
pub struct Dolt {
    binary: PathBuf,
    home: Home,
}

impl Dolt {
    /// The dolt of `binary`, at home in `home`.
    pub fn new(binary: &Path, home: &Home) -> Self {
        Self {
            binary: binary.to_owned(),
            home: home.clone(),
        }
    }

    /// The same with these variables in its environment.
    pub fn with(&self, settings: &[(String, String)]) -> Self {
        Self::new(&self.binary, &self.home.with(settings))
    }

    /// Its version, as it says.
    pub fn version(&self) -> Result<String> {
        let printed = self.run(self.home.folder(), &["version"])?;
        Ok(printed.lines().next().unwrap_or_default().to_owned())
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        self.run_with_input(folder, arguments, "")
    }

    /// Runs statements, separated by semicolons, and returns the answers as CSV.
    pub fn sql(&self, folder: &Path, statements: &str) -> Result<String> {
        self.run_with_input(folder, &["sql", "-r", "csv"], statements)
    }

    /// Runs statements that change rows, and commits the changes.
    pub fn commit(&self, folder: &Path, statements: &str, message: &str) -> Result<()> {
        let commit = format!("call dolt_commit('-am', '{message}')");
        let all = format!("{statements};\n{commit}");
        self.sql(folder, &all).map(drop)
    }

    /// Returns the hash of the commit that a branch is at.
    pub fn head(&self, folder: &Path, branch: &str) -> Result<String> {
        let printed = self.sql(folder, &format!("select hashof('{branch}')"))?;
        let hash = printed.lines().nth(1).context("dolt prints a hash")?;
        Ok(hash.to_owned())
    }

    fn run_with_input(&self, folder: &Path, arguments: &[&str], input: &str) -> Result<String> {
        let command = self.home.command(&self.binary, folder, arguments);
        let finished = process::run(command, input, LIMIT);
        ensure!(finished.success, "{finished:#?}");
        Ok(finished.stdout)
    }
}
