//! Flags from the command line, the environment and a file: which goes before which, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use confab_console::configuration::{
    OwnFile, Program, ProgramFlags, Resolved, Surroundings, Typed, resolve,
};
use confab_console::values::{duration, whole_within};
use proptest::prelude::*;

/// A program that works.
#[derive(Debug, Parser)]
#[command(name = "confab-sample", version)]
struct Sample {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Say more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Folder of the program's own file.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    work: Work,
    /// The flags that were typed, of those that the tests ask for.
    #[arg(skip)]
    typed: Vec<&'static str>,
}

#[derive(Debug, Subcommand)]
enum Work {
    /// Serves.
    Serve(Box<Serve>),
    /// Shows the state.
    Status {
        /// The node to ask.
        #[arg(long, env = "CONFAB_SAMPLE_ASKED_NODE")]
        node: Option<SocketAddr>,
        /// Time to wait.
        #[arg(long, value_parser = duration)]
        wait: Option<Duration>,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Name of the node.
    #[arg(long)]
    node: Option<String>,
    /// Time to wait.
    #[arg(long, default_value = "60s", value_parser = duration)]
    wait: Duration,
    /// Datagrams at once.
    #[arg(long, default_value_t = 8, value_parser = whole_within(1_u16..=64))]
    batch: u16,
    /// Addresses.
    #[arg(long, value_delimiter = ',', default_value = "[::]:1")]
    listen: Vec<SocketAddr>,
    /// How lines look.
    #[arg(long, value_enum, default_value = "text")]
    form: Form,
    /// A certificate.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// The input.
    #[arg(long, conflicts_with = "tone")]
    input: Option<String>,
    /// A tone.
    #[arg(long)]
    tone: Option<u32>,
    /// Cancel the echo.
    #[arg(long, conflicts_with = "tone")]
    echo: bool,
    /// A user. Requires the password.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password.
    #[arg(long, hide_env_values = true)]
    password: Option<String>,
    /// Is said each time.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    Text,
    Json,
}

impl ProgramFlags for Sample {
    const PROGRAM: Program = Program {
        name: "confab-sample",
        unwritten: 1,
        typed_only: &[("yes", "is said each time")],
        tables: &[],
        own_file: Some(OwnFile {
            name: "own.toml",
            folder_flag: "folder",
            default_folder: || Some("/home/own".into()),
        }),
    };

    fn settle(&mut self, typed: &Typed) {
        let asked = ["wait", "batch", "json"].into_iter();
        self.typed = asked.filter(|flag| typed.has(flag)).collect();
    }
}

/// Variables and files.
#[derive(Default)]
struct World {
    variables: BTreeMap<String, OsString>,
    files: BTreeMap<PathBuf, Result<String, io::ErrorKind>>,
}

impl World {
    fn new() -> Self {
        Self::default()
    }

    /// With a file that `--config` names in all that follows.
    fn file(mut self, text: &str) -> Self {
        self = self.other_file("/etc/a.toml", Ok(text));
        self.variable("CONFAB_SAMPLE_CONFIG", "/etc/a.toml")
    }

