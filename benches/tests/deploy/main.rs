//! Packages, units, alerts, the board and compose files, as an operator installs and watches them.
//!
//! * [`packages`]: packages in the life of a server, in a root of their own; [`machine`]: that root;
//! * [`packing`]: what `packaging/pack` makes;
//! * [`monitoring`]: alerts and the board against the servers' figures and the documentation;
//! * [`compose`]: the command lines of the compose files.
//!
//! Packages are tested as root, on a Debian with systemd; elsewhere these tests are skipped, unless `CONFAB_REQUIRE_DIST` is 1.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the modules of a test are one house")]

#[path = "../common/mod.rs"]
mod common;

mod compose;
mod machine;
mod monitoring;
mod packages;
mod packing;

use std::path::{Path, PathBuf};

/// The repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(file: &str) -> String {
    let path = repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Says why a test is skipped; fails where it must not be.
fn skip(why: &str) {
    assert!(
        std::env::var("CONFAB_REQUIRE_DIST").as_deref() != Ok("1"),
        "{why}, and CONFAB_REQUIRE_DIST is 1"
    );
    eprintln!("skipped: {why}");
}
