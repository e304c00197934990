//! The server that owns the store: one row, written once.

use scylla::value::CqlValue;

use super::cas_table::Swapped;
use super::core::Core;
use super::rows::IdRow;
use crate::store::{ServerId, StoreError};

/// The key of the only row.
const ROW: [CqlValue; 1] = [CqlValue::TinyInt(0)];

impl Core {
    pub(super) async fn server(&self) -> Result<Option<ServerId>, StoreError> {
        let found = self.server.read_serial(&self.db, &ROW).await?;
        found.map(|row| read(&row)).transpose()
    }

    pub(super) async fn claim_for(&self, server: ServerId) -> Result<ServerId, StoreError> {
        let row = IdRow::new(&server.0);
        match self.server.put(&self.db, &ROW, None, &row, 0).await? {
            Swapped::Done => Ok(server),
            Swapped::Found(Some(other)) => read(&other),
            Swapped::Found(None) => Err(StoreError::Conflict),
        }
    }
}

fn read(row: &IdRow) -> Result<ServerId, StoreError> {
    let id = row.id().ok_or(StoreError::Corrupt("the server's id"))?;
    Ok(ServerId(id))
}
