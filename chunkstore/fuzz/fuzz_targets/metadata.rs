#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdfast_chunkstore::testing::fuzz::metadata(bytes));
