#![no_main]
//! See `confab_fuzz::call`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::call::run(data));
