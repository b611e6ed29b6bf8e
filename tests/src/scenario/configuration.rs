//! What a scenario is played against: a server, and what dolt is told about it.

use crate::dolt;
use crate::forge::{BucketAccess, Forge, Plan, Store};
use crate::remote::{Remote, Remotesrv, Uploads};

/// A server to start, and a way for dolt to use it.
#[derive(Debug, Clone)]
pub struct Configuration {
    server: Server,
    uploads: Uploads,
}

#[derive(Debug, Clone)]
enum Server {
    /// Ours.
    Ours(Box<Plan>),
    /// Ours, on the bucket that the environment names, but for that as planned.
    OursElsewhere(Box<Plan>),
    /// Dolt's own, with the newer stream or without.
    Dolts { stream_chunk_locations: bool },
}

impl Configuration {
    /// Our server on a local directory.
    pub fn local_disk() -> Self {
        Self::with_server(Server::Ours(Box::new(Plan::on_local_disk())))
    }

    /// Our server on a bucket of this process.
    pub fn bucket() -> Self {
        Self::with_server(Server::Ours(Box::new(Plan::on_a_bucket())))
    }

    /// Two servers of ours on one bucket of this process, behind a proxy that sends each request to the next.
    pub fn two_servers_by_turns() -> Self {
        Self::with_server(Server::Ours(Box::new(Plan::two_servers_on_one_bucket())))
    }

    /// Our server on the bucket that the environment names.
    pub fn elsewhere() -> Self {
        Self::with_server(Server::OursElsewhere(Box::new(Plan::on_a_bucket())))
    }

    /// Dolt's own server: what fails there is a mistake in the scenario.
    pub fn remotesrv() -> Self {
        Self::with_server(Server::Dolts {
            stream_chunk_locations: true,
        })
    }

    fn with_server(server: Server) -> Self {
        Self {
            server,
            uploads: Uploads::Archives,
        }
    }

    /// The same, and today's dolt uploads table files instead of archives.
    pub fn with_table_files(self) -> Self {
        Self {
            uploads: Uploads::TableFiles,
            ..self
        }
    }

    /// The same, and the newer stream is not offered.
    pub fn over_the_legacy_stream(mut self) -> Self {
        match &mut self.server {
            Server::Ours(plan) | Server::OursElsewhere(plan) => plan.stream_chunk_locations = false,
            Server::Dolts {
                stream_chunk_locations,
            } => *stream_chunk_locations = false,
        }
        self
    }

    /// The same, over https.
    pub fn over_https(self) -> Self {
        self.with_plan(|plan| plan.tls = true)
    }

    /// The same, and data comes from the bucket by presigned addresses.
    pub fn with_presigned_data(self) -> Self {
        self.with_plan(|plan| plan.presigned = true)
    }

    fn with_plan(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        match &mut self.server {
            Server::Ours(plan) | Server::OursElsewhere(plan) => change(plan),
            Server::Dolts { .. } => panic!("dolt's own server cannot be told"),
        }
        self
    }

    /// Starts the server; `None` after a word on stderr.
    pub(super) fn start(&self) -> Option<Box<dyn Remote>> {
        match &self.server {
            Server::Ours(plan) => Some(Box::new(Forge::start(Plan::clone(plan)))),
            Server::OursElsewhere(plan) => {
                let store = Store::BucketElsewhere(BucketAccess::from_environment()?);
                let plan = Plan {
                    store,
                    ..Plan::clone(plan)
                };
                Some(Box::new(Forge::start(plan)))
            }
            Server::Dolts {
                stream_chunk_locations,
            } => {
                let off = [(
                    "DOLT_REMOTESAPI_DISABLED_FEATURES",
                    "FEATURE_STREAM_CHUNK_LOCATIONS",
                )];
                let settings = if *stream_chunk_locations {
                    &[][..]
                } else {
                    &off
                };
                Some(Box::new(Remotesrv::start(settings)?))
            }
        }
    }

    /// Which files today's dolt uploads.
    pub(super) fn uploads(&self) -> Uploads {
        self.uploads
    }

    /// What dolt is told by its environment.
    pub(super) fn dolt_settings(&self) -> Vec<(String, String)> {
        match self.uploads {
            Uploads::Archives => Vec::new(),
            Uploads::TableFiles => {
                vec![(dolt::ARCHIVE_UPLOADS.to_owned(), "0".to_owned())]
            }
        }
    }
}
