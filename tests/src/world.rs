//! Databases to push around, made by dolt from a seed: tables with numbers, short and long texts, JSON and blobs,
//! branches, and tags.
//!
//! A made database is kept in the build folder under a name that holds everything it depends on, so that each is
//! made once and then copied.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::dolt::{Database, Workshop, copy_folder};

/// The tables of every world, and a query that shows all of a table's rows (long values by their digest).
pub const TABLES: [(&str, &str); 2] = [
    (
        "customers",
        "select id, name, balance, md5(note), md5(cast(extra as char)), md5(hex(picture)), created from customers",
    ),
    (
        "orders",
        "select customer, number, article, amount from orders",
    ),
];

/// The branches of every world.
pub const BRANCHES: [&str; 3] = ["main", "north", "south"];

/// The tags of every world.
pub const TAGS: [&str; 2] = ["v1", "v2"];

/// Commits on `main`, the one that makes the database included.
pub const MAIN_COMMITS: usize = 8;

/// What a database is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct World {
    /// The same seed makes the same rows.
    pub seed: u64,
    /// Customers; there are three orders for each.
    pub customers: u32,
    /// How long their values may be.
    pub values: Values,
}

/// How long values may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Too long for a row, in columns of `text`, `json` and `longblob`. A dolt before 2.0 does not understand how
    /// today's describes such columns.
    OfAnyLength,
    /// Such as fit into a row, in columns of `varchar` and `varbinary`.
    Short,
}

impl World {
    /// What most scenarios use: a few hundred kilobytes.
    pub const SMALL: Self = Self {
        seed: 1,
        customers: 300,
        values: Values::OfAnyLength,
    };

    /// What a dolt of the year 2024 reads too.
    pub const FOR_OLD_DOLTS: Self = Self {
        values: Values::Short,
        ..Self::SMALL
    };

    /// Puts this world into `workshop` as the database `name`.
    pub fn make(self, workshop: &Workshop, name: &str) -> Database {
        let prepared = self.prepared(workshop);
        let database = workshop.database(name);
        copy_folder(&prepared, database.folder());
        database
    }

    /// The folder of the made database, made now if need be.
    fn prepared(self, workshop: &Workshop) -> PathBuf {
        let script = self.script();
        let key = format!(
            "{}-{:016x}",
            workshop.dolt().version(),
            fingerprint(&script)
        );
        let folder = worlds_folder().join(key);
        if !folder.is_dir() {
            let maker = Workshop::new(workshop.dolt());
            let made = maker.init("world");
            made.sql(&script);
            // Two tests may make the same one at once: the first to rename it into place wins.
            let staged = tempfile::tempdir_in(worlds_folder()).unwrap();
            copy_folder(made.folder(), staged.path());
            if let Err(error) = fs::rename(staged.path(), &folder) {
                assert!(
                    folder.is_dir(),
                    "keep the made database at {}: {error}",
                    folder.display()
                );
            }
        }
        folder
    }

