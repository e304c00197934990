#![no_main]
//! See `confab_fuzz::mls`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::mls::run(data));
