//! Whether everything is as it should be: files, index, log, and every reference.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use holdfast_chunkstore::repo::verify::{Report, Stage, VerifyProgress};
use holdfast_chunkstore::repo::{RepoName, Repositories, Repository, RepositoryError};
use parking_lot::Mutex;

use super::{Answer, CommandError, Form};

/// Checks one repository, or all. Returns whether nothing is wrong.
pub async fn verify(
    repositories: &Repositories,
    name: Option<&str>,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<bool, CommandError> {
    let chosen = chosen(repositories, name).await?;
    let mut answer = Answer::begin(form, out)?;
    let mut is_whole = true;
    for (name, repository) in chosen {
        let report = match repository {
            Ok(repository) => check(repositories, &repository).await,
            Err(error) => Report::of_unreadable_name(name, &error),
        };
        is_whole &= report.damages == 0;
        answer.push(&report, write_text)?;
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

async fn check(repositories: &Repositories, repository: &Repository) -> Report {
    let clock = &repositories.parts().clock;
    let progress = Progress::new(repository.name().to_string(), || clock.monotonic());
    let report = repository.verify(&progress).await;
    progress.end();
    report
}

fn write_text(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    let Report {
        repository,
        records,
        files,
        chunks,
        bytes,
        damages,
        findings,
    } = report;
    let verdict = match damages {
        0 => "whole".to_owned(),
        1 => "1 damage".to_owned(),
        count => format!("{count} damages"),
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
    Ok(())
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
