//! Where the files are that a real dolt wrote.

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::index::ByteSpan;

/// Files that are part of this repository.
pub(crate) fn own() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files = stored_files(&folder);
    assert!(!files.is_empty(), "no files in {}", folder.display());
    files
}

/// Files that lie beside the repository, or none where they are missing.
pub(crate) fn shared() -> Vec<PathBuf> {
    let shared = shared_folder();
    let files = stored_files(&shared.join("fixtures"));
    if files.is_empty() {
        skipped(format_args!(
            "no fixtures in {}, set HOLDFAST_SHARED",
            shared.display()
        ));
    }
    files
}

/// The folder beside the repository, whether it is there or not.
pub(crate) fn shared_folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("HOLDFAST_SHARED").map_or(beside, PathBuf::from)
}

/// Says why something is not tested, past the test runner: what `eprintln!` prints is shown only of tests that fail.
pub(crate) fn skipped(why: impl Display) {
    drop(writeln!(std::io::stderr().lock(), "skipped: {why}"));
}

/// The bytes of a span.
pub(crate) fn bytes(file: &[u8], span: ByteSpan) -> &[u8] {
    let start = usize::try_from(span.offset).unwrap();
    &file[start..start + usize::try_from(span.len).unwrap()]
}

/// Every table file and archive below a folder, sorted.
fn stored_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(stored_files(&path));
        } else if is_stored_file(&path) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn is_stored_file(path: &Path) -> bool {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let is_journal = stem.bytes().all(|byte| byte == b'v');
    let is_name = stem.len() == 32
        && stem
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v'));
    let suffix = path.extension().map(|suffix| suffix.to_str().unwrap());
    is_name && !is_journal && matches!(suffix, None | Some("darc"))
}
