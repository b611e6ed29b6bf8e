//! The command line.

mod backup;
mod local;

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use holdfast_client::remote::ProxySettings;

pub(crate) use backup::{
    Backup, BackupAction, CreateBackup, ForgetBackups, Keep, ListBackups, Mirror, RestoreBackup,
    VerifyBackup,
};

pub(crate) use local::{Branch, Checkout, Key, KeyAction, Remote, RemoteAction};

/// A command line with the options of all commands that stand right behind `backup` before it: clap takes no word behind
/// an option for the name of a command where the command takes words of its own as well.
pub(crate) fn reordered(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<_> = words.collect();
    let Some(mut command) = words.iter().position(|word| word == "backup") else {
        return words;
    };
    while let Some(option) = words.get(command + 1).and_then(|word| word.to_str()) {
        let count = match option {
            "-q" | "--quiet" => 1,
            "--format" | "--color" => 2,
            option if option.starts_with("--format=") || option.starts_with("--color=") => 1,
            _ => break,
        };
        let end = words.len().min(command + 1 + count);
        if let Some(moved) = words.get_mut(command..end) {
            moved.rotate_left(1);
        }
        command = end - 1;
    }
    words
}

/// What the process was given by its environment.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Where the user's `.dolt` lies.
    pub(crate) home: Option<OsString>,
    /// The password that goes with `--user`.
    pub(crate) password: Option<String>,
    /// The proxies that stand between the user and servers.
    pub(crate) proxies: ProxySettings,
    /// Whether nothing should be colored: `NO_COLOR` says so, or the terminal cannot.
    pub(crate) is_plain: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for another reason
  2  the command line is wrong
  3  what was named is not there
  4  refused, or not allowed
  5  the remote cannot be reached: try again
  6  damaged data
  7  no room left
  11 another process has the database or the directory locked

The password of --user is taken from DOLT_REMOTE_PASSWORD; keys of `holdfast key` and `dolt creds` are used as dolt does.
Errors, hints and warnings are printed on standard error, with --format json as JSON objects, one a line.";

