#![no_main]

use holdfast_chunkstore::testing::fuzz::upload;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| upload::upload(bytes));
