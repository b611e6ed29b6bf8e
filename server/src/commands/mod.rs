//! What an operator asks of a store, beside a running server: which repositories there are, what happened to
//! one, and whether everything is as it should be.
//!
//! Data goes to the writer that is handed in, as text or as JSON; progress goes to stderr, and only to a
//! terminal.

pub mod healthcheck;
pub mod history;
pub mod repos;
pub mod verify;
mod verify_refs;

use std::io::{self, Write};

use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::repo::{
    RepoName, RepoNameError, Repositories, Repository, RepositoryError,
};

use crate::start::PartsError;

/// Why a command did not give its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The store cannot be opened.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// No repository can have this name.
    #[error(transparent)]
    Name(#[from] RepoNameError),
    /// A record that must be there is not.
    #[error(
        "could not read record {sequence} of {name}: it is missing; `holdfastd verify {name}` tells more"
    )]
    Gap {
        /// The repository.
        name: RepoName,
        /// The record.
        sequence: u64,
    },
    /// There is no such repository.
    #[error("could not find the repository {name}")]
    NoRepository {
        /// Its name.
        name: RepoName,
    },
    /// The repository cannot be read.
    #[error("could not read a repository")]
    Repository(#[from] RepositoryError),
    /// The answer cannot be written.
    #[error("could not write the answer")]
    Write(#[from] io::Error),
    /// The answer cannot be written as JSON.
    #[error("could not write the answer")]
    Json(#[from] serde_json::Error),
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Finds the repository that a name means and that has at least one record.
async fn find(repositories: &Repositories, name: &str) -> Result<Repository, CommandError> {
    let name: RepoName = name.parse()?;
    if let Some(repository) = repositories.find(&name).await?
        && repository.state().await?.sequence > 0
    {
        return Ok(repository);
    }
    Err(CommandError::NoRepository { name })
}

/// An error with its causes, in one line.
fn one_line(error: &dyn std::error::Error) -> String {
    crate::forge::error::one_line(error)
}

/// A time as people and programs read it.
fn time(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

/// An answer of several items, written one by one: lines of text, or one JSON array.
struct Answer<'a> {
    out: &'a mut (dyn Write + Send),
    form: Form,
    any: bool,
}

impl<'a> Answer<'a> {
    fn begin(form: Form, out: &'a mut (dyn Write + Send)) -> io::Result<Self> {
        if form == Form::Json {
            out.write_all(b"[")?;
        }
        Ok(Self {
            out,
            form,
            any: false,
        })
    }

    fn push<T: serde::Serialize>(
        &mut self,
        item: &T,
        text: impl FnOnce(&T, &mut dyn Write) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        if self.form == Form::Text {
            return Ok(text(item, self.out)?);
        }
        self.out.write_all(if self.any { b",\n" } else { b"\n" })?;
        self.any = true;
        Ok(serde_json::to_writer(&mut *self.out, item)?)
    }

    fn end(self) -> io::Result<()> {
        match self.form {
            Form::Json => self.out.write_all(b"\n]\n"),
            Form::Text => Ok(()),
        }
    }
}
