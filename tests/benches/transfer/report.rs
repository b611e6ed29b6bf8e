//! Medians, ratios and targets as a table.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use holdfast_tests::bench::figures::{Loads, median, verdict};

use crate::contender::Contender;
use crate::measure::Sample;
use crate::step::{MEMORY_TARGET_MB, Step};

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    contenders: Vec<Contender>,
    steps: &'static [Step],
    samples: HashMap<(usize, Step), Vec<Sample>>,
    peaks_mb: HashMap<usize, Vec<f64>>,
    loads: Loads,
}

impl Report {
    /// Begins one; the first contender is the baseline.
    pub(crate) fn new(contenders: &[Contender], steps: &'static [Step]) -> Self {
        Self {
            contenders: contenders.to_vec(),
            steps,
            samples: HashMap::new(),
            peaks_mb: HashMap::new(),
            loads: Loads::default(),
        }
    }

    pub(crate) fn steps(&self) -> &'static [Step] {
        self.steps
    }

    /// Adds what a step took contender `number`.
    pub(crate) fn add(&mut self, number: usize, step: Step, sample: Sample) {
        self.samples.entry((number, step)).or_default().push(sample);
        self.loads.note();
    }

    /// Adds the most memory that a server had in a round.
    pub(crate) fn add_peak_memory(&mut self, number: usize, megabytes: Option<f64>) {
        self.peaks_mb.entry(number).or_default().extend(megabytes);
    }

    /// Returns a table for each contender that is compared with the baseline.
    pub(crate) fn as_text(&self) -> String {
        let mut text = String::new();
        for number in 1..self.contenders.len() {
            text.push_str(&self.table(number));
        }
        writeln!(
            text,
            "\nmedians of {} rounds, seconds; {}",
            self.rounds(),
            self.loads,
        )
        .expect("writing to a String cannot fail");
        text
    }

    fn rounds(&self) -> usize {
        self.samples.values().map(Vec::len).max().unwrap_or(0)
    }

    fn table(&self, number: usize) -> String {
        let (base, other) = (self.contenders[0], self.contenders[number]);
        let mut text = format!(
            "\n{:<28} {:^39}   {:^39}\n{:<28} {:>10} {:>10}  ratio  target       {:>10} {:>10}  ratio  target\n",
            format!("{} : {}", base.name(), other.name()),
            "wall",
            "server CPU",
            "",
            "baseline",
            "measured",
            "baseline",
            "measured",
        );
        for step in self.steps {
            let target = other.target(*step);
            let wall = self.pair(number, *step, |sample| Some(sample.wall));
            let cpu = self.pair(number, *step, |sample| sample.cpu);
            let (wall, cpu) = (cells(wall, target.wall), cells(cpu, target.cpu));
            writeln!(text, "{:<28} {wall}   {cpu}", step.words())
                .expect("writing to a String cannot fail");
        }
        text.push_str(&self.memory(number));
        text
    }

    /// The medians of the baseline and of contender `number`.
    fn pair(
        &self,
        number: usize,
        step: Step,
        field: impl Fn(&Sample) -> Option<Duration>,
    ) -> [Option<f64>; 2] {
        [0, number].map(|number| {
            let samples = self.samples.get(&(number, step))?;
            let values = samples.iter().filter_map(&field);
            median(values.map(|value| value.as_secs_f64()).collect())
        })
    }

    fn memory(&self, number: usize) -> String {
        let [base, other] = [0, number].map(|number| {
            let peaks = self.peaks_mb.get(&number).into_iter().flatten();
            peaks.copied().reduce(f64::max)
        });
        let target = self.contenders[number]
            .is_ours()
            .then_some(MEMORY_TARGET_MB);
        let judged = match (other, target) {
            (Some(peak), Some(target)) => format!("{target:>13.0} MB {}", verdict(peak, target)),
            _ => String::new(),
        };
        let [base, other] =
            [base, other].map(|peak| peak.map_or("–".to_owned(), |mb| format!("{mb:.0} MB")));
        format!(
            "{:<28} {base:>10} {other:>10}{judged}\n",
            "server's peak memory"
        )
    }
}

/// Two values, their ratio, and the target.
fn cells([base, other]: [Option<f64>; 2], target: Option<f64>) -> String {
    let shown = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let ratio = other.zip(base).filter(|(_, base)| *base > 0.0);
    let ratio = ratio.map(|(other, base)| other / base);
    let ratio_shown = ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
    let judged = match (ratio, target) {
        (Some(ratio), Some(target)) => format!("≤ {target:.2} {}", verdict(ratio, target)),
        _ => String::new(),
    };
    let (base, other) = (shown(base), shown(other));
    format!("{base:>10} {other:>10} {ratio_shown:>6}  {judged:<13}")
}
