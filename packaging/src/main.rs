//! `confab-pages`: what the packages tell of the programs, made from the programs' own flags.
//!
//! * man pages and completions, by `clap_mangen` and `clap_complete`;
//! * [`environment`]: the servers' configuration files.
//!
//! It is not shipped: `packaging/pack` runs it.

#![forbid(unsafe_code)]

mod environment;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, Parser};
use clap_complete::Shell;
use confab_console::configuration::{Program, ProgramFlags, shown};
use confab_console::{Class, Form, err};
use environment::{Configuration, ConfigurationError};

/// Writes man pages, completions and configuration files of Confab's programs, for packages.
#[derive(Parser, Debug)]
#[command(name = "confab-pages", version)]
struct Flags {
    /// Folder to write to, created when missing: man pages into man1, completions into bash, zsh and fish, configuration files
    /// into etc.
    #[arg(value_name = "FOLDER")]
    out: PathBuf,
}

impl ProgramFlags for Flags {
    const PROGRAM: Program = Program {
        name: "confab-pages",
        unwritten: 1,
        typed_only: &[],
        tables: &[],
        own_file: None,
    };
}

/// The pages could not be written.
#[derive(Debug, thiserror::Error)]
enum PagesError {
    #[error("cannot write {}: {error}", .path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
}

fn main() {
    confab_console::run(|| {
        let flags: Flags = match confab_console::parse() {
            Ok(flags) => flags,
            Err(code) => return code,
        };
        match write_all(&flags.out) {
            Ok(()) => 0,
            Err(error) => {
                let message = format!("confab-pages: {error}");
                err().put(Class::Answer, Form::Text, &message);
                1
            }
        }
    })
}

/// The programs that are packaged, by their flags.
fn programs() -> [Command; 3] {
    [
        shown::<confab::flags::Flags>(),
        shown::<confab_control::flags::Flags>(),
        shown::<confab_relay::Flags>(),
    ]
}

fn write_all(out: &Path) -> Result<(), PagesError> {
    let man = folder(out, "man1")?;
    let etc = folder(out, "etc")?;
    for program in programs() {
        clap_mangen::generate_to(program.clone(), &man).map_err(failed(&man))?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let folder = folder(out, &shell.to_string())?;
            let (name, mut command) = (program.get_name().to_owned(), program.clone());
            clap_complete::generate_to(shell, &mut command, name, &folder)
                .map_err(failed(&folder))?;
        }
    }
    for configuration in [Configuration::control(), Configuration::relay()] {
        let path = etc.join(configuration.file);
        std::fs::write(&path, configuration.text()?).map_err(failed(&path))?;
    }
    Ok(())
}

fn folder(out: &Path, name: &str) -> Result<PathBuf, PagesError> {
    let path = out.join(name);
    std::fs::create_dir_all(&path).map_err(failed(&path))?;
    Ok(path)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PagesError {
    let path = path.to_owned();
    move |error| PagesError::Write { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_man_page_and_every_program_completions() {
        let out = tempfile::tempdir().expect("a folder");
        write_all(out.path()).expect("pages");
        for page in [
            "man1/confab.1",
            "man1/confab-join.1",
            "man1/confab-conference-invite.1",
            "man1/confab-control-serve.1",
            "man1/confab-relay.1",
            "bash/confab-control.bash",
            "zsh/_confab-relay",
            "fish/confab.fish",
            "etc/control.env",
            "etc/relay.env",
        ] {
            let text = std::fs::read_to_string(out.path().join(page)).expect(page);
            assert!(text.len() > 100, "{page} has {} bytes", text.len());
        }
        let serve = std::fs::read_to_string(out.path().join("man1/confab-control-serve.1"));
        let serve = serve.expect("its page");
        assert!(serve.contains("CONFAB_CONTROL_LISTEN"), "{serve}");
    }

    /// A page that tells of the machine on which it was made would differ on every machine.
    #[test]
    fn pages_do_not_tell_of_the_machine_on_which_they_were_made() {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let home = std::env::var("HOME").unwrap_or_default();
        let out = tempfile::tempdir().expect("a folder");
        write_all(out.path()).expect("pages");
        for folder in ["man1", "bash", "zsh", "fish", "etc"] {
            for file in std::fs::read_dir(out.path().join(folder)).expect("a folder") {
                let path = file.expect("a file").path();
                let text = std::fs::read_to_string(&path).expect("text");
                for word in [host.trim(), home.as_str()] {
                    // Shorter ones are parts of words.
                    let tells = word.len() > 4 && text.contains(word);
                    assert!(!tells, "{} has {word}", path.display());
                }
            }
        }
    }
}
