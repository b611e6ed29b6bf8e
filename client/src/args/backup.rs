//! The command line of `backup` and `mirror`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use holdfast_client::backup::BackupId;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    pub(crate) action: Option<BackupAction>,
    #[command(flatten)]
    pub(crate) create: CreateBackup,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupAction {
    /// Make a backup, or bring an earlier one up to date; the same as without `create`.
    Create(CreateBackup),
    /// List the backups in a target, the newest first.
    ///
    /// A server keeps no list of backups: of it, the current one is shown.
    List(ListBackups),
    /// Check every chunk of a backup, and that everything it points at is there; what needs a damaged file or chunk is
    /// told.
    Verify(VerifyBackup),
    /// Make a database of a backup: branches, tags and working sets as they were.
    ///
    /// A restore that was cut off is continued by the same command.
    Restore(RestoreBackup),
    /// Take backups off the list, by rules. No data is deleted, and each can still be restored by its number.
    Forget(ForgetBackups),
}

#[derive(Debug, Args)]
pub(crate) struct CreateBackup {
    /// What to back up: the directory of a database, or the address of a remote.
    #[arg(required = true)]
    pub(crate) from: Option<String>,
    /// Where to: file:///path, s3://bucket/prefix, https://host/owner/repository, or a path that begins with / or a dot.
    #[arg(required = true)]
    pub(crate) to: Option<String>,
    /// Go on for ever, with a backup each time so much time went by: 30m, 1h, 1d.
    #[arg(long, value_name = "TIME")]
    pub(crate) every: Option<String>,
    /// Take the place of something else that is in the target. What it holds stays, but no branch leads to it.
    #[arg(long)]
    pub(crate) force: bool,
    /// Read back so much of the data in the target, another part each time, besides the names and indexes of all files:
    /// 5%, 100%, or 0% for no data.
    ///
    /// With 1% a hundred backups, or a hundred days on which nothing changed, read all data once, and each of them reads
    /// little even of a large target. Damage that is found is mended from what is backed up.
    #[arg(long, value_name = "PERCENT", default_value = "1%")]
    pub(crate) check: String,
    /// Say what would be copied, and change nothing.
    #[arg(long, conflicts_with = "every")]
    pub(crate) dry_run: bool,
    /// A directory for what waits to be sent; ~/.cache/holdfast unless given.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: Keep,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// Rules of what stays on the list.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Keep {
    /// Keep the newest backups.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_last: usize,
    /// Keep the newest backup of each of the last hours that have one; hours and days are those of UTC.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_hourly: usize,
    /// Keep the newest backup of each of the last days that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_daily: usize,
    /// Keep the newest backup of each of the last weeks that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_weekly: usize,
    /// Keep the newest backup of each of the last months that have one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_monthly: usize,
    /// Keep at least so many backups, whatever the other rules say.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_minimum: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ListBackups {
    /// Where the backups are.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyBackup {
    /// Where the backups are.
    pub(crate) target: String,
    /// What an earlier version took for the number of the backup.
    #[arg(hide = true)]
    pub(crate) rest: Option<String>,
    /// The number of the backup; the newest one unless given.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) backup: Option<BackupId>,
    /// Check so many of the chunks, drawn by chance, and all commits: 5%.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) sample: Option<String>,
    #[command(flatten)]
    pub(crate) who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreBackup {
    /// Where the backups are.
    pub(crate) target: String,
    /// Where to: a directory that is missing or empty.
    pub(crate) directory: PathBuf,
    /// The number of the backup; the newest one unless given.
    #[arg(long, value_name = "NUMBER", conflicts_with = "at")]
    pub(crate) backup: Option<BackupId>,
    /// Restore only what this branch reaches; may be given several times.
    #[arg(long = "branch", short, value_name = "BRANCH")]
    pub(crate) branches: Vec<String>,
    /// The newest backup that is not later than a time, in UTC unless it says otherwise, or the first one that has a
    /// commit: 2026-03-01T12:00, 2026-03-01T12:00:00+02:00, or the address of a commit.
    #[arg(long, value_name = "TIME|COMMIT")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetBackups {
    /// Where the backups are.
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) keep: Keep,
    /// Say what would be forgotten, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) who: Who,
}

#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// What is copied: the address of a remote, or the directory of a database.
    pub(crate) from: String,
    /// What becomes equal to it: file:///path, s3://bucket/prefix, https://host/owner/repository, or a path that begins
    /// with / or a dot.
    pub(crate) to: String,
    /// Leave branches and tags alone that only the target has.
    #[arg(long)]
    pub(crate) keep_vanished: bool,
    /// Go on although the target has commits that the source lacks, or branches that it lacks with changes that are not
    /// committed; no branch leads to them afterwards.
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A directory for what waits to be sent; ~/.cache/holdfast unless given.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) who: Who,
}

/// Who speaks to remotes.
#[derive(Debug, Args)]
pub(crate) struct Who {
    /// The user name; its password is taken from DOLT_REMOTE_PASSWORD.
    #[arg(long)]
    pub(crate) user: Option<String>,
}
