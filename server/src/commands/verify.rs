//! Whether everything is as it should be: files, index, log, and every reference.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use holdfast_chunkstore::repo::Repositories;
use holdfast_chunkstore::repo::verify::{Report, VerifyProgress};
use parking_lot::Mutex;

use super::{Answer, CommandError, Form, find};

/// Checks one repository, or all. Returns whether nothing is wrong.
pub async fn verify(
    repositories: &Repositories,
    name: Option<&str>,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<bool, CommandError> {
    let chosen = match name {
        Some(name) => vec![find(repositories, name).await?],
        None => repositories.list().await?,
    };
    let clock = &repositories.parts().clock;
    let mut answer = Answer::begin(form, out)?;
    let mut is_whole = true;
    for repository in chosen {
        let progress = Progress::new(repository.name().to_string(), || clock.monotonic());
        let report = repository.verify(&progress).await?;
        progress.end();
        is_whole &= report.damages == 0;
        answer.push(&report, write_text)?;
    }
    answer.end()?;
    Ok(is_whole)
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

    fn draw(&self, what: &str, done: u64, of: u64) {
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
            "\r\x1b[K{}: {percent} % of {what}",
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
    fn records(&self, done: u64, of: u64) {
        self.draw("the log", done, of);
    }

    fn bytes(&self, done: u64, of: u64) {
        self.draw("the files", done, of);
    }
}
