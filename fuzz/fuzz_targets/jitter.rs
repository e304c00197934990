#![no_main]
//! See `confab_fuzz::jitter`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::jitter::run(data));
