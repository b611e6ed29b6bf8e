//! Runs the binary.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_tests::dolt::Workshop;
use holdfast_tests::process::{self, Finished};

/// No command of a test takes so long.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs it in `folder`, with the home and the settings of `workshop`.
pub(crate) fn holdfast(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Finished {
    process::run(command(workshop, folder, arguments), "", LIMIT)
}

/// Runs it again, for its exit code alone.
pub(crate) fn exit_code(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Option<i32> {
    let output = command(workshop, folder, arguments).output();
    output.unwrap().status.code()
}

fn command(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
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