    fn script(self) -> String {
        let [text, json, blob] = match self.values {
            Values::OfAnyLength => ["text", "json", "longblob"],
            Values::Short => ["varchar(2000)", "varchar(2000)", "varbinary(2000)"],
        };
        let mut script = format!(
            "create table customers (id int primary key, name varchar(80), balance decimal(12,2), note {text},
                 extra {json}, picture {blob}, created datetime, key by_name (name));
             create table orders (customer int, number int, article varchar(40), amount int,
                 primary key (customer, number), key by_article (article));\n",
        );
        let mut chance = Chance(self.seed);
        self.write_customers(&mut script, &mut chance);
        self.write_orders(&mut script, &mut chance);
        script.push_str("call dolt_commit('-Am', 'first rows');\ncall dolt_tag('-m', 'the first', 'v1', 'main');\n");
        for step in 2..MAIN_COMMITS - 1 {
            let id = chance.below(self.customers);
            let _ = writeln!(
                script,
                "update customers set balance = balance + {step} where id % 50 = {} or id = {id};
                 call dolt_commit('-am', 'step {step}');",
                id % 50,
            );
        }
        script.push_str("call dolt_tag('-m', 'the second', 'v2', 'main');\n");
        for branch in &BRANCHES[1..] {
            let _ = writeln!(
                script,
                "call dolt_checkout('-b', '{branch}', 'main');
                 update orders set amount = amount + 1 where customer % 40 = {};
                 call dolt_commit('-am', 'work on {branch}');",
                chance.below(40),
            );
        }
        script.push_str(
            "call dolt_checkout('main');
             delete from orders where customer = 7;
             call dolt_commit('-am', 'the last step');\n",
        );
        script
    }

    fn write_customers(self, script: &mut String, chance: &mut Chance) {
        for id in 0..self.customers {
            // One in ten has texts that do not fit into a row.
            let (note_len, json_items) = match self.values {
                Values::OfAnyLength if id % 10 == 0 => (6_000, 300),
                Values::OfAnyLength | Values::Short => (40, 3),
            };
            let items: Vec<String> = (0..json_items)
                .map(|item| format!("{{\"item\": {item}, \"word\": \"{}\"}}", chance.word()))
                .collect();
            let created = format!(
                "2025-{:02}-{:02} 10:00:00",
                1 + chance.below(12),
                1 + chance.below(28)
            );
            let _ = writeln!(
                script,
                "insert into customers values ({id}, '{} {}', {}.{:02}, '{}', '{{\"items\": [{}]}}', x'{}', '{created}');",
                chance.word(),
                chance.word(),
                chance.below(10_000),
                chance.below(100),
                chance.text(note_len),
                items.join(", "),
                chance.hex(note_len / 2),
            );
        }
    }

    fn write_orders(self, script: &mut String, chance: &mut Chance) {
        for customer in 0..self.customers {
            let rows: Vec<String> = (0..3)
                .map(|number| {
                    format!(
                        "({customer}, {number}, '{}', {})",
                        chance.word(),
                        chance.below(500)
                    )
                })
                .collect();
            let _ = writeln!(script, "insert into orders values {};", rows.join(", "));
        }
    }
}

/// All refs and all rows of a database: equal for a database and a whole copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Branches and tags with their hashes, as CSV.
    pub refs: String,
    /// Rows of each table on each branch, as CSV.
    pub rows: String,
}

/// Which branches of a database count as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its local branches.
    Local,
    /// The branches of the remote `origin`, as last fetched.
    Origin,
}

impl Contents {
    /// Reads them off `database` for the given branches.
    #[track_caller]
    pub fn of(database: &Database, side: Side, branches: &[&str]) -> Self {
        let prefix = match side {
            Side::Local => "",
            Side::Origin => "origin/",
        };
        let mut statements = match side {
            Side::Local => String::from("select name, hash from dolt_branches order by name;\n"),
            Side::Origin => String::from(
                "select replace(name, 'remotes/origin/', '') as name, hash from dolt_remote_branches
                 where name like 'remotes/origin/%' order by name;\n",
            ),
        };
        statements.push_str(
            "select tag_name, tag_hash from dolt_tags order by tag_name;\nselect 'rows begin';\n",
        );
        for branch in branches {
            for (table, query) in TABLES {
                let _ = writeln!(
                    statements,
                    "select '{table} on {branch}';\n{query} as of '{prefix}{branch}';"
                );
            }
        }
        let printed = database.sql(&statements);
        let (refs, rows) = printed
            .split_once("rows begin")
            .expect("the marker is printed");
        assert!(
            rows.lines().count() > branches.len() * 10,
            "no rows in {printed}"
        );
        Self {
            refs: refs.to_owned(),
            rows: rows.to_owned(),
        }
    }
}

/// Where made databases are kept: beside the test binary.
fn worlds_folder() -> PathBuf {
    let binary = std::env::current_exe().expect("a running binary has a path");
    let folder = binary
        .parent()
        .expect("a file is in a folder")
        .join("holdfast-worlds");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// FNV-1a: tells scripts apart.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64: the same numbers for the same seed, on every machine and in every version.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).expect("a remainder is below its divisor")
    }

    fn word(&mut self) -> String {
        const SYLLABLES: [&str; 12] = [
            "ka", "lo", "mi", "ren", "sto", "va", "bel", "ti", "or", "und", "he", "gra",
        ];
        (0..2 + self.below(3))
            .map(|_| SYLLABLES[usize::try_from(self.below(12)).unwrap()])
            .collect()
    }

    fn text(&mut self, len: usize) -> String {
        let mut text = String::new();
        while text.len() < len {
            text.push_str(&self.word());
            text.push(' ');
        }
        text
    }

    fn hex(&mut self, bytes: usize) -> String {
        (0..bytes.max(1))
            .map(|_| format!("{:02x}", self.below(256)))
            .collect()
    }
}
