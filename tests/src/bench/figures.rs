//! Medians, verdicts, and how busy the machine was.

use std::fmt;

use super::measure;

/// The value in the middle, or between the two that are there; `None` without any.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (middle, is_odd) = (values.len() / 2, values.len() % 2 == 1);
    match (values.get(middle)?, is_odd) {
        (value, true) => Some(*value),
        (value, false) => Some((value + values.get(middle.checked_sub(1)?)?) / 2.0),
    }
}

/// Whether a value is within its target, in a word.
pub fn verdict(value: f64, target: f64) -> &'static str {
    if value <= target { "met" } else { "MISSED" }
}

/// The load averages of the machine in the course of a run.
#[derive(Debug, Clone, Default)]
pub struct Loads(Vec<f64>);

impl Loads {
    /// Notes what it is now.
    pub fn note(&mut self) {
        self.0.extend(measure::load());
    }
}

impl fmt::Display for Loads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self.0.iter().copied().fold(f64::MAX, f64::min);
        let high = self.0.iter().copied().fold(0.0, f64::max);
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        write!(
            formatter,
            "load average {low:.1} to {high:.1} on {processors} processors"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }

    #[test]
    fn a_target_may_be_reached() {
        assert_eq!(verdict(0.5, 0.5), "met");
        assert_eq!(verdict(0.51, 0.5), "MISSED");
    }
}
