//! What every scenario starts from: a server, a dolt that can reach it, and databases to push.

use holdfast_tests::dolt::{Database, Dolt, Workshop};
use holdfast_tests::remote::{Remote, Remotesrv};
use holdfast_tests::world::{BRANCHES, TAGS, World};

/// A server and a workshop beside it.
#[derive(Debug)]
pub(crate) struct Scene {
    workshop: Workshop,
    base_url: String,
}

/// Starts the server, plays `scenario` against it, and stops it.
///
/// Without a dolt or without the server the test is skipped, and stderr says why.
pub(crate) fn play(
    start: Option<Box<dyn Remote>>,
    dolt_settings: &[(&str, &str)],
    scenario: fn(&Scene),
) {
    let (Some(dolt), Some(remote)) = (Dolt::find(), start) else {
        return;
    };
    let mut settings = remote.dolt_settings();
    settings.extend(
        dolt_settings
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned())),
    );
    let scene = Scene {
        workshop: Workshop::new(&dolt).with(&settings),
        base_url: remote.base_url(),
    };
    scenario(&scene);
    remote.finish();
}

/// Dolt's own server.
pub(crate) fn remotesrv(settings: &[(&str, &str)]) -> Option<Box<dyn Remote>> {
    Remotesrv::start(settings).map(|remote| Box::new(remote) as Box<dyn Remote>)
}

impl Scene {
    /// Where dolt works.
    pub(crate) fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    /// The address of a repository.
    pub(crate) fn url(&self, repository: &str) -> String {
        format!("{}/acme/{repository}", self.base_url)
    }

    /// A small world with `repository` as its remote, nothing pushed yet.
    pub(crate) fn unpublished(&self, name: &str, repository: &str) -> Database {
        let database = World::SMALL.make(&self.workshop, name);
        database.ok(&["remote", "add", "origin", &self.url(repository)]);
        database
    }

    /// A small world of which every branch and tag is pushed to `repository`.
    pub(crate) fn published(&self, name: &str, repository: &str) -> Database {
        let database = World::SMALL.make(&self.workshop, name);
        let refs = BRANCHES.iter().chain(&TAGS);
        let pushes: String = refs
            .map(|name| format!("call dolt_push('origin', '{name}');\n"))
            .collect();
        database.sql(&format!(
            "call dolt_remote('add', 'origin', '{}');\n{pushes}",
            self.url(repository)
        ));
        database
    }
}
