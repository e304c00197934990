//! The native client of Confab
