//! `holdfastd`: the server, and what an operator asks of a store.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use holdfast_chunkstore::repo::Repositories;
use holdfast_server::args::{Arguments, Task};
use holdfast_server::commands::{self, Form};
use holdfast_server::settings::{Purpose, Settings, check, reference};
use holdfast_server::signals::Signals;
use holdfast_server::start::StoredIndex;
use holdfast_server::{Handle, Service, descriptors, start, telemetry};
use rustix::fs::Mode;

/// The exit code for a command line or settings that cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            let printed = error.print();
            return if error.use_stderr() || printed.is_err() {
                ExitCode::from(USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    // Where it cannot be raised, connections are refused earlier.
    drop(holdfast_chunkstore::open_files::raise_limit());
    // Another part of the process may have chosen the same provider already; both are ring.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("the crypto provider was chosen already");
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("holdfastd: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Task::Settings { toml } = arguments.task {
        let text = if toml {
            reference::as_toml()
        } else {
            reference::as_text()
        };
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("could not print the settings")?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let gathered = arguments.gather(&environment);
    let purpose = match arguments.task {
        Task::Serve { .. } => Purpose::Serve,
        Task::Healthcheck => Purpose::Probe,
        _ => Purpose::ReadStore,
    };
    let check_only = arguments.task == Task::Serve { check_only: true };
    let notes = gathered.notes.clone();
    let settings = match check::check(gathered, purpose) {
        Ok(settings) => settings,
        Err(complaints) => {
            for complaint in complaints {
                say(&format!("holdfastd: {complaint}"));
            }
            return Ok(ExitCode::from(USAGE));
        }
    };
    if check_only {
        for note in notes {
            say(&format!("holdfastd: note: {note}"));
        }
        if let Some(warning) = settings.access.short_token() {
            say(&format!("holdfastd: warning: {warning}"));
        }
        say("holdfastd: the settings are in order");
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.task == Task::Healthcheck {
        return healthcheck(&settings);
    }
    // What is made from here on is its owner's alone; what is there stays as it is.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    telemetry::logs::begin(&settings.log).context("could not read log.filter")?;
    for note in notes {
        tracing::info!("{note}");
    }
    if let Some(warning) = settings.access.short_token() {
        tracing::warn!("{warning}");
    }
    match &arguments.task {
        Task::Serve { .. } => block_on(serve(&settings)),
        Task::Repos { .. } | Task::History { .. } | Task::Verify { .. } => {
            // Goes last: what a reader that is interrupted leaves to the runtime's threads is written there.
            let work = start::reading_directory(&settings)?;
            block_on(read(&arguments.task, &settings, work.path()))
        }
        Task::Healthcheck | Task::Settings { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Asks the server that listens here.
fn healthcheck(settings: &Settings) -> anyhow::Result<ExitCode> {
    let health = commands::healthcheck::ask(&settings.listen)
        .with_context(|| format!("could not ask {}", settings.listen))?;
    writeln!(std::io::stdout(), "{}", health.said).context("could not write the answer")?;
    Ok(match health.is_ready {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Runs a future, and then waits for what it left to the threads that may block.
fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(Box::pin(future))
}

/// Reads the store, beside a server that may be running, until a signal.
async fn read(task: &Task, settings: &Settings, work: &Path) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("could not listen for signals")?;
    tokio::select! {
        answered = answer(task, settings, work) => answered,
        signal = signals.next() => Ok(ExitCode::from(signal.exit_code())),
    }
}

async fn answer(task: &Task, settings: &Settings, work: &Path) -> anyhow::Result<ExitCode> {
    let stored_index = match task {
        Task::Verify { .. } => StoredIndex::Read,
        _ => StoredIndex::Ignored,
    };
    let parts = start::repositories_to_read(settings, stored_index, work).await?;
    let repositories = Repositories::open(parts).await?;
    let form = |json: bool| if json { Form::Json } else { Form::Text };
    let mut out = std::io::stdout();
    let is_whole = match task {
        Task::Repos { json } => {
            commands::repos::repos(&repositories, form(*json), &mut out).await?
        }
        Task::History { repo, json } => {
            commands::history::history(&repositories, repo, form(*json), &mut out).await?;
            true
        }
        Task::Verify { repo, json } => {
            let repo = repo.as_deref();
            commands::verify::verify(&repositories, repo, form(*json), &mut out).await?
        }
        Task::Serve { .. } | Task::Healthcheck | Task::Settings { .. } => true,
    };
    out.flush().context("could not write the answer")?;
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve(settings: &Settings) -> anyhow::Result<ExitCode> {
    // Before the port opens: a signal from then on drains.
    let mut signals = Signals::listen().context("could not listen for signals")?;
    descriptors::raise_limit();
    let handle = tokio::select! {
        handle = begin(settings) => handle?,
        signal = signals.next() => {
            tracing::info!(signal = signal.name(), "stopped before it could serve");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let address = handle.local_addr();
    tracing::info!(%address, "serving");
    say(&format!("holdfastd: listening on {address}"));
    let signal = signals.next().await.name();
    tracing::info!(signal, "stopping: what runs may finish");
    let cut = handle.cut();
    let mut stopping = std::pin::pin!(handle.shutdown());
    let finished = tokio::select! {
        finished = &mut stopping => finished,
        signal = signals.next() => {
            tracing::info!(signal = signal.name(), "told again: stopping at once");
            cut.cancel();
            stopping.await
        }
    };
    if finished {
        tracing::info!("stopped");
    } else {
        tracing::info!("stopped; requests that still ran were cut");
    }
    Ok(ExitCode::SUCCESS)
}

async fn begin(settings: &Settings) -> anyhow::Result<Handle> {
    let parts = start::server_parts(settings).await?;
    Ok(Service::start(settings, parts).await?)
}

/// Writes a line for people.
fn say(line: &str) {
    // Nothing can be done when stderr is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}
