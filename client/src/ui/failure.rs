//! What went wrong, for people and for scripts.

mod hint;

use std::error::Error;
use std::io;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_client::backup::BackupError;
use holdfast_client::database::{DatabaseError, LockError};
use holdfast_client::inventory::InventoryError;
use holdfast_client::local::LocalError;
use holdfast_client::mirror::MirrorError;
use holdfast_client::remote::{RemoteError, UrlError};
use holdfast_client::transfer::{CheckError, TransferError};
use holdfast_doltdb::ReadError;

use serde_json::{Value, json};

use crate::commands::Complaint;

/// The error with all its causes, and what to do next where that is known.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut told = told(&causes(error)).into_iter();
    let mut text = format!("error: {}", told.next().unwrap_or_default());
    for cause in told {
        text.push_str(&format!("\n  caused by: {cause}"));
    }
    if let Some(hint) = hint::of(error) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

/// The same for programs, in one line.
pub(crate) fn json(error: &anyhow::Error) -> Value {
    let mut told = told(&causes(error)).into_iter();
    json!({
        "error": told.next().unwrap_or_default(),
        "causes": told.collect::<Vec<_>>(),
        "hint": hint::of(error),
        "exit_code": exit_code(error),
    })
}

/// What is wrong with a command line, for programs.
pub(crate) fn usage_json(error: &clap::Error) -> Value {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
    json!({
        "error": text,
        "causes": [],
        "hint": null,
        "exit_code": error.exit_code(),
    })
}

/// An error with its causes in one line.
pub(crate) fn in_a_line(error: &(dyn Error + 'static)) -> String {
    told(&chain(error)).join(": ")
}

/// What each of some causes says; some say what their cause says.
fn told(causes: &[&(dyn Error + 'static)]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for cause in causes {
        let told = cause.to_string();
        let told = super::plain(&told);
        if !all.iter().any(|known| known.contains(&*told)) {
            all.push(told.into_owned());
        }
    }
    all
}

/// An error and its causes, those included that the answer to a call and an error of the system hide.
fn causes(error: &anyhow::Error) -> Vec<&(dyn Error + 'static)> {
    chain(error.as_ref())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut all = Vec::new();
    let mut open = Some(error);
    while let Some(cause) = open {
        all.push(cause);
        if let Some(RemoteError::Call { status, .. }) = cause.downcast_ref() {
            let mut next = Error::source(&**status);
            while let Some(cause) = next {
                all.push(cause);
                all.extend(inside(cause));
                next = cause.source();
            }
        }
        all.extend(inside(cause));
        open = cause.source();
    }
    all
}

/// What an error of the system was made from: its own chain begins behind that.
fn inside<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    Some(inner)
}

/// Whether the output went nowhere any more.
pub(crate) fn is_of_a_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The exit code that the help names.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<UrlError>()) {
        return 2;
    }
    match kind(error) {
        None | Some(ErrorKind::Internal) => 1,
        Some(ErrorKind::Invalid) => 2,
        Some(ErrorKind::NotFound) => 3,
        Some(
            ErrorKind::Refused
            | ErrorKind::Denied
            | ErrorKind::Unauthenticated
            | ErrorKind::Conflict,
        ) => 4,
        Some(ErrorKind::Unavailable) => 5,
        Some(ErrorKind::Corrupt | ErrorKind::Dangling) => 6,
        Some(ErrorKind::Exhausted) => 7,
        Some(ErrorKind::Locked) => 11,
    }
}

fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.chain().find_map(|cause| {
        kind_of(cause, Complaint::kind)
            .or_else(|| kind_of(cause, BackupError::kind))
            .or_else(|| kind_of(cause, MirrorError::kind))
            .or_else(|| kind_of(cause, TransferError::kind))
            .or_else(|| kind_of(cause, RemoteError::kind))
            .or_else(|| kind_of(cause, InventoryError::kind))
            .or_else(|| kind_of(cause, LocalError::kind))
            .or_else(|| kind_of(cause, DatabaseError::kind))
            .or_else(|| kind_of(cause, LockError::kind))
            .or_else(|| kind_of(cause, StoreError::kind))
            .or_else(|| kind_of(cause, CheckError::kind))
            .or_else(|| kind_of(cause, ReadError::kind))
    })
}

