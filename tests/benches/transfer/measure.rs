//! Wall time of a step, and what it costs the server process.

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// A tick of the counters in `/proc`.
const TICK: Duration = Duration::from_millis(10);

/// A server is idle when it did nothing for so long …
const IDLE: Duration = Duration::from_millis(150);

/// … and is not waited for longer than this.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

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
    let synced = Command::new("sync").status().context("run sync")?;
    ensure!(synced.success(), "sync ended with {synced}");
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

/// Waits until the process does nothing more by itself, and returns its time.
fn wait_until_idle(process: u32) -> Result<Duration> {
    let deadline = Instant::now() + IDLE_LIMIT;
    let mut last = cpu_time(process)?;
    loop {
        std::thread::sleep(IDLE);
        let now = cpu_time(process)?;
        if now <= last + TICK || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}

/// User and system time of a process, all of its threads, also of those that ended.
fn cpu_time(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<u32> { Ok(fields.next().context("a field")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

/// The most memory that a process had so far, in MB.
pub(crate) fn peak_memory(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))
        .context("VmHWM")?;
    Ok(kib.trim().parse::<f64>()? * 1024.0 / 1e6)
}

/// How many processes wanted a processor, on average over the last minute.
pub(crate) fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let first = text.split(' ').next().context("a load")?;
    first.parse().context("a number")
}
