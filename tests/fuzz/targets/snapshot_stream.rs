#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| calf::fuzzing::snapshot_stream(data));
