//! How many instructions the relay's pieces take, counted by callgrind: a shared machine makes no difference to them.
//!
//! Each case runs in a process of its own under valgrind, which counts only inside `collected`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::cases::Case;
use crate::figures::{Figure, Goal};

/// Rounds that are counted, and those before them that make everything warm.
const ROUNDS: u64 = 100;
const WARM_UP: u64 = 20;
/// Pattern of the counted functions, among demangled names.
const COLLECTED: &str = "--toggle-collect=*instructions::collected*";

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// Valgrind is not there.
    #[error("cannot start valgrind: {0}; `scripts/setup valgrind` installs it")]
    NoValgrind(io::Error),
    /// Valgrind ran and failed.
    #[error("valgrind failed on {case}: {said}")]
    Failed { case: &'static str, said: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Counts every case by running `program` with `count-one CASE` under valgrind. `progress` is told what goes on.
pub fn figures(program: &Path, progress: impl Fn(&str)) -> Result<Vec<Figure>, CountError> {
    let mut figures = Vec::new();
    for case in Case::ALL {
        progress(case.name);
        let total = count(program, case)?;
        let value = total as f64 / (ROUNDS * case.times) as f64;
        let name = format!("relay.instructions.{}", case.name);
        figures.push(Figure::new(&name, value, "instructions", Goal::None));
    }
    Ok(figures)
}

/// Runs a case, for valgrind to count. False when there is none of this name.
pub fn run_one(name: &str) -> bool {
    let Some(case) = Case::by_name(name) else {
        return false;
    };
    let mut round = case.start();
    for _ in 0..WARM_UP {
        round(&mut |work| work());
    }
    for _ in 0..ROUNDS {
        round(&mut collected);
    }
    true
}

/// Callgrind counts the instructions in this function.
#[inline(never)]
fn collected(work: &mut dyn FnMut()) {
    work();
    // Something after it, or the call would be a jump, whose end nobody sees.
    std::hint::black_box(());
}

/// Instructions of all rounds.
fn count(program: &Path, case: &Case) -> Result<u64, CountError> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("callgrind.out");
    let mut to_file = OsStr::new("--callgrind-out-file=").to_owned();
    to_file.push(&file);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg(COLLECTED)
        .arg(to_file)
        .arg(program)
        .args(["count-one", case.name])
        .output()
        .map_err(CountError::NoValgrind)?;
    let failed = |said: String| CountError::Failed {
        case: case.name,
        said,
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let total = total(&std::fs::read_to_string(&file)?);
    total.ok_or_else(|| failed("it counted nothing".to_owned()))
}

/// The sum of all that was counted, as callgrind writes it down.
fn total(written: &str) -> Option<u64> {
    let line = ["summary: ", "totals: "]
        .iter()
        .find_map(|head| written.lines().find_map(|line| line.strip_prefix(head)))?;
    let total = line.split_whitespace().next()?.parse().ok()?;
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_and_zero_or_missing_is_none() {
        assert_eq!(total("events: Ir\nsummary: 1234\n\nfn=x\n"), Some(1234));
        assert_eq!(total("events: Ir\ntotals: 77\n"), Some(77));
        assert_eq!(total("summary: 0\n"), None);
        assert_eq!(total(""), None);
    }

    #[test]
    fn cases_are_run_by_name() {
        assert!(run_one("fan_out_1x10"));
        assert!(!run_one("nothing"));
    }
}
