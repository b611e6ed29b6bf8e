#![no_main]

use holdfast_chunkstore::testing::fuzz::rocks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rocks::index_places(bytes));
