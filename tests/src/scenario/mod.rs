//! What a real dolt does with a remote, one function per scenario.
//!
//! Every scenario starts from a [`Scene`]: a server, a dolt that can reach it, and databases to push.
#![expect(missing_docs, reason = "the names of the scenarios are facts")]

pub mod backup;
pub mod clone;
pub mod concurrent;
mod configuration;
pub mod fetch;
pub mod merged;
pub mod old_clients;
pub mod pull;
pub mod push;
pub mod shallow;
pub mod sqlserver;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dolt::{Database, Dolt, Workshop};
use crate::world::{BRANCHES, TAGS, World};

pub use configuration::Configuration;

/// A server and a workshop beside it.
#[derive(Debug, Clone)]
pub struct Scene {
    workshop: Workshop,
    base_url: String,
    /// Where a client of the wire protocol goes, which speaks no TLS.
    wire_url: String,
    owner: String,
}

/// Starts the server, plays `scenario` against it, looks whether the configuration had its effect, and stops it.
///
/// Without a dolt or without the server the test is skipped, and stderr says why.
pub fn play(configuration: &Configuration, scenario: fn(&Scene)) {
    let Some(dolt) = Dolt::find() else {
        return;
    };
    let Some(remote) = configuration.start() else {
        return;
    };
    let mut settings = remote.dolt_settings();
    settings.extend(configuration.dolt_settings());
    scenario(&Scene {
        wire_url: remote.wire_url(),
        ..Scene::new(&dolt, &settings, &remote.base_url())
    });
    remote.assert_effects(configuration.uploads());
    remote.finish();
}

impl Scene {
    /// A new workshop beside a server; its repositories belong to an owner that no other scene has.
    pub fn new(dolt: &Dolt, settings: &[(String, String)], base_url: &str) -> Self {
        static SCENES: AtomicUsize = AtomicUsize::new(1);
        Self {
            workshop: Workshop::new(dolt).with(settings),
            base_url: base_url.to_owned(),
            wire_url: base_url.to_owned(),
            owner: format!("acme{}", SCENES.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// A new scene at the same server, for another dolt.
    pub fn alone_with(&self, dolt: &Dolt) -> Self {
        Self {
            wire_url: self.wire_url.clone(),
            ..Self::new(dolt, self.workshop.settings(), &self.base_url)
        }
    }

    /// The same scene for another dolt: the same server, the same owner, the same folder.
    pub fn using(&self, dolt: &Dolt) -> Self {
        Self {
            workshop: self.workshop.using(dolt),
            ..self.clone()
        }
    }

    /// Where dolt works.
    pub fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    /// The address of a repository.
    pub fn url(&self, repository: &str) -> String {
        format!("{}/{}", self.base_url, self.path(repository))
    }

    /// The name of a repository in two parts.
    pub fn path(&self, repository: &str) -> String {
        format!("{}/{repository}", self.owner)
    }

    /// A small world with `repository` as its remote, nothing pushed yet.
    pub fn unpublished(&self, name: &str, repository: &str) -> Database {
        let database = World::SMALL.make(&self.workshop, name);
        database.ok(&["remote", "add", "origin", &self.url(repository)]);
        database
    }

    /// A small world of which every branch and tag is pushed to `repository`.
    pub fn published(&self, name: &str, repository: &str) -> Database {
        self.publish(World::SMALL, name, repository)
    }

    /// A world of which every branch and tag is pushed to `repository`.
    pub fn publish(&self, world: World, name: &str, repository: &str) -> Database {
        let database = world.make(&self.workshop, name);
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
