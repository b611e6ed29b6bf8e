//! `holdfast push`.

use std::sync::Arc;

use holdfast_client::database::{Database, RepoState, StoreSource};
use holdfast_client::transfer::{
    self, Extent, Force, Observer, PushRef, PushRequest, PushResult, Pushed, Rejection, SetUpstream,
};
use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::fetch::{extent, span};
use super::remotes::open_database;
use super::remotes::{self, Named, Speaker};
use super::{Complaint, estimate, pool, repair};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn push(
    arguments: args::Push,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let directory = arguments.how.database.directory.clone();
    let (database, source) = open_database(&directory).await?;
    let state = database.repo_state();
    let speaker = Speaker::of(&directory, arguments.how.user.clone(), environment)?;
    let upstream = set_upstream(&arguments, state, &speaker)?;
    let refs = refs_of(&arguments, &database, &source, upstream).await?;
    let text = match &arguments.remote {
        Some(text) => text.as_str(),
        None => remotes::followed(state),
    };
    let Named { name, remote } = speaker.find(state, text).await?;
    if name.is_none() && arguments.set_upstream {
        let address = remote.address();
        return Err(Complaint::Unnamed { address }.into());
    }
    let request = PushRequest {
        remote,
        remote_name: name,
        refs,
        force: match arguments.force {
            true => Force::WithLease,
            false => Force::No,
        },
        upstream,
        extent: extent(arguments.how.dry_run),
        identity: speaker.identity(),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let repaired = match arguments.repair {
        true => {
            let observer = Arc::clone(&observer);
            let repaired = repair::repair(&request, &directory, observer).await;
            if repaired.is_err() {
                progress.finish();
            }
            Some(repaired?)
        }
        false => None,
    };
    let pushed = transfer::push(&request, &directory, &pool(), &speaker.clock, observer).await;
    progress.finish();
    let pushed = pushed?;
    match (&repaired, output.format) {
        (Some(repaired), Format::Text) => repair::print(&request, repaired)?,
        (Some(repaired), Format::Json) => {
            let told = repair::told(told(&request, &pushed), repaired);
            ui::print(&told.to_string())?;
            return check(&pushed);
        }
        (None, _) => {}
    }
    show(&request, &pushed, output)
}

/// Shows what became of each ref; an error if one stayed where it is.
pub(super) fn show(request: &PushRequest, pushed: &Pushed, output: Output) -> anyhow::Result<()> {
    match output.format {
        Format::Text => print(request, pushed)?,
        Format::Json => ui::print(&told(request, pushed).to_string())?,
    }
    check(pushed)
}

/// Checks that no ref stayed where it is.
pub(super) fn check(pushed: &Pushed) -> anyhow::Result<()> {
    let is_rejected =
        |result: &&(PushRef, PushResult)| matches!(result.1, PushResult::Rejected { .. });
    match pushed.results.iter().filter(is_rejected).count() {
        0 => Ok(()),
        count => Err(Complaint::Rejected { count }.into()),
    }
}

/// Whether what is pushed is followed from now on: where that was asked for, or where nothing was named, nothing is
/// followed, and the settings say so.
fn set_upstream(
    arguments: &args::Push,
    state: &RepoState,
    speaker: &Speaker<'_>,
) -> Result<SetUpstream, Complaint> {
    let is_named = arguments.remote.is_some() || arguments.all || arguments.tags;
    let follows = |branch: &str| state.branches.contains_key(branch);
    let is_set = match state.branch() {
        _ if arguments.set_upstream => true,
        Some(branch) if !is_named && !follows(branch) => speaker.is_on("push.autosetupremote")?,
        _ => false,
    };
    Ok(match is_set {
        true => SetUpstream::Pushed,
        false => SetUpstream::Unchanged,
    })
}

/// What the command line names.
async fn refs_of(
    arguments: &args::Push,
    database: &Database,
    source: &StoreSource,
    upstream: SetUpstream,
) -> anyhow::Result<Vec<PushRef>> {
    let mut known = Vec::new();
    let mut refs = Refs::open(source, database.store().root()).await?;
    while let Some((name, _)) = refs.next().await? {
        known.push(name);
    }
    let same = |name: &RefName| PushRef {
        source: Some(name.clone()),
        destination: name.clone(),
    };
    let mut pushed = Vec::new();
    if arguments.all {
        let branches = known
            .iter()
            .filter(|name| matches!(name, RefName::Branch(_)));
        pushed.extend(branches.map(same));
    }
    if arguments.tags {
        let tags = known.iter().filter(|name| matches!(name, RefName::Tag(_)));
        pushed.extend(tags.map(same));
    }
    for text in &arguments.refs {
        pushed.push(match arguments.delete {
            true => PushRef {
                source: None,
                destination: full(text, &[]),
            },
            false => parse(text, &known),
        });
    }
    if pushed.is_empty() && !arguments.all && !arguments.tags {
        let remote = match (arguments.remote.as_deref(), upstream) {
            // The settings say so.
            (None, SetUpstream::Pushed) if !arguments.set_upstream => {
                Some(remotes::followed(database.repo_state()))
            }
            (named, _) => named,
        };
        pushed.push(usual(remote, database.repo_state())?);
    }
    Ok(pushed)
}

/// The branch that is checked out, to the one that it follows; to one of its name where a remote is named.
fn usual(remote: Option<&str>, state: &RepoState) -> Result<PushRef, Complaint> {
    let branch = state.branch().unwrap_or("main").to_owned();
    let upstream = state.branches.get(&branch);
    let upstream = upstream.filter(|upstream| remote.is_none_or(|name| name == upstream.remote));
    let destination = match (upstream, remote) {
        (Some(upstream), _) => RefName::parse(&upstream.head),
        (None, Some(_)) => RefName::Branch(branch.clone()),
        (None, None) => return Err(Complaint::NoUpstream { branch }),
    };
    Ok(PushRef {
        source: Some(RefName::Branch(branch)),
        destination,
    })
}

/// Reads `<here>`, `<here>:<there>` or `:<there>`.
fn parse(text: &str, known: &[RefName]) -> PushRef {
    let (here, there) = match text.split_once(':') {
        Some(("", there)) => {
            return PushRef {
                source: None,
                destination: full(there, &[]),
            };
        }
        Some((here, there)) => (full(here, known), Some(there)),
        None => (full(text, known), None),
    };
    let destination = match (there, &here) {
        (None, _) => here.clone(),
        (Some(there), RefName::Tag(_)) if !there.starts_with("refs/") => {
            RefName::Tag(there.to_owned())
        }
        (Some(there), _) => full(there, &[]),
    };
    PushRef {
        source: Some(here),
        destination,
    }
}

/// A full name; a short one is a branch, unless only a tag has it.
fn full(text: &str, known: &[RefName]) -> RefName {
    if text.starts_with("refs/") {
        return RefName::parse(text);
    }
    let (branch, tag) = (
        RefName::Branch(text.to_owned()),
        RefName::Tag(text.to_owned()),
    );
    match !known.contains(&branch) && known.contains(&tag) {
        true => tag,
        false => branch,
    }
}

/// What programs are told.
pub(super) fn told(request: &PushRequest, pushed: &Pushed) -> serde_json::Value {
    let results: Vec<_> = pushed.results.iter().map(result_json).collect();
    json!({
        "remote": request.remote.address(),
        "refs": results,
        "chunks": pushed.chunks,
        "bytes": pushed.bytes,
        "at_least": false,
    })
}

/// Tells people.
pub(super) fn print(request: &PushRequest, pushed: &Pushed) -> anyhow::Result<()> {
    let is_old = |result: &(PushRef, PushResult)| matches!(result.1, PushResult::UpToDate { .. });
    if pushed.results.iter().all(is_old) {
        return ui::print("Everything up-to-date");
    }
    ui::print(&format!("To {}", request.remote.address()))?;
    for (pushed, result) in &pushed.results {
        ui::print(&line(pushed, result))?;
    }
    match request.extent {
        Extent::DryRun => ui::print(&estimate::line(pushed.chunks, pushed.bytes, false)),
        Extent::Whole => Ok(()),
    }
}

fn line(pushed: &PushRef, result: &PushResult) -> String {
    let kind = match &pushed.destination {
        RefName::Tag(_) => "tag",
        _ => "branch",
    };
    let there = short(&pushed.destination);
    let here = pushed.source.as_ref().map_or("(none)".to_owned(), short);
    match result {
        PushResult::Created { .. } => {
            format!(" * {:<19} {here} -> {there}", format!("[new {kind}]"))
        }
        PushResult::Moved { old, new } => format!("   {:<19} {here} -> {there}", span(*old, *new)),
        PushResult::Deleted { .. } => format!(" - {:<19} {there}", "[deleted]"),
        PushResult::UpToDate { .. } => format!(" = {:<19} {here} -> {there}", "[up to date]"),
        PushResult::Rejected { reason } => {
            let (word, _) = words(*reason);
            format!(" ! {:<19} {here} -> {there} ({word})", "[rejected]")
        }
        _ => String::new(),
    }
}

/// How people are shown a ref; a bad name that goes gives a terminal no orders.
fn short(name: &RefName) -> String {
    let text = match name {
        RefName::Branch(name) | RefName::Tag(name) => name.clone(),
        other => other.to_string(),
    };
    ui::plain(&text).into_owned()
}

/// Why a ref was rejected, in git's words, and as programs read it.
fn words(reason: Rejection) -> (&'static str, &'static str) {
    match reason {
        Rejection::NonFastForward => ("non-fast-forward: pull first", "non-fast-forward"),
        Rejection::FetchFirst => ("fetch first", "fetch-first"),
        Rejection::StaleLease => ("stale info: fetch, look, and force again", "stale-info"),
        Rejection::TagExists => ("already exists", "already-exists"),
        Rejection::UncommittedChanges => (
            "target has uncommitted changes, and ignored tables count; --force overwrites them",
            "uncommitted-changes",
        ),
        Rejection::NotThere => ("remote ref does not exist", "not-there"),
        Rejection::LastBranch => ("the last branch stays", "last-branch"),
        _ => ("rejected", "rejected"),
    }
}

fn result_json((pushed, result): &(PushRef, PushResult)) -> serde_json::Value {
    let (word, old, new) = match result {
        PushResult::Created { new } => ("created", None, Some(*new)),
        PushResult::Moved { old, new } => ("moved", Some(*old), Some(*new)),
        PushResult::Deleted { old } => ("deleted", Some(*old), None),
        PushResult::UpToDate { at } => ("up-to-date", Some(*at), Some(*at)),
        PushResult::Rejected { reason } => (words(*reason).1, None, None),
        _ => ("unknown", None, None),
    };
    json!({
        "source": pushed.source.as_ref().map(ToString::to_string),
        "destination": pushed.destination.to_string(),
        "result": word,
        "old": old,
        "new": new,
    })
}
