//! Control's costs: joins, log-ins, idle connections, storage, and the time from a join to the first audio.
//!
//! * [`rig`]: the real programs with accounts on them;
//! * [`joins`], [`logins`], [`idle`], [`size`], [`first_audio`]: what is measured.

mod errors;
pub mod first_audio;
pub mod idle;
pub mod joins;
pub mod logins;
pub mod rig;
pub mod size;

use std::path::Path;

use confab_testdb::{self as testdb, Node};

use crate::figures::{Figure, Goal};

pub use errors::ControlError;
use rig::{ControlRig, StoreChoice};

/// Measures all of it; storage by so many `users`.
///
/// # Errors
///
/// [`ControlError`] when a program, the database or the machine is in the way.
pub async fn figures(
    programs: &Path,
    users: u32,
    progress: impl Fn(&str),
) -> Result<Vec<Figure>, ControlError> {
    let mut figures = Vec::new();
    let file = ControlRig::start(programs, StoreChoice::File).await?;
    progress("joins, SQLite");
    figures.extend(joins::figures(&file, &progress).await?);
    progress("log-ins, beside bare Argon2id");
    figures.extend(logins::figures(&file, &progress).await?);
    progress("idle connections");
    figures.extend(idle::figures(&file).await?);
    file.end().await?;
    progress("a room of 10, of which one comes and goes");
    figures.push(Figure::new(
        "control.join_to_first_audio_ms.p50",
        first_audio::join_to_first_audio(programs).await?,
        "ms",
        Goal::AtMost(150.0),
    ));
    progress("storage, SQLite");
    figures.extend(size::of_file(users).await?);
    progress("a database starts");
    let database = tokio::task::spawn_blocking(Node::start_new).await??;
    let shared = testdb::fresh_keyspace(&database.address());
    let with_database = ControlRig::start(programs, StoreChoice::Database(&shared)).await?;
    progress("joins, CQL");
    figures.extend(joins::figures(&with_database, &progress).await?);
    with_database.end().await?;
    progress("storage, CQL");
    figures.extend(size::of_database(&database, users, &progress).await?);
    Ok(figures)
}
