//! Every flag of every program: typed, in the environment and in a file it is the same.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::process::{Command as Process, Output};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use confab_console::configuration::{
    FlagsError, ProgramFlags, Resolved, Surroundings, resolve, variable,
};

/// Values, of which each flag takes one: the first that it takes and that is not its default.
const VALUES: [&str; 34] = [
    "127.0.0.1:99",
    "talk.example.org:99",
    "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "2000-01-02",
    "25s",
    "10ms",
    "2h",
    "48B",
    "16kbit/s",
    "9/s",
    "1.5x",
    "2%",
    "7",
    "20",
    "3000",
    "on",
    "debug",
    "json",
    "voice",
    "packet",
    "0,1",
    "sqlite:/x",
    "listener",
    "friday",
    "email",
    "ann@example.org",
    "00112233445566778899aabbccddeeff",
    "invite",
    "operators",
    "https://hooks.example.org/confab",
    "smtps://confab:secret@mail.example.org",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "confab://talk.example.org/friday#1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

/// Commands whose operand is not to be had without another device. They have no flags of their own.
const WITHOUT_OPERAND: [&str; 1] = ["confab trust endorsed"];

/// Flags without a variable and a key, with the reason.
const TYPED_ONLY: [(&str, &str); 5] = [
    ("help", "is a question"),
    ("version", "is a question"),
    ("print-config", "is a command"),
    ("yes", "answers a question that is asked each time"),
    ("with-conferences", "is decided for each account"),
];

/// A line, with what is not on it.
#[derive(Debug, Default, Clone)]
struct World {
    arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    file: Option<String>,
}

impl World {
    fn resolve<F: ProgramFlags>(&self) -> Result<Resolved<F>, FlagsError> {
        let mut arguments = vec![OsString::from(F::PROGRAM.name)];
        arguments.extend(self.arguments.iter().map(OsString::from));
        let file = self.file.clone();
        let variable = |name: &str| {
            let is_config = name.ends_with("_CONFIG");
            match is_config && file.is_some() {
                true => Some("/etc/a.toml".into()),
                false => self.variables.get(name).map(OsString::from),
            }
        };
        let read = |path: &Path| match &file {
            Some(text) if path == Path::new("/etc/a.toml") => Ok(text.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        resolve(&Surroundings {
            arguments,
            variable: &variable,
            read: &read,
            own_folder: Some(|| None),
        })
    }

    fn flags<F: ProgramFlags + Debug>(&self) -> String {
        match self.resolve::<F>() {
            Ok(Resolved::Run(flags)) => format!("{flags:?}"),
            Ok(Resolved::Print(_)) => panic!("{self:?}"),
            Err(error) => panic!("{self:?}: {error}"),
        }
    }

    fn printed<F: ProgramFlags>(&self) -> String {
        let mut world = self.clone();
        let end = world.arguments.iter().position(|argument| argument == "--");
        let end = end.unwrap_or(world.arguments.len());
        world.arguments.insert(end, "--print-config".into());
        match world.resolve::<F>() {
            Ok(Resolved::Print(text)) => text,
            Ok(Resolved::Run(_)) => panic!("{world:?}"),
            Err(error) => panic!("{world:?}: {error}"),
        }
    }
}

/// A command with what it needs to run.
struct Runnable {
    /// Its name and those above it, and its operands.
    words: Vec<String>,
    /// Its flags, and the global ones.
    flags: Vec<Arg>,
}

fn runnables<F: ProgramFlags>() -> Vec<Runnable> {
    let (mut all, mut without) = (Vec::new(), Vec::new());
    collect(&F::command(), Vec::new(), &[], &mut all, &mut without);
    let expected = WITHOUT_OPERAND.iter().filter(|name| {
        let program = name.split(' ').next();
        program == Some(F::PROGRAM.name)
    });
    let expected: Vec<_> = expected.map(|name| (*name).to_owned()).collect();
    let named = |words: &Vec<String>| format!("{} {}", F::PROGRAM.name, words.join(" "));
    assert_eq!(without.iter().map(named).collect::<Vec<_>>(), expected);
    all
}

fn collect(
    command: &Command,
    words: Vec<String>,
    global: &[Arg],
    all: &mut Vec<Runnable>,
    without: &mut Vec<Vec<String>>,
) {
    let own: Vec<Arg> = command.get_arguments().cloned().collect();
    let is_flag = |arg: &&Arg| arg.get_long().is_some() || arg.is_last_set();
    let flags: Vec<Arg> = own.iter().filter(is_flag).cloned().collect();
    for below in command.get_subcommands() {
        let globals = flags.iter().filter(|arg| arg.is_global_set()).cloned();
        let globals: Vec<Arg> = global.iter().cloned().chain(globals).collect();
        let words = [&words[..], &[below.get_name().to_owned()]].concat();
        collect(below, words, &globals, all, without);
    }
    if command.is_subcommand_required_set() {
        return;
    }
    let operands = own.iter().filter(|arg| !is_flag(arg));
    let operands: Option<Vec<String>> = operands.map(sample).collect();
    let Some(operands) = operands else {
        without.push(words);
        return;
    };
    all.push(Runnable {
        words: [words, operands].concat(),
        flags: [global, &flags].concat(),
    });
}

/// A value that the flag takes and that is not its default.
fn sample(arg: &Arg) -> Option<String> {
    match arg.get_action() {
        ArgAction::SetTrue => return Some("true".to_owned()),
        ArgAction::Count => return Some("2".to_owned()),
        _ => {}
    }
    let takes = |value: &&str| {
        let probe = Arg::new("value").value_parser(arg.get_value_parser().clone());
        let probe = Command::new("probe")
            .no_binary_name(true)
            .arg(probe.long("value"));
        let is_default = arg
            .get_default_values()
            .iter()
            .any(|default| default == value);
        !is_default
            && probe
                .try_get_matches_from([format!("--value={value}")])
                .is_ok()
    };
    VALUES.into_iter().find(takes).map(str::to_owned)
}

fn name(arg: &Arg) -> String {
    let long = arg.get_long().map(str::to_owned);
    long.unwrap_or_else(|| arg.get_id().as_str().replace('_', "-"))
}

fn typed(arg: &Arg, value: &str) -> Vec<String> {
    let flag = format!("--{}", name(arg));
    match arg.get_action() {
        ArgAction::SetTrue => vec![flag],
        ArgAction::Count => vec![flag; value.parse().unwrap()],
        _ if arg.is_last_set() => vec!["--".to_owned(), value.to_owned()],
        _ => vec![format!("{flag}={value}")],
    }
}

/// Flags to type with one flag: those that clap says are required.
fn companions<F: ProgramFlags>(runnable: &Runnable, with: Option<&Arg>) -> Vec<String> {
    let mut line = Vec::new();
    for _ in 0..6 {
        let mut world = World {
            arguments: [&runnable.words[..], &line].concat(),
            ..World::default()
        };
        if let Some(arg) = with {
            world.arguments.extend(typed(arg, &sample(arg).unwrap()));
        }
        let error = match world.resolve::<F>() {
            Ok(_) => return line,
            Err(FlagsError::Clap { error, .. }) => error,
            Err(error) => panic!("{world:?}: {error}"),
        };
        assert_eq!(
            error.kind(),
            ErrorKind::MissingRequiredArgument,
            "{world:?}: {error}"
        );
        let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else {
            panic!("{error}");
        };
        for missing in missing {
            let flag = missing.split(' ').next().unwrap().trim_start_matches("--");
            let arg = runnable.flags.iter().find(|arg| name(arg) == flag).unwrap();
            line.extend(typed(arg, &sample(arg).unwrap()));
        }
    }
    panic!("{} requires more and more", runnable.words.join(" "));
}

fn each_flag_is_the_same_everywhere<F: ProgramFlags + Debug>(least: usize) {
    let mut checked = 0;
    for runnable in runnables::<F>() {
        for arg in &runnable.flags {
            let name = name(arg);
            let Some(variable) = variable(arg, &F::PROGRAM) else {
                let reason = TYPED_ONLY.iter().find(|(flag, _)| *flag == name);
                assert!(
                    reason.is_some(),
                    "{:?} --{name} has no variable",
                    runnable.words
                );
                continue;
            };
            assert!(variable.starts_with("CONFAB_"), "{variable}");
            let value = sample(arg).unwrap_or_else(|| panic!("no value for --{name}"));
            let beside = companions::<F>(&runnable, Some(arg));
            let others = World {
                arguments: [&runnable.words[..], &beside].concat(),
                ..World::default()
            };
            let mut world = others.clone();
            world.arguments.extend(typed(arg, &value));
            let expected = world.flags::<F>();
            if companions::<F>(&runnable, None) == beside {
                assert_ne!(others.flags::<F>(), expected, "--{name} changes nothing");
            }

            let mut by_variable = others.clone();
            by_variable.variables.insert(variable, value.clone());
            assert_eq!(by_variable.flags::<F>(), expected, "{by_variable:?}");

            if !arg.is_hide_env_values_set() {
                let secrets = runnable.flags.iter().filter(|arg| {
                    let flag = format!("--{}=", self::name(arg));
                    arg.is_hide_env_values_set()
                        && world.arguments.iter().any(|typed| typed.starts_with(&flag))
                });
                let secrets = secrets.map(|arg| {
                    let variable = self::variable(arg, &F::PROGRAM).unwrap();
                    (variable, sample(arg).unwrap())
                });
                let by_file = World {
                    arguments: runnable.words.clone(),
                    file: Some(world.printed::<F>()),
                    variables: secrets.collect(),
                };
                assert_eq!(by_file.flags::<F>(), expected, "{world:?}");
            }
            checked += 1;
        }
    }
    assert!(checked >= least, "{checked} flags");
}

/// Two flags of one variable take the same values.
fn a_variable_means_one_thing<F: ProgramFlags>() {
    let mut known: BTreeMap<String, (Vec<String>, String)> = BTreeMap::new();
    for runnable in runnables::<F>() {
        for arg in &runnable.flags {
            let Some(variable) = variable(arg, &F::PROGRAM) else {
                continue;
            };
            let of_type = format!(
                "{:?} {:?} {:?}",
                arg.get_value_parser().type_id(),
                arg.get_value_names(),
                arg.get_value_delimiter()
            );
            let entry = known.entry(variable.clone());
            let (words, other) = entry.or_insert((runnable.words.clone(), of_type.clone()));
            assert_eq!(
                *other, of_type,
                "{variable}: {words:?} and {:?}",
                runnable.words
            );
        }
    }
}

/// The defaults that a file shows are those of the program.
fn the_printed_defaults_are_the_defaults<F: ProgramFlags + Debug>() {
    let nothing = World::default().printed::<F>();
    assert!(
        nothing
            .lines()
            .all(|line| line.is_empty() || line.starts_with(['#', '['])),
        "{nothing}"
    );
    let defaults: Vec<_> = nothing
        .lines()
        .map(|line| {
            let Some((key, _)) = line
                .strip_prefix('#')
                .and_then(|line| line.split_once(" = "))
            else {
                return line;
            };
            let all = runnables::<F>();
            let mut flags = all.iter().flat_map(|runnable| &runnable.flags);
            let has_default = flags.any(|arg| {
                let is_default = !arg.get_default_values().is_empty()
                    || matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count);
                name(arg) == key && is_default
            });
            match has_default {
                true => &line[1..],
                false => line,
            }
        })
        .collect();
    let defaults = defaults.join("\n");
    assert!(
        defaults
            .lines()
            .any(|line| line.contains(" = ") && !line.starts_with('#'))
    );
    for runnable in runnables::<F>() {
        let line = companions::<F>(&runnable, None);
        let bare = World {
            arguments: [&runnable.words[..], &line].concat(),
            ..World::default()
        };
        let with_file = World {
            file: Some(defaults.clone()),
            ..bare.clone()
        };
        assert_eq!(with_file.flags::<F>(), bare.flags::<F>());
    }
}

/// Each key with values of each type: a file is read, or refused with its name.
fn no_value_panics<F: ProgramFlags + Debug>() {
    let printed = World::default().printed::<F>();
    let mut table = String::new();
    for line in printed.lines() {
        if line.starts_with('[') {
            table = format!("{line}\n");
        }
        let key = line
            .strip_prefix('#')
            .and_then(|line| line.split_once(" = "))
            .filter(|(key, _)| !key.contains(' '));
        let Some((key, _)) = key else { continue };
        for value in [
            "true",
            "-1",
            "99999999999999999999",
            "1e400",
            "\"\"",
            "\"\\u0000-\"",
            "[]",
            "[\"--\"]",
            "{ a = 1 }",
            "1979-05-27",
        ] {
            let world = World {
                file: Some(format!("{table}{key} = {value}\n")),
                arguments: vec!["--print-config".to_owned()],
                ..World::default()
            };
            if let Err(error) = world.resolve::<F>() {
                let error = error.to_string();
                assert!(error.contains("/etc/a.toml, line"), "{world:?}: {error}");
                assert!(error.contains(&format!("'{key}'")), "{world:?}: {error}");
            }
        }
    }
}

#[test]
fn each_flag_of_the_client_is_the_same_everywhere() {
    each_flag_is_the_same_everywhere::<confab::flags::Flags>(150);
}

#[test]
fn each_flag_of_control_is_the_same_everywhere() {
    each_flag_is_the_same_everywhere::<confab_control::flags::Flags>(50);
}

#[test]
fn each_flag_of_the_relay_is_the_same_everywhere() {
    each_flag_is_the_same_everywhere::<confab_relay::flags::Flags>(25);
}

#[test]
fn each_flag_of_the_load_generator_is_the_same_everywhere() {
    each_flag_is_the_same_everywhere::<confab_benches::load::flags::Flags>(20);
}

#[test]
fn a_variable_means_one_thing_in_all_commands() {
    a_variable_means_one_thing::<confab::flags::Flags>();
    a_variable_means_one_thing::<confab_control::flags::Flags>();
}

#[test]
fn printed_defaults_are_the_defaults() {
    the_printed_defaults_are_the_defaults::<confab::flags::Flags>();
    the_printed_defaults_are_the_defaults::<confab_control::flags::Flags>();
    the_printed_defaults_are_the_defaults::<confab_relay::flags::Flags>();
    the_printed_defaults_are_the_defaults::<confab_benches::load::flags::Flags>();
}

#[test]
fn no_value_of_a_file_panics() {
    no_value_panics::<confab::flags::Flags>();
    no_value_panics::<confab_control::flags::Flags>();
    no_value_panics::<confab_relay::flags::Flags>();
    no_value_panics::<confab_benches::load::flags::Flags>();
}

#[test]
fn a_link_goes_before_a_server_that_was_not_typed() {
    let link = format!("confab://link.example.org/friday#1.{}", "A".repeat(43));
    let server = |typed: &[&str]| {
        let world = World {
            arguments: [typed, &["join", &link]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            file: Some("server = \"other.example.org\"\nca = \"/ca.pem\"\n".to_owned()),
            ..World::default()
        };
        match world.resolve::<confab::flags::Flags>() {
            Ok(Resolved::Run(flags)) => (flags.common.server, flags.common.ca),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(server(&[]), (None, None));
    let typed = server(&["--server", "other.example.org"]);
    assert_eq!(typed, (Some("other.example.org".parse().unwrap()), None));
}

#[test]
fn the_programs_read_and_write_files() {
    let scratch = tempfile::tempdir().unwrap();
    let run = |name: &str, args: &[&str], variables: &[(&str, &str)]| -> Output {
        Process::new(common::programs().join(name))
            .args(args)
            .env_clear()
            .env("HOME", scratch.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    };
    for name in ["confab", "confab-control", "confab-relay", "confab-load"] {
        let printed = run(name, &["--print-config"], &[]);
        assert!(printed.status.success(), "{name}: {printed:?}");
        let file = scratch.path().join(format!("{name}.toml"));
        std::fs::write(&file, &printed.stdout).unwrap();
        let again = run(
            name,
            &["--config", file.to_str().unwrap(), "--print-config"],
            &[],
        );
        assert_eq!(again.stdout, printed.stdout, "{name}");

        std::fs::write(&file, "qqqq = 1\n").unwrap();
        let variable = format!("{}_CONFIG", name.replace('-', "_").to_uppercase());
        let refused = run(
            name,
            &["--print-config"],
            &[(&variable, file.to_str().unwrap())],
        );
        assert_eq!(refused.status.code(), Some(2), "{name}: {refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains("line 1: there is no key 'qqqq'"),
            "{name}: {said}"
        );
        assert!(refused.stdout.is_empty());
    }
    // The client's own file.
    let folder = scratch.path().join(".config/confab");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("config.toml"),
        "[join]\nbitrate = \"9kbit/s\"\n",
    )
    .unwrap();
    let refused = run("confab", &["whoami"], &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("config.toml, line 2") && said.contains("did you mean 'bit-rate'?"),
        "{said}"
    );
}

#[test]
fn a_check_takes_the_table_of_serve_and_its_own_before_it() {
    let checked = |file: &str| {
        let world = World {
            arguments: vec!["check".into()],
            file: Some(file.into()),
            ..World::default()
        };
        world.flags::<confab_control::flags::Flags>()
    };
    let serve = "max-members = 5\n[serve]\nlisten = \"127.0.0.1:99\"\nmax-members = 6\n";
    let flags = checked(serve);
    assert!(flags.contains("listen: 127.0.0.1:99"), "{flags}");
    assert!(flags.contains("max_members: 6"), "{flags}");
    let flags = checked(&format!("{serve}[check]\nmax-members = 7\n"));
    assert!(flags.contains("max_members: 7"), "{flags}");
}
