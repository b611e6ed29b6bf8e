#![no_main]

use holdfast_chunkstore::testing::fuzz::notes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| notes::head_hint(bytes));