fn kind_of<E: Error + 'static>(
    cause: &(dyn Error + 'static),
    kind: fn(&E) -> ErrorKind,
) -> Option<ErrorKind> {
    cause.downcast_ref().map(kind)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use holdfast_client::remote::Hindrance;

    use super::*;

    fn io_error(source: io::Error) -> anyhow::Error {
        let path = PathBuf::from("/data");
        let action = "write";
        anyhow::Error::from(DatabaseError::Io {
            action,
            path,
            source,
        })
    }

    fn assert_told(error: &anyhow::Error, words: &str, code: u8) {
        let told = text(error);
        assert!(told.contains(words), "{told}");
        assert_eq!(exit_code(error), code, "{told}");
    }

    #[test]
    fn the_system_refuses_in_its_own_ways() {
        let full = io_error(io::ErrorKind::StorageFull.into());
        assert_told(&full, "hint: make room", 7);
        let denied = io_error(io::ErrorKind::PermissionDenied.into());
        assert_told(&denied, "hint: give this user the rights", 4);
        let read_only = io_error(io::ErrorKind::ReadOnlyFilesystem.into());
        assert_told(&read_only, "mounted read-only", 4);
    }

    #[test]
    fn a_database_in_use_says_who_has_it() {
        let path = PathBuf::from("/data/.dolt/noms/LOCK");
        let error = DatabaseError::Store {
            source: StoreError::Held { path },
        };
        let error = anyhow::Error::from(error);
        assert_told(&error, "stop the dolt process", 11);
        let none = DatabaseError::None { path: ".".into() };
        assert_told(&none.into(), "with -C", 3);
    }

    #[test]
    fn a_folder_in_which_another_process_works_is_locked() {
        let held = || LockError::Held {
            folder: PathBuf::from("copy"),
            process: Some(4711),
        };
        for error in [
            anyhow::Error::from(held()),
            TransferError::from(held()).into(),
            BackupError::from(held()).into(),
            MirrorError::from(BackupError::from(held())).into(),
        ] {
            assert_told(&error, "could not use copy: process 4711 works in it", 11);
            assert_told(&error, "hint: wait until the other process has ended", 11);
        }
    }

    fn called(status: tonic::Status) -> anyhow::Error {
        let status = Box::new(status);
        let action = "read the root";
        RemoteError::Call { action, status }.into()
    }

    #[test]
    fn a_remote_that_refuses_is_told_from_one_that_is_not_there() {
        let error = called(tonic::Status::unauthenticated("wrong password"));
        assert_told(&error, "hint: check --user", 4);
        let error = called(tonic::Status::permission_denied("no"));
        assert_told(&error, "hint: ask whoever runs the remote", 4);
        let error = called(tonic::Status::resource_exhausted("full"));
        assert_told(&error, "hint: the remote has no room", 7);
        let error = called(tonic::Status::not_found("repository"));
        assert_told(&error, "hint: check the owner", 3);
        let error = called(tonic::Status::unavailable("busy"));
        assert_told(&error, "hint: run the same command again", 5);
    }

    #[test]
    fn a_remote_that_lost_something_is_damaged_and_does_not_refuse() {
        let lost = || tonic::Status::failed_precondition("data file x is damaged");
        assert_told(&called(lost()), "data file x is damaged", 4);
        let mut status = lost();
        let mark = tonic::metadata::AsciiMetadataValue::from_static("damaged");
        status.metadata_mut().insert("holdfast-error", mark);
        assert_told(
            &called(status),
            "hint: in a clone that is whole, `holdfast push --repair",
            6,
        );
        let (action, text) = ("read a table file", "it is damaged".to_owned());
        let error = RemoteError::Damaged { action, text };
        assert_told(&error.into(), "holdfast push --repair", 6);
    }

    #[test]
    fn what_cannot_be_reached_is_not_what_is_locked() {
        let error = |hindrance| RemoteError::Unreachable {
            endpoint: "https://h:1".to_owned(),
            hindrance,
            detail: "why".to_owned(),
        };
        for (hindrance, words) in [
            (Hindrance::Refused, "connection refused"),
            (Hindrance::UnknownHost, "is not known"),
            (Hindrance::Certificate, "SSL_CERT_FILE"),
            (Hindrance::NoTls, "write http:// in the address"),
            (Hindrance::Tls, "write https:// in the address"),
        ] {
            assert_told(&error(hindrance).into(), words, 5);
        }
        let told = json(&error(Hindrance::Refused).into());
        assert_eq!(
            told,
            json!({
                "error": "could not reach https://h:1: connection refused, nothing listens there (why)",
                "causes": [],
                "hint": "check host and port in the address, and that the server runs",
                "exit_code": 5,
            })
        );
        let page = RemoteError::Plain {
            action: "read the root",
            status: 502,
            text: "<html>".to_owned(),
            retry_after: None,
        };
        assert_told(
            &page.into(),
            "could not read the root: HTTP status 502\n",
            5,
        );
    }

    #[test]
    fn what_a_cause_repeats_is_said_once() {
        let error = anyhow::Error::msg("inner").context("outer: inner");
        assert_eq!(text(&error), "error: outer: inner");
        let error = anyhow::Error::msg("inner").context("outer");
        assert_eq!(text(&error), "error: outer\n  caused by: inner");
    }
}
