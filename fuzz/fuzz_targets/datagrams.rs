#![no_main]
//! See `confab_fuzz::datagrams`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| confab_fuzz::datagrams::run(data));
