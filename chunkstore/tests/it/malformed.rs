//! Every decoder takes 10,000 random and mutated inputs without a panic and without a large allocation.
//!
//! The seed is fixed and printed; `HOLDFAST_SEED` chooses another.

use holdfast_chunkstore::format::{TAIL_LEN, archive, table};
use holdfast_chunkstore::testing::generate::{self, Compression};
use holdfast_chunkstore::testing::{fuzz, mutate};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::fixtures;

const INPUTS: usize = 10_000;

/// No decoder, not even beside all other tests and their threads, makes the process larger than this in bytes.
/// A count of 32 bits that is believed takes more.
const LARGEST_PROCESS: u64 = 3 << 30;

#[test]
fn file_kind_takes_anything() {
    run(fuzz::file_kind, &[table_files(), archives()].concat());
}

#[test]
fn table_layout_takes_anything() {
    run(fuzz::table_layout, &with_len(&table_files()));
}

#[test]
fn table_file_takes_anything() {
    run(fuzz::table_file, &table_files());
}

#[test]
fn table_blocks_take_anything() {
    run(fuzz::table_blocks, &with_byte(&table_files()));
}

#[test]
fn record_takes_anything() {
    let records = table_files()
        .iter()
        .flat_map(|file| records(file))
        .collect::<Vec<_>>();
    run(fuzz::record, &records);
}

#[test]
fn archive_layout_takes_anything() {
    run(fuzz::archive_layout, &with_len(&archives()));
}

#[test]
fn archive_file_takes_anything() {
    run(fuzz::archive_file, &archives());
}

#[test]
fn archive_blocks_take_anything() {
    run(fuzz::archive_blocks, &with_byte(&archives()));
}

#[test]
fn dictionary_takes_anything() {
    let long = zstd::bulk::compress(&vec![7; 5_000_000], 3).unwrap();
    run(fuzz::dictionary, &[spans(&archives()), vec![long]].concat());
}

#[test]
fn frame_takes_anything() {
    let dictionary = b"customer account event ".repeat(20);
    let mut compressor = zstd::bulk::Compressor::with_dictionary(3, &dictionary).unwrap();
    let mut frames: Vec<_> = generate::chunks(5, 20)
        .iter()
        .map(|chunk| compressor.compress(chunk).unwrap())
        .collect();
    compressor.include_contentsize(false).unwrap();
    frames.push(compressor.compress(&vec![1; 300_000]).unwrap());
    frames.push(compressor.compress(&vec![1; 20_000_000]).unwrap());
    frames.push(zstd::bulk::compress(&vec![1; 20_000_000], 3).unwrap());
    frames.extend(spans(&archives()));
    run(fuzz::frame, &frames);
}

#[test]
fn metadata_takes_anything() {
    let bases = [
        br#"{"dolt_version":"2.3.1","conversion_time":"2025-01-23T23:54:38Z"}"#.to_vec(),
        br#"{"conjoined_file_names":"[\"a\",\"b\"]"}"#.to_vec(),
        br#"{"a":["b"]}"#.to_vec(),
        b"[".repeat(100_000),
    ];
    run(fuzz::metadata, &bases);
}

/// Inputs that once broke a decoder, each in a folder named after its target.
#[test]
fn what_broke_a_decoder_once_is_taken() {
    for (target, decode) in TARGETS {
        for input in fixtures::reproducers(target) {
            decode(&input);
        }
    }
}

/// A decoder and the name under which `fuzz/` knows it.
type Target = (&'static str, fn(&[u8]));

/// All of them.
const TARGETS: &[Target] = &[
    ("file_kind", fuzz::file_kind),
    ("table_layout", fuzz::table_layout),
    ("table_file", fuzz::table_file),
    ("table_blocks", fuzz::table_blocks),
    ("record", fuzz::record),
    ("archive_layout", fuzz::archive_layout),
    ("archive_file", fuzz::archive_file),
    ("archive_blocks", fuzz::archive_blocks),
    ("dictionary", fuzz::dictionary),
    ("frame", fuzz::frame),
    ("metadata", fuzz::metadata),
];

fn run(decode: fn(&[u8]), bases: &[Vec<u8>]) {
    let seed = std::env::var_os("HOLDFAST_SEED")
        .map_or(20_261_123, |seed| seed.to_str().unwrap().parse().unwrap());
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for base in bases {
        decode(base);
    }
    for at in 0..INPUTS {
        let input = if at % 5 == 0 {
            mutate::noise(&mut random)
        } else {
            mutate::mutated(bases, &mut random)
        };
        decode(&input);
    }
    if let Some(peak) = largest_process() {
        assert!(peak < LARGEST_PROCESS, "{peak} bytes");
    }
}

/// Table files of a real dolt and our own, none of them long.
fn table_files() -> Vec<Vec<u8>> {
    let mut files = own("");
    files.extend(
        (1..6).map(|count| generate::table_file(count, 4 * usize::try_from(count).unwrap()).file),
    );
    files
}

/// Archives of a real dolt and our own, none of them long, and what they would be in the older versions.
fn archives() -> Vec<Vec<u8>> {
    let mut files = own("darc");
    for compression in [Compression::Snappy, Compression::Zstd, Compression::Mixed] {
        files.push(generate::archive(3, 8, compression).file);
    }
    for at in 0..files.len() {
        for version in [archive::Version::One, archive::Version::Two] {
            let mut file = files[at].clone();
            let mut footer = *archive::Layout::decode(&file, file.len() as u64)
                .unwrap()
                .footer();
            footer.version = version;
            file.truncate(file.len() - TAIL_LEN);
            file.extend_from_slice(&footer.encode());
            files.push(file);
        }
    }
    files
}

fn own(suffix: &str) -> Vec<Vec<u8>> {
    let files = fixtures::own().into_iter();
    let files = files.filter(|path| path.extension().unwrap_or_default() == suffix);
    let files = files.map(|path| std::fs::read(path).unwrap());
    files.filter(|file| file.len() < 10_000).collect()
}

fn records(file: &[u8]) -> Vec<Vec<u8>> {
    let (_, index) = table::Index::decode_file(file).unwrap();
    let entries = index.in_file_order();
    entries
        .map(|entry| fixtures::bytes(file, entry.span.data).to_vec())
        .collect()
}

/// Dictionaries and frames.
fn spans(archives: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut spans = Vec::new();
    for file in archives {
        let Ok((_, index)) = archive::Index::decode_file(file) else {
            continue;
        };
        spans.extend(
            index
                .dictionaries()
                .iter()
                .map(|span| fixtures::bytes(file, *span).to_vec()),
        );
        let entries = index.in_file_order();
        spans.extend(entries.map(|entry| fixtures::bytes(file, entry.span.data).to_vec()));
    }
    spans
}

fn with_len(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let tail = |file: &[u8]| file[file.len().saturating_sub(TAIL_LEN)..].to_vec();
    let len = |file: &[u8]| (file.len() as u64).to_be_bytes();
    files
        .iter()
        .map(|file| [len(file).as_slice(), &tail(file)].concat())
        .collect()
}

fn with_byte(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    files
        .iter()
        .map(|file| [&[3], file.as_slice()].concat())
        .collect()
}

/// The most address space that this process ever had, where the system tells.
fn largest_process() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
