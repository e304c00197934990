//! Benches, load and quality harnesses of Confab
