//! `confab-bench`: flags, and the library.

use std::alloc::System;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use confab_benches::bare::{self, Bursts};
use confab_benches::demo::{self, Options};
use confab_benches::figures::{self, Figure};
use confab_benches::load::network;
use confab_benches::program::print;
use confab_benches::{
    capacity, clarity, control, e2ee, instructions, leak, measured, microphone, peers, program,
    relay,
};
use confab_console::configuration::{Program, ProgramFlags};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Measures Confab from outside.
#[derive(Parser)]
#[command(name = "confab-bench", version)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

impl ProgramFlags for Flags {
    const PROGRAM: Program = Program {
        name: "confab-bench",
        unwritten: 1,
        typed_only: &[],
        tables: &[],
        own_file: None,
    };
}

#[derive(Subcommand)]
enum Command {
    /// A conference of four on this machine, with real voices; says what everyone heard of everyone.
    Demo {
        /// Folder of the programs `confab`, `confab-control` and `confab-relay`. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Folder for the recordings and report.json. The folder of an earlier demo is emptied.
        #[arg(long, value_name = "DIR", default_value = "target/demo")]
        out: PathBuf,
    },
    /// The relay's costs, against a bare loop of system calls; a line of JSON for each figure.
    Relay {
        /// Folder of the programs. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// File for the figures.
        #[arg(long, value_name = "FILE", default_value = "target/bench/relay.json")]
        out: PathBuf,
    },
    /// The relay beside mumble-server, with the same room and the same frames; a line of JSON for each figure.
    Peers {
        /// Folder of the programs. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// File for the figures.
        #[arg(long, value_name = "FILE", default_value = "target/bench/peers.json")]
        out: PathBuf,
    },
    /// Control's costs: joins, log-ins, idle connections, storage, time to the first audio; a line of JSON for each figure.
    Control {
        /// Folder of the programs. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Users by whom storage is measured.
        #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
        users: u32,
        /// File for the figures.
        #[arg(long, value_name = "FILE", default_value = "target/bench/control.json")]
        out: PathBuf,
    },
    /// How many instructions the relay's pieces take, by callgrind; a line of JSON for each figure.
    Instructions {
        /// File for the figures.
        #[arg(
            long,
            value_name = "FILE",
            default_value = "target/bench/instructions.json"
        )]
        out: PathBuf,
    },
    /// What a fleet for millions of people would carry and take: a day in a simulation that places rooms as control does, and
    /// arithmetic. Defaults name where they come from.
    Capacity {
        /// The assumptions.
        #[command(flatten)]
        assumptions: capacity::Assumptions,
        /// File for the figures.
        #[arg(
            long,
            value_name = "FILE",
            default_value = "target/bench/capacity.json"
        )]
        out: PathBuf,
    },
    /// The costs of end-to-end encryption: frames, commits, joins, gaps of voice; a line of JSON for each figure.
    E2ee {
        /// Folder of the programs. Default: the one of this program.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// File for the figures.
        #[arg(long, value_name = "FILE", default_value = "target/bench/e2ee.json")]
        out: PathBuf,
    },
    /// Measure how much lengths, levels and times of frames tell of speech: mutual information with six classes of phones over
    /// ten minutes of speech; a line of JSON for each figure.
    Leak {
        /// A Python interpreter with the package `pesq`, as `scripts/setup pesq` makes one: what a constant bit rate costs in
        /// quality is measured too.
        #[arg(long, value_name = "FILE")]
        python: Option<PathBuf>,
        /// File for the figures.
        #[arg(long, value_name = "FILE", default_value = "target/bench/leak.json")]
        out: PathBuf,
    },
    /// Measure speech over networks that lose, by PESQ and PLCMOS; a line of JSON for each figure, and a picture
    /// of the curves beside it.
    Voice {
        /// A Python interpreter with the package `pesq`, as `scripts/setup pesq` makes one.
        #[arg(long, value_name = "FILE")]
        python: PathBuf,
        /// File for the figures.
        #[arg(long, value_name = "FILE", default_value = "target/bench/voice.json")]
        out: PathBuf,
        /// Protect by this profile whatever is lost, instead of adapting to the loss. May be repeated: they are compared.
        #[arg(long, value_name = "NAME")]
        profile: Vec<String>,
        /// Only conditions with this in their name, such as `r10_25k`; `microphone` for what is done to a microphone's sound.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Seeds of each condition.
        #[arg(long, value_name = "COUNT", default_value_t = 4)]
        seeds: u64,
    },
    /// Take the figures of reports into docs/figures.json, and from there into the documents that name them.
    Publish {
        /// Files that the other commands wrote. A figure that is in several of them becomes a range.
        #[arg(value_name = "REPORT")]
        reports: Vec<PathBuf>,
        /// Folder of the project.
        #[arg(long, value_name = "DIR", default_value = ".")]
        root: PathBuf,
    },
    /// A single case, for callgrind to count.
    #[command(hide = true)]
    CountOne {
        /// Which.
        case: String,
    },
    /// The bare loop: sends bursts and prints the nanoseconds of processor time for each datagram.
    Bare {
        /// By which address of this host.
        #[arg(long, value_name = "IP")]
        from: IpAddr,
        /// To whom, in turn. Repeat it.
        #[arg(long, required = true, value_name = "IP:PORT")]
        to: Vec<SocketAddr>,
        /// Datagrams of a burst.
        #[arg(long)]
        datagrams: usize,
        /// Bytes of each after its header of 14.
        #[arg(long)]
        body: usize,
        /// For how long, at 50 bursts a second.
        #[arg(long)]
        seconds: u64,
    },
}

