//! The database that is pushed and cloned: made by dolt once and kept.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::dolt::Dolt;
use super::{files, measure};

/// Goes up when other databases are made, so that older ones are not taken for them.
const RECIPE: u32 = 1;

const TABLE: &str = "create table entries (
    id bigint primary key,
    account int not null,
    amount decimal(12, 2) not null,
    reference varchar(140) not null,
    note varchar(200) not null
)";

const WORDS: [&str; 16] = [
    "invoice", "payment", "customer", "order", "returned", "paid", "open", "late", "the", "of",
    "and", "with", "first", "reminder", "sent", "by",
];

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A database of one table with some 160 bytes a row as dolt stores it, half as much again uncompressed.
#[derive(Debug)]
pub struct Database {
    folder: PathBuf,
    rows: u64,
    version: String,
}

impl Database {
    /// Returns the database that an earlier run left in `dir`, or makes it.
    pub fn get(dolt: &Dolt, dir: &Path, rows: u64) -> Result<Self> {
        let version = dolt.version()?;
        let name = format!("database-{rows}-rows-recipe-{RECIPE}");
        let database = Self {
            folder: dir.join(&name),
            rows,
            version,
        };
        if !database.folder.is_dir() {
            eprintln!("making a database of {rows} rows, once");
            let staging = tempfile::Builder::new()
                .prefix("making-")
                .tempdir_in(dir)
                .context("make a folder for it")?;
            let made = staging.path().join(name);
            database.make(dolt, &made).context("make the database")?;
            fs::rename(&made, &database.folder).context("keep the database")?;
        }
        Ok(database)
    }

    /// Where it is. Never to be worked in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its chunks take, in MB.
    pub fn size_mb(&self) -> Result<f64> {
        files::size_mb(&self.folder.join(".dolt/noms"))
    }

    /// What it is.
    pub fn words(&self) -> String {
        let size = self.size_mb().unwrap_or_default();
        format!(
            "{} rows, {size:.0} MB; {}; load average {:.1}",
            self.rows,
            self.version,
            measure::load().unwrap_or_default()
        )
    }

    /// A statement that changes `count` rows, spread evenly; `salt` picks which.
    pub fn scattered_update(&self, count: u64, salt: u64) -> String {
        let stride = (self.rows / count).max(1);
        let ids: Vec<String> = (0..count)
            .map(|number| (number * stride + (salt * 37) % stride).to_string())
            .collect();
        let ids = ids.join(",");
        format!(
            "update entries set note = 'changed by {salt}', amount = {salt} where id in ({ids})"
        )
    }

    fn make(&self, dolt: &Dolt, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        dolt.run(folder, &["init"])?;
        dolt.sql(folder, TABLE)?;
        let csv = folder.with_extension("csv");
        self.write_rows(&csv)?;
        let path = csv.to_str().context("the folder's name is text")?;
        dolt.run(folder, &["table", "import", "-u", "entries", path])?;
        fs::remove_file(&csv)?;
        dolt.sql(folder, "call dolt_commit('-Am', 'all rows')")?;
        // A history, so that a clone without one has something to leave out.
        for salt in 1..=4 {
            let update = self.scattered_update(400, 1000 + salt);
            dolt.commit(folder, &update, &format!("change {salt}"))?;
        }
        dolt.run(folder, &["gc"])?;
        Ok(())
    }

    fn write_rows(&self, path: &Path) -> Result<()> {
        let file = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
        let mut file = BufWriter::new(file);
        let mut random = SmallRng::seed_from_u64(self.rows);
        writeln!(file, "id,account,amount,reference,note")?;
        for id in 0..self.rows {
            let account = random.random_range(0..100_000_u32);
            let (units, cents) = (
                random.random_range(0..90_000_u32),
                random.random_range(0..100_u32),
            );
            write!(file, "{id},{account},{units}.{cents:02},")?;
            let reference: Vec<u8> = (0..140)
                .map(|_| LETTERS[usize::from(random.random::<u8>() % 64)])
                .collect();
            file.write_all(&reference)?;
            file.write_all(b",")?;
            for number in 0..12 {
                let word = WORDS[usize::from(random.random::<u8>() % 16)];
                let separator = if number == 0 { "" } else { " " };
                write!(file, "{separator}{word}")?;
            }
            writeln!(file)?;
        }
        file.flush().context("write the rows")
    }
}
