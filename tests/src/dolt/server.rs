//! A running `dolt sql-server`, for its SQL and as a remote.

use super::Database;
use crate::process::{Daemon, Finished, Port};
use crate::wait;

impl Database {
    /// Starts `dolt sql-server` on this database and waits until it answers.
    pub fn serve(&self) -> SqlServer {
        self.serve_with(None)
    }

    /// The same, and the server is a remote too: that of the databases that it serves.
    pub fn serve_as_remote(&self) -> SqlServer {
        self.serve_with(Some(Port::take()))
    }

    fn serve_with(&self, remote: Option<Port>) -> SqlServer {
        let (daemon, port) = Daemon::start_on_free_port(|port| {
            let mut command = self.workshop.prepared(&self.folder);
            command.args(["sql-server", "--host", "127.0.0.1", "--port"]);
            command.arg(port.to_string());
            if let Some(remote) = &remote {
                command.arg(format!("--remotesapi-port={}", remote.number()));
            }
            command
        });
        let mut server = SqlServer {
            daemon,
            port,
            remote,
            database: self.clone(),
        };
        wait::until("dolt sql-server to answer", || {
            server.try_sql("select 1").success
        });
        if let Some(remote) = &server.remote {
            server.daemon.wait_until_it_listens(remote.number());
        }
        server
    }
}

/// A running `dolt sql-server`; killed when dropped.
#[derive(Debug)]
pub struct SqlServer {
    daemon: Daemon,
    port: u16,
    remote: Option<Port>,
    database: Database,
}

impl SqlServer {
    /// The address of the database as a remote, where the server is one.
    pub fn url(&self) -> String {
        let port = self.remote.as_ref().expect("it was started as a remote");
        format!("http://localhost:{}/{}", port.number(), self.name())
    }

    fn name(&self) -> &str {
        let name = self.database.folder.file_name();
        name.and_then(|name| name.to_str()).unwrap()
    }

    /// Runs statements as a client of the server.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        let finished = self.try_sql(statements);
        assert!(
            finished.success,
            "{finished:#?}; the server says {}",
            self.daemon.log()
        );
        finished.stdout
    }

    /// Tries to run statements as a client of the server.
    pub fn try_sql(&self, statements: &str) -> Finished {
        let port = self.port.to_string();
        self.database.workshop.command(
            self.database.workshop.folder(),
            &[
                "--host",
                "127.0.0.1",
                "--port",
                &port,
                "--user",
                "root",
                "--password",
                "",
                "--no-tls",
                "--use-db",
                self.name(),
                "sql",
                "-r",
                "csv",
                "-q",
                statements,
            ],
        )
    }
}