/// Counts what is allocated, for the figure that says that forwarding allocates nothing.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    confab_console::run(|| match confab_console::parse() {
        Ok(flags) => measure(flags),
        Err(code) => code,
    })
}

/// Carries out the command and returns the exit code.
fn measure(flags: Flags) -> u8 {
    // Without a runtime, whose threads valgrind would have to run as well.
    if let Command::CountOne { case } = &flags.command {
        return match instructions::run_one(case) {
            true => 0,
            false => 1,
        };
    }
    if matches!(flags.command, Command::Relay { .. } | Command::Peers { .. }) {
        network::enter();
    }
    program::run("confab-bench", async {
        tokio::select! {
            result = run(flags.command) => result,
            // Dropping the run ends every program that it started.
            () = program::interrupted() => Err("interrupted".to_owned()),
        }
    })
}

/// True when what was measured is good enough.
async fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Demo { programs, out } => {
            let programs = programs_or_own(programs)?;
            let options = Options { programs, out };
            let report = demo::run(&options, print)
                .await
                .map_err(|error| error.to_string())?;
            print(&format!("\n{}", report.table()));
            print(
                "sent, received, concealed: frames of 20 ms; concealed ones were made up by the listener",
            );
            print(
                "correlation: of what was said with what was heard, 1.000 when they are the same; 0.900 is asked for",
            );
            print(&format!(
                "recordings and report.json: {}",
                report.recordings.display()
            ));
            if report.passed {
                print("PASSED: everyone heard everyone");
            } else if report.lost_nothing() {
                let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
                let load = load.split(' ').next().unwrap_or_default();
                print(&format!(
                    "FAILED: every frame came, but was not played in time: this machine has too much else to do (load {load}). End other \
                     programs, and run it again"
                ));
            } else {
                print(
                    "FAILED: a listener missed more than 1 % of a speaker, or heard something else",
                );
            }
            Ok(report.passed)
        }
        Command::Relay { programs, out } => {
            let programs = programs_or_own(programs)?;
            let measured = relay::figures(&programs, allocations, print)
                .await
                .map_err(|error| error.to_string())?;
            tell(&out, &measured)
        }
        Command::Peers { programs, out } => {
            let programs = programs_or_own(programs)?;
            let measured = peers::figures(&programs, print)
                .await
                .map_err(|error| error.to_string())?;
            tell(&out, &measured)
        }
        Command::Control {
            programs,
            users,
            out,
        } => {
            let programs = programs_or_own(programs)?;
            let measured = control::figures(&programs, users, print)
                .await
                .map_err(|error| error.to_string())?;
            tell(&out, &measured)
        }
        Command::E2ee { programs, out } => {
            let programs = programs_or_own(programs)?;
            let measured = e2ee::figures(&programs).await;
            tell(&out, &measured.map_err(|error| error.to_string())?)
        }
        Command::Instructions { out } => {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let counted =
                instructions::figures(&program, print).map_err(|error| error.to_string())?;
            tell(&out, &counted)
        }
        Command::Capacity { assumptions, out } => {
            let report = capacity::run(&assumptions)?;
            print(&report.table());
            tell(&out, &report.figures())
        }
        Command::Leak { python, out } => {
            let measured = leak::figures(python.as_deref(), print);
            let measured = measured.map_err(|error| error.to_string())?;
            tell(&out, &measured)
        }
        Command::Voice {
            python,
            out,
            profile,
            only,
            seeds,
        } => {
            let options = clarity::Options {
                profiles: profile,
                only,
                seeds,
            };
            let measured = clarity::figures(&python, &options, print);
            let mut measured = measured.map_err(|error| error.to_string())?;
            if options.is_wanted("microphone") {
                let microphone = microphone::figures(&python, print);
                measured.extend(microphone.map_err(|error| error.to_string())?);
            }
            if options.profiles.is_empty() && options.only.is_none() {
                let file = out.with_extension("svg");
                let picture = clarity::picture::svg(&clarity::curves(&measured));
                let written = std::fs::create_dir_all(out.parent().unwrap_or(&out));
                written
                    .and_then(|()| std::fs::write(&file, picture))
                    .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
            }
            tell(&out, &measured)
        }
        Command::Publish { reports, root } => {
            measured::publish(&root, &reports).map_err(|error| error.to_string())?;
            Ok(true)
        }
        Command::CountOne { .. } => unreachable!("it is done before there is a runtime"),
        Command::Bare {
            from,
            to,
            datagrams,
            body,
            seconds,
        } => {
            let bursts = Bursts {
                from,
                targets: to,
                datagrams,
                body,
                per_second: 50,
                time: Duration::from_secs(seconds),
            };
            let cost = bare::run(&bursts).map_err(|error| error.to_string())?;
            print(&cost.as_nanos().to_string());
            Ok(true)
        }
    }
}

/// Allocations of this program so far, those included that made something larger.
fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// Shows figures and writes them down. A missed goal is no failure of the measurement.
fn tell(out: &Path, measured: &[Figure]) -> Result<bool, String> {
    for figure in measured {
        print(&figure.row());
    }
    figures::write(out, measured).map_err(|error| error.to_string())?;
    print(&format!("written to {}", out.display()));
    Ok(true)
}

fn programs_or_own(programs: Option<PathBuf>) -> Result<PathBuf, String> {
    let programs = programs.map_or_else(program::own_folder, Ok);
    programs.map_err(|error| error.to_string())
}
