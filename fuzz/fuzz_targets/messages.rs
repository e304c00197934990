#![no_main]
//! See `confab_fuzz::messages`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::messages::run(data));
