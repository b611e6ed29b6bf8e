//! Whether everything is as it should be: files, index, log, and every reference.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use holdfast_chunkstore::repo::verify::{Damage, Finding, Report, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{RepoName, Repositories, Repository, RepositoryError};
use parking_lot::Mutex;

use super::verify_refs::{self, Needing, UnusableRef};
use super::{Answer, CommandError, Form};
use crate::forge::error::one_line;

/// What was found in a repository.
#[derive(Debug, serde::Serialize)]
struct Verified {
    #[serde(flatten)]
    report: Report,
    /// Refs that Dolt cannot use.
    unusable_refs: Vec<UnusableRef>,
    /// What needs chunks that cannot be read; nothing where none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    needing: Option<Needing>,
}

/// Checks one repository, or all. Returns whether nothing is wrong.
pub async fn verify(
    repositories: &Repositories,
    name: Option<&str>,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<bool, CommandError> {
    let chosen = chosen(repositories, name).await?;
    let readable = verify_refs::readable(repositories).await?;
    let mut answer = Answer::begin(form, out)?;
    let mut is_whole = true;
    for (name, repository) in chosen {
        let verified = match repository {
            Ok(repository) => check(repositories, &readable, &repository).await,
            Err(error) => Verified {
                report: Report::of_unreadable_name(name, &error),
                unusable_refs: Vec::new(),
                needing: None,
            },
        };
        is_whole &= verified.report.damages == 0 && verified.unusable_refs.is_empty();
        answer.push(&verified, write_text)?;
    }
    answer.end()?;
    Ok(is_whole)
}

type Chosen = (RepoName, Result<Repository, RepositoryError>);

/// The repository that is asked for, or all of which there is a log. No log is read for that: it may be what is
/// damaged.
async fn chosen(
    repositories: &Repositories,
    wanted: Option<&str>,
) -> Result<Vec<Chosen>, CommandError> {
    let wanted: Option<RepoName> = wanted.map(str::parse).transpose()?;
    let mut chosen = Vec::new();
    for (name, repository) in repositories.every_name().await? {
        if wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let has_log = match &repository {
            Ok(repository) => repository.has_log().await?,
            Err(_) => true,
        };
        if has_log {
            chosen.push((name, repository));
        }
    }
    match wanted {
        Some(name) if chosen.is_empty() => Err(CommandError::NoRepository { name }),
        _ => Ok(chosen),
    }
}

async fn check(
    repositories: &Repositories,
    readable: &Repositories,
    repository: &Repository,
) -> Verified {
    let clock = &repositories.parts().clock;
    let progress = Progress::new(repository.name().to_string(), || clock.monotonic());
    let mut report = repository.verify(&progress).await;
    progress.end();
    let unusable_refs = match verify_refs::find(readable, repository.name()).await {
        Ok(unusable_refs) => unusable_refs,
        Err(error) => {
            // Where something is damaged, that is told already.
            if report.damages == 0 {
                report.damages += 1;
                report.findings.push(Finding {
                    damage: Damage::Unreadable,
                    at: "refs".to_owned(),
                    detail: one_line(&error),
                });
            }
            Vec::new()
        }
    };
    let needing = match lacks_chunks(&report) {
        true => match verify_refs::needing(readable, repository.name()).await {
            Ok(needing) => Some(needing),
            Err(error) => {
                let cause = one_line(&error);
                tracing::warn!(repo = %repository.name(), cause, "could not tell which refs need what is damaged");
                None
            }
        },
        false => None,
    };
    Verified {
        report,
        unusable_refs,
        needing,
    }
}

/// Whether chunks may be lost with what was found.
fn lacks_chunks(report: &Report) -> bool {
    report.findings.iter().any(|finding| {
        matches!(
            finding.damage,
            Damage::FileMissing
                | Damage::FileLength
                | Damage::FileBytes
                | Damage::FileContents
                | Damage::DanglingReference
                | Damage::RootMissing
        )
    })
}

fn write_text(verified: &Verified, out: &mut dyn Write) -> std::io::Result<()> {
    let Report {
        repository,
        records,
        files,
        chunks,
        bytes,
        damages,
        findings,
    } = &verified.report;
    let damaged = match damages {
        0 => None,
        1 => Some("1 damage".to_owned()),
        count => Some(format!("{count} damages")),
    };
    let unusable = match verified.unusable_refs.len() {
        0 => None,
        1 => Some("1 ref that dolt cannot use".to_owned()),
        count => Some(format!("{count} refs that dolt cannot use")),
    };
    let verdict = match (damaged, unusable) {
        (None, None) => "whole".to_owned(),
        (Some(found), None) | (None, Some(found)) => found,
        (Some(damaged), Some(unusable)) => format!("{damaged}, {unusable}"),
    };
    writeln!(
        out,
        "{repository}: {verdict}  {records} records, {files} files, {chunks} chunks, {bytes} bytes"
    )?;
    for finding in findings {
        writeln!(
            out,
            "    {}  {}  {}",
            finding.damage, finding.at, finding.detail
        )?;
    }
    let untold = damages.saturating_sub(findings.len() as u64);
    if untold > 0 {
        writeln!(out, "    and {untold} more")?;
    }
    for unusable in &verified.unusable_refs {
        // The fault has the name in it, with everything escaped that a terminal would obey.
        writeln!(out, "    unusable-ref  {}", unusable.fault)?;
    }
    if let Some(needing) = &verified.needing {
        write_needing(needing, out)?;
    }
    match next_step(&verified.report) {
        Some(step) => writeln!(out, "    next  {step}"),
        None => Ok(()),
    }
}

/// What puts right what was found, where something does.
fn next_step(report: &Report) -> Option<&'static str> {
    let is_found = |wanted: &[Damage]| {
        let mut found = report.findings.iter().map(|finding| finding.damage);
        found.any(|damage| wanted.contains(&damage))
    };
    if is_found(&[Damage::LogGap, Damage::LogRecord, Damage::LogChain]) {
        Some(
            "put the named records back from a copy of the store: nothing can be read without them",
        )
    } else if lacks_chunks(report) {
        Some("`holdfast push --repair` from a whole clone sends what is lost again")
    } else {
        None
    }
}

