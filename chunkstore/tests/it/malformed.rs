//! Every decoder takes 10,000 random and mutated inputs, and all that fuzzing found, without a panic and without
//! a large allocation.
//!
//! The seed is fixed and printed; `HOLDFAST_SEED` chooses another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_chunkstore::testing::fuzz::{self, names, notes, stores};
use holdfast_chunkstore::testing::mutate;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::{fixtures, samples};

const INPUTS: usize = 10_000;

/// By how many bytes a process may grow whatever lengths and counts it is told. A chunk of the greatest length
/// is an eighth of it; a count of 31 bits that is believed takes more.
const MOST_GROWTH: u64 = 128 << 20;

/// The greatest address space and the greatest memory: what is reserved and never touched counts in the first.
const MEASURES: [&str; 2] = ["VmPeak", "VmHWM"];

/// Tells the process that it decodes hostile lengths and nothing else.
const ALONE: &str = "HOLDFAST_TEST_HOSTILE_LENGTHS";

/// A decoder under the name by which `fuzz/` and the folders of `tests/data` know it.
struct Target {
    name: &'static str,
    decode: fn(&[u8]),
    form: Form,
    samples: fn() -> Vec<Vec<u8>>,
}

/// What the input of a decoder is.
#[derive(PartialEq)]
enum Form {
    Bytes,
    Text,
}

macro_rules! targets {
    ($($(#[$when:meta])? $name:ident: $form:ident, $decode:path, $samples:expr;)*) => {
        const TARGETS: &[Target] = &[$(
            $(#[$when])?
            Target {
                name: stringify!($name),
                decode: $decode,
                form: Form::$form,
                samples: $samples,
            },
        )*];

        /// The names of all targets, of those too that this build has not.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod takes_anything {
            $(
                $(#[$when])?
                #[test]
                fn $name() {
                    super::run(stringify!($name));
                }
            )*
        }
    };
}

targets! {
    file_kind: Bytes, fuzz::file_kind, || [samples::table_files(), samples::archives()].concat();
    table_layout: Bytes, fuzz::table_layout, || samples::with_len(&samples::table_files());
    table_file: Bytes, fuzz::table_file, samples::table_files;
    table_blocks: Bytes, fuzz::table_blocks, || samples::with_byte(&samples::table_files());
    record: Bytes, fuzz::record, samples::records;
    archive_layout: Bytes, fuzz::archive_layout, || samples::with_len(&samples::archives());
    archive_file: Bytes, fuzz::archive_file, samples::archives;
    archive_blocks: Bytes, fuzz::archive_blocks, || samples::with_byte(&samples::archives());
    dictionary: Bytes, fuzz::dictionary, samples::dictionaries;
    frame: Bytes, fuzz::frame, samples::frames;
    metadata: Text, fuzz::metadata, samples::metadata;
    manifest: Text, stores::manifest, samples::manifests;
    journal: Bytes, stores::journal, samples::journals;
    upload: Bytes, fuzz::upload::upload, || [samples::table_files(), samples::archives()].concat();
    log_record: Text, notes::log_record, samples::log_records;
    side_list: Text, notes::side_list, samples::side_lists;
    upload_note: Text, notes::upload_note, samples::upload_notes;
    twin_note: Text, notes::twin_note, samples::twin_notes;
    binding: Text, notes::binding, samples::bindings;
    head_hint: Text, notes::head_hint, samples::hints;
    object_key: Text, names::object_key, samples::keys;
    name_entry: Text, names::name_entry, samples::keys;
    served_name: Text, names::served_name, samples::last_segments;
    repo_name: Text, names::repo_name, samples::repo_names;
    id: Text, names::id, samples::ids;
    #[cfg(feature = "rocks")]
    index_places: Bytes, fuzz::rocks::index_places, samples::index_values;
    #[cfg(feature = "rocks")]
    index_record: Bytes, fuzz::rocks::index_record, samples::index_values;
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seed = std::env::var_os("HOLDFAST_SEED")
        .map_or(20_261_123, |seed| seed.to_str().unwrap().parse().unwrap());
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let samples = (target.samples)();
    for sample in &samples {
        (target.decode)(sample);
    }
    for at in 0..INPUTS {
        let input = match at % 5 {
            0 => mutate::noise(&mut random),
            1 | 2 if target.form == Form::Text => mutate::reworded(&samples, &mut random),
            _ => mutate::mutated(&samples, &mut random),
        };
        (target.decode)(&input);
    }
}

/// Inputs that once broke a decoder, and those by which a fuzzer reached all it could reach in it.
#[test]
fn what_fuzzing_found_is_taken() {
    let corpora = folders("corpus");
    for name in NAMES {
        assert!(corpora.contains_key(*name), "{name} has no corpus");
    }
    for (name, paths) in folders("reproducers").into_iter().chain(corpora) {
        assert!(NAMES.contains(&name.as_str()), "{name} is no target");
        assert!(!paths.is_empty(), "{name} has an empty folder");
        // A build without RocksDB has not all targets.
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
            continue;
        };
        for path in paths {
            eprintln!("{}", path.display());
            (target.decode)(&std::fs::read(path).unwrap());
        }
    }
}

/// The folders below one of `tests/data` by their names, each with the files in it.
fn folders(of: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let list = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths
    };
    let name = |folder: &PathBuf| folder.file_name().unwrap().to_str().unwrap().to_owned();
    let folders = list(data.join(of)).into_iter();
    folders
        .map(|folder| (name(&folder), list(folder)))
        .collect()
}

/// In a process of its own: the system tells only the most that a process ever took.
#[test]
fn hostile_lengths_take_little_memory() {
    if std::env::var_os(ALONE).is_some() {
        return decode_hostile_lengths();
    }
    let name = "malformed::hostile_lengths_take_little_memory";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains(" hostile lengths: ") || said.contains("skipped: "),
        "{said}"
    );
    eprint!("{said}");
    for why in said
        .lines()
        .filter_map(|line| line.strip_prefix("skipped: "))
    {
        fixtures::skipped(why);
    }
}

fn decode_hostile_lengths() {
    let samples = |target: &Target| {
        let mut samples = (target.samples)();
        samples.sort_by_key(Vec::len);
        // Small ones are mostly headers and footers.
        samples.truncate(4);
        samples
    };
    // A whole upload has threads, for each of which the allocator reserves addresses that say nothing here.
    let is_measured = |target: &&Target| target.name != "upload";
    let targets: Vec<&Target> = TARGETS.iter().filter(is_measured).collect();
    let samples: Vec<_> = targets.iter().copied().map(samples).collect();
    // Threads, and what is made once, are there before anything is measured.
    for (target, samples) in targets.iter().zip(&samples) {
        samples.iter().for_each(|sample| (target.decode)(sample));
    }
    let before = MEASURES.map(most);
    let mut count = 0;
    for (target, samples) in targets.iter().zip(&samples) {
        for sample in samples {
            mutate::with_hostile_numbers(sample, |input| {
                (target.decode)(input);
                count += 1;
            });
        }
    }
    for ((measure, before), after) in MEASURES.iter().zip(before).zip(MEASURES.map(most)) {
        let (Some(before), Some(after)) = (before, after) else {
            eprintln!("skipped: the system does not tell {measure}");
            continue;
        };
        let growth = after - before;
        eprintln!(
            "{count} hostile lengths: {measure} grew by {} KiB",
            growth >> 10
        );
        assert!(growth < MOST_GROWTH);
    }
}

/// The most bytes of something that this process ever took, where the system tells.
fn most(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(what))?;
    let line = line.strip_prefix(':')?.trim();
    let kibibytes: u64 = line.strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