    fn other_file(mut self, path: &str, text: Result<&str, io::ErrorKind>) -> Self {
        self.files.insert(path.into(), text.map(str::to_owned));
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    fn resolve(&self, line: &str) -> Result<Resolved<Sample>, String> {
        let mut arguments = vec![OsString::from("confab-sample")];
        arguments.extend(
            line.split(' ')
                .filter(|word| !word.is_empty())
                .map(OsString::from),
        );
        let variable = |name: &str| self.variables.get(name).cloned();
        let read = |path: &Path| match self.files.get(path) {
            Some(Ok(text)) => Ok(text.clone()),
            Some(Err(kind)) => Err((*kind).into()),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let around = Surroundings {
            arguments,
            variable: &variable,
            read: &read,
            own_folder: None,
        };
        resolve(&around).map_err(|error| error.to_string())
    }

    fn sample(&self, line: &str) -> Sample {
        match self.resolve(line) {
            Ok(Resolved::Run(sample)) => sample,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn serve(&self, line: &str) -> Serve {
        match self.sample(&format!("serve {line}")).work {
            Work::Serve(serve) => *serve,
            Work::Status { .. } => panic!("it serves"),
        }
    }

    fn refused(&self, line: &str) -> String {
        self.resolve(line).expect_err(line)
    }

    fn printed(&self, line: &str) -> String {
        match self.resolve(line) {
            Ok(Resolved::Print(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let world = World::new().file("[serve]\nbatch = 3\nwait = \"3s\"\n");
    assert_eq!(world.serve("").batch, 3);
    let world = world.variable("CONFAB_SAMPLE_BATCH", "2");
    let serve = world.serve("");
    assert_eq!((serve.batch, serve.wait), (2, Duration::from_secs(3)));
    assert_eq!(world.serve("--batch 1").batch, 1);
    assert_eq!(World::new().serve("").batch, 8);
}

#[test]
fn a_list_is_replaced_as_a_whole() {
    let world = World::new().file("[serve]\nlisten = [\"1.1.1.1:1\", \"1.1.1.1:2\"]\n");
    assert_eq!(world.serve("").listen.len(), 2);
    assert_eq!(
        world.serve("--listen 1.1.1.1:3").listen,
        ["1.1.1.1:3".parse().unwrap()]
    );
    let world = world.variable("CONFAB_SAMPLE_LISTEN", "1.1.1.1:4,1.1.1.1:5,1.1.1.1:6");
    assert_eq!(world.serve("").listen.len(), 3);
}

#[test]
fn a_table_goes_before_what_stands_above_it() {
    let world = World::new().file("wait = \"1s\"\njson = true\n[serve]\nwait = \"2s\"\n");
    assert_eq!(world.serve("").wait, Duration::from_secs(2));
    let sample = world.sample("status");
    assert!(sample.json);
    let Work::Status { wait, .. } = sample.work else {
        panic!("it is the state");
    };
    assert_eq!(wait, Some(Duration::from_secs(1)));
}

#[test]
fn an_empty_variable_is_as_if_it_were_not_there() {
    let world = World::new()
        .file("[serve]\nbatch = 3\n")
        .variable("CONFAB_SAMPLE_BATCH", "");
    assert_eq!(world.serve("").batch, 3);
}

#[test]
fn a_switch_is_turned_on_and_off_at_each_place() {
    let world = World::new().file("json = true\nverbose = 2\n[serve]\necho = true\n");
    assert!(world.serve("").echo);
    assert_eq!(world.sample("serve").verbose, 2);
    assert_eq!(world.sample("serve -v").verbose, 1);
    assert!(!world.serve("--echo=false").echo);
    assert!(World::new().serve("--echo=true").echo);
    assert!(!world.sample("--json=false serve").json);
    for off in ["0", "false", "off", "no"] {
        let file = World::new().file("[serve]\necho = true\n");
        let serve = file.variable("CONFAB_SAMPLE_ECHO", off).serve("");
        assert!(!serve.echo, "{off}");
    }
    let refused = World::new().refused("status --echo=false");
    assert!(
        refused.contains("unexpected argument '--echo'"),
        "{refused}"
    );
}

#[test]
fn the_program_learns_what_was_typed() {
    let world = World::new().file("[serve]\nbatch = 3\n");
    assert_eq!(
        world.sample("serve --wait 1s --json=false").typed,
        ["wait", "json"]
    );
    assert!(world.sample("serve").typed.is_empty());
}

#[test]
fn unknown_keys_are_refused_with_the_likely_one() {
    for (text, line, says) in [
        (
            "[serve]\nbatc = 3\n",
            2,
            "no key 'batc' in [serve]: did you mean 'batch'?",
        ),
        (
            "\n[srve]\nbatch = 3\n",
            2,
            "no key 'srve': did you mean 'serve'?",
        ),
        (
            "[status]\nbatch = 3\n",
            2,
            "no key 'batch' in [status]: it belongs into [serve]",
        ),
        ("[serve]\njson = true\n", 2, "it belongs above all tables"),
        ("serve = 3\n", 1, "it is a table, [serve]"),
        ("qqqq = 3\n", 1, "there is no key 'qqqq'\n"),
        ("[serve]\nyes = true\n", 2, "no key 'yes'"),
        ("config = \"b\"\n", 1, "no key 'config'"),
        ("print-config = true\n", 1, "no key 'print-config'"),
        ("help = true\n", 1, "no key 'help'"),
    ] {
        // Of each command, for the file is one.
        let refused = World::new().file(text).refused("status");
        let place = format!("/etc/a.toml, line {line}: ");
        assert!(refused.contains(&place), "{text}: {refused}");
        assert!(refused.contains(says), "{text}: {refused}");
    }
}

#[test]
fn a_key_with_two_meanings_stands_in_the_table_of_its_command() {
    let refused = World::new().file("node = \"a\"\n").refused("serve");
    assert!(
        refused.contains("'node' means different things in [serve], [status]"),
        "{refused}"
    );
    let world = World::new().file("[serve]\nnode = \"a\"\n[status]\nnode = \"1.1.1.1:1\"\n");
    assert_eq!(world.serve("").node.as_deref(), Some("a"));
    world.sample("status");
}

#[test]
fn other_types_are_refused_with_the_right_one() {
    for (line, says) in [
        (
            "batch = \"3\"",
            "'batch' is a text: it takes a number, as batch = BATCH",
        ),
        (
            "batch = true",
            "'batch' is true or false: it takes a number",
        ),
        (
            "wait = 3",
            "'wait' is a number: it takes a text in quotes, as wait = \"WAIT\"",
        ),
        (
            "echo = \"true\"",
            "'echo' is a text: it takes true or false, as echo = true",
        ),
        (
            "listen = \"1.1.1.1:1\"",
            "'listen' is a text: it takes a list, as listen = [\"LISTEN\"]",
        ),
        ("batch = [1]", "'batch' is a list"),
        ("batch = { a = 1 }", "'batch' is a table"),
        ("wait = 2026-01-01", "'wait' is a date or time"),
        ("listen = [1]", "'listen' is a number"),
    ] {
        let refused = World::new()
            .file(&format!("[serve]\n{line}\n"))
            .refused("serve");
        assert!(refused.contains("/etc/a.toml, line 2: "), "{refused}");
        assert!(refused.contains(says), "{line}: {refused}");
    }
}

#[test]
fn values_are_refused_as_typed_ones_with_their_place() {
    for (key, value, says) in [
        (
            "batch",
            "99",
            "invalid value '99' for 'batch': it is not between 1 and 64",
        ),
        ("wait", "\"5\"", "for 'wait': a duration has a unit"),
        ("form", "\"xml\"", "for 'form': it is one of text, json"),
        ("node", "\"\"", ""),
        (
            "listen",
            "[\"1.1.1.1:1\", \"b\"]",
            "invalid value 'b' for 'listen': invalid socket address",
        ),
        ("certificate", "\"\"", "for 'certificate'"),
    ] {
        let world = World::new().file(&format!("[serve]\n{key} = {value}\n"));
        if says.is_empty() {
            world.serve("");
            continue;
        }
        let refused = world.refused("serve");
        assert!(
            refused.starts_with("error: /etc/a.toml, line 2: "),
            "{refused}"
        );
        assert!(refused.contains(says), "{key}: {refused}");
    }
    let refused = World::new()
        .variable("CONFAB_SAMPLE_BATCH", "99")
        .refused("serve");
    let says = "the variable CONFAB_SAMPLE_BATCH: invalid value '99' for 'batch'";
    assert!(refused.contains(says), "{refused}");
    let refused = World::new()
        .variable("CONFAB_SAMPLE_ECHO", "maybe")
        .refused("serve");
    assert!(refused.contains("CONFAB_SAMPLE_ECHO"), "{refused}");
    // What another command takes is none of its business.
    World::new()
        .variable("CONFAB_SAMPLE_BATCH", "99")
        .sample("status");
}

#[test]
fn what_is_no_toml_or_cannot_be_read_is_named() {
    let refused = World::new().file("[serve]\nbatch = = 3\n").refused("serve");
    assert!(
        refused.contains("/etc/a.toml, line 2: this is no TOML"),
        "{refused}"
    );
    let refused = World::new()
        .file("[serve]\nbatch = 1\nbatch = 2\n")
        .refused("serve");
    assert!(refused.contains("/etc/a.toml, line 3"), "{refused}");
    let refused = World::new().refused("serve --config /nowhere.toml");
    assert!(
        refused.contains("configuration /nowhere.toml: entity not found"),
        "{refused}"
    );
}

#[test]
fn what_a_flag_requires_may_come_from_anywhere() {
    let world = World::new()
        .file("[serve]\ncertificate = \"/c\"\n")
        .variable("CONFAB_SAMPLE_KEY", "/k");
    assert_eq!(world.serve("").key, Some("/k".into()));
    let refused = World::new()
        .file("[serve]\ncertificate = \"/c\"\n")
        .refused("serve");
    assert!(refused.contains("--key <KEY>"), "{refused}");
    assert!(
        refused.contains("note: --certificate is set by /etc/a.toml, line 2"),
        "{refused}"
    );
}

#[test]
fn a_value_gives_way_to_one_before_it_that_excludes_it() {
    let world = World::new().file("[serve]\ninput = \"a.wav\"\n");
    let serve = world.serve("--tone 440");
    assert_eq!((serve.tone, serve.input), (Some(440), None));
    let world = world.variable("CONFAB_SAMPLE_TONE", "220");
    assert_eq!(world.serve("").tone, Some(220));
    // In both directions, and what has given way excludes nothing.
    let serve = world.serve("--input b.wav");
    assert_eq!((serve.tone, serve.input.as_deref()), (None, Some("b.wav")));
    let off = World::new().file("[serve]\ntone = 1\n");
    assert_eq!(
        off.variable("CONFAB_SAMPLE_ECHO", "off").serve("").tone,
        Some(1)
    );
    let refused = World::new()
        .file("[serve]\ninput = \"a\"\ntone = 1\n")
        .refused("serve");
    assert!(refused.contains("cannot be used with"), "{refused}");
    assert!(
        refused.contains("--tone is set by /etc/a.toml, line 3"),
        "{refused}"
    );
    let refused = World::new().refused("serve --tone 1 --input a");
    assert!(!refused.contains("note:"), "{refused}");
}

#[test]
fn a_secret_comes_from_a_file_at_each_place() {
    let with_file = || World::new().other_file("/s", Ok("hush hush\n"));
    for world in [
        with_file().file("[serve]\nuser = \"a\"\npassword-file = \"/s\"\n"),
        with_file()
            .variable("CONFAB_SAMPLE_PASSWORD_FILE", "/s")
            .variable("CONFAB_SAMPLE_USER", "a"),
        with_file()
            .file("[serve]\nuser = \"a\"\npassword = \"other\"\n")
            .variable("CONFAB_SAMPLE_PASSWORD_FILE", "/s"),
    ] {
        assert_eq!(world.serve("").password.as_deref(), Some("hush hush"));
    }
    let typed = with_file().serve("--user a --password-file /s");
    assert_eq!(typed.password.as_deref(), Some("hush hush"));
    let before = with_file().variable("CONFAB_SAMPLE_PASSWORD_FILE", "/s");
    let before = before.serve("--password typed");
    assert_eq!(before.password.as_deref(), Some("typed"));
    // One line break at the end, and nothing else.
    let kept = World::new().other_file("/s", Ok(" a\nb \n\r\n"));
    let kept = kept.serve("--password-file /s");
    assert_eq!(kept.password.as_deref(), Some(" a\nb \n"));
}

#[test]
fn a_secret_that_is_not_to_be_had_is_named_and_one_that_is_wrong_not_shown() {
    let world = World::new().variable("CONFAB_SAMPLE_PASSWORD_FILE", "/nowhere");
    let refused = world.refused("serve");
    let says = "cannot read /nowhere, which the variable CONFAB_SAMPLE_PASSWORD_FILE names as 'password-file'";
    assert!(refused.contains(says), "{refused}");
    let refused = World::new()
        .variable("CONFAB_SAMPLE_PASSWORD_FILE", "/s")
        .variable("CONFAB_SAMPLE_PASSWORD", "hush")
        .refused("serve");
    assert!(
        refused.contains("'password' and 'password-file': leave one of them out"),
        "{refused}"
    );
    let refused = World::new()
        .file("[serve]\npassword = 12345\n")
        .refused("serve");
    assert!(!refused.contains("12345"), "{refused}");
}

#[test]
fn the_own_file_is_read_if_it_is_there() {
    let text = "[serve]\nbatch = 3\n";
    let world = World::new().other_file("/home/own/own.toml", Ok(text));
    assert_eq!(world.serve("").batch, 3);
    assert_eq!(world.serve("--folder /other").batch, 8);
    let world = world
        .other_file("/other/own.toml", Ok("[serve]\nbatch = 4\n"))
        .other_file("/empty", Ok(""));
    assert_eq!(world.serve("--folder /other").batch, 4);
    assert_eq!(world.serve("--config /empty").batch, 8);
    let world = world.variable("CONFAB_SAMPLE_FOLDER", "/other");
    assert_eq!(world.serve("").batch, 4);
    let denied = Err(io::ErrorKind::PermissionDenied);
    let refused = World::new()
        .other_file("/home/own/own.toml", denied)
        .refused("serve");
    assert!(
        refused.contains("/home/own/own.toml: permission denied"),
        "{refused}"
    );
}

#[test]
fn help_names_variables_and_no_value() {
    let world = World::new()
        .file("this is not read")
        .variable("CONFAB_SAMPLE_BATCH", "99");
    let help = world.refused("serve --help");
    for says in [
        "[env: CONFAB_SAMPLE_BATCH]",
        "[env: CONFAB_SAMPLE_PASSWORD_FILE]",
        "--config <FILE>",
    ] {
        assert!(help.contains(says), "{help}");
    }
    assert!(
        !help.contains("CONFAB_SAMPLE_YES") && !help.contains("PRINT_CONFIG]"),
        "{help}"
    );
    let help = world.refused("");
    assert!(help.contains("Usage: confab-sample"), "{help}");
}

#[test]
fn a_file_is_printed_with_what_is_set_and_read_as_the_same() {
    let world = World::new()
        .file("verbose = 1\n[status]\nwait = \"2m\"\n[serve]\ninput = \"a\\\"b\\u0007ü\"\n")
        .variable("CONFAB_SAMPLE_BATCH", "5")
        .variable("CONFAB_SAMPLE_PASSWORD", "hush");
    let printed =
        world.printed("serve --listen 1.1.1.1:1,1.1.1.1:2 --json --user a --print-config");
    for says in [
        "\njson = true\n",
        "\nverbose = 1\n",
        "\n[serve]\n",
        "\n# Datagrams at once\n# Variable: CONFAB_SAMPLE_BATCH\nbatch = 5\n",
        "\nlisten = [\"1.1.1.1:1\", \"1.1.1.1:2\"]\n",
        "\n#form = \"text\"\n",
        "\n#tone = TONE\n",
        "\n#echo = false\n",
        "\n[status]\n",
        "\nwait = \"2m\"\n",
    ] {
        assert!(printed.contains(says), "{says}: {printed}");
    }
    assert!(!printed.contains("hush"), "{printed}");
    let again = World::new()
        .file(&printed)
        .variable("CONFAB_SAMPLE_PASSWORD", "hush");
    let serve = again.serve("");
    assert_eq!(serve.input.as_deref(), Some("a\"b\u{7}ü"));
    assert_eq!((serve.batch, serve.listen.len()), (5, 2));
    // In every command, and without what it requires.
    assert!(world.printed("--print-config").contains("\nbatch = 5\n"));
    assert!(
        world
            .printed("--json --print-config")
            .contains("\njson = true\n")
    );
    assert_eq!(
        again.printed("--print-config"),
        World::new()
            .file(&printed)
            .variable("CONFAB_SAMPLE_PASSWORD", "hush")
            .printed("status --print-config")
    );
}

#[test]
fn nothing_wrong_is_printed() {
    let refused = World::new().refused("serve --print-config --batch 99");
    assert!(refused.contains("it is not between 1 and 64"), "{refused}");
    let refused = World::new().refused("serve --batc 9 --print-config");
    assert!(refused.contains("--batch"), "{refused}");
    let refused = World::new().refused("serve --certificate /c --print-config");
    assert!(refused.contains("--key"), "{refused}");
}

/// Lines of a file, most of which are nearly right.
fn lines() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        proptest::sample::select(vec![
            "node",
            "wait",
            "batch",
            "listen",
            "form",
            "certificate",
            "key",
            "input",
            "tone",
            "echo",
            "user",
            "password",
            "password-file",
            "json",
            "verbose",
            "folder",
            "serve",
            "status",
            "serve.batch",
            "\"\"",
            "''"
        ])
        .prop_map(str::to_owned),
        "[a-z.-]{0,8}",
    ];
    let value = prop_oneof![
        proptest::sample::select(vec![
            "true",
            "1",
            "-1",
            "1_000",
            "0xff",
            "1e9",
            "inf",
            "nan",
            "\"60s\"",
            "\"--\"",
            "\"-\"",
            "[]",
            "[\"1.1.1.1:1\"]",
            "[[1]]",
            "{}",
            "{ batch = 1 }",
            "1979-05-27",
            "\"\\u0000\"",
            "\"\"",
            "'''\n'''",
            "99999999999999999999999999999999999999999"
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    let line = prop_oneof![
        5 => (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}\n")),
        1 => key.clone().prop_map(|key| format!("[{key}]\n")),
        1 => key.prop_map(|key| format!("[[{key}]]\n")),
        1 => ".{0,20}\n",
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn no_file_panics(text in lines(), any in ".{0,60}") {
        for text in [text, any] {
            let world = World::new().file(&text).other_file("/s", Ok("x"));
            for line in ["serve", "status", "serve --print-config"] {
                let _ = world.resolve(line);
            }
        }
    }

    #[test]
    fn no_variable_panics(value in ".{0,30}") {
        let mut world = World::new();
        for name in ["BATCH", "WAIT", "LISTEN", "ECHO", "VERBOSE", "CERTIFICATE", "TONE", "PASSWORD"] {
            let name = format!("CONFAB_SAMPLE_{name}");
            if world.resolve("serve").is_ok() {
                world.variables.clear();
            }
            world = world.variable(&name, &value);
            let _ = world.resolve("serve");
            let _ = world.resolve("--print-config");
        }
    }

    #[test]
    fn what_is_printed_of_any_text_is_read_as_the_same(text: String) {
        prop_assume!(!text.is_empty() && !text.contains('\0'));
        let world = World::new().variable("CONFAB_SAMPLE_INPUT", &text);
        let again = World::new().file(&world.printed("--print-config"));
        prop_assert_eq!(again.serve("").input, Some(text));
    }
}