fn write_needing(needing: &Needing, out: &mut dyn Write) -> std::io::Result<()> {
    for name in &needing.refs {
        writeln!(out, "    needed-by  {}", name.escape_default())?;
    }
    if needing.more_refs > 0 {
        writeln!(out, "    needed-by  {} more refs", needing.more_refs)?;
    }
    for commit in &needing.commits {
        writeln!(out, "    needed-by  commit {commit}")?;
    }
    if needing.more_commits > 0 {
        writeln!(out, "    needed-by  {} more commits", needing.more_commits)?;
    }
    match (needing.refs.is_empty(), needing.lacks_refs) {
        (_, true) => writeln!(
            out,
            "    needed-by  not all refs can be read: those that are not named may need it too"
        ),
        (true, false) => writeln!(out, "    needed-by  no ref"),
        (false, false) => Ok(()),
    }
}

/// Draws how far a check has come, on a terminal.
struct Progress<F> {
    name: String,
    now: F,
    began: Duration,
    drawn: Mutex<Option<Duration>>,
    is_terminal: bool,
}

/// How long a check runs before its progress is drawn, and how often.
const PACE: Duration = Duration::from_millis(250);

impl<F: Fn() -> Duration + Send + Sync> Progress<F> {
    fn new(name: String, now: F) -> Self {
        Self {
            name,
            began: now(),
            now,
            drawn: Mutex::new(None),
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    fn draw(&self, stage: Stage, done: u64, of: u64) {
        if !self.is_terminal {
            return;
        }
        let now = (self.now)();
        let mut drawn = self.drawn.lock();
        if now.saturating_sub(drawn.unwrap_or(self.began)) < PACE {
            return;
        }
        *drawn = Some(now);
        let percent = done.saturating_mul(100) / of.max(1);
        // Nothing can be done when stderr is gone.
        drop(write!(
            std::io::stderr(),
            "\r\x1b[K{}: {percent} % of {stage}",
            self.name
        ));
    }

    fn end(&self) {
        if self.drawn.lock().is_some() {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}

impl<F: Fn() -> Duration + Send + Sync> VerifyProgress for Progress<F> {
    fn done(&self, stage: Stage, done: u64, of: u64) {
        self.draw(stage, done, of);
    }
}
