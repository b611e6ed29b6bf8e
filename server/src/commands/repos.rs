//! Which repositories there are.

use std::io::Write;

use holdfast_chunkstore::repo::{RepoName, Repositories, Repository, State};

use super::{Answer, CommandError, Form, time};

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

/// Lists the repositories by name.
pub async fn repos(
    repositories: &Repositories,
    form: Form,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let mut answer = Answer::begin(form, out)?;
    for repository in repositories.list().await? {
        let state = repository.state().await?;
        answer.push(&line(&repository, &state), write_text)?;
    }
    Ok(answer.end()?)
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