/// Clone, fetch, push and verify Dolt databases without dolt.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How things are shown.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// The form of what is printed on standard output.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) format: Format,
    /// Show no progress.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to color what is printed; NO_COLOR in the environment means never, unless `always` is given.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// When to color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Copy a database, or one branch of it, from a remote; every chunk is checked against its address.
    ///
    /// A clone that was cut off is continued by the same command.
    Clone(Clone),
    /// Take branches out of a database: what they reach with the tags on it, nothing else, and a list that shows it.
    ///
    /// The new database knows no remote: `holdfast fetch` brings later commits of the branches by the address of the old
    /// one. A move goes into a new place, and one that was cut off is continued by the same command.
    MoveOut(MoveOut),
    /// Bring what a remote has, and move the refs that follow it.
    ///
    /// A fetch that was cut off is continued by the same command.
    Fetch(Fetch),
    /// Fetch, and move the branch that is checked out along; only forward.
    Pull(Pull),
    /// Send what a remote lacks, and move its branches and tags.
    ///
    /// A push that was cut off is continued by the same command.
    Push(Push),
    /// Keep every state of a database that was backed up, where dolt itself can clone the latest.
    ///
    /// In a directory or a bucket each backup is written down and can be restored by its number; only what is new is
    /// sent. A backup that was cut off is continued by the same command.
    Backup(Box<Backup>),
    /// Make the branches and tags of a remote equal to those of another one.
    Mirror(Mirror),
    /// Show the commits of a branch, newest first.
    Log(Log),
    /// List branches.
    Branch(Branch),
    /// List tags.
    Tag(Place),
    /// Check out a branch, or make one; only from a clean working set.
    ///
    /// A branch that is not here, and that exactly one remote has, is made to follow it.
    Checkout(Checkout),
    /// List the remotes of a database, add and remove them.
    Remote(Remote),
    /// List the refs of a database or of a remote by their full names.
    Refs(Refs),
    /// Show the branch that is checked out, what waits on it, and the state of the database.
    Status(Directory),
    /// Show what a chunk, a ref or a file of a store is.
    Inspect(Inspect),
    /// Check every chunk of a database, and that everything its refs point at is there.
    ///
    /// Of a remote, everything below its root is read and checked.
    Verify(Verify),
    /// Make and choose the key by which servers know this user; dolt uses the same.
    Key(Key),
    /// Print the completions of a shell.
    ///
    /// For bash: `holdfast completions bash > ~/.local/share/bash-completion/completions/holdfast`.
    Completions(Completions),
    /// Print the manual page, or write those of all commands into a directory.
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct Clone {
    /// The remote: https://host/owner/repository, owner/repository, file:///path, s3://bucket/prefix, or a directory.
    pub(crate) url: String,
    /// Where to; the name of the repository unless given.
    pub(crate) directory: Option<PathBuf>,
    /// The branch to check out; main, master or the first one unless given.
    #[arg(long, short)]
    pub(crate) branch: Option<String>,
    /// Take only what the branch to check out reaches, and not a byte of other branches.
    #[arg(long)]
    pub(crate) single_branch: bool,
    /// Take only so many generations of commits of the branch; the rest is left out, as with `dolt clone --depth`.
    #[arg(long, value_name = "COUNT")]
    pub(crate) depth: Option<NonZeroU32>,
    /// Take the branch as it was at a tag, a commit or another revision: HEAD~1 for the commit before its last.
    #[arg(long, value_name = "REVISION")]
    pub(crate) at: Option<String>,
    /// Make a store alone, with the refs as the remote has them, to be used as a file:// remote.
    #[arg(long)]
    pub(crate) bare: bool,
    /// Say what would come, in chunks and bytes, and make nothing.
    ///
    /// With --single-branch, --depth or --at, rows are not read where there are many: then what they point at is not
    /// counted, and the numbers are called the least. What an attempt that was cut off has brought already is counted
    /// as well.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What the remote is called in the clone.
    #[arg(long, default_value = "origin", value_name = "NAME")]
    pub(crate) remote: String,
    /// The user name; its password is taken from DOLT_REMOTE_PASSWORD.
    #[arg(long, short)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MoveOut {
    /// Where the branches are: the address of a remote, or file:///path.
    pub(crate) from: String,
    /// Where they go: a directory for a new database, or the address of a repository on another forge.
    pub(crate) to: String,
    /// A branch to take; may be given several times.
    #[arg(long, short, required = true)]
    pub(crate) branch: Vec<String>,
    /// Where the inventory goes; beside the new database unless given. It is signed with the key of `dolt creds` if
    /// there is one.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
    /// Where the branches are gathered on their way to another forge, and stay; unless given, a directory in
    /// ~/.cache/holdfast that goes when they arrived.
    #[arg(long, value_name = "DIR")]
    pub(crate) via: Option<PathBuf>,
    /// Let the new database know the old one as the remote origin. A later `dolt fetch` there brings all other branches
    /// too.
    #[arg(long)]
    pub(crate) keep_remote: bool,
    /// The user name at both places; its password is taken from DOLT_REMOTE_PASSWORD.
    #[arg(long, short)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The remote: a name, or an address; the one that the branch that is checked out follows, or origin, unless given.
    /// What comes by an address that no remote of the database has is kept as fetched/BRANCH.
    pub(crate) remote: Option<String>,
    /// What is brought: BRANCH, refs/tags/TAG, or BRANCH:refs/remotes/REMOTE/BRANCH; all branches, and the tags on them,
    /// unless given.
    pub(crate) refs: Vec<String>,
    /// Remove refs that follow branches which the remote no longer has.
    #[arg(long, short)]
    pub(crate) prune: bool,
    /// Move tags to where they are at the remote; without it a tag that is here and elsewhere stays.
    #[arg(long, short)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The remote: a name, or an address; the one that the branch that is checked out follows, or origin, unless given.
    pub(crate) remote: Option<String>,
    /// The branch of the remote; the one that is followed, or the one of the same name, unless given.
    pub(crate) branch: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// The remote: a name, or an address; the one that the branch that is checked out follows unless given.
    pub(crate) remote: Option<String>,
    /// What goes where: BRANCH, BRANCH:THERE, :THERE to delete the one there, refs/tags/TAG; HEAD is the branch that is
    /// checked out, which is pushed unless given; a + before it is --force for it alone.
    pub(crate) refs: Vec<String>,
    /// Push all branches.
    #[arg(long, conflicts_with = "refs")]
    pub(crate) all: bool,
    /// Push all tags too.
    #[arg(long)]
    pub(crate) tags: bool,
    /// Delete the refs at the remote.
    #[arg(long, short, requires = "refs", conflicts_with_all = ["all", "tags"])]
    pub(crate) delete: bool,
    /// Move branches of the remote even if commits there are lost; refused when a branch is not where the last fetch
    /// saw it, as with git's --force-with-lease.
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Let each branch that is pushed follow the one there.
    #[arg(long, short = 'u')]
    pub(crate) set_upstream: bool,
    /// First send what the remote lost: walk over everything that the refs here and there reach, also below commits that
    /// the remote has, where an ordinary push stops, and send what it says is missing.
    ///
    /// For a remote whose data files were damaged, from a clone that is whole. The database is only read for it.
    #[arg(long, conflicts_with = "delete")]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) how: How,
}

