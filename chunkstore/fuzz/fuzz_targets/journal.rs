#![no_main]

use holdfast_chunkstore::testing::fuzz::stores;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stores::journal(bytes));
