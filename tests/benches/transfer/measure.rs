//! Wall time of a step, and what it costs the server process.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use holdfast_tests::bench::measure::{sync, wait_until_idle};

/// What a step took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// From the start of the command to its end.
    pub(crate) wall: Duration,
    /// User and system time of the server, with the work that it still did after the answer; `None` without one.
    pub(crate) cpu: Option<Duration>,
}

impl Sample {
    /// The share of one of `times` repetitions.
    pub(crate) fn divided(self, times: u32) -> Self {
        Self {
            wall: self.wall / times,
            cpu: self.cpu.map(|cpu| cpu / times),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:8.3} s", self.wall.as_secs_f64())?;
        match self.cpu {
            Some(cpu) => write!(formatter, "  server CPU {:7.3} s", cpu.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// Runs `act` and takes its time and that of `server`. What was written before is brought to the disk first.
pub(crate) fn measure(server: Option<u32>, act: impl FnOnce() -> Result<()>) -> Result<Sample> {
    sync()?;
    let before = server.map(wait_until_idle).transpose()?;
    let start = Instant::now();
    act()?;
    let wall = start.elapsed();
    let after = server.map(wait_until_idle).transpose()?;
    let cpu = after
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    Ok(Sample { wall, cpu })
}
