//! `holdfast push`.

use std::sync::Arc;

use holdfast_client::database::{Database, RepoState, StoreSource};
use holdfast_client::transfer::{
    self, Extent, Force, Observer, PushRef, PushRequest, PushResult, Pushed, Rejection, SetUpstream,
};
use holdfast_doltdb::{RefName, Refs};
use serde_json::json;

use super::fetch::{extent, span};
use super::push_ref::{full, parse};
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
    tell_left(&request, &pushed);
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

/// Says what could not be written down here. The remote has it all.
fn tell_left(request: &PushRequest, pushed: &Pushed) {
    let Some(remote) = &request.remote_name else {
        return;
    };
    let is_left = !pushed.left.is_empty() || request.upstream == SetUpstream::Pushed;
    if !is_left || !pushed.is_beside {
        return;
    }
    let mut what: Vec<_> = pushed.left.iter().map(short).collect();
    if request.upstream == SetUpstream::Pushed {
        what.push("the upstream".to_owned());
    }
    ui::note(&format!(
        "note: the database is locked by another process, so here {} stays as it was; \
         `call dolt_fetch('{remote}')` by SQL moves what follows the remote",
        what.join(", ")
    ));
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
    let reasons = pushed
        .results
        .iter()
        .filter_map(|(_, result)| match result {
            PushResult::Rejected { reason, .. } => Some(*reason),
            _ => None,
        });
    let reasons: Vec<_> = reasons.collect();
    match reasons.first() {
        None => Ok(()),
        Some(first) => Err(Complaint::Rejected {
            count: reasons.len(),
            of: pushed.results.len(),
            hint: remedy(*first),
        }
        .into()),
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
    let force = match arguments.force {
        true => Force::WithLease,
        false => Force::No,
    };
    let same = |name: &RefName| PushRef {
        source: Some(name.clone()),
        destination: name.clone(),
        force,
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
    let head = database.repo_state().branch();
    for text in &arguments.refs {
        pushed.push(match arguments.delete {
            true => PushRef {
                source: None,
                destination: full(text, &[]),
                force,
            },
            false => parse(text, &known, head, force),
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
        pushed.push(usual(remote, database.repo_state(), force)?);
    }
    Ok(pushed)
}

/// The branch that is checked out, to the one that it follows; to one of its name where a remote is named.
fn usual(remote: Option<&str>, state: &RepoState, force: Force) -> Result<PushRef, Complaint> {
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
        force,
    })
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
    // As with git, what is where it should be is not told beside what moved.
    for (pushed, result) in pushed.results.iter().filter(|result| !is_old(result)) {
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
        PushResult::Rejected { reason, .. } => {
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
        RefName::RemoteBranch { remote, branch } => format!("{remote}/{branch}"),
        other => other.to_string(),
    };
    ui::plain(&text).into_owned()
}

/// Why a ref was rejected, in git's words, and as programs read it.
fn words(reason: Rejection) -> (&'static str, &'static str) {
    match reason {
        Rejection::NonFastForward => ("non-fast-forward: merge first", "non-fast-forward"),
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

/// What may help where a ref was rejected.
fn remedy(reason: Rejection) -> &'static str {
    match reason {
        Rejection::NonFastForward => {
            "`holdfast fetch`, then `dolt merge` the remote's branch, such as origin/main, and push again; `push --force` \
             leaves the commits behind that only the remote has"
        }
        Rejection::FetchFirst => "`holdfast fetch` first, merge what came, and push again",
        Rejection::StaleLease => {
            "`holdfast fetch`, look at what came, and run the same command again, with the remote's name and not its address"
        }
        Rejection::TagExists => "name another tag, or move the one there with --force",
        Rejection::UncommittedChanges => {
            "commit the changes there first, or overwrite them with --force"
        }
        Rejection::NotThere => "`holdfast refs --remote <remote>` lists what there is",
        Rejection::LastBranch => "push another branch first",
        _ => "`holdfast fetch` first",
    }
}

fn result_json((pushed, result): &(PushRef, PushResult)) -> serde_json::Value {
    let (word, old, new) = match result {
        PushResult::Created { new } => ("created", None, Some(*new)),
        PushResult::Moved { old, new } => ("moved", Some(*old), Some(*new)),
        PushResult::Deleted { old } => ("deleted", Some(*old), None),
        PushResult::UpToDate { at } => ("up-to-date", Some(*at), Some(*at)),
        PushResult::Rejected { reason, old, new } => (words(*reason).1, *old, *new),
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
