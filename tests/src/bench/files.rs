//! Copies of databases that share what never changes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The file of a database that dolt appends to; all others with 32 letters are written once.
const JOURNAL: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

/// Copies a database folder; table files and archives become second names of the same files.
pub fn copy_database(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_database(&source, &target)?;
        } else if entry.file_name().to_str().is_some_and(is_written_once) {
            fs::hard_link(&source, &target)
                .with_context(|| format!("link {}", source.display()))?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}

fn is_written_once(name: &str) -> bool {
    let stem = name.strip_suffix(".darc").unwrap_or(name);
    stem.len() == 32
        && stem != JOURNAL
        && stem
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'v').contains(&byte))
}

/// The sum of the lengths of all files in a folder, in MB.
pub fn size_mb(folder: &Path) -> Result<f64> {
    let mut size = 0.0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            size += size_mb(&entry.path())?;
        } else {
            let len = u32::try_from(entry.metadata()?.len() / 1000)?;
            size += f64::from(len) / 1000.0;
        }
    }
    Ok(size)
}
