//! What control costs: joins, log-ins, idle connections, storage, and the time until somebody who joins hears something.
//!
//! * [`stage`]: the real programs with accounts on them;
//! * [`joins`], [`logins`], [`idle`], [`size`], [`first_audio`]: what is measured.

pub mod first_audio;
pub mod idle;
pub mod joins;
pub mod logins;
pub mod size;
pub mod stage;

use std::path::Path;

use confab_control::store::StoreError;
use confab_testdb::{self as testdb, NoDatabase, Node};

use crate::figures::Figure;
use crate::fleet::FleetError;

use stage::{Stage, Where};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A program did not do what it should.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// No connection to control.
    #[error(transparent)]
    Connect(#[from] confab::net::ConnectError),
    /// Control refused something.
    #[error("control refused {what}: {error}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What it said.
        error: confab::net::ApiError,
    },
    /// A store did not do what it should.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// No database.
    #[error(transparent)]
    Database(#[from] NoDatabase),
    /// A file, a socket or a process.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A task of the bench failed.
    #[error("a task of the bench failed: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// Something that cannot be measured.
    #[error("{0}")]
    Other(&'static str),
}

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
    let file = Stage::start(programs, Where::File).await?;
    progress("joins, SQLite");
    figures.extend(joins::figures(&file, &progress).await?);
    progress("log-ins, beside bare Argon2id");
    figures.extend(logins::figures(&file, &progress).await?);
    progress("idle connections");
    figures.extend(idle::figures(&file).await?);
    file.end().await?;
    progress("a room of 10, of which one comes and goes");
    figures.extend(first_audio::figures(programs).await?);
    progress("storage, SQLite");
    figures.extend(size::of_file(users).await?);
    progress("a database starts");
    let database = tokio::task::spawn_blocking(Node::start_new).await??;
    let shared = testdb::fresh_keyspace(&database.address());
    let with_database = Stage::start(programs, Where::Database(&shared)).await?;
    progress("joins, CQL");
    figures.extend(joins::figures(&with_database, &progress).await?);
    with_database.end().await?;
    progress("storage, CQL");
    figures.extend(size::of_database(&database, users, &progress).await?);
    Ok(figures)
}
