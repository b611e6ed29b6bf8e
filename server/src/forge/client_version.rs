//! Which dolt is asking, by its user agent, and what it can read (pure).

use holdfast_chunkstore::repo::View;

/// The first version of dolt that reads every archive that today's writes.
const READS_ARCHIVES: Version = Version([1, 55, 4]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version([u32; 3]);

/// Tells what a client can read. `dolt_cli <version> <os> <arch>` is a dolt, and old where it names no
/// version; what names itself otherwise is a program of our own time if it is ours, else is taken for old.
pub fn view(user_agent: &str) -> View {
    let mut words = user_agent.split(' ');
    let reads_archives = match words.next() {
        Some("dolt_cli") => words
            .next()
            .and_then(parse)
            .is_some_and(|version| version >= READS_ARCHIVES),
        Some(program) => program.starts_with("holdfast"),
        None => false,
    };
    if reads_archives {
        View::Current
    } else {
        View::Classic
    }
}

/// Reads `1.55.4`, with or without a `v`, and with or without something behind a `-` or `+`. A pre-release
/// counts as the release.
fn parse(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = text.split(['-', '+']).next()?;
    let mut numbers = text.split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let version = Version([next()?, next()?, next()?]);
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dolt_is_told_by_its_version() {
        for (agent, expected) in [
            ("dolt_cli 2.3.1 linux amd64 grpc-go/1.82.0", View::Current),
            ("dolt_cli 1.55.4 linux amd64", View::Current),
            ("dolt_cli 1.86.5-rc1 linux amd64", View::Current),
            ("dolt_cli 1.55.3 darwin arm64 grpc-go/1.5", View::Classic),
            ("dolt_cli 1.9.99 linux amd64", View::Classic),
            ("dolt_cli 0.75.0 linux amd64", View::Classic),
            ("dolt_cli  linux amd64 grpc-go/1.82.0", View::Classic),
            ("dolt_cli 99999999999.1.1 linux amd64", View::Classic),
            ("dolt_cli 1.55 linux amd64", View::Classic),
            ("dolt_cli", View::Classic),
            ("", View::Classic),
            ("grpc-go/1.82.0", View::Classic),
            ("holdfast/0.1.0", View::Current),
        ] {
            assert_eq!(view(agent), expected, "{agent}");
        }
    }
}
