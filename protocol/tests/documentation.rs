//! `docs/protocol.md` holds all messages and names all vectors: another implementation needs nothing else.
//! `docs/architecture.md` names files and functions that exist.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;

#[test]
fn the_page_holds_every_message_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/protocol.md")).unwrap();
    for name in ["common", "client", "cluster"] {
        let file = root.join(format!("proto/confab/v1/{name}.proto"));
        let messages = fs::read_to_string(file).unwrap();
        let fenced = format!("```protobuf\n{messages}```\n");
        assert!(
            page.contains(&fenced),
            "{name}.proto in docs/protocol.md is not the real one"
        );
    }
}

#[test]
fn the_page_lists_every_file_of_vectors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/protocol.md")).unwrap();
    let (_, section) = page.split_once("\n## Vectors\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut listed: Vec<_> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.ends_with(".json"))
        .map(str::to_owned)
        .collect();
    let files = fs::read_dir(root.join("vectors")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    listed.sort();
    files.sort();
    assert_eq!(listed, files);
}

#[test]
fn the_walks_name_functions_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let is_step = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit());
    let mut checked = 0;
    for step in page.lines().filter(is_step) {
        // `path/file.rs` `function` `function`: what it does.
        let (place, _) = step.split_once("`: ").unwrap();
        let mut names = place.split('`').skip(1).step_by(2);
        let file = names.next().unwrap();
        let source =
            fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for function in names {
            assert!(
                source.contains(&format!("fn {function}("))
                    || source.contains(&format!("fn {function}<")),
                "no {function} in {file}"
            );
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} functions");
}
