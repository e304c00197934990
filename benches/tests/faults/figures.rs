//! What was measured, against what the table wants.

use std::io::Write as _;
use std::time::Duration;

/// Set by `make test-faults`: the table's own bounds hold.
const STRICT: &str = "CONFAB_FAULTS_STRICT";

/// What a jitter buffer and concealment hide: three frames.
pub const HIDDEN: Duration = Duration::from_millis(60);

/// The same on a busy machine, which keeps each of two programs from the processors for some hundred milliseconds at times.
pub const HIDDEN_LOOSE: Duration = Duration::from_millis(1500);

/// Whether the table's own bounds hold; on a machine that does other things as well they may be missed by chance.
pub fn strict() -> bool {
    std::env::var(STRICT).is_ok_and(|value| !value.is_empty() && value != "0")
}

/// What a row measured. All of it is said before the row fails.
#[derive(Debug)]
pub struct Figures {
    row: &'static str,
    failures: Vec<String>,
}

impl Figures {
    /// Nothing yet of this row.
    pub fn of(row: &'static str) -> Self {
        Self {
            row,
            failures: Vec::new(),
        }
    }

    /// A time that is to be at most what the table says, or something looser on a busy machine.
    pub fn within(&mut self, what: &str, measured: Duration, table: Duration, loose: Duration) {
        let text = format!(
            "{}: {what}: {:.2} s (the table: {:.2} s)",
            self.row,
            measured.as_secs_f64(),
            table.as_secs_f64()
        );
        print(&text);
        if measured > if strict() { table } else { loose } {
            self.failures.push(text);
        }
    }

    /// Something that is to be so.
    pub fn holds(&mut self, what: &str, is_so: bool) {
        let text = format!("{}: {what}: {}", self.row, if is_so { "yes" } else { "NO" });
        print(&text);
        if !is_so {
            self.failures.push(text);
        }
    }

    /// Fails when anything was not as it should be.
    pub fn judge(self) {
        assert!(self.failures.is_empty(), "{:#?}", self.failures);
    }
}

/// Past the test harness, which keeps what a test that passes prints to itself.
pub fn print(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "faults: {text}");
}
