//! What was measured, against what the table wants.

use std::io::Write as _;
use std::time::Duration;

/// Set by `make test-faults`: the table's own bounds hold.
const STRICT: &str = "CONFAB_FAULTS_STRICT";

/// What a jitter buffer and concealment hide: three frames.
pub const HIDDEN: Duration = Duration::from_millis(60);

/// Whether the table's own bounds hold; on a machine that does other things as well they may be missed by chance.
pub fn strict() -> bool {
    std::env::var(STRICT).is_ok_and(|value| !value.is_empty() && value != "0")
}

/// The table's figure, or a looser one for a busy machine.
pub fn bound(table: Duration, loose: Duration) -> Duration {
    if strict() { table } else { loose }
}

/// Says what was measured and fails beyond the bound.
pub fn assert_within(what: &str, measured: Duration, table: Duration, loose: Duration) {
    say(&format!(
        "{what}: {:.2} s (the table: {:.2} s)",
        measured.as_secs_f64(),
        table.as_secs_f64()
    ));
    let bound = bound(table, loose);
    assert!(measured <= bound, "{what}: {measured:?} are more than {bound:?}");
}

/// Past the test harness, which keeps what a test that passes prints to itself.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "faults: {text}");
}
