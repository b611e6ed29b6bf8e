//! Medians, ratios, targets and memory as tables.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use holdfast_tests::bench::figures::{Loads, median, verdict};
use holdfast_tests::bench::measure::Usage;

use crate::client::Client;
use crate::remote::Link;
use crate::step::{MEMORY_TARGET_MB, Step};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    link: Link,
    samples: HashMap<(Client, Step), Vec<Usage>>,
    failures: usize,
    loads: Loads,
}

impl Report {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            samples: HashMap::new(),
            failures: 0,
            loads: Loads::default(),
        }
    }

    /// Adds what a step took, or tells why it failed.
    pub(crate) fn add(&mut self, client: Client, step: Step, taken: Result<Usage>) {
        let (name, words) = (client.name(), step.words());
        match taken {
            Ok(usage) => {
                eprintln!(
                    "{name:>10}  {words:<31} {:8.3} s  CPU {:7.3} s  {:5.0} MB",
                    usage.wall.as_secs_f64(),
                    usage.cpu.as_secs_f64(),
                    usage.peak_mb
                );
                self.samples.entry((client, step)).or_default().push(usage);
            }
            Err(error) => {
                eprintln!("{name:>10}  {words:<31} failed: {error:?}");
                self.failures += 1;
            }
        }
        self.loads.note();
    }

    /// How many steps failed.
    pub(crate) fn failures(&self) -> usize {
        self.failures
    }

    /// Returns the table of all steps.
    pub(crate) fn as_text(&self) -> String {
        let mut text = format!(
            "\n{:<31} {:<23} {:<23} ratio  target         CPU: dolt, holdfast   peak MB: dolt, holdfast\n",
            "seconds: median (min–max)", "dolt", "holdfast",
        );
        for step in Step::ALL {
            let walls = Client::BOTH.map(|client| self.seconds(client, step, |usage| usage.wall));
            let cpus = Client::BOTH.map(|client| {
                let cpu = median(self.seconds(client, step, |usage| usage.cpu));
                cpu.map_or("–".to_owned(), |cpu| format!("{cpu:.2}"))
            });
            let [dolt, holdfast] = walls.each_ref().map(|walls| spread(walls));
            writeln!(
                text,
                "{:<31} {dolt:<23} {holdfast:<23} {:<21} {:>9} {:>9}   {}",
                step.words(),
                self.ratio(step, walls),
                cpus[0],
                cpus[1],
                self.memory(step)
            )
            .expect("writing to a String cannot fail");
        }
        let rounds = self.samples.values().map(Vec::len).max().unwrap_or(0);
        writeln!(text, "\nmedians of {rounds} rounds; {}", self.loads)
            .expect("writing to a String cannot fail");
        text
    }

    /// Returns the table of the memory alone.
    pub(crate) fn memory_as_text(&self) -> String {
        let mut text = format!("\n{:<31} {:>6} {:>9}\n", "peak MB", "dolt", "holdfast");
        for step in Step::ALL {
            writeln!(text, "{:<31} {}", step.words(), self.memory(step))
                .expect("writing to a String cannot fail");
        }
        text
    }

    fn seconds(&self, client: Client, step: Step, field: impl Fn(&Usage) -> Duration) -> Vec<f64> {
        let samples = self.samples.get(&(client, step)).into_iter().flatten();
        samples.map(|usage| field(usage).as_secs_f64()).collect()
    }

    /// The ratio of our median to dolt's, with the target.
    fn ratio(&self, step: Step, [dolt, holdfast]: [Vec<f64>; 2]) -> String {
        let ratio = median(holdfast)
            .zip(median(dolt))
            .map(|(ours, dolt)| ours / dolt);
        let target = step.target(self.link);
        ratio.map_or("–".to_owned(), |ratio| {
            format!("{ratio:<6.2} ≤ {target:.2} {}", verdict(ratio, target))
        })
    }

    /// The largest memory of both, with the target.
    fn memory(&self, step: Step) -> String {
        let [dolt, holdfast] = Client::BOTH.map(|client| {
            let samples = self.samples.get(&(client, step)).into_iter().flatten();
            samples.map(|usage| usage.peak_mb).reduce(f64::max)
        });
        let judged = holdfast.map_or(String::new(), |peak| {
            format!(
                "≤ {MEMORY_TARGET_MB:.0} {}",
                verdict(peak, MEMORY_TARGET_MB)
            )
        });
        let [dolt, holdfast] =
            [dolt, holdfast].map(|peak| peak.map_or("–".to_owned(), |mb| format!("{mb:.0}")));
        format!("{dolt:>6} {holdfast:>9}  {judged}")
    }
}

/// The median and the ends.
fn spread(seconds: &[f64]) -> String {
    let Some(middle) = median(seconds.to_vec()) else {
        return "–".to_owned();
    };
    let low = seconds.iter().copied().fold(f64::MAX, f64::min);
    let high = seconds.iter().copied().fold(0.0, f64::max);
    format!("{middle:.3} ({low:.3}–{high:.3})")
}
