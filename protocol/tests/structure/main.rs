//! The structure of all crates: no circles, no arrow upward, no file that is too long to read, no state that others can write.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod circles;
mod modules;

use std::path::{Path, PathBuf};

use modules::Modules;
use syn::{Item, Visibility};

/// The crates' folders.
const CRATES: &[&str] = &[
    "benches",
    "client-cli",
    "console",
    "control",
    "e2ee",
    "packaging",
    "protocol",
    "relay",
    "relay/packet",
    "server",
    "telemetry",
    "testdb",
    "voice",
];
/// Files of a circle, at most.
const MAX_CIRCLE: usize = 2;
/// Lines of a file, at most, without its tests.
const MAX_LINES: usize = 500;
/// The modules of control from the top down, on each line those that do not use each other. A module uses those below it alone.
const CONTROL: &[&[&str]] = &[
    &["commands"],
    &["flags", "operator"],
    &["server"],
    &["listener"],
    &["api", "peer_api"],
    &["refusals"],
    &["clients", "conferences"],
    &["rooms"],
    &["accounts"],
    &["tls"],
    &["cluster", "invitations"],
    &["mail", "store"],
    &["domain"],
    &["audit", "client_queues", "close", "throttle", "webhooks"],
    &["metrics", "source", "inbox", "random"],
    &["causes", "clock", "disk", "hkdf", "mutex"],
];
/// Files of control whose structs have private fields alone: each part of a room is written by its own file.
const PARTS_OF_A_ROOM: &[&str] = &[
    "former_relays",
    "frame_reports",
    "group",
    "lease",
    "membership",
    "outbox",
    "ownership_check",
    "pending_joins",
    "placement",
    "relay_calls",
    "relay_probe",
    "requests",
    "room",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn modules(name: &str) -> Modules {
    Modules::read(&root().join(name).join("src"))
}

#[test]
fn no_more_than_two_files_use_each_other() {
    let (mut long, mut read) = (Vec::new(), 0);
    for name in CRATES {
        let modules = modules(name);
        let arrows = modules.arrows();
        read += arrows.values().flatten().count();
        let circles = circles::of(&arrows).into_iter();
        long.extend(
            circles
                .filter(|circle| circle.len() > MAX_CIRCLE)
                .map(|circle| {
                    let files: Vec<_> = circle.iter().map(|module| module.join("/")).collect();
                    format!("{name}: {}", files.join(" "))
                }),
        );
    }
    assert!(read > 1000, "{read} uses are no whole program's");
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_module_of_control_uses_one_above_it() {
    let modules = modules("control");
    let level = |module: &str| {
        let level = CONTROL.iter().position(|level| level.contains(&module));
        level.unwrap_or_else(|| panic!("control/src/{module} has no place among the levels"))
    };
    let mut upward = Vec::new();
    for (module, used) in modules.arrows() {
        for used in used {
            let (Some(from), Some(to)) = (module.first(), used.first()) else {
                continue;
            };
            if from != to && level(from) >= level(to) {
                upward.push(format!("{} uses {}", module.join("/"), used.join("/")));
            }
        }
    }
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut long = Vec::new();
    for name in CRATES {
        for module in modules(name).0.values() {
            let text = std::fs::read_to_string(&module.path).unwrap();
            let lines = lines_without_tests(&text);
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines", module.path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn only_an_inline_module_of_tests_is_not_counted() {
    let code = "mod x;\n#[cfg(test)]\nmod x_tests;\n#[cfg(test)]\nuse x::Y;\nfn f() {}\n";
    assert_eq!(lines_without_tests(code), 6);
    for condition in ["test", "all(test, unix)"] {
        let tests = format!("{code}#[cfg({condition})]\nmod tests {{\n}}\n");
        assert_eq!(lines_without_tests(&tests), 6);
    }
}

#[test]
fn the_parts_of_a_room_are_written_by_their_own_files() {
    let modules = modules("control");
    for part in PARTS_OF_A_ROOM {
        let module = &modules.0[["rooms".to_owned(), (*part).to_owned()].as_slice()];
        let has_methods = |name: &syn::Ident| {
            module.file.items.iter().any(|item| match item {
                Item::Impl(item) => {
                    let takes_self = |item: &syn::ImplItem| match item {
                        syn::ImplItem::Fn(function) => {
                            let receiver = function.sig.receiver();
                            receiver.is_some_and(|receiver| receiver.mutability.is_some())
                        }
                        _ => false,
                    };
                    matches!(&*item.self_ty, syn::Type::Path(path) if path.path.is_ident(name))
                        && item.items.iter().any(takes_self)
                }
                _ => false,
            })
        };
        let mut machines = 0;
        for item in &module.file.items {
            let Item::Struct(item) = item else { continue };
            if !has_methods(&item.ident) {
                continue;
            }
            machines += 1;
            for field in &item.fields {
                let name = field
                    .ident
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string);
                assert!(
                    matches!(field.vis, Visibility::Inherited),
                    "{}.{name} in rooms/{part}.rs can be written by other files",
                    item.ident
                );
            }
        }
        assert!(
            machines > 0,
            "rooms/{part}.rs has no struct that changes itself"
        );
    }
}

/// Lines before the inline module of tests. A module of tests that is a file of its own ends nothing.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let begins_tests = |pair: &[&str]| {
        let is_for_tests = ["#[cfg(test)]", "#[cfg(all(test,"];
        is_for_tests.iter().any(|cfg| pair[0].starts_with(cfg))
            && pair[1].starts_with("mod ")
            && pair[1].ends_with('{')
    };
    let tests = lines.windows(2).position(begins_tests);
    tests.unwrap_or(lines.len())
}
