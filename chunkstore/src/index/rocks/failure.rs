//! From RocksDB's errors to ours. RocksDB tells them apart by text alone, and this is the only place that reads
//! it; the tests of this crate see to it that the real library still says the same.

use std::error::Error;

use crate::index::IndexError;

/// Phrases of faults that are not the index's: another process, limits of this one.
const PASSING: [&str; 6] = [
    "While lock file",
    "lock hold by current process",
    "Too many open files",
    "Cannot allocate memory",
    "Interrupted system call",
    "Shutdown in progress",
];

/// Phrases of a disk without room.
const NO_ROOM: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// What failed, by the class that its text tells. What is not known is damage, for an index costs less than
/// a guess.
pub(super) fn rocks(action: &'static str) -> impl FnOnce(rocksdb::Error) -> IndexError {
    move |error| by_text(action, error.to_string(), error)
}

/// A fault of the file system under the index.
pub(super) fn files(action: &'static str) -> impl FnOnce(std::io::Error) -> IndexError {
    move |error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => IndexError::Full {
            source: error.into(),
        },
        std::io::ErrorKind::NotFound => damaged(action)(error),
        _ => IndexError::Failed {
            action,
            source: error.into(),
        },
    }
}

/// Something that the index would never have written.
pub(super) fn damaged<E: Into<Box<dyn Error + Send + Sync>>>(
    action: &'static str,
) -> impl FnOnce(E) -> IndexError {
    move |error| IndexError::Damaged {
        action,
        source: error.into(),
    }
}

fn by_text(
    action: &'static str,
    text: String,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> IndexError {
    let source = error.into();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if says(&NO_ROOM) {
        IndexError::Full { source }
    } else if says(&PASSING) {
        IndexError::Failed { action, source }
    } else {
        IndexError::Damaged { action, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_error_tells_its_class() {
        let class = |text: &str| by_text("read", text.to_owned(), text);
        for text in [
            "IO error: No space left on device: While appending to file: /i/1/db/000012.sst: No space left on device",
            "IO error: Disk quota exceeded: While open a file for appending: /i/1/db/000012.sst: Disk quota exceeded",
        ] {
            assert!(matches!(class(text), IndexError::Full { .. }), "{text}");
        }
        for text in [
            "IO error: While lock file: /i/1/db/LOCK: Resource temporarily unavailable",
            "IO error: lock hold by current process, acquire time 1 acquiring thread 2: /i/1/db/LOCK: No locks available",
            "IO error: Too many open files: While open a file for random read: /i/1/db/000012.sst: Too many open files",
        ] {
            assert!(matches!(class(text), IndexError::Failed { .. }), "{text}");
        }
        for text in [
            "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4 in /i/1/db/000012.sst offset 0 size 9",
            "IO error: No such file or directory: While open a file for random read: /i/1/db/000012.sst: No such file or directory",
            "IO error: Input/output error: While pread offset 0 len 9: /i/1/db/000012.sst: Input/output error",
            "Invalid argument: whatever a later version thinks of",
        ] {
            assert!(matches!(class(text), IndexError::Damaged { .. }), "{text}");
        }
    }
}
