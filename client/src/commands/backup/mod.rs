//! `holdfast backup`.

mod create;
mod list;
mod restore;
mod units;
mod verify;

use holdfast_chunkstore::clock::Timestamp;
use holdfast_client::backup::{BackupError, KeepRules};
use holdfast_client::remote::{Remote, Shelf};

use super::remotes::Speaker;
use crate::args::{Backup, BackupAction, Environment, Keep, Output};

pub(super) async fn backup(
    arguments: Backup,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    match arguments.action {
        Some(BackupAction::Create(arguments)) => {
            create::create(arguments, output, environment).await
        }
        Some(BackupAction::List(arguments)) => list::list(arguments, output, environment).await,
        Some(BackupAction::Verify(arguments)) => {
            verify::verify(arguments, output, environment).await
        }
        Some(BackupAction::Restore(arguments)) => {
            restore::restore(arguments, output, environment).await
        }
        Some(BackupAction::Forget(arguments)) => list::forget(arguments, output, environment).await,
        None => create::create(arguments.create, output, environment).await,
    }
}

fn rules(keep: Keep) -> KeepRules {
    KeepRules {
        last: keep.keep_last,
        hourly: keep.keep_hourly,
        daily: keep.keep_daily,
        weekly: keep.keep_weekly,
        monthly: keep.keep_monthly,
        minimum: keep.keep_minimum,
    }
}

/// Where the records of a target are.
fn shelf(target: &dyn Remote) -> Result<&dyn Shelf, BackupError> {
    target.shelf().ok_or_else(|| BackupError::NoRecords {
        target: target.address(),
    })
}

/// Who is written down with a backup.
fn who(speaker: &Speaker<'_>) -> Option<String> {
    let identity = speaker.identity()?;
    Some(format!("{} <{}>", identity.name, identity.email))
}

/// A time as people read it.
fn shown(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
