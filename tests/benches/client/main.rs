//! How long our client takes and how much memory, and how long a real `dolt`, side by side in one run against the same
//! server.
//!
//! `./dev bench client [--rows N] [--repeats N] [--dir DIR] [--server remotesrv|holdfast]` clones, fetches and pushes
//! with `holdfast` and with `dolt`. With `--line` everything that is measured goes over a line of 40 ms and 500 Mbit/s.
//! With `--memory` the steps are taken once more with a database ten times as large, of which only the memory is
//! printed.
//!
//! ```text
//! database (made once, kept) ─▶ round: one server, an author, a lane per client; each step by both in turn ─▶ report
//! ```
//!
//! Programs are found as `$HOLDFAST_CLIENT`, `$HOLDFAST_DOLT`, `$HOLDFAST_REMOTESRV` and `$HOLDFAST_SERVER`, else on
//! PATH. Everything stays on the loopback and below `--dir`, and only what was started here is ended.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that starts others and prints what they took"
)]

mod client;
mod lane;
mod remote;
mod report;
mod round;
mod step;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use holdfast_tests::bench::database::Database;
use holdfast_tests::bench::dolt::Dolt;
use holdfast_tests::bench::home::Home;
use holdfast_tests::bench::options::{Folders, Options};
use holdfast_tests::bench::programs::Programs;

use remote::{Link, ServerKind};
use report::Report;
use round::Round;

/// A database with fewer rows has no 41,000 that are scattered.
const LEAST_ROWS: u64 = 100_000;

/// Our client against dolt.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Over a line of 40 ms round trip and 500 Mbit/s in each direction.
    #[arg(long)]
    line: bool,
    /// Whose server both talk to.
    #[arg(long, value_enum, default_value_t = ServerKind::Remotesrv)]
    server: ServerKind,
    /// Also the memory with a database ten times as large, which takes a while.
    #[arg(long)]
    memory: bool,
}

/// What every round has in common.
#[derive(Debug)]
struct Ground {
    programs: Programs,
    home: Home,
    dolt: Dolt,
    server: ServerKind,
    link: Link,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folders = Folders::create(&arguments.options)?;
    let work = folders.work.path();
    let programs = Programs::find()?;
    programs.holdfast()?;
    let home = Home::create(work)?;
    let ground = Ground {
        dolt: Dolt::new(&programs.dolt, &home),
        programs,
        home,
        server: arguments.server,
        link: if arguments.line {
            Link::Line
        } else {
            Link::Loopback
        },
    };

    let rows = arguments.options.rows.max(LEAST_ROWS);
    let database = Database::get(&ground.dolt, &folders.kept, rows)?;
    println!("{}", database.words());
    println!("{}, {}", ground.server.words(), ground.link.words());
    let mut report = Report::new(ground.link);
    for number in 0..arguments.options.repeats {
        run_round(&ground, &database, work, number, &mut report)?;
    }
    print!("{}", report.as_text());
    let mut failures = report.failures();

    if arguments.memory {
        let database = Database::get(&ground.dolt, &folders.kept, rows * 10)?;
        println!("\n{}", database.words());
        let mut report = Report::new(ground.link);
        run_round(&ground, &database, work, 0, &mut report)?;
        print!("{}", report.memory_as_text());
        failures += report.failures();
    }
    ensure!(failures == 0, "{failures} steps failed");
    Ok(())
}

fn run_round(
    ground: &Ground,
    database: &Database,
    work: &Path,
    number: u32,
    report: &mut Report,
) -> Result<()> {
    let folder = work.join(format!("round-{number}"));
    let round = Round::open(ground, database, &folder);
    let round = round.with_context(|| format!("begin round {number}"))?;
    round
        .run(number, report)
        .with_context(|| format!("round {number}"))?;
    drop(round);
    std::fs::remove_dir_all(&folder).context("remove what the round left")
}
