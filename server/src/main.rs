//! `holdfastd`: the server, and what an operator asks of a store.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use holdfast_chunkstore::repo::Repositories;
use holdfast_server::args::{Arguments, Task};
use holdfast_server::commands::{self, Form};
use holdfast_server::settings::{Purpose, Settings, check, reference};
use holdfast_server::start::StoredIndex;
use holdfast_server::{Service, descriptors, start, telemetry};

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
            .context("print the settings")?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let gathered = arguments.gather(&environment);
    let purpose = match arguments.task {
        Task::Serve { .. } => Purpose::Serve,
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
        say("holdfastd: the settings are in order");
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::logs::begin(&settings.log).context("read log.filter")?;
    for note in notes {
        tracing::info!("{note}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(Box::pin(perform(&arguments.task, &settings)))
}

async fn perform(task: &Task, settings: &Settings) -> anyhow::Result<ExitCode> {
    match task {
        Task::Serve { .. } => serve(settings).await,
        Task::Repos { .. } | Task::History { .. } | Task::Verify { .. } => {
            read(task, settings).await
        }
        Task::Settings { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Reads the store, beside a server that may be running.
async fn read(task: &Task, settings: &Settings) -> anyhow::Result<ExitCode> {
    let stored_index = match task {
        Task::Verify { .. } => StoredIndex::Read,
        _ => StoredIndex::Ignored,
    };
    let parts = start::reader_parts(settings, stored_index).await?;
    let repositories = Repositories::open(parts.repositories).await?;
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
        Task::Serve { .. } | Task::Settings { .. } => true,
    };
    out.flush().context("write the answer")?;
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve(settings: &Settings) -> anyhow::Result<ExitCode> {
    // Before the port opens: a signal from then on drains.
    let stop = stop_signal().context("listen for signals")?;
    descriptors::raise_limit();
    let parts = start::server_parts(settings).await?;
    let handle = Service::start(settings, parts).await?;
    let address = handle.local_addr();
    tracing::info!(%address, "serving");
    say(&format!("holdfastd: listening on {address}"));
    let signal = stop.await;
    tracing::info!(signal, "stopping: what runs may finish");
    if handle.shutdown().await {
        tracing::info!("stopped");
    } else {
        tracing::info!("stopped; requests that still ran were cut");
    }
    Ok(ExitCode::SUCCESS)
}

fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Writes a line for people.
fn say(line: &str) {
    // Nothing can be done when stderr is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}
