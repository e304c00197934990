#![no_main]
//! See `confab_fuzz::text`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::text::run(data));
