//! `holdfast clone`.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::clock::{Clock, SystemClock};
use holdfast_client::remote::{self, Access, DEFAULT_HOST, RemoteUrl};
use holdfast_client::transfer::{self, CloneRequest, Identity, Observer};
use serde_json::json;

use super::{Complaint, pool, user::User};
use crate::args::{self, Environment, Format, Output};
use crate::ui::{self, progress::Progress};

pub(super) async fn clone(
    arguments: args::Clone,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let user = User::read(environment)?;
    let host = user
        .settings
        .get("remotes.default_host")
        .unwrap_or(DEFAULT_HOST);
    let url = RemoteUrl::parse(&arguments.url, host)?;
    let directory = match (arguments.directory, url.directory_name()) {
        (Some(directory), _) => directory,
        (None, Some(name)) => PathBuf::from(name),
        (None, None) => return Err(Complaint::NoName.into()),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let pool = pool();
    let access = Access {
        credentials: user.credentials(arguments.user, environment)?,
        clock: Arc::clone(&clock),
        pool: pool.clone(),
    };
    let identity = |name: &str, email: &str| Identity {
        name: name.to_owned(),
        email: email.to_owned(),
    };
    let settings = &user.settings;
    let request = CloneRequest {
        remote: remote::open(url, access).await?,
        remote_name: arguments.remote,
        branch: arguments.branch,
        default_branch: settings.get("init.defaultbranch").map(str::to_owned),
        identity: (settings.get("user.name"))
            .zip(settings.get("user.email"))
            .map(|(name, email)| identity(name, email)),
    };
    let progress = Arc::new(Progress::new(output.quiet));
    let observer = Arc::clone(&progress) as Arc<dyn Observer>;
    let cloned = transfer::clone(&request, &directory, &pool, &clock, observer).await;
    progress.finish();
    let cloned = cloned?;
    match output.format {
        Format::Text => ui::print(&format!(
            "cloned into {}: branch {}, {} branches, {} tags, {} chunks checked",
            directory.display(),
            cloned.branch,
            cloned.branches,
            cloned.tags,
            cloned.chunks,
        )),
        Format::Json => ui::print(
            &json!({
                "directory": directory,
                "branch": cloned.branch,
                "branches": cloned.branches,
                "tags": cloned.tags,
                "chunks": cloned.chunks,
            })
            .to_string(),
        ),
    }
}
