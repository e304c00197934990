//! Rows that are changed by compare-and-set: their columns beside the key.

use scylla::deserialize::row::{ColumnIterator, DeserializeRow, RawColumn};
use scylla::deserialize::value::DeserializeValue;
use scylla::deserialize::{DeserializationError, TypeCheckError};
use scylla::frame::response::result::ColumnSpec;
use scylla::value::CqlValue;

/// The columns of a row beside its key and the mark `removed`.
pub(super) trait Row: Clone + Default + PartialEq + Send + Sync {
    /// The names of the columns. The first is null if, and only if, there is no row.
    const COLUMNS: &'static [&'static str];

    /// The value of each column, in the order of [`Self::COLUMNS`].
    fn values(&self) -> Vec<Option<CqlValue>>;

    /// Whether there is a row.
    fn exists(&self) -> bool;

    /// Checks the type of a column of an answer, if it is one of these.
    fn check(column: &ColumnSpec<'_>) -> Result<(), TypeCheckError>;

    /// Takes the value from a column of an answer, if it is one of these.
    fn take(&mut self, column: RawColumn<'_, '_>) -> Result<(), DeserializationError>;
}

/// A row of an answer. Its columns differ: a conditional statement that is applied returns no column of the row from Cassandra, and
/// all compared ones from ScyllaDB. So it is not derived.
#[derive(Default)]
pub(super) struct Answer<R> {
    /// The row; see [`Row::exists`].
    pub(super) row: R,
    /// Whether a conditional statement was applied; `None` in the answer to a read.
    pub(super) applied: Option<bool>,
    /// The mark of a removed row, if the statement compares it.
    pub(super) removed: Option<Vec<u8>>,
}

const APPLIED: &str = "[applied]";
const REMOVED: &str = "removed";

impl<'frame, 'meta, R: Row> DeserializeRow<'frame, 'meta> for Answer<R> {
    fn type_check(columns: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        columns.iter().try_for_each(|column| match column.name() {
            APPLIED => Option::<bool>::type_check(column.typ()),
            REMOVED => Option::<Vec<u8>>::type_check(column.typ()),
            _ => R::check(column),
        })
    }

    fn deserialize(columns: ColumnIterator<'frame, 'meta>) -> Result<Self, DeserializationError> {
        let mut answer = Self::default();
        for column in columns {
            let column = column?;
            match column.spec.name() {
                APPLIED => answer.applied = take(&column)?,
                REMOVED => answer.removed = take(&column)?,
                _ => answer.row.take(column)?,
            }
        }
        Ok(answer)
    }
}

/// The value of a column of an answer.
pub(super) fn take<'frame, 'meta, T: DeserializeValue<'frame, 'meta>>(
    column: &RawColumn<'frame, 'meta>,
) -> Result<T, DeserializationError> {
    T::deserialize(column.spec.typ(), column.slice)
}

/// Defines a struct that implements [`Row`]. Each field is a column of the same name, with its Rust type and its variant of [`CqlValue`].
macro_rules! row {
    (
        $(#[$doc:meta])*
        $name:ident {
            $first:ident: $first_type:ty = $first_value:ident
            $(, $column:ident: $type:ty = $value:ident)* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Debug)]
        pub(super) struct $name {
            $first: Option<$first_type>,
            $($column: Option<$type>,)*
        }

        impl $crate::store::cql::rows::Row for $name {
            const COLUMNS: &'static [&'static str] = &[stringify!($first) $(, stringify!($column))*];

            fn values(&self) -> Vec<Option<scylla::value::CqlValue>> {
                vec![
                    self.$first.clone().map(scylla::value::CqlValue::$first_value),
                    $(self.$column.clone().map(scylla::value::CqlValue::$value),)*
                ]
            }

            fn exists(&self) -> bool {
                self.$first.is_some()
            }

            fn check(
                column: &scylla::frame::response::result::ColumnSpec<'_>,
            ) -> Result<(), scylla::deserialize::TypeCheckError> {
                use scylla::deserialize::value::DeserializeValue;
                match column.name() {
                    stringify!($first) => Option::<$first_type>::type_check(column.typ()),
                    $(stringify!($column) => Option::<$type>::type_check(column.typ()),)*
                    _ => Ok(()),
                }
            }

            fn take(
                &mut self,
                column: scylla::deserialize::row::RawColumn<'_, '_>,
            ) -> Result<(), scylla::deserialize::DeserializationError> {
                match column.spec.name() {
                    stringify!($first) => self.$first = $crate::store::cql::rows::take(&column)?,
                    $(stringify!($column) => {
                        self.$column = $crate::store::cql::rows::take(&column)?;
                    })*
                    _ => {}
                }
                Ok(())
            }
        }
    };
}
pub(super) use row;

row! {
    /// A row with one packed value, see `packed`.
    Packed { value: Vec<u8> = Blob }
}

impl Packed {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { value: Some(bytes) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }
}

row! {
    /// A row with one id of 16 bytes: the account or conference that a name belongs to, or the server that owns the store.
    IdRow { id: Vec<u8> = Blob }
}

impl IdRow {
    pub(super) fn new(id: &[u8; 16]) -> Self {
        Self {
            id: Some(id.to_vec()),
        }
    }

    /// `None` if it is not of 16 bytes.
    pub(super) fn id(&self) -> Option<[u8; 16]> {
        self.id.as_deref()?.try_into().ok()
    }
}
