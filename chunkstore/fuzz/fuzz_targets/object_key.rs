#![no_main]

use holdfast_chunkstore::testing::fuzz::names;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| names::object_key(bytes));
