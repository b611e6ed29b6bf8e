#![no_main]

use holdfast_chunkstore::testing::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::archive_blocks(bytes));
