//! Converts causes into the errors that contain them.

/// For each error and each of its variants with one cause: `From<cause>`, which wraps the cause in the variant.
macro_rules! from_causes {
    ($($error:ident: $($variant:ident($cause:ty)),*;)*) => {$($(
        impl From<$cause> for $error {
            fn from(cause: $cause) -> Self {
                Self::$variant(cause)
            }
        }
    )*)*};
}

pub(crate) use from_causes;
