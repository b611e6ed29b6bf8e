//! Which repositories there are.

use std::io::Write;

use holdfast_chunkstore::repo::{RepoName, Repositories, Repository, State};

use super::{Answer, CommandError, Form, one_line, time};

/// One repository, as `repos` tells of it.
#[derive(Debug, serde::Serialize)]
struct Line<'a> {
    name: &'a RepoName,
    id: String,
    root: String,
    changes: u64,
    last_change: String,
    files: usize,
    bytes: u64,
}

/// One repository of which nothing can be told.
#[derive(Debug, serde::Serialize)]
struct Unreadable<'a> {
    name: &'a RepoName,
    error: String,
}

/// Lists the repositories by name. Returns whether all could be read.
pub async fn repos(
    repositories: &Repositories,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<bool, CommandError> {
    let mut answer = Answer::begin(form, out)?;
    let mut is_whole = true;
    for (name, repository) in repositories.every_name().await? {
        let read = match repository {
            Ok(repository) => repository.state().await.map(|state| (repository, state)),
            Err(error) => Err(error),
        };
        match read {
            Ok((_, state)) if state.sequence == 0 => {}
            Ok((repository, state)) => answer.push(&line(&repository, &state), write_text)?,
            Err(error) => {
                is_whole = false;
                let error = one_line(&error);
                answer.push(&Unreadable { name: &name, error }, write_unreadable)?;
            }
        }
    }
    answer.end()?;
    Ok(is_whole)
}

fn write_unreadable(unreadable: &Unreadable<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let Unreadable { name, error } = unreadable;
    writeln!(out, "{name}  cannot be read: {error}")
}

fn line<'a>(repository: &'a Repository, state: &State) -> Line<'a> {
    Line {
        name: repository.name(),
        id: repository.id().to_string(),
        root: state.root.to_string(),
        changes: state.sequence,
        last_change: time(state.time),
        files: state.files.len(),
        bytes: state.stored_len(),
    }
}

fn write_text(line: &Line<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let Line {
        name,
        root,
        changes,
        last_change,
        files,
        bytes,
        ..
    } = line;
    writeln!(
        out,
        "{name}  {root}  {changes} changes, last {last_change}  {files} files, {bytes} bytes"
    )
}
