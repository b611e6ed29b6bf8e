//! A home folder for `dolt` and for programs that read its settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

/// No command of a bench program may take longer.
pub const LIMIT: Duration = Duration::from_mins(60);

const GLOBAL_CONFIG: &str = r#"{
    "metrics.disabled": "true",
    "versioncheck.disabled": "true",
    "init.defaultbranch": "main",
    "user.name": "Ada Bench",
    "user.email": "ada@example.com"
}"#;

/// The folder, and what else is in the environment of those who live there.
#[derive(Debug, Clone)]
pub struct Home {
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

impl Home {
    /// Makes one below `work`.
    pub fn create(work: &Path) -> Result<Self> {
        let folder = work.join("home");
        fs::create_dir_all(folder.join(".dolt"))?;
        fs::create_dir_all(folder.join("tmp"))?;
        fs::write(folder.join(".dolt/config_global.json"), GLOBAL_CONFIG)?;
        Ok(Self {
            folder,
            settings: Vec::new(),
        })
    }

    /// The same with these variables in the environment.
    pub fn with(&self, settings: &[(String, String)]) -> Self {
        Self {
            settings: settings.to_vec(),
            ..self.clone()
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command of someone who lives here, to be run in `folder`.
    pub fn command(&self, program: &Path, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("DOLT_ROOT_PATH", &self.folder)
            .env("TMPDIR", self.folder.join("tmp"))
            .env("NO_COLOR", "1")
            .env("DOLT_DISABLE_EVENT_FLUSH", "1")
            .envs(self.settings.iter().map(|(key, value)| (key, value)));
        command
    }
}
