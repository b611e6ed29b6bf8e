//! What bench programs with a database have in common on their command lines.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// How much is measured, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Rows of the database.
    #[arg(long, default_value_t = 4_000_000)]
    pub rows: u64,
    /// How often everything is measured; the medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
    /// Where the database is kept from run to run, and where everything else is for the time of a run.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench` to every program.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The folders of a run.
#[derive(Debug)]
pub struct Folders {
    /// Where databases are kept.
    pub kept: PathBuf,
    /// For everything else; it is removed when this is dropped.
    pub work: TempDir,
}

impl Folders {
    /// Makes them where the options say, else in the folder for temporary files.
    pub fn create(options: &Options) -> Result<Self> {
        let default = || std::env::temp_dir().join("holdfast-bench");
        let kept = options.dir.clone().unwrap_or_else(default);
        std::fs::create_dir_all(&kept).with_context(|| format!("make {}", kept.display()))?;
        let work = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&kept)
            .context("make a folder to work in")?;
        Ok(Self { kept, work })
    }
}
