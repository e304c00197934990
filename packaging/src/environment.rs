//! A server's configuration file: each flag as a variable of the environment, with its help, its default and commented out.
//! systemd reads it (`EnvironmentFile=`, see systemd.exec(5)).

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};
use confab_console::configuration::shown;

/// The command of control that its service runs.
const SERVE: &str = "serve";
/// Longest line of a comment, in characters.
const WIDTH: usize = 100;

/// A configuration file.
pub(crate) struct Configuration {
    /// Its name.
    pub(crate) file: &'static str,
    /// Comment at its top.
    head: &'static str,
    /// The command whose flags it has.
    command: Command,
    /// Variables that the package's unit sets; they are not in the file.
    of_unit: &'static [&'static str],
    /// Variables that a package sets to another value than the default.
    set: &'static [(&'static str, &'static str)],
}

/// The file would set a variable that no flag has.
#[derive(Debug, thiserror::Error)]
#[error("{file} sets {variable}, which no flag has")]
pub(crate) struct ConfigurationError {
    file: &'static str,
    variable: &'static str,
}

const CONTROL_HEAD: &str = "\
Configuration of confab-control.service: each flag of `confab-control serve` with its default.
After a change: systemctl restart confab-control. Users connect again by themselves.
systemctl reload confab-control reads the certificates again, and not this file.
An empty value is as if the line were not there. Commas separate several values.
The data folder is /var/lib/confab.";

const RELAY_HEAD: &str = "\
Configuration of confab-relay.service: each flag of `confab-relay` with its default.
CONFAB_RELAY_CONTROL has to be set. The relay's identity is in /etc/confab/relay; how it
gets there is in /usr/share/doc/confab-relay/README.Debian.
After a change: systemctl restart confab-relay. Rooms move to another relay first.
systemctl reload confab-relay reads the identity again, and not this file.
An empty value is as if the line were not there. Commas separate several values.
With a CONFAB_RELAY_DRAIN_TIME of more than 25s set a longer TimeoutStopSec= of the unit:
systemctl edit confab-relay.";

impl Configuration {
    /// That of control. A relay runs inside: what most servers need.
    pub(crate) fn control() -> Self {
        Self {
            file: "control.env",
            head: CONTROL_HEAD,
            command: shown::<confab_control::flags::Flags>()
                .find_subcommand(SERVE)
                .cloned()
                .unwrap_or_default(),
            of_unit: &["CONFAB_CONTROL_DATA_DIR"],
            set: &[("CONFAB_CONTROL_WITH_RELAY", "true")],
        }
    }

    /// That of a relay of its own.
    pub(crate) fn relay() -> Self {
        Self {
            file: "relay.env",
            head: RELAY_HEAD,
            command: shown::<confab_relay::Flags>(),
            of_unit: &["CONFAB_RELAY_IDENTITY"],
            set: &[("CONFAB_RELAY_CONTROL", "")],
        }
    }

    /// The file.
    pub(crate) fn text(&self) -> Result<String, ConfigurationError> {
        let mut text = String::new();
        comment(&mut text, self.head);
        let mut unknown: Vec<&str> = self.set.iter().map(|(variable, _)| *variable).collect();
        for arg in self.command.get_arguments() {
            let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else {
                continue;
            };
            if self.of_unit.contains(&variable) {
                continue;
            }
            unknown.retain(|known| *known != variable);
            text.push('\n');
            comment(&mut text, &help(arg));
            let set = self.set.iter().find(|(known, _)| *known == variable);
            let _ = match set {
                Some((_, value)) => writeln!(text, "{variable}={value}"),
                None => writeln!(text, "#{variable}={}", default(arg)),
            };
        }
        match unknown.first() {
            Some(variable) => Err(ConfigurationError {
                file: self.file,
                variable,
            }),
            None => Ok(text),
        }
    }
}

