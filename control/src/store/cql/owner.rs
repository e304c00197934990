//! Whose the store is: one row, written once.

use scylla::value::CqlValue;

use super::Core;
use super::cells::Swapped;
use crate::store::{ServerId, StoreError};

/// The only row.
const ROW: [CqlValue; 1] = [CqlValue::TinyInt(0)];
const WRONG: StoreError = StoreError::Corrupt("the server's id");

impl Core {
    pub(super) async fn server(&self) -> Result<Option<ServerId>, StoreError> {
        let found = self.server.read_decided(&self.db, &ROW).await?;
        found.map(|value| parse(&value)).transpose()
    }

    pub(super) async fn take_for(&self, server: ServerId) -> Result<ServerId, StoreError> {
        let swapped = self.server.swap(&self.db, &ROW, None, Some((&server.0, 0)));
        match swapped.await? {
            Swapped::Done => Ok(server),
            Swapped::Found(Some(other)) => parse(&other),
            Swapped::Found(None) => Err(StoreError::Conflict),
        }
    }
}

fn parse(value: &[u8]) -> Result<ServerId, StoreError> {
    value.try_into().map(ServerId).map_err(|_| WRONG)
}
