//! What a process takes: wall time, processor time, memory.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::home::LIMIT;
use crate::process;

/// A tick of the counters in `/proc`.
const TICK: Duration = Duration::from_millis(10);

/// A server is idle when it did nothing for so long …
const IDLE: Duration = Duration::from_millis(150);

/// … and is not waited for longer than this.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// How long between two looks at the memory of a process.
const LOOK: Duration = Duration::from_millis(2);

/// What one run of a program took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// From its start to its end.
    pub wall: Duration,
    /// User and system time of all of its threads.
    pub cpu: Duration,
    /// The most memory that it had at once, in MB. The high-water mark is looked at every other millisecond: only what
    /// comes on top in the last one is not seen.
    pub peak_mb: f64,
}

/// Brings to the disk what was written, so that nobody pays for others.
pub fn sync() -> Result<()> {
    let synced = Command::new("sync").status().context("run sync")?;
    ensure!(synced.success(), "sync ended with {synced}");
    Ok(())
}

/// Runs a command that must succeed, and returns what it took.
pub fn run(command: Command) -> Result<Usage> {
    let start = Instant::now();
    let (finished, usage) = process::run_watched(command, "", LIMIT, move |process| {
        follow(process, start).with_context(|| format!("measure process {process}"))
    });
    ensure!(finished.success, "{finished:#?}");
    usage
}

/// Waits until a child ends, and leaves it to be waited for: until then its times can be read.
fn follow(process: u32, start: Instant) -> Result<Usage> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.context("a process id")?;
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut peak_mb: f64 = 0.0;
            while !has_ended.load(Ordering::Relaxed) {
                // Fails at the very end, when the memory is given back.
                peak_mb = peak_memory(process).map_or(peak_mb, |seen| peak_mb.max(seen));
                thread::sleep(LOOK);
            }
            peak_mb
        });
        let ended = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        let wall = start.elapsed();
        has_ended.store(true, Ordering::Relaxed);
        let peak_mb = looking.join().expect("looking does not panic");
        ended?;
        let cpu = cpu_time(process)?;
        Ok(Usage { wall, cpu, peak_mb })
    })
}

/// Waits until a process does nothing more by itself, and returns its time.
pub fn wait_until_idle(process: u32) -> Result<Duration> {
    let deadline = Instant::now() + IDLE_LIMIT;
    let mut last = cpu_time(process)?;
    loop {
        thread::sleep(IDLE);
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
pub fn peak_memory(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))
        .context("VmHWM")?;
    Ok(kib.trim().parse::<f64>()? * 1024.0 / 1e6)
}

/// How many processes wanted a processor, on average over the last minute.
pub fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let first = text.split(' ').next().context("a load")?;
    first.parse().context("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_works_is_seen_to() {
        let usage = run(shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")).unwrap();
        assert!(usage.cpu >= TICK, "{usage:?}");
        assert!(usage.wall > Duration::ZERO);
        assert!(usage.peak_mb > 0.1, "{usage:?}");
    }

    #[test]
    fn a_program_that_fails_is_told() {
        let error = run(shell("echo full >&2; exit 3")).unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
    }
}
