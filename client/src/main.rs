//! `holdfast`: the client.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]

mod args;
mod commands;
mod ui;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use holdfast_client::remote::ProxySettings;

use args::{Arguments, Environment};
use ui::{failure, paint};

fn main() -> ExitCode {
    let mut arguments = match Arguments::try_parse_from(args::reordered(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    ui::choose_format(arguments.output.format);
    // Where it cannot be raised, the usual one does: files are opened when they are read.
    drop(holdfast_chunkstore::open_files::raise_limit());
    // Another part of the process may have chosen the same provider already; both are ring.
    drop(rustls::crypto::ring::default_provider().install_default());
    let environment = Environment {
        home: std::env::var_os("DOLT_ROOT_PATH").or_else(|| std::env::var_os("HOME")),
        password: std::env::var("DOLT_REMOTE_PASSWORD").ok(),
        proxies: ProxySettings {
            http: either("http_proxy", "HTTP_PROXY"),
            https: either("https_proxy", "HTTPS_PROXY"),
            all: either("all_proxy", "ALL_PROXY"),
            direct: either("no_proxy", "NO_PROXY"),
        },
        is_plain: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb"),
    };
    let is_terminal = std::io::stdout().is_terminal();
    let color = arguments.output.color;
    arguments.output.color = paint::settled(color, &environment, is_terminal);
    match commands::run(arguments, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(error) if failure::is_of_a_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            ui::fail(&error);
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

/// Shows help, or what is wrong with the command line: as JSON where that was asked for, as far as can be told of a line
/// that cannot be read.
fn usage(error: &clap::Error) -> ExitCode {
    let words = std::env::args_os();
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let is_json = words.iter().any(|word| word == "--format=json")
        || words.windows(2).any(|pair| pair == ["--format", "json"]);
    match is_json && error.use_stderr() {
        true => ui::say(&failure::usage_json(error).to_string()),
        // Nothing can be done when the output is gone.
        false => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// What the environment says under one of two spellings; what is empty says nothing.
fn either(lower: &str, upper: &str) -> Option<String> {
    let values = [lower, upper].map(|name| std::env::var(name).ok());
    values.into_iter().flatten().find(|value| !value.is_empty())
}
