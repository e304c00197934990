#![no_main]
//! See `confab_fuzz::orders`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::orders::run(data));
