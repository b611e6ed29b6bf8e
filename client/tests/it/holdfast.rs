//! Runs the binary.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_tests::dolt::Workshop;
use holdfast_tests::process::{self, Finished};

/// No command of a test takes so long.
const LIMIT: Duration = Duration::from_secs(120);

/// The binary with these arguments, in `folder`, with the home of `workshop`.
pub(crate) fn holdfast(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Finished {
    with(workshop, folder, arguments, &[])
}

/// The same with more in its environment.
pub(crate) fn with(
    workshop: &Workshop,
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .env_clear()
        .env("HOME", workshop.home())
        .envs(environment.iter().copied())
        .args(arguments)
        .current_dir(folder);
    process::run(command, "", LIMIT)
}

/// The exit code is in the words of a failure only by its kind, so it is asked for here.
pub(crate) fn exit_code(workshop: &Workshop, folder: &Path, arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .env_clear()
        .env("HOME", workshop.home())
        .args(arguments)
        .current_dir(folder);
    command.output().unwrap().status.code()
}
