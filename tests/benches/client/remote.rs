//! The server that both clients talk to, and the way there.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use holdfast_tests::bench::programs::Programs;
use holdfast_tests::bench::server::Server;
use holdfast_tests::line::{Line, Terms};
use tokio::runtime::Runtime;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ServerKind {
    /// Dolt's own.
    Remotesrv,
    /// Ours.
    Holdfast,
}

impl ServerKind {
    /// The name of its program.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Remotesrv => "against remotesrv",
            Self::Holdfast => "against holdfastd",
        }
    }

    fn start(self, programs: &Programs, folder: &Path) -> Result<Server> {
        Ok(match self {
            Self::Remotesrv => Server::start_remotesrv(programs.remotesrv()?, folder),
            Self::Holdfast => Server::start_holdfastd(programs.holdfastd()?, folder),
        })
    }

    /// Starts a line to a server of this kind. Data takes the same way as calls: our server gives it out under the
    /// address that it is asked at, and `remotesrv` under its own port, whose place the line has to take.
    async fn start_line(self, server: SocketAddr) -> io::Result<Line> {
        match self {
            Self::Remotesrv => Line::start_in_place_of(server, Terms::CONTINENTAL).await,
            Self::Holdfast => Line::start(server, Terms::CONTINENTAL).await,
        }
    }
}

/// What lies between the clients and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing.
    Loopback,
    /// A line of [`Terms::CONTINENTAL`].
    Line,
}

impl Link {
    /// What it is, in words.
    pub(crate) fn words(self) -> String {
        let Terms {
            round_trip,
            bytes_per_second,
        } = Terms::CONTINENTAL;
        match self {
            Self::Loopback => "on the loopback".to_owned(),
            Self::Line => format!(
                "over a line of {} ms round trip and {} Mbit/s in each direction",
                round_trip.as_millis(),
                u64::from(bytes_per_second) * 8 / 1_000_000
            ),
        }
    }
}

/// A server that runs, with an empty store at first; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Remote {
    line: Option<LongLine>,
    server: Server,
}

/// A line, and the threads on which it works. It goes before they do.
#[derive(Debug)]
struct LongLine {
    line: Line,
    _runtime: Runtime,
}

impl LongLine {
    fn start(kind: ServerKind, port: u16) -> Result<Self> {
        let runtime = Runtime::new().context("start a runtime")?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let line = runtime.block_on(kind.start_line(server));
        Ok(Self {
            line: line.context("start a line")?,
            _runtime: runtime,
        })
    }
}

impl Remote {
    /// Starts a server that keeps everything in `folder`.
    pub(crate) fn start(
        kind: ServerKind,
        link: Link,
        programs: &Programs,
        folder: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let server = kind.start(programs, folder)?;
        let line = match link {
            Link::Loopback => None,
            Link::Line => Some(LongLine::start(kind, server.port())?),
        };
        Ok(Self { line, server })
    }

    /// The address of a repository by the way that is measured.
    pub(crate) fn url(&self, repository: &str) -> String {
        let line = self.line.as_ref();
        let port = line.map_or(self.server.port(), |long| long.line.address().port());
        url(port, repository)
    }

    /// The MB that have gone over the line so far; `None` without one.
    pub(crate) fn carried_mb(&self) -> Option<f64> {
        let kilobytes = self.line.as_ref()?.line.bytes() / 1000;
        u32::try_from(kilobytes)
            .ok()
            .map(|kilobytes| f64::from(kilobytes) / 1000.0)
    }

    /// The address of a repository by the shortest way.
    pub(crate) fn near_url(&self, repository: &str) -> String {
        url(self.server.port(), repository)
    }

    /// The server's process.
    pub(crate) fn process(&self) -> u32 {
        self.server.id()
    }

    /// The last lines that the server printed, for messages.
    pub(crate) fn log_end(&self) -> String {
        self.server.log_end()
    }
}

fn url(port: u16, repository: &str) -> String {
    format!("http://127.0.0.1:{port}/bench/{repository}")
}
