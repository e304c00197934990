//! Values in columns, and pages of rows.

use bytes::Bytes;
use rusqlite::ErrorCode;
use rusqlite::types::Type;

use crate::clock::UnixMillis;
use crate::store::{Cursor, Page, StoreError};

/// The number of the row after which the page begins: the content of a cursor.
pub(super) fn row_of(cursor: Option<&Cursor>) -> Result<i64, StoreError> {
    match cursor {
        None => Ok(0),
        Some(Cursor(bytes)) => bytes
            .as_ref()
            .try_into()
            .map(i64::from_be_bytes)
            .map_err(|_| StoreError::BadCursor),
    }
}

/// One row more than the page holds tells whether there is a next one.
pub(super) fn one_more_than(limit: u32) -> i64 {
    i64::from(limit) + 1
}

/// Cuts off the row that was read to learn whether there is a next page.
pub(super) fn page<T>(mut rows: Vec<(i64, T)>, limit: u32) -> Page<T> {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(row, _)| Cursor(Bytes::copy_from_slice(&row.to_be_bytes())));
    Page {
        items: rows.into_iter().map(|(_, item)| item).collect(),
        next,
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Corrupt("a column"),
            other if other.sqlite_error_code() == Some(ErrorCode::DiskFull) => Self::Full,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Parses a column of text.
pub(super) fn parsed<T: std::str::FromStr>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|_| broken(column, Type::Text))
}

/// Parses a column of text that may be null.
pub(super) fn parsed_if_any<T: std::str::FromStr>(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    if row.get_ref(column)?.data_type() == Type::Null {
        return Ok(None);
    }
    parsed(row, column).map(Some)
}

/// The error for a value that this program cannot have written.
pub(super) fn broken(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "a value".to_owned(), kind)
}

/// SQLite's integers have a sign. Milliseconds, generations and eras stay far below 2⁶³.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| broken(column, Type::Integer))
}

pub(super) fn millis(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<UnixMillis> {
    unsigned(row, column).map(UnixMillis)
}
