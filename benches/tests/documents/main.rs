//! Every block of commands in the documents is run as it stands, or says why it is not.
//!
//! A block of ```` ```sh ```` comes after one of these comments, which readers do not see:
//!
//! * `<!-- run -->`, or `<!-- run`, a line of shell for each thing that the reader has already, and `-->`: the lines, then the block, are run
//!   in the world of the page. The blocks of a page are run one after another in one shell. A command that runs until it is ended (a
//!   server, a relay) stays until the page's end.
//! * `<!-- norun: the reason -->`.
//!
//! The world of a page is a copy of this machine's files in namespaces, with the programs on its path, without a network but for itself, and
//! with the names that the documents use: paths, ports and names are as they stand.

#![cfg(target_os = "linux")]
#![allow(unreachable_pub, reason = "a test has no users")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod page;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use confab_benches::measured::{self, Measured};
use page::{Mark, Page};

/// Set where the documents must be run.
const REQUIRE: &str = "CONFAB_REQUIRE_DIST";

fn pages() -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    paths.sort();
    paths.insert(0, root.join("CONTRIBUTING.md"));
    paths.insert(0, root.join("README.md"));
    paths.iter().map(|path| Page::read(path)).collect()
}

#[test]
fn figures_of_the_documents_are_the_measured_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let measured = Measured::published();
    let mut named = BTreeSet::new();
    for path in measured::documents(&root).unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        let filled = measured.fill(&text);
        let filled = filled.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (is, should_be) in text.lines().zip(filled.lines()) {
            assert_eq!(is, should_be, "{}: run `make figures`", path.display());
        }
        let all = measured
            .names()
            .filter(|name| text.contains(&format!("figure {name} -->")));
        named.extend(all.map(str::to_owned));
    }
    assert!(named.len() > 100, "only {} figures are named", named.len());
}

#[test]
fn every_block_of_commands_is_marked() {
    let mut marks = 0;
    let mut bad = Vec::new();
    for page in pages() {
        for block in &page.blocks {
            match &block.mark {
                Some(Mark::Run { .. }) => marks += 1,
                Some(Mark::NoRun { reason }) if reason.len() >= 10 => {}
                Some(Mark::NoRun { .. }) => bad.push(format!("{block}: why not?")),
                None => bad.push(format!("{block}: neither `run` nor `norun: reason`")),
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(marks >= 8, "only {marks} blocks are run");
}

#[test]
fn what_is_marked_is_run() {
    let programs = common::programs();
    let scratch = tempfile::tempdir().unwrap();
    if let Err(reason) = world::can_be_made(scratch.path()) {
        let required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
        assert!(!required, "the documents cannot be run: {reason}");
        eprintln!("SKIPPED, the documents cannot be run: {reason}");
        return;
    }
    let mut failed = Vec::new();
    for page in pages() {
        let Some(script) = page.script() else {
            continue;
        };
        println!("{}", page.name);
        let folder = scratch.path().join(&page.name);
        if let Err(said) = world::run(&folder, &programs, &script) {
            failed.push(format!("{}: {said}", page.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
