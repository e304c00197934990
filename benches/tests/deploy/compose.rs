//! The command lines in the compose files are ones that the programs take.

use clap::Parser as _;

use crate::read;

/// The commands of a compose file: the words of each list that begins with a program of ours.
fn commands(file: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut is_in_command = false;
    for line in read(file).lines() {
        let Some(word) = line.trim().strip_prefix("- ") else {
            is_in_command = false;
            continue;
        };
        if word == "confab-control" || word == "confab-relay" {
            commands.push(Vec::new());
            is_in_command = true;
        }
        if let Some(command) = commands.last_mut()
            && is_in_command
        {
            command.push(with_defaults(word));
        }
    }
    commands
}

/// Each `${NAME:-default}` by its default.
fn with_defaults(word: &str) -> String {
    match word.split_once("${") {
        None => word.to_owned(),
        Some((before, rest)) => {
            let (variable, after) = rest.split_once('}').unwrap();
            let (_, default) = variable.split_once(":-").unwrap();
            format!("{before}{default}{}", with_defaults(after))
        }
    }
}

#[test]
fn the_programs_take_the_command_lines_of_the_compose_files() {
    for (file, count) in [("deploy/compose.yaml", 4), ("deploy/compose-one.yaml", 1)] {
        let commands = commands(file);
        assert_eq!(commands.len(), count, "{file}: {commands:?}");
        for command in commands {
            let parsed = match command[0].as_str() {
                "confab-control" => {
                    confab_control::flags::Flags::try_parse_from(&command).map(drop)
                }
                _ => confab_relay::Flags::try_parse_from(&command).map(drop),
            };
            assert!(parsed.is_ok(), "{file}: {command:?}: {parsed:?}");
        }
    }
}