/// The flag, its value and its help.
fn help(arg: &Arg) -> String {
    let mut text = format!("--{}", arg.get_long().unwrap_or_default());
    if takes_value(arg) {
        let name = arg.get_value_names().and_then(|names| names.first());
        let name = name.map_or_else(|| arg.get_id().as_str().to_uppercase(), ToString::to_string);
        let _ = write!(text, " {name}");
    }
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    // clap takes the full stop at the end away.
    let _ = write!(text, ": {}.", help.trim_end_matches('.'));
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    if takes_value(arg) && !values.is_empty() {
        let _ = write!(text, " One of: {}.", values.join(", "));
    }
    text
}

/// The value of the flag's default, as it is written into the file.
fn default(arg: &Arg) -> String {
    if !takes_value(arg) {
        return "false".to_owned();
    }
    let values = arg.get_default_values().iter();
    let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
    values.join(",")
}

fn takes_value(arg: &Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
}

/// Writes lines of a comment. A line of `words` that is too long is broken.
fn comment(text: &mut String, words: &str) {
    for line in words.lines() {
        let mut width = 1;
        text.push('#');
        for word in line.split_whitespace() {
            let more = word.chars().count() + 1;
            if width > 1 && width + more > WIDTH {
                text.push_str("\n#");
                width = 1;
            }
            let _ = write!(text, " {word}");
            width += more;
        }
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(configuration: &Configuration) -> Vec<String> {
        let text = configuration.text().expect("a file");
        text.lines().map(str::to_owned).collect()
    }

    /// `NAME=VALUE` of each line that sets a variable, commented out or not.
    fn assignments(lines: &[String]) -> Vec<(String, String)> {
        let settings = lines.iter().map(|line| line.trim_start_matches('#'));
        settings
            .filter(|line| line.starts_with("CONFAB_"))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_line_is_a_comment_a_setting_or_empty() {
        for configuration in [Configuration::control(), Configuration::relay()] {
            for line in lines(&configuration) {
                let is_comment = line.is_empty() || line.starts_with('#');
                let is_setting = line.starts_with("CONFAB_") && line.contains('=');
                assert!(is_comment || is_setting, "{line}");
                assert!(line.chars().count() <= 2 * WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn only_what_the_package_decides_is_set() {
        for (configuration, expected) in [
            (Configuration::control(), "CONFAB_CONTROL_WITH_RELAY=true"),
            (Configuration::relay(), "CONFAB_RELAY_CONTROL="),
        ] {
            let lines = lines(&configuration);
            let set: Vec<_> = lines
                .iter()
                .filter(|line| line.starts_with("CONFAB_"))
                .collect();
            assert_eq!(set, [expected]);
        }
    }

    #[test]
    fn every_default_in_the_file_is_a_value_that_the_program_takes() {
        let programs = [
            (Configuration::control(), &["confab-control"][..]),
            (
                Configuration::relay(),
                &["confab-relay", "--control=a", "--identity=x"],
            ),
        ];
        for (configuration, least) in programs {
            let all = assignments(&lines(&configuration));
            assert!(all.len() > 20, "{all:?}");
            let given = all.iter().filter(|(_, value)| !value.is_empty());
            for (name, value) in given.filter(|(_, value)| value != "true" && value != "false") {
                let flag = name
                    .trim_start_matches("CONFAB_CONTROL_")
                    .trim_start_matches("CONFAB_RELAY_");
                let flag = format!("--{}={value}", flag.to_lowercase().replace('_', "-"));
                let line = least.iter().copied().chain([flag.as_str()]);
                let parsed = configuration.command.clone().try_get_matches_from(line);
                assert!(parsed.is_ok(), "{flag}: {parsed:?}");
            }
        }
    }

    #[test]
    fn a_variable_of_no_flag_cannot_be_set() {
        let wrong = Configuration {
            set: &[("CONFAB_CONTROL_NO_SUCH", "1")],
            ..Configuration::control()
        };
        let error = wrong.text().expect_err("no such flag");
        assert!(error.to_string().contains("CONFAB_CONTROL_NO_SUCH"));
    }

    #[test]
    fn a_long_help_is_broken_between_words() {
        let mut text = String::new();
        comment(&mut text, &"word ".repeat(50));
        assert!(text.lines().count() > 2, "{text}");
        let is_whole = |line: &str| line.starts_with("# word") && line.len() <= WIDTH;
        assert!(text.lines().all(is_whole), "{text}");
    }
}