/// How a database is brought together with a remote.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Say which refs would move, and how many chunks and bytes, and change nothing.
    ///
    /// Where many rows would come they are not read: then what they point at is not counted, and the numbers are
    /// called the least. What an attempt that was cut off has moved already is counted as well.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The user name; its password is taken from DOLT_REMOTE_PASSWORD.
    #[arg(long)]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) database: Directory,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// A branch, a tag or a commit, or one of its parents: main~2 for the second before it, main^2 for the second
    /// parent of a merge; HEAD, also before ~ and ^ when nothing stands there, is the branch that is checked out.
    #[arg(default_value = "HEAD")]
    pub(crate) start: String,
    /// At most so many commits.
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) number: Option<usize>,
    /// One line for each commit: its address and the first line of its message.
    #[arg(long)]
    pub(crate) oneline: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Refs {
    #[command(flatten)]
    pub(crate) place: NamedPlace,
    /// List also what people are not shown: working sets, stashes, and what Dolt keeps for itself.
    #[arg(long, short)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The address of a chunk, a ref, or a table file, an archive, a manifest or a journal.
    pub(crate) what: String,
    /// List the chunks of a file.
    #[arg(long)]
    pub(crate) chunks: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) place: NamedPlace,
    /// Check the chunks against the inventory that move-out wrote as well: nothing is missing, nothing else is there, and
    /// its branches and tags reach all that it lists.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write one page for each command into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
}

/// A database on this machine.
#[derive(Debug, Args)]
pub(crate) struct Directory {
    /// The directory of the database.
    #[arg(
        long,
        short = 'C',
        default_value = ".",
        value_name = "DIR",
        global = true
    )]
    pub(crate) directory: PathBuf,
}

/// A database on this machine, or a remote.
#[derive(Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(crate) database: Directory,
    /// Look at a remote: its address, or its name in the database.
    #[arg(long, value_name = "URL|NAME")]
    pub(crate) remote: Option<String>,
    /// The user name at the remote; its password is taken from DOLT_REMOTE_PASSWORD.
    #[arg(long, short)]
    pub(crate) user: Option<String>,
}

/// A database on this machine or a remote, which may be named first.
#[derive(Debug, Args)]
pub(crate) struct NamedPlace {
    /// A directory, the address of a remote, or the name of one in the database.
    #[arg(value_name = "PLACE", conflicts_with = "remote")]
    pub(crate) named: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Arguments {
        let words = line.split(' ').map(OsString::from);
        Arguments::try_parse_from(reordered(words)).unwrap()
    }

    #[test]
    fn options_may_stand_before_what_backup_does() {
        for line in [
            "holdfast backup --format json -q list ./target",
            "holdfast backup --format=json --quiet list ./target",
            "holdfast --format json backup list -q ./target",
            "holdfast backup list ./target --format json -q",
        ] {
            let arguments = read(line);
            assert_eq!(arguments.output.format, Format::Json, "{line}");
            assert!(arguments.output.quiet, "{line}");
            let Command::Backup(backup) = arguments.command else {
                panic!("{line}");
            };
            assert!(
                matches!(backup.action, Some(BackupAction::List(_))),
                "{line}"
            );
        }
        let Command::Backup(backup) = read("holdfast backup --format json ./list ./t").command
        else {
            panic!("it is a backup");
        };
        assert_eq!(backup.create.from.as_deref(), Some("./list"));
        for cut_off in ["backup --format", "backup", "backup -q"] {
            let words = format!("holdfast {cut_off}");
            let words = words.split(' ').map(OsString::from);
            Arguments::try_parse_from(reordered(words)).unwrap_err();
        }
    }

    #[test]
    fn the_database_may_be_named_before_and_behind_what_is_done_to_its_remotes() {
        for line in [
            "holdfast remote remove -C other origin",
            "holdfast remote -C other remove origin",
        ] {
            let Command::Remote(remote) = read(line).command else {
                panic!("{line}");
            };
            assert_eq!(remote.database.directory, PathBuf::from("other"), "{line}");
        }
    }
}
