#![no_main]
//! See `confab_fuzz::relay_core`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::relay_core::run(data));
