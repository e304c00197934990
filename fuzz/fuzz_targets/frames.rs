#![no_main]
//! See `confab_fuzz::frames`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::frames::run(data));
