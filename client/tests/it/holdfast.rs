//! Runs the binary.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_tests::dolt::{Database, Workshop};
use holdfast_tests::process::{self, Finished};

/// No command of a test takes so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs it in `folder`, with the home and the settings of `workshop`.
pub(crate) fn holdfast(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Finished {
    run(command(workshop, folder, arguments))
}

/// Runs it in a database.
pub(crate) fn ours(database: &Database, arguments: &[&str]) -> Finished {
    holdfast(database.workshop(), database.folder(), arguments)
}

/// Runs it again, for its exit code alone.
pub(crate) fn exit_code(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Option<i32> {
    holdfast(workshop, folder, arguments).code
}

/// Runs what was prepared.
pub(crate) fn run(command: Command) -> Finished {
    process::run(command, "", LIMIT)
}

/// Prepares to run it in `folder`, with the home of `workshop`.
pub(crate) fn command(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("HOME", workshop.home())
        .envs(
            workshop
                .settings()
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .args(arguments)
        .current_dir(folder);
    command
}

/// The binary.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_holdfast"))
}
