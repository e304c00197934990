//! End-to-end encryption of Confab: SFrame and the keys under it
