//! How long a real `dolt` takes against our server and against Dolt's own, side by side in one run.
//!
//! `./dev bench transfer [--rows N] [--repeats N] [--dir DIR]` compares `holdfastd` on local disk with `remotesrv`.
//! With `--s3` it compares `holdfastd` on a bucket of versitygw, with data sent by the server and by presigned
//! addresses, with dolt's own `s3://` remote in the same bucket. With `--control` the baseline is compared with
//! itself, which shows how much of a ratio is noise.
//!
//! ```text
//! database (made once, kept) ─▶ round: a lane per contender, each step taken by all of them in turn ─▶ report
//! ```
//!
//! Programs are found as `$HOLDFAST_SERVER`, `$HOLDFAST_DOLT`, `$HOLDFAST_REMOTESRV` and `$HOLDFAST_VERSITYGW`, else
//! on PATH. Everything stays on the loopback and below `--dir`, and only what was started here is ended.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that starts others, takes their time and prints it"
)]

mod bucket;
mod contender;
mod lane;
mod measure;
mod report;
mod step;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use holdfast_tests::bench::database::Database;
use holdfast_tests::bench::dolt::Dolt;
use holdfast_tests::bench::home::Home;
use holdfast_tests::bench::options::{Folders, Options};
use holdfast_tests::bench::programs::Programs;

use bucket::Bucket;
use contender::Contender;
use lane::Lane;
use report::Report;
use step::Step;

/// Dolt against our server and against its own.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// On S3, against dolt's own `s3://` remote.
    #[arg(long)]
    s3: bool,
    /// The baseline against itself.
    #[arg(long)]
    control: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folders = Folders::create(&arguments.options)?;
    let work = folders.work.path();
    let programs = Programs::find()?;
    let dolt = Dolt::new(&programs.dolt, &Home::create(work)?);
    let database = Database::get(&dolt, &folders.kept, arguments.options.rows.max(10_000))?;
    println!("{}", database.words());
    let bucket = arguments
        .s3
        .then(|| Bucket::start(&work.join("bucket")))
        .transpose()?;

    let contenders = contenders(&arguments);
    let steps = if arguments.s3 {
        Step::ON_S3
    } else {
        Step::ON_DISK
    };
    let mut report = Report::new(&contenders, steps);
    for round in 0..arguments.options.repeats {
        let ground = Ground {
            programs: &programs,
            dolt: &dolt,
            database: &database,
            bucket: bucket.as_ref(),
        };
        let folder = work.join(format!("round-{round}"));
        run_round(&ground, &contenders, &folder, &mut report)
            .with_context(|| format!("round {round}"))?;
    }
    print!("{}", report.as_text());
    Ok(())
}

/// What every lane of every round has in common.
#[derive(Debug)]
struct Ground<'a> {
    programs: &'a Programs,
    dolt: &'a Dolt,
    database: &'a Database,
    bucket: Option<&'a Bucket>,
}

/// The baseline first, then those that are compared with it.
fn contenders(arguments: &Arguments) -> Vec<Contender> {
    match (arguments.s3, arguments.control) {
        (false, false) => vec![Contender::Remotesrv, Contender::Holdfast],
        (false, true) => vec![Contender::Remotesrv, Contender::Remotesrv],
        (true, false) => vec![
            Contender::DoltOnS3,
            Contender::HoldfastOnS3 { presigned: false },
            Contender::HoldfastOnS3 { presigned: true },
        ],
        (true, true) => vec![Contender::DoltOnS3, Contender::DoltOnS3],
    }
}

/// Takes every step with every contender in turn, so that all of them meet the same moods of the machine; who is
/// first changes from step to step.
fn run_round(
    ground: &Ground<'_>,
    contenders: &[Contender],
    folder: &std::path::Path,
    report: &mut Report,
) -> Result<()> {
    let mut lanes = contenders
        .iter()
        .enumerate()
        .map(|(number, contender)| {
            let lane = Lane::open(ground, *contender, &folder.join(number.to_string()));
            lane.with_context(|| format!("start {}", contender.name()))
        })
        .collect::<Result<Vec<_>>>()?;
    let count = lanes.len();
    for (turn, step) in report.steps().iter().enumerate() {
        for place in 0..count {
            let number = (turn + place) % count;
            let lane = &mut lanes[number];
            let sample = lane
                .take(*step)
                .with_context(|| format!("{}: {}", lane.name(), step.words()))?;
            eprintln!("{:>22}  {:<28} {sample}", lane.name(), step.words());
            report.add(number, *step, sample);
        }
    }
    for (number, lane) in lanes.iter().enumerate() {
        report.add_peak_memory(number, lane.peak_memory()?);
    }
    drop(lanes);
    std::fs::remove_dir_all(folder).context("remove what the round left")
}
